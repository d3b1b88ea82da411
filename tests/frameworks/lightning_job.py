"""A training script for Lightning's Trainer with DeepSpeedStrategy: the model and the runs of test_lightning.py.

It knows nothing of ckptfs. A global batch has the same samples at every world size that divides it.
"""
from dataclasses import dataclass
import logging
import os
import warnings

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.strategies import DeepSpeedStrategy
import torch
from torch.utils.data import DataLoader, TensorDataset

import launch
from recipe import Net, Recipe, batch, parameter_groups
from standin import TrainerCpus

A = 3  # the world size of the run that the tests leave
SAVED = "epoch=1-step=4.ckpt"  # where they leave it, two epochs before its end
EPOCHS = 4
GLOBAL_BATCH = 24
STEPS_PER_EPOCH = 2
PRECISION = {"bf16": "bf16-mixed", "fp32": "32-true"}


@dataclass(frozen=True)
class Job:
    """One run of the script. Checkpoints go to `root`/ckpt, one an epoch."""

    world_size: int
    stage: int
    dtype: str
    root: str
    epochs: int = 1  # the epoch that ends the run, counted from the first run
    resume: str = None  # ckpt_path
    save_loaded: str = None  # where DeepSpeed saves straight after the load
    checkpoint: tuple = (("save_top_k", -1),)  # arguments of ModelCheckpoint
    what: str = "fit"  # or validate, test, predict
    test_best: bool = False  # after fit, test(ckpt_path="best")
    full_weights: bool = False  # resume is a file with whole weights


@dataclass(frozen=True)
class Report:
    """What a rank saw."""

    at_start: dict  # what Lightning restored, as it is when training begins
    losses: tuple  # per step, the mean over the ranks
    learning_rates: tuple
    best_model_path: str
    result: tuple = ()  # of validate, test and predict, the mean over the ranks


def recipe_of(stage, dtype):
    return Recipe(stage=stage, dtype=dtype, layers=1)


class Module(pl.LightningModule):
    def __init__(self, stage, dtype, micro_batch, learning_rate=1e-2):
        super().__init__()
        self.save_hyperparameters()
        self.net = Net(recipe_of(stage, dtype))

    def forward(self, ids, labels):
        return self.net(ids, labels)

    def training_step(self, batch, _):
        self.last_loss = self(*batch)
        return self.last_loss

    def validation_step(self, batch, _):
        self.log("val_loss", self(*batch), sync_dist=True)
        # The first epoch stays the best, and each later one is better than those between.
        self.log("score", float(self.current_epoch or 1000), sync_dist=True)

    def test_step(self, batch, _):
        self.log("test_loss", self(*batch), sync_dist=True)

    def predict_step(self, batch, _):
        return self(*batch)

    def configure_optimizers(self):
        optimizer = make_optimizer(self)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": make_scheduler(optimizer), "interval": "step"}}

    def train_dataloader(self):
        return self._loader(0, STEPS_PER_EPOCH, shuffle=True)

    def val_dataloader(self):
        return self._loader(STEPS_PER_EPOCH, 1, shuffle=False)

    test_dataloader = predict_dataloader = val_dataloader

    def _loader(self, first, count, shuffle):
        samples = [part[first * GLOBAL_BATCH:(first + count) * GLOBAL_BATCH] for part in batch(self.net_recipe, 0)]
        return DataLoader(TensorDataset(*samples), batch_size=self.hparams.micro_batch, shuffle=shuffle)

    @property
    def net_recipe(self):
        return recipe_of(self.hparams.stage, self.hparams.dtype)


def make_optimizer(module):
    groups = parameter_groups(module.net, module.net_recipe)
    return torch.optim.AdamW(groups, lr=module.hparams.learning_rate, foreach=False)


def make_scheduler(optimizer):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lr_lambda=[warm_up] * len(optimizer.param_groups))


def warm_up(step):
    return min(1.0, (step + 1) / 20)


def micro_batch(world_size):
    return GLOBAL_BATCH // world_size


