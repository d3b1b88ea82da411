"""The scripts of mount_scripts/recipes, as they are: trained at 2 ranks, resumed from the mount at 3 and at 1, saved to SOURCE."""
import importlib
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

import launch
from mounting import BINARY, mounted
import ranks

RECIPES = pathlib.Path(__file__).resolve().parents[2] / "mount_scripts" / "recipes"
# Imported before the ranks are forked, once for all.
FRAMEWORKS = {"train_lightning.py": "lightning.pytorch.strategies", "train_fabric.py": "lightning.fabric.strategies",
              "train_accelerate.py": "accelerate.utils", "train_transformers.py": "transformers.models.llama.modeling_llama",
              "train_deepspeed.py": "deepspeed"}
ON_CPU = {"train_transformers.py": ("--use_cpu", "--ddp_backend=gloo")}


def run(recipe, world_size, *arguments, log):
    """Runs the script on every rank; what rank 0 printed."""

    def work(rank):
        if recipe in ("train_lightning.py", "train_fabric.py"):
            import standin

            standin.register()
        launch.script(RECIPES / recipe, *arguments, *ON_CPU.get(recipe, ()))

    importlib.import_module(FRAMEWORKS[recipe])
    log.unlink(missing_ok=True)
    launch.run(world_size, work, log=log)
    return log.read_text()


def step_of(text, world_size):
    return int(re.search(rf"^at step (\d+) of {world_size} ranks", text, re.MULTILINE)[1])


def wait_for(path):
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not appear"
        time.sleep(0.05)


# Of each: how the checkpoint after four (Lightning: eight) steps is called.
@pytest.mark.parametrize("recipe, steps, name", [
    ("train_lightning.py", 8, "epoch=0-step=8.ckpt"), ("train_fabric.py", 4, "step-4"), ("train_accelerate.py", 4, "step-4"),
    ("train_deepspeed.py", 4, ""), ("train_transformers.py", 4, "checkpoint-4")])
def test_recipe(tmp_path, recipe, steps, name):
    source, log = tmp_path / "run", tmp_path / "log"

    def train(world_size, root=None):
        resume = root and pathlib.Path(root, name)
        if recipe == "train_transformers.py":
            arguments = [f"--output_dir={source}", f"--max_steps={2 * steps if resume else steps}"]
            arguments += [f"--resume_from_checkpoint={resume}"] if resume else []
        else:
            arguments = [source, *([resume] if resume else [])]
        return step_of(run(recipe, world_size, *arguments, log=log), world_size)

    assert train(2) == steps
    with pytest.raises(ranks.RankError) as native:
        train(3, source)
    assert "Automatic adjustment of ZeRO's optimizer state partitioning" in native.value.detail
    before = set(os.listdir(source))
    with mounted(source) as mount:
        assert train(3, f"{mount}/world-size-3") == 2 * steps
        saved = set(os.listdir(source)) - before
        assert saved, "nothing was saved beside the first checkpoint"
        assert before <= set(os.listdir(source)), "the first checkpoint is gone"
        for path in saved:
            wait_for(pathlib.Path(f"{mount}/world-size-1", path))


def test_a_recipe_under_torchrun_with_a_view_for_its_time(tmp_path):
    """ckptfs run mounts, torchrun starts the very command line of the recipe, and nothing stays mounted."""
    source, log = tmp_path / "ckpt", tmp_path / "log"
    assert step_of(run("train_deepspeed.py", 2, source, log=log), 2) == 4
    command = [BINARY, "run", source, "--", sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1",
               RECIPES / "train_deepspeed.py", source, "{}/world-size-1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, stdin=subprocess.DEVNULL,
                          env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert step_of(done.stdout, 1) == 8
    assert sorted(path.name for path in source.glob("global_step*")) == ["global_step4", "global_step8"]
    assert f" {tmp_path}/" not in pathlib.Path("/proc/mounts").read_text(encoding="utf-8")


def test_every_recipe_is_run():
    """Here or, the elastic job, in test_elastic.py; and the documents name all of them."""
    there = {path.name for path in RECIPES.iterdir()}
    assert there == {*FRAMEWORKS, "train_elastic.py"}
    for document in ("README.md", "docs/recipes.md"):
        text = (RECIPES.parents[1] / document).read_text(encoding="utf-8")
        assert there == set(re.findall(r"train_\w+\.py", text)), document
