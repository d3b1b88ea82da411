#!/usr/bin/env python3
"""Plain DeepSpeed as an elastic job of torchrun, which goes on at another number of GPUs when nodes come and go.

On every node start an agent:

    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1    # torch 2.13 fails without when a node joins
    torchrun --nnodes=1:2 --nproc-per-node=4 --max-restarts=10 --rdzv-backend=c10d --rdzv-endpoint=HOST:PORT --rdzv-id=job \\
        --no-python ckptfs run --in-place ckpt --world-size=auto -- python train_elastic.py ckpt 1000

The workers that torchrun starts anew find the new world size in WORLD_SIZE: so does ckptfs, and the script needs to know nothing of it.
"""
import argparse
import os
import signal
import sys
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("directory", help="that is saved to and resumed from")
parser.add_argument("last_step", type=int, help="to end at")
parser.add_argument("pause_s", type=float, nargs="?", default=0.0, help="after each step; stands for longer steps")
arguments = parser.parse_args()  # --help takes neither a GPU nor what is imported below

import deepspeed  # noqa: E402
import torch  # noqa: E402

GLOBAL_BATCH = 24
SAVE_EVERY = 5  # steps


def main():
    directory, last_step = arguments.directory, arguments.last_step
    micro_batch = GLOBAL_BATCH // int(os.environ["WORLD_SIZE"])
    model = torch.nn.Sequential(torch.nn.Linear(8, 33), torch.nn.GELU(), torch.nn.Linear(33, 1))
    config = {"zero_optimization": {"stage": 2}, "bf16": {"enabled": True}, "train_micro_batch_size_per_gpu": micro_batch,
              "zero_allow_untested_optimizer": True}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    if os.path.exists(os.path.join(directory, "latest")):
        engine.load_checkpoint(directory)
    report(engine, "begins")
    # When a node joins, torchrun ends the workers with SIGTERM, and 30 s later with SIGKILL: time to finish a save.
    asked_to_stop = []
    signal.signal(signal.SIGTERM, lambda *_: asked_to_stop.append(True))
    for step in range(engine.global_steps + 1, last_step + 1):
        inputs = torch.randn(GLOBAL_BATCH, 8, generator=torch.Generator().manual_seed(step))
        mine = inputs[engine.global_rank * micro_batch:][:micro_batch].to(engine.device)
        engine.backward(torch.nn.functional.mse_loss(engine(mine.bfloat16()).float(), mine.sum(1, keepdim=True)))
        engine.step()
        time.sleep(arguments.pause_s)
        if step % SAVE_EVERY == 0 or step == last_step:
            # To a tag of its own each time, so that a save that is broken off leaves the others whole.
            engine.save_checkpoint(directory)
            report(engine, "saved")
        if asked_to_stop:
            sys.exit("asked to stop")


def report(engine, what):
    if engine.global_rank == 0:
        print(f"{what} at step {engine.global_steps} of {engine.world_size} ranks", flush=True)


if __name__ == "__main__":
    main()
