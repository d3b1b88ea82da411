#!/usr/bin/env python3
"""Lightning's Trainer, begun and resumed at any number of GPUs by one command. The second argument is the epoch to end at.

    ckptfs run --in-place ckpt --world-size=4 -- torchrun --nproc-per-node=4 train_lightning.py ckpt 1
    ckptfs run --in-place ckpt --world-size=2 -- torchrun --nproc-per-node=2 train_lightning.py ckpt 2

Nothing in it knows of ckptfs: ckpt_path="last" finds the checkpoint, and save_top_k deletes, in the directory that it saves to.
"""
import argparse
import os

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("directory", help="that is saved to and resumed from")
parser.add_argument("epochs", type=int, help="to have trained at the end, those of earlier runs included")
arguments = parser.parse_args()  # --help takes neither a GPU nor what is imported below

import lightning.pytorch as pl  # noqa: E402
from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: E402
from lightning.pytorch.strategies import DeepSpeedStrategy  # noqa: E402
import torch  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

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
    micro_batch = GLOBAL_BATCH // int(os.environ["WORLD_SIZE"])
    inputs = torch.randn(8 * GLOBAL_BATCH, 8, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size=micro_batch, shuffle=True)
    strategy = DeepSpeedStrategy(config={"zero_optimization": {"stage": 2}, "zero_allow_untested_optimizer": True,
                                         "train_micro_batch_size_per_gpu": micro_batch})
    keeper = ModelCheckpoint(dirpath=arguments.directory, save_last=True)
    trainer = pl.Trainer(accelerator="cuda", devices=int(os.environ["LOCAL_WORLD_SIZE"]),
                         num_nodes=int(os.environ["GROUP_WORLD_SIZE"]), strategy=strategy, precision="bf16-mixed",
                         max_epochs=arguments.epochs, callbacks=[keeper], logger=False, enable_progress_bar=False)
    trainer.fit(Model(), loader, ckpt_path="last")
    if trainer.is_global_zero:
        print(f"at step {trainer.global_step} of {trainer.world_size} ranks")


if __name__ == "__main__":
    main()
