"""What the twin tests hold directories against each other with: each kind of difference is found, and times are none."""
import json
import os
import shutil

import pytest
import torch

import directories


@pytest.fixture
def twins(tmp_path):
    """Two directories that hold the same, written at different times."""
    for number in (1, 2):
        root = tmp_path / f"run{number}"
        (root / "tag").mkdir(parents=True)
        torch.save({"module": {"a": torch.arange(4.0)}, "step": 3, "pad": [-0.0]}, root / "tag" / "mp_rank_00_model_states.pt")
        (root / "latest").write_text("tag")
        (root / "state.json").write_text(json.dumps({"step": 3, "log": [{"loss": 0.5, "eval_runtime": float(number)}]}))
        (root / "last").symlink_to("tag")
    return tmp_path / "run1", tmp_path / "run2"


def save(root, value):
    torch.save(value, root / "tag" / "mp_rank_00_model_states.pt")


def test_equal_by_value_is_equal(twins, tmp_path):
    assert directories.differences(*twins, tmp_path / "compared") == []


@pytest.mark.parametrize("change", [
    lambda root: (root / "tag" / "left-over").touch(),
    lambda root: (root / "latest").unlink(),
    lambda root: (root / "latest").chmod(0o600),
    lambda root: (root / "latest").write_text("tag\n"),
    lambda root: (root / "state.json").write_text(json.dumps({"step": 3, "log": [{"loss": 0.25, "eval_runtime": 1.0}]})),
    lambda root: ((root / "last").unlink(), (root / "last").symlink_to("./tag")),
    lambda root: ((root / "last").unlink(), shutil.copytree(root / "tag", root / "last")),
    lambda root: save(root, {"module": {"a": torch.arange(4.0)}, "step": 4, "pad": [-0.0]}),
    lambda root: save(root, {"module": {"a": torch.arange(4.0)}, "step": 3, "pad": [0.0]}),
    lambda root: save(root, {"module": {"a": torch.arange(4.0).nextafter(torch.ones(4))}, "step": 3, "pad": [-0.0]}),
    lambda root: os.rename(root / "tag", root / "other")])
def test_a_difference_is_found(twins, tmp_path, change):
    change(twins[1])
    assert directories.differences(*twins, tmp_path / "compared") != []


def test_what_an_earlier_save_has_left_over_is_told_from_the_last(tmp_path):
    root = tmp_path / "run"
    (root / "tag").mkdir(parents=True)
    (root / "latest").write_text("tag")
    save(root, {"dp_world_size": 2})
    for rank in range(3):
        (root / "tag" / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").touch()
    copy = directories.whole(root, tmp_path / "copy")
    assert len(os.listdir(root / "tag")) == 4
    assert sorted(set(os.listdir(root / "tag")) - set(os.listdir(copy / "tag"))) == ["bf16_zero_pp_rank_2_mp_rank_00_optim_states.pt"]
