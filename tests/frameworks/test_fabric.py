"""Lightning Fabric: fabric.load() at another world size, from a mount or from the checkpoint itself through the hook."""
from dataclasses import replace
import math

import pytest

import checks
import fabric_job
from fabric_job import Job
from mounting import mounted
from recipe import Recipe
from stepwise import A, TOLERANCE, cell, train_once
from ways import WAYS


@pytest.fixture(scope="session")
def trained(once):
    return train_once(once, "fabric", fabric_job)


@pytest.mark.parametrize("recipe, world_size, way", [
    cell(2, "bf16", 4, quick=True), cell(2, "fp32", 1), cell(1, "bf16", 2), cell(1, "fp32", 4), cell(3, "bf16", 2),
    cell(3, "fp32", 4), cell(3, "fp32", 4, way="hook")])
def test_load_goes_on(trained, tmp_path, recipe, world_size, way):
    source, uninterrupted = trained(recipe)
    loaded = tmp_path / "loaded"
    with WAYS[way](source.parent, world_size) as view:
        reports = fabric_job.run(Job(world_size, recipe, last_step=6, load=f"{view.load}/{source.name}", save_loaded=str(loaded)),
                                 tmp_path / "log")
        # What was saved straight after the load is what the view shows, every rank's shard.
        checks.expect_same_objects(f"{view.files}/{source.name}", loaded)
    checks.expect_same_parameters(source, loaded)
    for report in reports:
        assert (report.step_at_start, report.note_at_start, len(report.losses)) == (3, f"saved at {A} ranks", 3)
        for found, truth in zip(report.losses, uninterrupted, strict=True):
            assert math.isclose(found, truth, rel_tol=TOLERANCE[recipe.dtype])


@pytest.mark.full
@pytest.mark.parametrize("stage", [1, 2])
def test_load_of_the_model_alone_gives_the_same_weights(trained, tmp_path, stage):
    """Works natively at any world size: the mount must give what the source gives."""
    source, _ = trained(Recipe(stage=stage, dtype="bf16", layers=1))
    job = Job(2, Recipe(stage=stage, dtype="bf16", layers=1), last_step=0, weights_only=True)
    native = fabric_job.run(replace(job, load=str(source)), tmp_path / "log")
    with mounted(source.parent, 2) as mount:
        found = fabric_job.run(replace(job, load=f"{mount}/{source.name}"), tmp_path / "log")
    assert found == native
    assert found[0].losses != fabric_job.run(job, tmp_path / "log")[0].losses, "nothing was loaded"
