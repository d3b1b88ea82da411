"""Saving in place: runs in a row, at 3, 2 and 4 ranks, resume from and save to one directory, rotation included.

The truth is a twin. It differs in one thing: where its ranks load, and only there, they see a read-only view of the directory, in
its place; everything else, the saves and the removals too, happens to the directory itself. Both work at the same path, one after
the other. At the end both directories must hold the same, and every rank must have seen the same at each step of the way.
"""
from dataclasses import dataclass
import os
import shutil

import pytest

import accelerate_job
import checks
import directories
import lightning_job
from namespaces import directly, mounted_over_itself, run_in_place
import ranks
from recipe import Recipe
import trainer
import transformers_job

WORLD_SIZES = (3, 2, 4)
NAMED = "newest"  # a tag that plain DeepSpeed saves over and over


@dataclass(frozen=True)
class Framework:
    """run(number, world_size, stage, root, loaded, best, log) -> (reports, what was resumed from, the best that was loaded);
    `loaded` and `best` are where DeepSpeed saves what it has loaded."""

    run: object
    kept: tuple  # what of the checkpoints is left at the end, by their names
    in_place: object = run_in_place
    world_sizes: tuple = WORLD_SIZES


def lightning(number, world_size, stage, root, loaded, best, log):
    """save_top_k=2 and save_last; "last" resumes, and the best, which the first run saved, is tested where Lightning can do that
    from a directory. The fourth run goes on from the best."""
    path = f"{root}/ckpt/epoch=0-step=2.ckpt"
    keeper = (("save_top_k", 2), ("save_last", True), ("monitor", "score"), ("mode", "max"))
    reports = lightning_job.run(lightning_job.Job(
        world_size, stage, "bf16", root, epochs=2 * number if number < 4 else 3, resume="last" if number < 4 else path,
        save_loaded=loaded, checkpoint=keeper, test_best=stage < 3), log)
    assert reports[0].best_model_path == path
    return reports, "ckpt/last.ckpt" if number < 4 else os.path.relpath(path, root), None


def transformers(number, world_size, stage, root, loaded, best, log):
    """save_total_limit=2, resume_from_checkpoint=True and load_best_model_at_end: the first run's first checkpoint."""
    reports = transformers_job.run(transformers_job.Job(
        world_size, stage, root, 4 * number, True, loaded, save_best=best, keep=2, best="load"), log)
    assert reports[0].best == f"{root}/checkpoint-2"
    return reports, f"checkpoint-{4 * (number - 1)}", "checkpoint-2"


def accelerate(number, world_size, stage, root, loaded, best, log):
    """Automatic names, of which total_limit=2 are kept."""
    reports = accelerate_job.run(accelerate_job.Job(
        world_size, Recipe(stage=stage, layers=1), 2 * number, save_loaded=loaded, project=root), log)
    return reports, f"checkpoints/checkpoint_{2 * number - 3}", None


def deepspeed(number, world_size, stage, root, loaded, best, log):
    """A tag for each save, and one that every run saves over: `latest` names that."""
    reports = trainer.run(trainer.Job(
        Recipe(stage=stage, layers=1), world_size, load=root if number > 1 else None, save_loaded=loaded, steps=2, save=root,
        tags=(None, NAMED)), log)
    return reports, "", None


FRAMEWORKS = {
    "lightning": Framework(lightning, ("ckpt/epoch=0-step=2.ckpt", "ckpt/epoch=2-step=6.ckpt", "ckpt/last.ckpt"),
                           world_sizes=(*WORLD_SIZES, 2)),
    "transformers": Framework(transformers, ("checkpoint-2", "checkpoint-12")),
    "accelerate": Framework(accelerate, ("checkpoints/checkpoint_4", "checkpoints/checkpoint_5")),
    "deepspeed": Framework(deepspeed, ("global_step2", "global_step4", "global_step6", NAMED), mounted_over_itself),
}
QUICK = ("transformers", 2)


@pytest.mark.parametrize("name, stage", [
    pytest.param(name, stage, marks=[] if (name, stage) == QUICK else pytest.mark.full, id=f"{name}-stage{stage}")
    for name in FRAMEWORKS for stage in (2, 3)])
def test_runs_in_place_leave_what_their_twins_leave(tmp_path, name, stage):
    framework, root = FRAMEWORKS[name], tmp_path / "run"
    twin = runs_in_a_row(framework, stage, root, tmp_path / "twin", directly)
    found = runs_in_a_row(framework, stage, root, tmp_path / "found", framework.in_place)
    assert found == twin
    assert [path for path in framework.kept if not (tmp_path / "found" / "run" / path).is_dir()] == []
    different = directories.differences(tmp_path / "twin" / "run", tmp_path / "found" / "run", tmp_path / "compared")
    assert not different, "\n".join(different)


def runs_in_a_row(framework, stage, root, kept, place):
    """Every rank's reports. All that was saved, in `root` and of what was loaded, is in `kept` afterwards."""
    kept.mkdir()
    reports = []
    for number, world_size in enumerate(framework.world_sizes, 1):
        before, loaded, best = kept / f"before-{number}", kept / f"loaded-{number}", kept / f"best-{number}"
        if number > 1:
            shutil.copytree(root, before, symlinks=True)
        with place(root, world_size) as enter, ranks.beginning_with(enter):
            of_ranks, resumed, best_path = framework.run(
                number, world_size, stage, str(root), str(loaded) if number > 1 else None, str(best), str(kept / "log"))
        reports.append(of_ranks)
        if number > 1:
            # The state that every rank resumed with is the last save's, bit for bit, whoever saved it.
            checks.expect_same_parameters(directories.whole(before / resumed, kept / f"resumed-{number}"), loaded)
        if best_path:
            checks.expect_same_parameters(root / best_path, best)
    os.rename(root, kept / "run")
    return reports
