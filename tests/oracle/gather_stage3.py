"""Gathers one model-parallel rank's files of a ZeRO-3 tag per parameter: every parameter is cut over the ranks by itself."""
import math

import torch

from plain import plain, same_bits


def gather(models, shards):
    """Masters, states, scalars per group, and the weights that no optimizer owns, of the ranks' files in order."""
    world_size, inner = len(shards), [shard["optimizer_state_dict"] for shard in shards]
    if any(shard["partition_count"] != world_size for shard in shards):
        raise ValueError(f"{world_size} ranks, partition_count {[shard['partition_count'] for shard in shards]}")
    masters, states, scalars = {}, {}, []
    sub_groups = models[0]["param_shapes"]
    if any(len(shard["fp32_flat_groups"]) != len(sub_groups) for shard in shards):
        raise ValueError(f"{len(sub_groups)} sub-groups of shapes, not as many of masters")
    for options in inner[0]["param_groups"]:
        kept = {"options": {key: value for key, value in options.items() if key != "params"}}
        for index in options["params"]:
            shapes = sub_groups[index]
            masters.update(cut(shapes, [shard["fp32_flat_groups"][index].detach() for shard in shards]))
            entries = [part["state"].get(index, {}) for part in inner]
            for key in dict.fromkeys(key for entry in entries for key in entry):
                parts = [entry.get(key) for entry in entries]
                if key != "step" and all(torch.is_tensor(part) and part.dim() == 1 for part in parts):
                    states.update({(name, key): value for name, value in cut(shapes, parts).items()})
                else:
                    _keep(kept, key, parts)
        scalars.append(kept)
    if sorted(i for options in inner[0]["param_groups"] for i in options["params"]) != list(range(len(sub_groups))):
        raise ValueError("the groups do not hold every sub-group once")
    return masters, states, scalars, {**_buffers(models), **_frozen(models)}


def cut(shapes, parts):
    """Per parameter, from each rank's sub-group: a slice of each parameter, the last ones ending in padding."""
    result, start = {}, 0
    for name, shape in shapes.items():
        numel = math.prod(shape)
        share = -(-numel // len(parts))
        whole = torch.cat([part[start:start + share] for part in parts])
        if whole.numel() != share * len(parts):
            raise ValueError(f"{name}: {whole.numel()} elements on all ranks, {share * len(parts)} expected")
        result[name] = whole[:numel].view(shape)
        start += share
    if any(part.numel() != start for part in parts):
        raise ValueError(f"a sub-group of {start} elements holds {[part.numel() for part in parts]}")
    return result


def _keep(kept, key, parts):
    """What is not cut must be the same on all ranks and in all sub-groups of the group."""
    expected = plain(kept.setdefault(key, parts[0]))
    if any(plain(part) != expected for part in parts):
        raise ValueError(f"ranks or sub-groups disagree on {key}: {expected}, {parts}")


def _buffers(models):
    for rank, model in enumerate(models):
        for name in model["buffer_names"]:
            if name in model["module"] and not same_bits(models[0]["module"][name], model["module"][name]):
                raise ValueError(f"{name}: rank {rank} has another value than rank 0")
    return {name: value for name, value in models[0]["module"].items() if value.numel()}


def _frozen(models):
    shapes = models[0].get("frozen_param_shapes") or {}
    result = {}
    for name, shape in shapes.items():
        result.update(cut({name: shape}, [model["frozen_param_fragments"][name].flatten() for model in models]))
    return result
