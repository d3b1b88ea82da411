#!/usr/bin/env python3
"""Plain DeepSpeed, begun and resumed at any number of GPUs by one command.

    ckptfs run --in-place ckpt --world-size=4 -- torchrun --nproc-per-node=4 train_deepspeed.py ckpt
    ckptfs run --in-place ckpt --world-size=2 -- torchrun --nproc-per-node=2 train_deepspeed.py ckpt

Nothing in it knows of ckptfs: it resumes from what `latest` names in the directory that it saves to.
"""
import argparse
import os

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("directory", help="that is saved to and resumed from")
arguments = parser.parse_args()  # --help takes neither a GPU nor what is imported below

import deepspeed  # noqa: E402
import torch  # noqa: E402

GLOBAL_BATCH = 24
STEPS = 4  # a run


def main():
    directory = arguments.directory
    micro_batch = GLOBAL_BATCH // int(os.environ["WORLD_SIZE"])
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 33), torch.nn.GELU(), torch.nn.Linear(33, 1))
    config = {"zero_optimization": {"stage": 2}, "bf16": {"enabled": True}, "train_micro_batch_size_per_gpu": micro_batch,
              "zero_allow_untested_optimizer": True}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    if os.path.exists(os.path.join(directory, "latest")):
        engine.load_checkpoint(directory)
    for step in range(engine.global_steps, engine.global_steps + STEPS):
        inputs = torch.randn(GLOBAL_BATCH, 8, generator=torch.Generator().manual_seed(step))
        mine = inputs[engine.global_rank * micro_batch:][:micro_batch].to(engine.device)
        engine.backward(torch.nn.functional.mse_loss(engine(mine.bfloat16()).float(), mine.sum(1, keepdim=True)))
        engine.step()
    engine.save_checkpoint(directory)
    if engine.global_rank == 0:
        print(f"at step {engine.global_steps} of {engine.world_size} ranks")


if __name__ == "__main__":
    main()
