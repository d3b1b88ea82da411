#!/usr/bin/env python3
"""Resumes mount_scripts/sample from the directory that is given, at WORLD_SIZE ranks: the training script of the session in docs/recipes.md.

    DS_ACCELERATOR=cpu torchrun --nproc-per-node=3 tests/oracle/resume_sample.py DIRECTORY [STEPS]

It knows nothing of ckptfs: engine.load_checkpoint(DIRECTORY), then STEPS steps (default 2).
"""
import logging
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import ranks  # noqa: E402,F401  sets the environment of a CPU run
import deepspeed  # noqa: E402
import torch  # noqa: E402

from recipe import SAMPLE, batch, GLOBAL_BATCH  # noqa: E402
from trainer import make_engine  # noqa: E402


def main():
    directory, steps = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2
    deepspeed.utils.logger.setLevel(logging.ERROR)
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    engine = make_engine(SAMPLE, world_size)
    engine.load_checkpoint(directory)
    share = GLOBAL_BATCH // world_size
    for _ in range(steps):
        step = engine.global_steps
        ids, labels = batch(SAMPLE, step)
        mine = slice(rank * share, (rank + 1) * share)
        loss = engine(ids[mine], labels[mine])
        engine.backward(loss)
        engine.step()
        torch.distributed.all_reduce(loss)
        if rank == 0:
            print(f"step {step}: loss {loss.item() / world_size:.4f} at {world_size} ranks", flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
