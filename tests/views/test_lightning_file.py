"""Lightning's single file in the mount: what its converter writes, and what only a file can do."""
import contextlib
import io
import os
import pathlib

import pytest
import torch

import graph
import lightning_job
from lightning_job import A, SAVED, Job
from mounting import mounted

N = 2  # where the file is loaded


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """trained(stage) -> (the directory of the run's checkpoints, the file that the converter made of one)."""
    made = {}

    def get(stage):
        if stage not in made:
            root = tmp_path_factory.mktemp(f"lightning-{stage}")
            lightning_job.run(Job(A, stage, "bf16", str(root), epochs=2), root / "log")
            made[stage] = root / "ckpt", convert(root / "ckpt" / SAVED, root / "converted" / SAVED)
        return made[stage]

    return get


def convert(source, target):
    from lightning.pytorch.utilities.deepspeed import convert_zero_checkpoint_to_fp32_state_dict

    target.parent.mkdir()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        convert_zero_checkpoint_to_fp32_state_dict(str(source), str(target))
    return target


def load(path):
    return torch.load(path, map_location="cpu", weights_only=False)


@pytest.mark.parametrize("stage", [2, 3])
def test_it_is_what_the_converter_writes(trained, stage):
    source, converted = trained(stage)
    with mounted(source, None, "--view=lightning") as mount:
        shown = pathlib.Path(mount) / SAVED
        assert shown.is_file()
        differences = graph.compare(converted, shown)
        if stage == 2:
            assert not differences
        # At stage 3 the converter's storages end in the padding of each parameter.
        assert all("became" in line and line.startswith("state_dict/") for line in differences), differences
        expected, found = load(converted), load(shown)
        assert list(found) == list(expected)
        assert list(found["state_dict"]) == list(expected["state_dict"])
        for name, tensor in expected["state_dict"].items():
            assert found["state_dict"][name].dtype == tensor.dtype
            assert torch.equal(found["state_dict"][name], tensor), name


@pytest.mark.parametrize("stage", [2, 3])
def test_load_from_checkpoint(trained, stage):
    source, converted = trained(stage)
    expected = lightning_job.Module.load_from_checkpoint(converted, weights_only=False).state_dict()
    with mounted(source, None, "--view=lightning") as mount:
        module = lightning_job.Module.load_from_checkpoint(f"{mount}/{SAVED}", weights_only=False)
    found = module.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert module.hparams.stage == stage


@pytest.mark.parametrize("what", ["validate", "test", "predict"])
def test_evaluation_at_stage_3_at_another_world_size(trained, tmp_path, what):
    """It fails from the directory at every world size (tests/frameworks/test_lightning_weights.py)."""
    source, converted = trained(3)
    job = dict(world_size=N, stage=3, dtype="bf16", root=str(tmp_path), what=what, full_weights=True)
    truth = lightning_job.run(Job(**job, resume=str(converted)), tmp_path / "log")
    with mounted(source, None, "--view=lightning") as mount:
        found = lightning_job.run(Job(**job, resume=f"{mount}/{SAVED}"), tmp_path / "log")
    assert [report.result for report in found] == [report.result for report in truth]
    assert found[0].result != lightning_job.run(Job(**job), tmp_path / "log")[0].result, "nothing was loaded"


def test_a_link_to_the_checkpoint_leads_to_the_file(trained, tmp_path):
    source, _ = trained(2)
    copy = tmp_path / "run"
    copy.mkdir()
    os.symlink(source / SAVED, copy / SAVED)
    with mounted(copy, None, "--view=lightning") as mount:
        assert "state_dict" in load(f"{mount}/{SAVED}")


def test_the_directory_itself_as_source_is_one_file(trained):
    source, converted = trained(2)
    with mounted(source / SAVED, None, "--view=lightning") as mount:
        assert os.listdir(mount) == [SAVED]
        assert list(load(f"{mount}/{SAVED}")) == list(load(converted))
