"""mount_scripts/recipes/*.py say how they are used where nothing is installed: the standard library is all that --help takes."""
import pathlib
import subprocess
import sys

import pytest

RECIPES = sorted((pathlib.Path(__file__).resolve().parents[2] / "mount_scripts" / "recipes").glob("*.py"))


def bare(recipe, *arguments):
    return subprocess.run([sys.executable, "-I", "-S", recipe, *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_there_are_recipes():
    assert len(RECIPES) == 6


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_takes_no_framework(recipe, option):
    done = bare(recipe, option)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {recipe.name} ")
    assert "ckptfs run --in-place" in done.stdout  # the command line that it is for


@pytest.mark.parametrize("recipe", [path for path in RECIPES if path.stem != "train_transformers"], ids=lambda path: path.stem)
def test_what_is_missing_is_said_before_anything_is_imported(recipe):
    done = bare(recipe)
    assert done.returncode == 2 and "required: directory" in done.stderr


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_nothing_is_installed_here(recipe):
    """Else --help would show nothing of what it takes."""
    done = bare(recipe, "ckpt", *["1"] * (recipe.stem in ("train_elastic", "train_lightning")))
    assert done.returncode == 1 and "ModuleNotFoundError" in done.stderr
