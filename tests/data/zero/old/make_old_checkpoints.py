#!/usr/bin/env python3
"""Makes the checkpoints beside this file, written by old versions of DeepSpeed.

  for v in 0.12.6 0.14.5 0.16.9; do
      pip install --no-deps --no-build-isolation --target ds-$v deepspeed==$v
      PYTHONPATH=ds-$v TORCH_EXTENSIONS_DIR=ds-$v/ext make_old_checkpoints.py
  done
"""
import importlib
import os
import pathlib
import shutil
import sys
import types

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "oracle"))


def stand_in_for_what_is_gone():
    """0.12 imports Intel's packages on a CPU, and names that went; it uses none of them here."""
    for name in ("intel_extension_for_pytorch", "oneccl_bindings_for_pytorch"):
        sys.modules.setdefault(name, types.ModuleType(name))
    gone = {"torch.distributed.elastic.agent.server.api": ("log", "_get_socket_with_port"), "numpy": ("BUFSIZE",)}
    for module, names in gone.items():
        for name in names:
            vars(importlib.import_module(module)).setdefault(name, None)


stand_in_for_what_is_gone()
os.environ.setdefault("LOCAL_SIZE", "8")  # or 0.12 would ask numactl

import trainer  # noqa: E402
from cells import OLD_FIXTURES  # noqa: E402


def main():
    import deepspeed
    from deepspeed.accelerator import get_accelerator

    get_accelerator()._communication_backend_name = "gloo"  # 0.12 would build oneCCL
    for versions, name, recipe, world_size in OLD_FIXTURES:
        if deepspeed.__version__ not in versions:
            continue
        target = HERE / f"{deepspeed.__version__}_{name}_ws{world_size}"
        shutil.rmtree(target, ignore_errors=True)
        trainer.run(trainer.Job(recipe, world_size, steps=recipe.steps, save=str(target), timeout=600.0))
        for script in target.glob("zero_to_*.py"):
            script.unlink()
        print(target.name)


if __name__ == "__main__":
    sys.exit(main())
