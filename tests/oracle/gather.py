"""Gathers a ZeRO tag directory per parameter: written from the format's description, apart from the product."""
import collections
from dataclasses import dataclass, fields
import os
import re

import torch

import gather_stage3
from plain import plain, same_bits

OPTIMIZER_FILE = re.compile(r"(?:bf16_)?zero_pp_rank_(\d+)_mp_rank_(\d\d)_optim_states\.pt$")
ALIGNMENT = 2  # DeepSpeedZeroOptimizer.nccl_start_alignment_factor, in elements


@dataclass(frozen=True)
class Gathered:
    """Everything of a checkpoint that does not depend on how many ranks wrote it."""

    masters: dict  # name -> fp32 tensor
    states: dict  # (name, state key) -> tensor
    scalars: list  # per group: what is not cut, hyperparameters included
    optimizer_fields: dict  # loss scaler and the like
    weights: dict  # name -> tensor: the module as it was saved
    counters: dict

    def differences(self, other, widened=()):
        """Names of what differs, bit for bit. `widened` lists state keys and weights that may be 16-bit in one, fp32 in the other."""
        found = []
        for kind in ("masters", "states", "weights"):
            mine, theirs = getattr(self, kind), getattr(other, kind)
            found += [f"{kind}: {name} is in one only" for name in mine.keys() ^ theirs.keys()]
            for name in mine.keys() & theirs.keys():
                may_widen = (name[1] if kind == "states" else name) in widened
                if not same_bits(mine[name], theirs[name], may_widen):
                    found.append(f"{kind}: {name}")
        for kind in ("scalars", "optimizer_fields", "counters"):
            mine, theirs = plain(getattr(self, kind)), plain(getattr(other, kind))
            if mine != theirs:
                found.append(f"{kind}: {mine} became {theirs}")
        return found


def load(path):
    return torch.load(path, map_location="cpu", weights_only=False)


def tag_of(root):
    with open(os.path.join(root, "latest"), encoding="ascii") as latest:
        return os.path.join(root, latest.read().strip())


def gather(tag):
    """All families of the tag, one for each model-parallel rank; where there are several, their names begin with its number."""
    families = {}
    for name in os.listdir(tag):
        if match := OPTIMIZER_FILE.search(name):
            families.setdefault(int(match[2]), {})[int(match[1])] = name
    if not families:
        raise ValueError(f"{tag} holds no optimizer files")  # or two empty tags would be equal
    gathered = [_family(tag, family, families[family]) for family in sorted(families)]
    if len(gathered) == 1:
        return gathered[0]
    return Gathered(*(_joined([getattr(family, part.name) for family in gathered]) for part in fields(Gathered)))


def _joined(parts):
    if isinstance(parts[0], list):
        return sum(parts, [])
    joined = {}
    for family, part in enumerate(parts):
        joined.update({(f"{family}:{key}" if isinstance(key, str) else (f"{family}:{key[0]}", *key[1:])): value
                       for key, value in part.items()})
    return joined


def _family(tag, family, ranks):
    stage3 = os.path.join(tag, f"zero_pp_rank_0_mp_rank_{family:02}_model_states.pt")
    first = load(stage3 if os.path.exists(stage3) else os.path.join(tag, f"mp_rank_{family:02}_model_states.pt"))
    world_size = first["dp_world_size"]
    if sorted(ranks) != list(range(world_size)):
        raise ValueError(f"ranks {sorted(ranks)} where {world_size} are said to be")
    shards = [load(os.path.join(tag, ranks[rank]))["optimizer_state_dict"] for rank in range(world_size)]
    if os.path.exists(stage3):
        models = [load(stage3.replace("_rank_0_", f"_rank_{rank}_")) for rank in range(world_size)]
        masters, states, scalars, weights = gather_stage3.gather(models, shards)
    else:
        masters, states, scalars = _gather_flat(first, shards, world_size)
        weights = dict(first["module"] or _layers(tag))
    kept = ("loss_scaler", "dynamic_loss_scale", "overflow", "clip_grad", "zero_stage")
    return Gathered(masters, states, scalars, {key: shards[0][key] for key in kept if key in shards[0]}, weights,
                    {key: first[key] for key in ("global_steps", "global_samples", "skipped_steps", "lr_scheduler")})


