#!/usr/bin/env python3
"""Lightning Fabric, begun and resumed at any number of GPUs by one command.

    ckptfs run --in-place ckpt --world-size=4 -- torchrun --nproc-per-node=4 train_fabric.py ckpt
    ckptfs run --in-place ckpt --world-size=2 -- torchrun --nproc-per-node=2 train_fabric.py ckpt

Nothing in it knows of ckptfs: it resumes from the newest checkpoint in the directory that it saves to.
"""
import argparse
import os
import pathlib

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("directory", help="that is saved to and resumed from")
arguments = parser.parse_args()  # --help takes neither a GPU nor what is imported below

from lightning.fabric import Fabric  # noqa: E402
from lightning.fabric.strategies import DeepSpeedStrategy  # noqa: E402
import torch  # noqa: E402

GLOBAL_BATCH = 24
STEPS = 4  # a run


def main():
    directory = pathlib.Path(arguments.directory)
    world_size = int(os.environ["WORLD_SIZE"])
    micro_batch = GLOBAL_BATCH // world_size
    strategy = DeepSpeedStrategy(config={"zero_optimization": {"stage": 2}, "zero_allow_untested_optimizer": True,
                                         "train_micro_batch_size_per_gpu": micro_batch})
    fabric = Fabric(accelerator="cuda", devices=int(os.environ["LOCAL_WORLD_SIZE"]),
                    num_nodes=int(os.environ["GROUP_WORLD_SIZE"]), strategy=strategy, precision="bf16-mixed")
    fabric.launch()
    model = torch.nn.Sequential(torch.nn.Linear(8, 33), torch.nn.GELU(), torch.nn.Linear(33, 1))
    model, optimizer = fabric.setup(model, torch.optim.AdamW(model.parameters(), lr=1e-3))
    state = {"model": model, "optimizer": optimizer, "step": 0}
    steps = [int(path.name.removeprefix("step-")) for path in directory.glob("step-*")]
    if steps:
        fabric.load(directory / f"step-{max(steps)}", state)
    for step in range(state["step"], state["step"] + STEPS):
        inputs = torch.randn(GLOBAL_BATCH, 8, generator=torch.Generator().manual_seed(step))
        mine = inputs[fabric.global_rank * micro_batch:][:micro_batch].to(fabric.device)
        fabric.backward(torch.nn.functional.mse_loss(model(mine).float(), mine.sum(1, keepdim=True)))
        optimizer.step()
        optimizer.zero_grad()
    state["step"] += STEPS
    fabric.save(directory / f"step-{state['step']}", state)
    fabric.print(f"at step {state['step']} of {world_size} ranks")


if __name__ == "__main__":
    main()
