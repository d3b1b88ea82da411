"""Trains, saves and resumes with real DeepSpeed: the one place of the oracle that drives an engine."""
from dataclasses import dataclass, field

import ranks  # before torch: sets its environment

import torch

from engines import merged
import parallel
from recipe import DTYPES, GLOBAL_BATCH, Net, batch, client_optimizer, ds_config, parameter_groups

GATHERED = "weights.bin"  # what a job with stage3_gather_16bit_weights_on_model_save saves beside its tags


@dataclass(frozen=True)
class Job:
    """One run of a training script: load, save, take steps, save; each part only if asked for."""

    recipe: object
    world_size: int
    load: str = None  # a directory for engine.load_checkpoint
    universal: bool = False
    load_optimizer: bool = True
    save_loaded: str = None  # where to save straight after the load
    steps: int = 0
    save: str = None  # where to save at the end
    tags: tuple = (None,)  # under which names; None: DeepSpeed's own
    timeout: float = 600.0
    client_state: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)  # of the config, beyond what the recipe says


@dataclass(frozen=True)
class Report:
    """What one rank saw. Losses are float.hex, so that equality is equality of bits."""

    losses: tuple
    loss_scale: float
    learning_rates: tuple
    global_steps: int
    skipped_steps: int
    loaded_from: str
    weights: dict  # name -> bytes of the 16-bit (or fp32) weight, buffers and frozen ones included


def run(job, log=None):
    """Returns the ranks' Reports. RankError when any rank fails."""
    return ranks.run_ranks(job.world_size, lambda rank: _train(job), job.timeout, log)


def run_each(jobs, log=None):
    """As run(), with a Job for each rank, which may differ in its paths."""
    return ranks.run_ranks(len(jobs), lambda rank: _train(jobs[rank]), jobs[0].timeout, log)


def make_engine(recipe, world_size, universal=False, settings=None):
    import deepspeed

    config = merged(ds_config(recipe, world_size, universal), settings or {})
    arguments = {}
    if recipe.tensor_parallel > 1 or recipe.describes_cut:
        arguments["mpu"] = parallel.ModelParallelUnit(recipe.tensor_parallel)
    model = _model(recipe, config, arguments.get("mpu"))
    optimizer = client_optimizer(parameter_groups(model, recipe), recipe)
    if optimizer is None:
        trained = [p for p in model.parameters() if p.requires_grad]
        # Muon splits the parameters into groups itself.
        arguments["model_parameters"] = trained if recipe.optimizer == "muon" else parameter_groups(model, recipe)
    else:
        arguments["optimizer"] = optimizer
    engine = deepspeed.initialize(model=model, config=config, **arguments)[0]
    if recipe.sequence_mesh > 1 and deepspeed.comm.get_rank() % recipe.sequence_mesh != 0:
        # DeepSpeed has every rank of a sequence write the same files at the same time; they are whole if one does.
        engine.save_zero_checkpoint = engine.save_non_zero_checkpoint = False
    return engine


def _model(recipe, config, unit):
    import deepspeed

    if recipe.pipeline > 1:
        return parallel.pipeline_module(recipe)
    if recipe.zero_init:
        with deepspeed.zero.Init(config_dict_or_path=config, dtype=DTYPES[recipe.dtype]):
            model = Net(recipe)
        with deepspeed.zero.GatheredParameters(list(model.parameters()), modifier_rank=0):
            model.initialise()
        return model
    model = parallel.TensorParallelNet(recipe, unit) if unit else Net(recipe)
    model.initialise()
    return model


def _train(job):
    recipe = job.recipe
    engine = make_engine(recipe, job.world_size, job.universal, job.settings)
    loaded_from = None
    if job.load:
        loaded_from, _ = engine.load_checkpoint(job.load, load_optimizer_states=job.load_optimizer)
        if loaded_from is None:
            raise RuntimeError(f"DeepSpeed found nothing to load in {job.load}")
    if job.save_loaded:
        engine.save_checkpoint(job.save_loaded, client_state=job.client_state)
    losses = tuple(_step(engine, job) for _ in range(job.steps))
    if job.save:
        for tag in job.tags:
            engine.save_checkpoint(job.save, tag=tag, client_state=job.client_state)
        if recipe.gathered_save:
            engine.save_16bit_model(job.save, GATHERED)
    return _report(engine, losses, loaded_from)


def _step(engine, job):
    total = _train_pipeline(engine, job) if job.recipe.pipeline > 1 else _train_batch(engine, job)
    torch.distributed.all_reduce(total)
    return (total / job.world_size).item().hex()


def _train_batch(engine, job):
    loss = engine(*_samples(engine, job))
    engine.backward(loss)
    engine.step()
    if job.recipe.drift:
        engine.module.drift()
    return loss.detach().double()


def _train_pipeline(engine, job):
    return engine.train_batch(iter([_samples(engine, job)])).detach().double()


def _samples(engine, job):
    """This rank's share of the batch; ranks that hold one model together have the same."""
    world_size, rank = engine.dp_world_size, torch.distributed.get_rank(engine.data_parallel_group)
    share = GLOBAL_BATCH // world_size
    ids, labels = batch(job.recipe, engine.global_steps)
    return ids[rank * share:(rank + 1) * share], labels[rank * share:(rank + 1) * share]


def _report(engine, losses, loaded_from):
    state = engine.module.state_dict()
    weights = {name: value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
               for name, value in state.items()}
    scaler = getattr(engine.optimizer, "loss_scaler", None)
    return Report(losses, getattr(scaler, "cur_scale", 1.0), tuple(engine.get_lr()), engine.global_steps,
                  engine.skipped_steps, loaded_from, weights)
