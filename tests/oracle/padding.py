"""The padding of stage 3, which DeepSpeed leaves uninitialised: where it lies in a tag's files, and a copy that has zeros there."""
import math
import os
import re
import shutil

import gather
import graph

MODEL_FILE = re.compile(r"zero_pp_rank_(\d+)_mp_rank_(\d\d)_model_states\.pt$")


def blanked(root, copy):
    """A copy of the root whose latest tag, if it is of stage 3, has zeros as padding."""
    shutil.copytree(root, copy)
    tag = gather.tag_of(copy)
    for name in os.listdir(tag):
        if match := MODEL_FILE.match(name):
            blank_rank(tag, name, int(match[1]), match[2])
    return copy


def blank_rank(tag, name, rank, family):
    (optimizer,) = (file for file in os.listdir(tag) if file.endswith(f"zero_pp_rank_{rank}_mp_rank_{family}_optim_states.pt"))
    with graph.Archive(f"{tag}/{name}") as model, graph.Archive(f"{tag}/{optimizer}") as shard:
        world_size = model.graph["dp_world_size"]
        state = shard.graph["optimizer_state_dict"]
        inner = state["optimizer_state_dict"]["state"]
        for index, shapes in enumerate(model.graph["param_shapes"]):
            numels = [_numel(shape) for shape in shapes.values()]
            entries = [value for key, value in inner.get(index, {}).items() if _is_cut(key, value)]
            for tensor in (state["fp32_flat_groups"][index], *entries):
                _blank(shard, tensor, _padding(numels, rank, world_size))
        for key, tensor in (model.graph["frozen_param_fragments"] or {}).items():
            numel = _numel(model.graph["frozen_param_shapes"][key])
            _blank(model, tensor, _padding([numel], rank, world_size))


def _numel(shape):
    return math.prod(shape.arguments[0])


def _is_cut(key, value):
    return key != "step" and isinstance(value, graph.Tensor) and len(value.size) == 1


def _padding(numels, rank, world_size):
    """Ranges of elements, within the rank's slices of the parameters one after the other."""
    start = 0
    for numel in numels:
        share = -(-numel // world_size)
        used = min(max(0, numel - rank * share), share)
        yield start + used, start + share
        start += share


def _blank(archive, tensor, ranges):
    size = graph.ELEMENT_SIZE[tensor.storage.kind]
    place = archive.place(f"data/{tensor.storage.key}") + size * tensor.offset
    with open(archive.path, "r+b") as file:
        for first, last in ranges:
            file.seek(place + size * first)
            file.write(bytes(size * (last - first)))
