#!/usr/bin/env python3
"""Plain DeepSpeed as an elastic job of torchrun, which goes on at another number of GPUs when nodes come and go.

A mount needs a checkpoint, so the job begins by saving one, at step 0:

    torchrun --nproc-per-node=4 train_elastic.py ckpt view 0

Then on every node mount, once, and start an agent:

    ckptfs ckpt view
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1    # torch 2.13 fails without when a node joins
    torchrun --nnodes=1:2 --nproc-per-node=4 --max-restarts=10 --rdzv-backend=c10d --rdzv-endpoint=HOST:PORT --rdzv-id=job \\
        train_elastic.py ckpt view 1000

The workers that torchrun starts anew find the new world size in WORLD_SIZE, and under the mount a directory for it.
"""
import os
import signal
import sys
import time

import deepspeed
import torch

GLOBAL_BATCH = 24
SAVE_EVERY = 5  # steps


def main():
    save, view, last_step = sys.argv[1], sys.argv[2], int(sys.argv[3])
    pause_s = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0  # stands for longer steps
    world_size = int(os.environ["WORLD_SIZE"])
    micro_batch = GLOBAL_BATCH // world_size
    model = torch.nn.Sequential(torch.nn.Linear(8, 33), torch.nn.GELU(), torch.nn.Linear(33, 1))
    config = {"zero_optimization": {"stage": 2}, "bf16": {"enabled": True}, "train_micro_batch_size_per_gpu": micro_batch,
              "zero_allow_untested_optimizer": True}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    if os.path.exists(os.path.join(save, "latest")):
        loaded, _ = engine.load_checkpoint(f"{view}/world-size-{world_size}")
        if loaded is None:  # rather than train from scratch without a word
            sys.exit(f"no checkpoint in {view}: is {save} mounted there?")
    else:
        engine.save_checkpoint(save)
    report(engine, "begins")
    # When a node joins, torchrun ends the workers with SIGTERM, and 30 s later with SIGKILL: time to finish a save.
    asked_to_stop = []
    signal.signal(signal.SIGTERM, lambda *_: asked_to_stop.append(True))
    for step in range(engine.global_steps + 1, last_step + 1):
        inputs = torch.randn(GLOBAL_BATCH, 8, generator=torch.Generator().manual_seed(step))
        mine = inputs[engine.global_rank * micro_batch:][:micro_batch].to(engine.device)
        engine.backward(torch.nn.functional.mse_loss(engine(mine.bfloat16()).float(), mine.sum(1, keepdim=True)))
        engine.step()
        time.sleep(pause_s)
        if step % SAVE_EVERY == 0 or step == last_step:
            # To a tag of its own each time, so that a save that is broken off leaves the others whole.
            engine.save_checkpoint(save)
            report(engine, "saved")
        if asked_to_stop:
            sys.exit("asked to stop")


def report(engine, what):
    if engine.global_rank == 0:
        print(f"{what} at step {engine.global_steps} of {engine.world_size} ranks", flush=True)


if __name__ == "__main__":
    main()
