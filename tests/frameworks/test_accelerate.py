"""accelerate with DeepSpeed: load_state() at another world size, from a mount or from the checkpoint itself through the hook."""
import math
import subprocess

import pytest

import accelerate_job
from accelerate_job import Job
import checks
from mounting import BINARY
from recipe import Recipe
from stepwise import A, TOLERANCE, cell, train_once
from ways import WAYS


@pytest.fixture(scope="session")
def trained(once):
    return train_once(once, "accelerate", accelerate_job)


@pytest.mark.parametrize("recipe, world_size, way", [
    cell(2, "bf16", 2, quick=True), cell(2, "fp32", 4), cell(1, "bf16", 4), cell(1, "fp32", 1), cell(3, "bf16", 4),
    cell(3, "fp32", 2), cell(2, "bf16", 2, quick=True, way="hook"), cell(3, "bf16", 4, way="hook")])
def test_load_state_goes_on(trained, tmp_path, recipe, world_size, way):
    source, uninterrupted = trained(recipe)
    loaded, log = tmp_path / "loaded", tmp_path / "log"
    with WAYS[way](source.parent, world_size) as view:
        reports = accelerate_job.run(
            Job(world_size, recipe, last_step=6, load=f"{view.load}/{source.name}", save_loaded=str(loaded)), log)
        checks.expect_same_objects(f"{view.files}/{source.name}", loaded)
    checks.expect_same_parameters(source, loaded)
    for report in reports:
        # The scheduler's file is passed through: it counts a step for each of the ranks that wrote it.
        assert (report.step_at_start, report.scheduler_at_start, len(report.losses)) == (3, 3 * A, 3)
        for found, truth in zip(report.losses, uninterrupted, strict=True):
            assert math.isclose(found, truth, rel_tol=TOLERANCE[recipe.dtype])


def test_inspect_warns_where_growth_could_hang(trained):
    """New ranks begin to count micro steps at 0: with accumulation they might wait for the others for ever."""
    source, _ = trained(Recipe(stage=2, dtype="bf16", layers=1))

    def warns(world_size):
        done = subprocess.run([BINARY, "inspect", source, f"--world-size={world_size}"], capture_output=True, text=True, check=True)
        return "gradient_accumulation_steps" in done.stdout

    assert warns(A + 1)
    assert not warns(A)
    assert not warns(A - 1)
