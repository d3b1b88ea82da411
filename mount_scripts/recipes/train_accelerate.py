#!/usr/bin/env python3
"""accelerate with DeepSpeed, begun and resumed at any number of GPUs by one command.

    ckptfs run --in-place run --world-size=4 -- torchrun --nproc-per-node=4 train_accelerate.py run
    ckptfs run --in-place run --world-size=2 -- torchrun --nproc-per-node=2 train_accelerate.py run

Nothing in it knows of ckptfs: load_state() finds the last checkpoint, and total_limit deletes the first, in the project's directory.
"""
import argparse
import os
import pathlib

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("directory", help="that is saved to and resumed from")
arguments = parser.parse_args()  # --help takes neither a GPU nor what is imported below

from accelerate import Accelerator, InitProcessGroupKwargs  # noqa: E402
from accelerate.utils import DeepSpeedPlugin, ProjectConfiguration  # noqa: E402
import torch  # noqa: E402

GLOBAL_BATCH = 24
STEPS = 4  # a run


class Progress:
    step = 0

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]


def main():
    directory = arguments.directory
    micro_batch = GLOBAL_BATCH // int(os.environ["WORLD_SIZE"])
    # Keep 1 where the world grows: ranks that the checkpoint does not have start to count at 0, the others where they were,
    # and with accumulation they wait for each other for ever unless that count is a whole number of steps.
    config = {"zero_optimization": {"stage": 2}, "zero_allow_untested_optimizer": True,
              "train_micro_batch_size_per_gpu": micro_batch, "gradient_accumulation_steps": 1}
    meeting = InitProcessGroupKwargs(backend=None if torch.cuda.is_available() else "gloo")
    accelerator = Accelerator(deepspeed_plugin=DeepSpeedPlugin(hf_ds_config=config), mixed_precision="bf16",
                              project_config=ProjectConfiguration(directory, automatic_checkpoint_naming=True, total_limit=2),
                              kwargs_handlers=[meeting])
    model = torch.nn.Sequential(torch.nn.Linear(8, 33), torch.nn.GELU(), torch.nn.Linear(33, 1))
    # A scheduler that is prepared counts as many steps per update as there are ranks: its pace changes with them.
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-3))
    progress = Progress()
    accelerator.register_for_checkpointing(progress)
    saved = [int(path.name.split("_")[1]) for path in pathlib.Path(directory, "checkpoints").glob("checkpoint_*")]
    if saved:
        accelerator.load_state()
        accelerator.project_configuration.iteration = max(saved) + 1  # accelerate does not remember it
    for step in range(progress.step, progress.step + STEPS):
        inputs = torch.randn(GLOBAL_BATCH, 8, generator=torch.Generator().manual_seed(step))
        mine = inputs[accelerator.process_index * micro_batch:][:micro_batch].to(accelerator.device)
        loss = torch.nn.functional.mse_loss(model(mine.bfloat16()).float(), mine.sum(1, keepdim=True))
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    progress.step += STEPS
    accelerator.save_state()
    accelerator.print(f"at step {progress.step} of {accelerator.num_processes} ranks")


if __name__ == "__main__":
    main()
