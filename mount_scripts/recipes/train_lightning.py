#!/usr/bin/env python3
"""Lightning's Trainer, resumed at another number of GPUs.

    torchrun --nproc-per-node=4 train_lightning.py ckpt
    ckptfs ckpt view
    torchrun --nproc-per-node=2 train_lightning.py ckpt view/world-size-2/epoch=0-step=8.ckpt

New checkpoints go to the first argument, the source of the mount: the mount shows them within two seconds.
"""
import os
import sys

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DeepSpeedStrategy
import torch
from torch.utils.data import DataLoader, TensorDataset

GLOBAL_BATCH = 24  # kept, so that an epoch has as many steps as before


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(8, 33), torch.nn.GELU(), torch.nn.Linear(33, 1))

    def training_step(self, batch, _):
        inputs, targets = batch
        return torch.nn.functional.mse_loss(self.layers(inputs).float(), targets.float())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def main():
    save, resume = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    micro_batch = GLOBAL_BATCH // int(os.environ["WORLD_SIZE"])
    inputs = torch.randn(8 * GLOBAL_BATCH, 8, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size=micro_batch, shuffle=True)
    strategy = DeepSpeedStrategy(config={"zero_optimization": {"stage": 2}, "zero_allow_untested_optimizer": True,
                                         "train_micro_batch_size_per_gpu": micro_batch})
    # save_top_k=1, the default, deletes the checkpoint that was resumed from at the first save: the best path that it holds
    # names the source, and Lightning spares only the path that it was given, which is the mount's.
    keeper = ModelCheckpoint(dirpath=save, save_top_k=-1)
    trainer = pl.Trainer(accelerator="cuda", devices=int(os.environ["LOCAL_WORLD_SIZE"]),
                         num_nodes=int(os.environ["GROUP_WORLD_SIZE"]), strategy=strategy, precision="bf16-mixed",
                         max_epochs=2 if resume else 1, callbacks=[keeper], logger=False, enable_progress_bar=False)
    trainer.fit(Model(), loader, ckpt_path=resume)
    if trainer.is_global_zero:
        print(f"at step {trainer.global_step} of {trainer.world_size} ranks")


if __name__ == "__main__":
    main()
