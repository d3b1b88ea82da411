"""The Hugging Face Trainer with DeepSpeed: resume_from_checkpoint at another world size, from a mount or through the hook, saving into
SOURCE."""
import math
import os
import pathlib
import time

import pytest

import checks
from mounting import mounted
import transformers_job
from transformers_job import Job
from ways import through_hook

A = 3
TOLERANCE = {"bf16": 2e-2, "fp32": 1e-4}


@pytest.fixture(scope="session")
def uninterrupted(once):
    """uninterrupted(stage, dtype) -> the losses of eight steps at A."""

    def get(stage, dtype):
        return once(f"transformers-stage{stage}-{dtype}", lambda root: transformers_job.run(
            Job(A, stage, str(root), 8, dtype=dtype), root / "log")[0].losses)[1]

    return get


def cell(stage, dtype, quick=False):
    return pytest.param(stage, dtype, marks=[] if quick else pytest.mark.full, id=f"stage{stage}-{dtype}")


@pytest.mark.parametrize("stage, dtype", [cell(2, "bf16", quick=True), cell(2, "fp32"), cell(1, "bf16"), cell(1, "fp32"),
                                          cell(3, "bf16"), cell(3, "fp32")])
def test_three_runs_in_a_row_under_one_mount(uninterrupted, tmp_path, stage, dtype):
    source, log = tmp_path / "source", tmp_path / "log"
    losses = list(transformers_job.run(Job(A, stage, str(source), 2, dtype=dtype), log)[0].losses)
    with mounted(source) as mount:
        for step, world_size in ((2, 3), (4, 2), (6, 4)):
            resume, loaded = f"{mount}/world-size-{world_size}/checkpoint-{step}", tmp_path / f"loaded-{step}"
            wait_until(lambda: os.path.isdir(resume))
            assert random_states(resume) == random_states(source / f"checkpoint-{step}")
            reports = transformers_job.run(
                Job(world_size, stage, str(source), step + 2, resume, str(loaded), dtype, keep=2), log)
            checks.expect_same_objects(resume, loaded)
            checks.expect_same_parameters(source / f"checkpoint-{step}", loaded)
            for report in reports:
                assert (report.step_at_start, report.epoch_at_start) == (step, step / 2)
                assert report.learning_rates == pytest.approx([1e-2 * at / 20 for at in (step + 1, step + 2)])
                assert report.losses == reports[0].losses
            losses += reports[0].losses
            # save_total_limit has deleted in SOURCE, and the mount follows.
            kept = {f"checkpoint-{step}", f"checkpoint-{step + 2}"}
            assert checkpoints(source) == kept
            wait_until(lambda: checkpoints(f"{mount}/world-size-{world_size}") == kept)
    for found, truth in zip(losses, uninterrupted(stage, dtype), strict=True):
        assert math.isclose(found, truth, rel_tol=TOLERANCE[dtype])


@pytest.mark.parametrize("stage, dtype", [cell(2, "bf16", quick=True), cell(3, "fp32")])
def test_runs_in_a_row_through_the_hook(uninterrupted, tmp_path, stage, dtype):
    """They find the last checkpoint in output_dir, as every run of theirs does that no world size was changed for."""
    source, log = tmp_path / "source", tmp_path / "log"
    losses = list(transformers_job.run(Job(A, stage, str(source), 2, dtype=dtype), log)[0].losses)
    for step, world_size in ((2, 2), (4, 4)):
        loaded = tmp_path / f"loaded-{step}"
        with through_hook(str(source), world_size) as view:
            expected = f"{view.files}/checkpoint-{step}"
            reports = transformers_job.run(
                Job(world_size, stage, str(source), step + 2, True, str(loaded), dtype, keep=1), log)
            checks.expect_same_objects(expected, loaded)
        assert {report.step_at_start for report in reports} == {step}
        assert checkpoints(source) == {f"checkpoint-{step + 2}"}
        losses += reports[0].losses
    for found, truth in zip(losses, uninterrupted(stage, dtype)[:6], strict=True):
        assert math.isclose(found, truth, rel_tol=TOLERANCE[dtype])


def wait_until(condition):
    """The mount shows what changed in SOURCE within two seconds; the rest is for a busy machine."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def checkpoints(root):
    return {path.name for path in pathlib.Path(root).glob("checkpoint-*")}


def random_states(checkpoint):
    """Of the ranks that have one: nothing is invented for those that are new."""
    return sorted(path.name for path in pathlib.Path(checkpoint).glob("rng_state*"))
