"""One rank of the GPU proof: a training script for Lightning's Trainer with DeepSpeedStrategy, started with torchrun's variables.

It knows nothing of ckptfs. `python3 gpu_job.py JOB.json` trains, and writes what this rank saw beside JOB.json.
"""
import dataclasses
import json
import logging
import os
import pathlib
import sys
import time
import warnings

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "frameworks"), str(HERE.parent / "oracle")]

import deepspeed  # noqa: E402
import lightning.pytorch as pl  # noqa: E402
from lightning.pytorch.callbacks import Callback, ModelCheckpoint  # noqa: E402
from lightning.pytorch.strategies import DeepSpeedStrategy  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

import live_state  # noqa: E402
from records import Job, Report  # noqa: E402

LEARNING_RATE = 3e-4
WARM_UP_STEPS = 10


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Decoder(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.tokens = nn.Embedding(model.vocabulary, model.width)
        self.positions = nn.Embedding(model.length, model.width)
        self.blocks = nn.ModuleList(Block(model.width, model.heads) for _ in range(model.layers))
        self.norm = nn.LayerNorm(model.width)
        self.head = nn.Linear(model.width, model.vocabulary, bias=False)
        for weight in self.parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=0.02)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Module(pl.LightningModule):
    def __init__(self, model, world_size):
        super().__init__()
        self.model, self.micro_batch = model, model.global_batch // world_size
        self.net = Decoder(model)

    def training_step(self, batch, _):
        (ids,) = batch
        logits = self.net(ids[:, :-1])
        self.last_loss = functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        return self.last_loss

    def configure_optimizers(self):
        matrices = [weight for weight in self.parameters() if weight.dim() > 1]
        others = [weight for weight in self.parameters() if weight.dim() == 1]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
        optimizer = deepspeed.ops.adam.FusedAdam(groups, lr=LEARNING_RATE, betas=(0.9, 0.95))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, [warm_up] * len(groups))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def train_dataloader(self):
        return DataLoader(TensorDataset(sequences(self.model)), batch_size=self.micro_batch, shuffle=False)


def warm_up(step):
    return min(1.0, (step + 1) / WARM_UP_STEPS)


def sequences(model):
    """Each token follows from the one before, by a rule that the model can learn."""
    generator = torch.Generator().manual_seed(0)
    follower = torch.randperm(model.vocabulary, generator=generator)
    ids = [torch.randint(model.vocabulary, (model.global_batch * model.steps_per_epoch,), generator=generator)]
    for _ in range(model.length):
        ids.append(follower[ids[-1]])
    return torch.stack(ids, dim=1)


class Watch(Callback):
    def __init__(self, job):
        self.job, self.report = job, Report()
        self._comparison_s, self._last = 0.0, None

    def on_train_start(self, trainer, module):
        if not self.job.truth:
            return
        begin = barrier()
        truth = torch.load(self.job.truth, map_location="cpu", mmap=True, weights_only=False)
        engine = trainer.strategy.deepspeed_engine
        self.report.compared, self.report.differences = live_state.compare(engine, self.job.stage, truth)
        self._comparison_s = barrier() - begin

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        now = barrier()
        if self._last is None:
            self.report.first_step_s = now - self.job.started - self._comparison_s
        else:
            self.report.step_s.append(now - self._last)
        self.report.losses.append(mean_over_ranks(module.last_loss))
        self.report.steps.append(trainer.global_step)
        self._last = time.time()


def barrier():
    """The time when all ranks, and their cards, have come here."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    torch.distributed.barrier()
    return time.time()


def mean_over_ranks(value):
    value = value.detach().double()
    torch.distributed.all_reduce(value)
    return (value / torch.distributed.get_world_size()).item()


def train(job):
    warnings.filterwarnings("ignore")
    if job.stand_in:
        import standin

        standin.register()
    pl.seed_everything(0, verbose=False)
    watch = Watch(job)
    config = {"zero_optimization": {"stage": job.stage}, "train_micro_batch_size_per_gpu": job.model.global_batch // job.world_size,
              "checkpoint": {"load_universal": job.universal}}
    strategy = DeepSpeedStrategy(config=config, process_group_backend=job.backend, logging_level=logging.ERROR)
    keeper = ModelCheckpoint(dirpath=job.save_in, every_n_epochs=2, save_top_k=-1)
    trainer = pl.Trainer(accelerator="cuda", devices=job.cards, num_nodes=job.world_size // job.cards, strategy=strategy,
                         precision="bf16-mixed", max_epochs=job.epochs, callbacks=[watch] + [keeper] * bool(job.save_in),
                         enable_checkpointing=bool(job.save_in), logger=False, num_sanity_val_steps=0,
                         enable_progress_bar=False, enable_model_summary=False, default_root_dir=os.getcwd())
    trainer.fit(Module(job.model, job.world_size), ckpt_path=job.resume)
    if torch.cuda.is_available():
        watch.report.card = torch.cuda.get_device_name()
        watch.report.peak_memory = torch.cuda.max_memory_allocated()
    return watch.report


def main(path):
    report = train(Job.read(path))
    target = pathlib.Path(path).with_name(f"report-{os.environ['RANK']}.json")
    target.write_text(json.dumps(dataclasses.asdict(report)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
