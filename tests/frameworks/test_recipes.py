"""The scripts of mount_scripts/recipes, as they are: trained at 2 ranks, resumed in place at 3 and at 1."""
import importlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

import directories
import launch
from mounting import BINARY
from namespaces import directly, run_in_place
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


# Of each: the steps of a run, how the last checkpoint is called, and what of the first run's the second has left.
@pytest.mark.parametrize("recipe, steps, saved, left", [
    ("train_lightning.py", 8, "epoch=1-step=16.ckpt", []),
    ("train_fabric.py", 4, "step-8", ["step-4"]),
    ("train_accelerate.py", 4, "checkpoints/checkpoint_1", ["checkpoints/checkpoint_0"]),
    ("train_deepspeed.py", 4, "global_step8", ["global_step4"]),
    ("train_transformers.py", 4, "checkpoint-8", ["checkpoint-4"])])
def test_recipe(tmp_path, recipe, steps, saved, left):
    source, log = tmp_path / "run", tmp_path / "log"

    def train(world_size, runs):
        arguments = {"train_lightning.py": [source, runs],
                     "train_transformers.py": [f"--output_dir={source}", f"--max_steps={runs * steps}"]}
        return step_of(run(recipe, world_size, *arguments.get(recipe, [source]), log=log), world_size)

    def checkpoints():
        return {path for pattern in ("*", "checkpoints/*") for path in map(str, source.glob(pattern))}

    with run_in_place(source, 2) as enter, ranks.beginning_with(enter):
        assert train(2, runs=1) == steps
    before = checkpoints()
    with pytest.raises(ranks.RankError) as native:
        train(3, runs=2)
    assert "Automatic adjustment of ZeRO's optimizer state partitioning" in native.value.detail
    with run_in_place(source, 3) as enter, ranks.beginning_with(enter):
        assert train(3, runs=2) == 2 * steps
    assert (source / saved).is_dir()
    assert {str(source / path) for path in left} <= before & checkpoints()


def command_line(command, directory, **variables):
    """Runs it as a shell would, and returns what it printed; nothing may stay mounted."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=600, stdin=subprocess.DEVNULL,
                          env=os.environ | {"XDG_RUNTIME_DIR": str(directory), "TMPDIR": str(directory)} | variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f" {directory}/" not in pathlib.Path("/proc/mounts").read_text(encoding="utf-8")
    return done.stdout


def torchrun(world_size, *command):
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world_size}", *command]


def test_a_recipe_under_torchrun_in_place(tmp_path):
    """ckptfs run around torchrun, the very command line of the recipe."""
    source, log = tmp_path / "ckpt", tmp_path / "log"
    assert step_of(run("train_deepspeed.py", 2, source, log=log), 2) == 4
    command = [BINARY, "run", "--in-place", source, "--world-size=1", "--", *torchrun(1, RECIPES / "train_deepspeed.py", source)]
    assert step_of(command_line(command, tmp_path), 1) == 8
    assert sorted(path.name for path in source.glob("global_step*")) == ["global_step4", "global_step8"]


@pytest.mark.full
def test_torchrun_with_a_view_for_each_worker(tmp_path):
    """torchrun around ckptfs run, which the workers of a node share: three runs, which leave what a twin that loads from views leaves."""
    source = tmp_path / "ckpt"
    for number, world_size in enumerate((3, 2, 4), 1):
        with directly(source, world_size) as enter, ranks.beginning_with(enter):
            assert step_of(run("train_deepspeed.py", world_size, source, log=tmp_path / "log"), world_size) == 4 * number
    os.rename(source, tmp_path / "twin")
    for number, world_size in enumerate((3, 2, 4), 1):
        command = torchrun(world_size, "--no-python", BINARY, "run", "--in-place", source, "--world-size=auto", "--",
                           sys.executable, RECIPES / "train_deepspeed.py", source)
        assert step_of(command_line(command, tmp_path), world_size) == 4 * number
    different = directories.differences(tmp_path / "twin", source, tmp_path / "compared")
    assert not different, "\n".join(different)


def test_every_recipe_is_run():
    """Here or, the elastic job, in test_elastic.py; and the documents name all of them."""
    there = {path.name for path in RECIPES.iterdir()}
    assert there == {*FRAMEWORKS, "train_elastic.py"}
    for document in ("README.md", "docs/recipes.md"):
        text = (RECIPES.parents[1] / document).read_text(encoding="utf-8")
        assert there == set(re.findall(r"train_\w+\.py", text)), document
