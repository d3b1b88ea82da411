"""A training script for Lightning Fabric with DeepSpeedStrategy: the runs of test_fabric.py. It knows nothing of ckptfs."""
from dataclasses import dataclass
import logging
import os

import lightning.fabric
from lightning.fabric.strategies import DeepSpeedStrategy
import torch

import launch
from lightning_job import GLOBAL_BATCH, PRECISION, mean_over_ranks
from recipe import Net, Recipe, batch, parameter_groups
from standin import FabricCpus


@dataclass(frozen=True)
class Job:
    """One run of the script: load, save, take steps up to the last one, save."""

    world_size: int
    recipe: Recipe
    last_step: int
    load: str = None
    save_loaded: str = None
    save: str = None
    weights_only: bool = False  # load the model alone, then evaluate


@dataclass(frozen=True)
class Report:
    step_at_start: int
    note_at_start: str  # what the script itself had put into the checkpoint
    losses: tuple
    left_over: tuple  # keys of the checkpoint that the script did not ask for


def run(job, log=None):
    """Returns the ranks' Reports."""
    return launch.run(job.world_size, lambda rank: _train(job), log=log)


def _train(job):
    config = {"zero_allow_untested_optimizer": True, "zero_optimization": {"stage": job.recipe.stage},
              "train_micro_batch_size_per_gpu": GLOBAL_BATCH // job.world_size}
    strategy = DeepSpeedStrategy(config=config, process_group_backend="gloo", logging_level=logging.ERROR)
    fabric = lightning.fabric.Fabric(accelerator=FabricCpus(), devices=job.world_size, strategy=strategy,
                                     precision=PRECISION[job.recipe.dtype])
    fabric.launch()
    net = Net(job.recipe)
    optimizer = torch.optim.AdamW(parameter_groups(net, job.recipe), lr=job.recipe.learning_rate, foreach=False)
    net, optimizer = fabric.setup(net, optimizer)
    state = {"model": net, "step": 0, "note": ""} | ({} if job.weights_only else {"optimizer": optimizer})
    left_over = ()
    if job.load:
        left_over = tuple(fabric.load(job.load, state))
    start = state["step"], state["note"]
    if job.save_loaded:
        fabric.save(job.save_loaded, state)
    losses = []
    if job.weights_only:
        losses.append(_loss(net, job, 0))
    for step in range(state["step"], job.last_step):
        losses.append(_loss(net, job, step, lambda loss: fabric.backward(loss)))
        optimizer.step()
        optimizer.zero_grad()
    if job.save:
        fabric.save(job.save, state | {"step": job.last_step, "note": f"saved at {job.world_size} ranks"})
    return Report(*start, tuple(losses), left_over)


def _loss(net, job, step, backward=lambda loss: None):
    micro_batch = GLOBAL_BATCH // job.world_size
    first = int(os.environ["RANK"]) * micro_batch
    ids, labels = (part[first:first + micro_batch] for part in batch(job.recipe, step))
    loss = net(ids, labels)
    backward(loss)
    return mean_over_ranks(loss)