class Watch(Callback):
    """Has a state of its own, to see it restored; notes the losses, and what is there when training begins."""

    def __init__(self, job):
        self.job = job
        self.seen = []
        self.losses, self.learning_rates = [], []
        self.at_start = {}

    def state_dict(self):
        return {"seen": list(self.seen)}

    def load_state_dict(self, state):
        self.seen = list(state["seen"])

    def on_train_start(self, trainer, module):
        scheduler = trainer.lr_scheduler_configs[0].scheduler
        self.at_start = {
            "global_step": trainer.global_step,
            "epoch": trainer.current_epoch,
            "loops": trainer.fit_loop.state_dict(),
            "seen": list(self.seen),
            "scheduler": scheduler.state_dict(),
            "learning_rates": scheduler.get_last_lr(),
            "best_model_path": trainer.checkpoint_callback.best_model_path,
            "engine_steps": trainer.strategy.deepspeed_engine.global_steps,
        }
        if self.job.save_loaded:
            trainer.strategy.deepspeed_engine.save_checkpoint(self.job.save_loaded, tag="checkpoint")

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.seen.append(trainer.global_step)
        self.losses.append(mean_over_ranks(module.last_loss))
        self.learning_rates.append(trainer.lr_scheduler_configs[0].scheduler.get_last_lr()[0])


def mean_over_ranks(value):
    value = value.detach().double()
    torch.distributed.all_reduce(value)
    return (value / torch.distributed.get_world_size()).item()


def run(job, log=None):
    """Returns the ranks' Reports."""
    return launch.run(job.world_size, lambda rank: _train(job), log=log)


def _train(job):
    warnings.filterwarnings("ignore")
    pl.seed_everything(0, verbose=False)
    watch = Watch(job)
    trainer = make_trainer(job, watch)
    module = Module(job.stage, job.dtype, micro_batch(job.world_size))
    result = ()
    if job.what == "fit":
        trainer.fit(module, ckpt_path=job.resume)
        if job.test_best:
            result = tuple(trainer.test(module, ckpt_path="best", verbose=False)[0].values())
    elif job.what == "predict":
        result = tuple(mean_over_ranks(loss) for loss in trainer.predict(module, ckpt_path=job.resume))
    else:
        result = tuple(getattr(trainer, job.what)(module, ckpt_path=job.resume, verbose=False)[0].values())
    return Report(watch.at_start, tuple(watch.losses), tuple(watch.learning_rates), trainer.checkpoint_callback.best_model_path,
                  result)


def make_trainer(job, watch):
    strategy = DeepSpeedStrategy(config=ds_config(job), process_group_backend="gloo", logging_level=logging.ERROR,
                                 load_full_weights=job.full_weights)
    keeper = ModelCheckpoint(dirpath=os.path.join(job.root, "ckpt"), every_n_epochs=1, **dict(job.checkpoint))
    validates = job.what != "fit" or "monitor" in dict(job.checkpoint)
    return pl.Trainer(accelerator=TrainerCpus(), devices=job.world_size, strategy=strategy, precision=PRECISION[job.dtype],
                      max_epochs=job.epochs, callbacks=[keeper, watch], logger=False, num_sanity_val_steps=0,
                      limit_val_batches=1.0 if validates else 0, enable_progress_bar=False, enable_model_summary=False,
                      default_root_dir=job.root)


def ds_config(job):
    return {"zero_allow_untested_optimizer": True, "zero_optimization": {"stage": job.stage},
            "train_micro_batch_size_per_gpu": micro_batch(job.world_size)}


def resume_plainly(job, log=None):
    """The same model without Lightning: engine.load_checkpoint(`resume`), then save_checkpoint(`save_loaded`)."""

    def work(rank):
        import deepspeed

        module = Module(job.stage, job.dtype, micro_batch(job.world_size))
        config = ds_config(job)
        if job.dtype == "bf16":
            config["bf16"] = {"enabled": True}
        deepspeed.init_distributed(dist_backend="gloo", verbose=False)
        # Without the scheduler, which Lightning keeps to itself.
        engine = deepspeed.initialize(model=module, optimizer=make_optimizer(module), config=config)[0]
        loaded, _ = engine.load_checkpoint(job.resume)
        if loaded is None:
            raise RuntimeError(f"DeepSpeed found nothing to load in {job.resume}")
        engine.save_checkpoint(job.save_loaded, tag="checkpoint")

    launch.run(job.world_size, work, log=log)
