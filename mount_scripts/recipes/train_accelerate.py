#!/usr/bin/env python3
"""accelerate with DeepSpeed, resumed at another number of GPUs.

    torchrun --nproc-per-node=4 train_accelerate.py ckpt
    ckptfs ckpt view
    torchrun --nproc-per-node=2 train_accelerate.py ckpt view/world-size-2/step-4

New checkpoints go to the first argument, the source of the mount: the mount shows them within two seconds. accelerate deletes
only with total_limit, and never outside of project_dir.
"""
import os
import sys

from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import DeepSpeedPlugin
import torch

GLOBAL_BATCH = 24
STEPS = 4  # a run


class Progress:
    step = 0

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]


def main():
    save, resume = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    micro_batch = GLOBAL_BATCH // int(os.environ["WORLD_SIZE"])
    # Keep 1 where the world grows: ranks that the checkpoint does not have start to count at 0, the others where they were,
    # and with accumulation they wait for each other for ever unless that count is a whole number of steps.
    config = {"zero_optimization": {"stage": 2}, "zero_allow_untested_optimizer": True,
              "train_micro_batch_size_per_gpu": micro_batch, "gradient_accumulation_steps": 1}
    meeting = InitProcessGroupKwargs(backend=None if torch.cuda.is_available() else "gloo")
    accelerator = Accelerator(deepspeed_plugin=DeepSpeedPlugin(hf_ds_config=config), mixed_precision="bf16",
                              kwargs_handlers=[meeting])
    model = torch.nn.Sequential(torch.nn.Linear(8, 33), torch.nn.GELU(), torch.nn.Linear(33, 1))
    # A scheduler that is prepared counts as many steps per update as there are ranks: its pace changes with them.
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-3))
    progress = Progress()
    accelerator.register_for_checkpointing(progress)
    if resume:
        accelerator.load_state(resume)
    for step in range(progress.step, progress.step + STEPS):
        inputs = torch.randn(GLOBAL_BATCH, 8, generator=torch.Generator().manual_seed(step))
        mine = inputs[accelerator.process_index * micro_batch:][:micro_batch].to(accelerator.device)
        loss = torch.nn.functional.mse_loss(model(mine.bfloat16()).float(), mine.sum(1, keepdim=True))
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    progress.step += STEPS
    accelerator.save_state(os.path.join(save, f"step-{progress.step}"))
    accelerator.print(f"at step {progress.step} of {accelerator.num_processes} ranks")


if __name__ == "__main__":
    main()
