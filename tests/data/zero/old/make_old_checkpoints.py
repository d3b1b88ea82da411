#!/usr/bin/env python3
"""Makes the checkpoints beside this file, written by old versions of DeepSpeed.

  for v in 0.14.5 0.16.9; do
      pip install --no-deps --no-build-isolation --target ds-$v deepspeed==$v
      PYTHONPATH=ds-$v TORCH_EXTENSIONS_DIR=ds-$v/ext make_old_checkpoints.py
  done
"""
import pathlib
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "oracle"))

import trainer  # noqa: E402
from cells import OLD_FIXTURES  # noqa: E402


def main():
    import deepspeed

    for name, recipe, world_size in OLD_FIXTURES:
        target = HERE / f"{deepspeed.__version__}_{name}_ws{world_size}"
        shutil.rmtree(target, ignore_errors=True)
        trainer.run(trainer.Job(recipe, world_size, steps=recipe.steps, save=str(target), timeout=600.0))
        for script in target.glob("zero_to_*.py"):
            script.unlink()
        print(target.name)


if __name__ == "__main__":
    sys.exit(main())
