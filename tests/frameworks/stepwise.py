"""What the tests of Fabric and accelerate share: both are scripts that count steps, save after the third and go on to the sixth."""
import pytest

from recipe import Recipe

A = 3
TOLERANCE = {"bf16": 2e-2, "fp32": 1e-4}


def cell(stage, dtype, world_size, quick=False, way="mount"):
    return pytest.param(Recipe(stage=stage, dtype=dtype, layers=1), world_size, way, marks=[] if quick else pytest.mark.full,
                        id=f"stage{stage}-{dtype}-{A}to{world_size}-{way}")


def train_once(once, name, job):
    """get(recipe) -> (what was saved after three steps at A ranks, the losses of the three steps after it there).

    `job`: the module that runs the framework."""

    def get(recipe):
        def make(root):
            job.run(job.Job(A, recipe, last_step=3, save=str(root / "three")), root / "log")
            return job.run(job.Job(A, recipe, last_step=6, load=str(root / "three")), root / "log")[0].losses

        root, losses = once(f"{name}-{recipe.key}", make)
        return root / "three", losses

    return get
