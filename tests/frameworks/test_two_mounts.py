"""Two mounts of one SOURCE stand for two nodes: 4 ranks of DeepSpeed, two through each, save, resume and are resumed at another world size."""
import contextlib
from dataclasses import replace

import checks
import mounting
from recipe import Recipe
import trainer
from trainer import Job

RECIPE = Recipe(stage=2, dtype="bf16")
WRITABLE = ("--writable",)


@contextlib.contextmanager
def nodes(source, world_size):
    """Yields the mount of each rank."""
    with mounting.mounted(source, world_size, *WRITABLE) as one, mounting.mounted(source, world_size, *WRITABLE) as other:
        yield [one.path if rank < world_size / 2 else other.path for rank in range(world_size)]


def run(places, log, **job):
    """Each rank loads from its own mount and saves into it; `saves`: no, or what else than the mount."""
    made = Job(RECIPE, len(places), **job)
    jobs = [replace(made, load=place if made.load else None, save=place if made.save else None) for place in places]
    return trainer.run_each(jobs, log)


def test_ranks_on_two_nodes_save_and_resume(directory):
    place = directory / "two-mounts"
    source, twin, log = place / "source", place / "twin", place / "log"
    source.mkdir(parents=True)

    def direct(world_size, **job):
        return trainer.run(Job(RECIPE, world_size, **job), log)

    # Saved at 4, through both; and at once read again by the same job's successor.
    with nodes(source, 4) as mounts:
        first = run(mounts, log, steps=2, save="mount")
        second = run(mounts, log, load="mount", steps=1, save="mount")
    checks.expect_same_losses(first, direct(4, steps=2, save=str(twin)))
    checks.expect_same_losses(second, direct(4, load=str(twin), steps=1, save=str(twin)))
    checks.expect_same_objects(twin, source)

    # Resumed at 3, and saved at 3 into the same directory.
    loaded = place / "loaded"
    with nodes(source, 3) as mounts:
        third = run(mounts, log, load="mount", save_loaded=str(loaded), steps=1, save="mount")
    checks.expect_same_parameters(twin, loaded)
    with mounting.mounted(twin, 3) as view:
        checks.expect_same_losses(third, direct(3, load=view.path, steps=1, save=str(place / "at-3")))
    checks.expect_same_objects(place / "at-3", source)

    # And at 4 again.
    with nodes(source, 4) as mounts:
        fourth = run(mounts, log, load="mount", steps=1)
    with mounting.mounted(place / "at-3", 4) as view:
        checks.expect_same_losses(fourth, direct(4, load=view.path, steps=1))
