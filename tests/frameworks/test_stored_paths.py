"""Paths that the trainers keep in a checkpoint name SOURCE: what comes of it, and that what the recipes say to set helps."""
import os
import shutil

import pytest

import lightning_job
from lightning_job import EPOCHS, SAVED
from mounting import mounted
import ranks
import transformers_job

NEXT = "epoch=2-step=6.ckpt"
NATIVE_REFUSAL = "Automatic adjustment of ZeRO's optimizer state partitioning"


@pytest.fixture
def lightning_source(lightning_trained, tmp_path):
    """The run as it was left, with the one checkpoint that Lightning's defaults keep; it lies where the paths in it say."""
    trained, _ = lightning_trained(2, "bf16")
    aside = tmp_path / "aside"
    aside.mkdir()
    others = [name for name in os.listdir(trained) if name != SAVED]
    for name in others:
        shutil.move(trained / name, aside)
    shutil.copytree(trained / SAVED, aside / SAVED)
    yield trained
    shutil.rmtree(trained)
    shutil.move(aside, trained)


def resume(source, mount, log, **options):
    job = lightning_job.Job(2, 2, "bf16", str(source.parent), epochs=EPOCHS - 1, resume=f"{mount}/{SAVED}", **options)
    return lightning_job.run(job, log)[0]


@pytest.mark.full
def test_lightnings_default_deletes_the_checkpoint_that_was_resumed_from(lightning_source, tmp_path):
    with mounted(lightning_source, 2) as mount:
        report = resume(lightning_source, mount, tmp_path / "log", checkpoint=(("save_top_k", 1),))
    assert report.at_start["best_model_path"] == str(lightning_source / SAVED)
    assert os.listdir(lightning_source) == [NEXT]


@pytest.mark.full
def test_lightning_deletes_nothing_where_it_saves_every_checkpoint(lightning_source, tmp_path):
    with mounted(lightning_source, 2) as mount:
        resume(lightning_source, mount, tmp_path / "log", checkpoint=(("save_top_k", -1),))
    assert sorted(os.listdir(lightning_source)) == [SAVED, NEXT]


@pytest.mark.full
def test_lightnings_best_is_read_from_the_source(lightning_source, tmp_path):
    """Its path is the source's. Below stage 3, test() takes only the weights, at any world size."""
    with mounted(lightning_source, 2) as mount:
        monitor = (("save_top_k", -1), ("monitor", "val_loss"), ("mode", "max"))
        report = resume(lightning_source, mount, tmp_path / "log", checkpoint=monitor, test_best=True)
        assert report.best_model_path.startswith(f"{lightning_source}/")
        direct = lightning_job.run(lightning_job.Job(2, 2, "bf16", str(tmp_path), what="test", resume=report.best_model_path))
    assert report.result == direct[0].result


@pytest.mark.full
def test_load_best_model_at_end_needs_the_world_size_of_the_source(tmp_path):
    source, log = tmp_path / "source", tmp_path / "log"

    def run(world_size, last_step, best, path=None):
        return transformers_job.run(transformers_job.Job(world_size, 2, str(source), last_step, path, best=best), log)

    run(3, 2, "load")
    with mounted(source) as mount:
        path = f"{mount}/world-size-2/checkpoint-2"
        with pytest.raises(ranks.RankError) as refusal:
            run(2, 4, "load", path)
        assert NATIVE_REFUSAL in refusal.value.detail
        assert os.path.isdir(source / "checkpoint-4"), "not at the very end"
        # As the recipe has it: off. The path stays what it was.
        reports = run(2, 4, "keep", path)
        assert reports[0].best == str(source / "checkpoint-2")
