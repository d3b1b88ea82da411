#!/usr/bin/env python3
"""Plain DeepSpeed, resumed at another number of GPUs.

    torchrun --nproc-per-node=4 train_deepspeed.py ckpt
    ckptfs ckpt view
    torchrun --nproc-per-node=2 train_deepspeed.py ckpt view/world-size-2

New checkpoints go to the first argument, the source of the mount: the mount shows them, and the new `latest`, within two
seconds. DeepSpeed deletes nothing.
"""
import os
import sys

import deepspeed
import torch

GLOBAL_BATCH = 24
STEPS = 4  # a run


def main():
    save, resume = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    micro_batch = GLOBAL_BATCH // int(os.environ["WORLD_SIZE"])
    model = torch.nn.Sequential(torch.nn.Linear(8, 33), torch.nn.GELU(), torch.nn.Linear(33, 1))
    config = {"zero_optimization": {"stage": 2}, "bf16": {"enabled": True}, "train_micro_batch_size_per_gpu": micro_batch,
              "zero_allow_untested_optimizer": True}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    if resume:
        loaded, _ = engine.load_checkpoint(resume)
        if loaded is None:  # no `latest`: DeepSpeed would train from scratch
            sys.exit(f"no checkpoint in {resume}")
    for step in range(engine.global_steps, engine.global_steps + STEPS):
        inputs = torch.randn(GLOBAL_BATCH, 8, generator=torch.Generator().manual_seed(step))
        mine = inputs[engine.global_rank * micro_batch:][:micro_batch].to(engine.device)
        engine.backward(torch.nn.functional.mse_loss(engine(mine.bfloat16()).float(), mine.sum(1, keepdim=True)))
        engine.step()
    engine.save_checkpoint(save)
    if engine.global_rank == 0:
        print(f"at step {engine.global_steps} of {engine.world_size} ranks")


if __name__ == "__main__":
    main()
