"""A training script for accelerate with DeepSpeed: the runs of test_accelerate.py. It knows nothing of ckptfs.

The learning rate is constant: accelerate's scheduler.bin counts a step for every rank, so that any other schedule changes
its pace with the world size, natively too.
"""
from dataclasses import dataclass
import pathlib

from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import DeepSpeedPlugin, ProjectConfiguration, set_seed
import torch
from torch.utils.data import DataLoader, TensorDataset

import launch
from lightning_job import GLOBAL_BATCH, mean_over_ranks
from recipe import Net, Recipe, batch, parameter_groups

PRECISION = {"bf16": "bf16", "fp32": "no"}


@dataclass(frozen=True)
class Job:
    """One run of the script: load_state, steps up to the last one, save_state."""

    world_size: int
    recipe: Recipe
    last_step: int
    load: str = None
    save_loaded: str = None  # where DeepSpeed saves straight after the load
    save: str = None
    project: str = None  # project_dir: load the last there, and save after every step under automatic names


@dataclass(frozen=True)
class Report:
    step_at_start: int
    scheduler_at_start: int
    losses: tuple


class Progress:
    """An object that is registered for checkpointing: custom_checkpoint_0.pkl."""

    step = 0

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]


def run(job, log=None):
    """Returns the ranks' Reports."""
    return launch.run(job.world_size, lambda rank: _train(job), log=log)


def _train(job):
    plugin = DeepSpeedPlugin(hf_ds_config={
        "zero_optimization": {"stage": job.recipe.stage}, "zero_allow_untested_optimizer": True,
        "train_micro_batch_size_per_gpu": GLOBAL_BATCH // job.world_size, "gradient_accumulation_steps": 1})
    accelerator = Accelerator(deepspeed_plugin=plugin, mixed_precision=PRECISION[job.recipe.dtype], project_config=project(job),
                              kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")])
    set_seed(0)
    net = Net(job.recipe)
    optimizer = torch.optim.AdamW(parameter_groups(net, job.recipe), lr=job.recipe.learning_rate, foreach=False)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, [constant] * len(optimizer.param_groups))
    loader = DataLoader(TensorDataset(*(part[:8 * GLOBAL_BATCH] for part in batch(job.recipe, 0))),
                        batch_size=GLOBAL_BATCH // job.world_size)
    net, optimizer, loader, scheduler = accelerator.prepare(net, optimizer, loader, scheduler)
    progress = Progress()
    accelerator.register_for_checkpointing(progress)
    if job.load:
        accelerator.load_state(job.load)
    if job.project and saved(job):
        accelerator.load_state()
        # accelerate does not remember how far its names have come; its error says to set this.
        accelerator.project_configuration.iteration = saved(job)[-1] + 1
    start = progress.step, scheduler.scheduler.last_epoch
    if job.save_loaded:
        net.save_checkpoint(job.save_loaded, "pytorch_model")
    losses = []
    for ids, labels in accelerator.skip_first_batches(loader, progress.step):
        if progress.step == job.last_step:
            break
        with accelerator.accumulate(net):
            loss = net(ids, labels)
            accelerator.backward(loss)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        progress.step += 1
        losses.append(mean_over_ranks(loss))
        if job.project:
            accelerator.save_state()
    if job.save:
        accelerator.save_state(job.save)
    return Report(*start, tuple(losses))


def project(job):
    return ProjectConfiguration(job.project, automatic_checkpoint_naming=bool(job.project), total_limit=2)


def saved(job):
    """The numbers of the checkpoints that are there, in order."""
    folder = pathlib.Path(job.project, "checkpoints")
    return sorted(int(path.name.split("_")[1]) for path in folder.iterdir()) if folder.exists() else []


def constant(_):
    return 1.0
