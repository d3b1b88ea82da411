"""Trains, saves and resumes with real DeepSpeed: the one place of the oracle that drives an engine."""
from dataclasses import dataclass, field

import ranks
from recipe import GLOBAL_BATCH, Net, batch, client_optimizer, ds_config, parameter_groups


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
    timeout: float = 120.0
    client_state: dict = field(default_factory=dict)


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
    return ranks.run_ranks(job.world_size, lambda rank: _train(job, rank), job.timeout, log)


def make_engine(recipe, world_size, universal=False):
    import deepspeed

    model = Net(recipe)
    optimizer = client_optimizer(parameter_groups(model, recipe), recipe)
    arguments = {"optimizer": optimizer}
    if optimizer is None:
        trained = [p for p in model.parameters() if p.requires_grad]
        # Muon splits the parameters into groups itself.
        arguments = {"model_parameters": trained if recipe.optimizer == "muon" else parameter_groups(model, recipe)}
    config = ds_config(recipe, world_size, universal)
    return deepspeed.initialize(model=model, config=config, **arguments)[0]


def _train(job, rank):
    recipe = job.recipe
    engine = make_engine(recipe, job.world_size, job.universal)
    loaded_from = None
    if job.load:
        loaded_from, _ = engine.load_checkpoint(job.load, load_optimizer_states=job.load_optimizer)
        if loaded_from is None:
            raise RuntimeError(f"DeepSpeed found nothing to load in {job.load}")
    if job.save_loaded:
        engine.save_checkpoint(job.save_loaded, client_state=job.client_state)
    losses = tuple(_step(engine, job, rank) for _ in range(job.steps))
    if job.save:
        engine.save_checkpoint(job.save, client_state=job.client_state)
    return _report(engine, losses, loaded_from)


def _step(engine, job, rank):
    import torch

    share = GLOBAL_BATCH // job.world_size
    ids, labels = batch(job.recipe, engine.global_steps)
    mine = slice(rank * share, (rank + 1) * share)
    loss = engine(ids[mine], labels[mine])
    engine.backward(loss)
    engine.step()
    if job.recipe.drift:
        engine.module.drift()
    total = loss.detach().double()
    torch.distributed.all_reduce(total)
    return (total / job.world_size).item().hex()


def _report(engine, losses, loaded_from):
    import torch

    state = engine.module.state_dict()
    weights = {name: value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
               for name, value in state.items()}
    scaler = getattr(engine.optimizer, "loss_scaler", None)
    return Report(losses, getattr(scaler, "cur_scale", 1.0), tuple(engine.get_lr()), engine.global_steps,
                  engine.skipped_steps, loaded_from, weights)