def _layers(tag):
    """The weights of a pipeline: a file for each layer."""
    files = sorted(name for name in os.listdir(tag) if name.startswith("layer_"))
    return {f"{file}:{name}": value for file in files for name, value in load(os.path.join(tag, file)).items()}


def _gather_flat(model, shards, world_size):
    masters, states, scalars = {}, {}, []
    for group, shapes in enumerate(model["param_shapes"]):
        layout = Layout(shapes, shards[0].get("param_alignment_paddings"), group, world_size)
        masters.update(layout.cut([s["single_partition_of_fp32_groups"][group].detach() for s in shards]))
        entries = [_state(shard, group) for shard in shards]
        options = _options(shards[0], group)
        kept = {"options": {key: value for key, value in options.items() if key != "params"}}
        for key in dict.fromkeys(key for entry in entries for key in entry):
            parts = [entry.get(key) for entry in entries]
            if _is_whole_momentum(key, options, shards[0], model):
                states.update({(name, key): value for name, value in layout.whole(parts).items()})
            elif key != "step" and all(torch.is_tensor(part) and part.dim() == 1 for part in parts):
                states.update({(name, key): value for name, value in layout.cut(parts).items()})
            elif key != "RMS":  # a number of the rank's partition, made anew in each step
                if any(plain(part) != plain(parts[0]) for part in parts):
                    raise ValueError(f"group {group}: ranks disagree on {key}: {parts}")
                kept[key] = parts[0]
        scalars.append(kept)
    return masters, states, scalars


class Layout:
    """Where the parameters of one group lie in its flat buffer."""

    def __init__(self, shapes, paddings, group, world_size):
        padding = paddings[group] if paddings else [0] * len(shapes)
        self._places = collections.OrderedDict()
        end = 0
        for (name, shape), pad in zip(shapes.items(), padding):
            self._places[name] = end, shape
            end += shape.numel() + pad
        self._partition = -(-end // (ALIGNMENT * world_size)) * ALIGNMENT

    def cut(self, parts):
        """Per parameter, from each rank's part of the flat buffer, which may lack its padding."""
        whole = torch.cat([_extended(part, self._partition) for part in parts])
        covered = torch.cat([_extended(torch.ones(part.numel(), dtype=torch.bool), self._partition) for part in parts])
        result = {}
        for name, (start, shape) in self._places.items():
            place = slice(start, start + shape.numel())
            if not covered[place].all():
                raise ValueError(f"{name}: elements {place} are on no rank")
            result[name] = whole[place].view(shape)
        return result

    def whole(self, parts):
        """Per parameter, where each rank keeps all of every parameter that its partition touches."""
        result = {}
        for rank, part in enumerate(parts):
            used = 0
            for name, (start, shape) in self._places.items():
                first, last = rank * self._partition, (rank + 1) * self._partition
                if shape.numel() == 0 or start >= last or start + shape.numel() <= first:
                    continue
                value = part[used:used + shape.numel()].view(shape)
                used += shape.numel()
                if not same_bits(result.setdefault(name, value), value):
                    raise ValueError(f"{name}: rank {rank} holds another momentum than the rank before")
            if used != (0 if part is None else part.numel()):
                raise ValueError(f"rank {rank}: {part.numel()} elements of momentum, {used} expected")
        return result


def _extended(part, numel):
    if part.numel() > numel:
        raise ValueError(f"{part.numel()} elements in a partition of {numel}")
    return torch.cat([part, part.new_zeros(numel - part.numel())])


def _state(shard, group):
    base = shard["base_optimizer_state"]
    if isinstance(base, list):  # an elastic checkpoint
        return base[group]
    return base["state"].get(group, {})


def _options(shard, group):
    base = shard["base_optimizer_state"]
    return {} if isinstance(base, list) else base["param_groups"][group]


def _is_whole_momentum(key, options, shard, model):
    offload = model["ds_config"]["zero_optimization"].get("offload_optimizer") or {}
    return (key == "momentum_buffer" and options.get("use_muon", False) and "zero_stage" in shard and
            offload.get("device", "none") == "none")
