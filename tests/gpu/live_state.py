"""What a rank's engine holds of each parameter, in the buffers that its optimizer steps on, against what the source's files hold.

The truth is a file that write_truth made from the source, gathered per parameter by the oracle's own reader.
"""
import collections
from dataclasses import dataclass

import torch

import gather
from plain import plain, same_bits

STATES = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Fragment:
    """Consecutive elements of a parameter, flattened."""

    kind: str  # "master", a state's key, or "weight"
    name: str
    start: int
    values: torch.Tensor


def write_truth(source, path):
    """Returns the number of elements of each parameter."""
    truth = gather.gather(gather.tag_of(source))
    torch.save({"masters": truth.masters, "states": truth.states, "scalars": truth.scalars}, path)
    return {name: value.numel() for name, value in truth.masters.items()}


def compare(engine, stage, truth):
    """Returns what was compared, as (kind, name, first element, elements), and what differs."""
    compared, differences = [], []
    for fragment in fragments(engine, stage):
        expected = expected_of(fragment, truth)
        compared.append((fragment.kind, fragment.name, fragment.start, fragment.values.numel()))
        if not same_bits(expected, fragment.values.detach().cpu()):
            differences.append(f"{fragment.kind} of {fragment.name}")
    for group, (expected, found) in enumerate(zip(truth["scalars"], scalars(engine, stage), strict=True)):
        differences += [f"group {group}: {text}" for text in changed(expected, found)]
    return compared, differences


def changed(expected, found):
    """The hyper-parameters, and what else is not cut, that differ."""
    one, other = ({**group["options"], **{f"{key} of the buffers": value for key, value in group.items() if key != "options"}}
                  for group in (expected, found))
    for key in sorted(one.keys() | other.keys()):
        if plain(one.get(key)) != plain(other.get(key)):
            yield f"{key} {one.get(key)} became {other.get(key)}"


def expected_of(fragment, truth):
    if fragment.kind in STATES:
        whole = truth["states"][fragment.name, fragment.kind]
    else:
        whole = truth["masters"][fragment.name]
    part = whole.flatten()[fragment.start:fragment.start + fragment.values.numel()]
    return part.to(fragment.values.dtype) if fragment.kind == "weight" else part


def fragments(engine, stage):
    names = {id(parameter): name for name, parameter in engine.module.named_parameters()}
    yield from (_partitioned if stage == 3 else _flat)(engine.optimizer, names)


def _flat(optimizer, names):
    """Stages 1 and 2: a partition of each group's flat buffer, and all weights."""
    for group, parameters in enumerate(optimizer.bit16_groups):
        master = optimizer.single_partition_of_fp32_groups[group]
        for parameter in parameters:
            name, mapping = names[id(parameter)], parameter._hp_mapping
            yield Fragment("weight", name, 0, parameter.flatten())
            if mapping is not None:
                place = mapping.hp_fragment_address
                yield from _of_all_states(optimizer, master, name, place.start, mapping.lp_fragment_address.start, place.numel)


def _partitioned(optimizer, names):
    """Stage 3: a part of each parameter, the last ranks' with padding."""
    rank = torch.distributed.get_rank()
    for master, parameters in zip(optimizer.fp32_partitioned_groups_flat, optimizer.fp16_groups, strict=True):
        place = 0
        for parameter in parameters:
            share = parameter.partition_numel()
            start = rank * share
            numel = max(0, min(share, parameter.ds_numel - start))
            if numel:
                name = names[id(parameter)]
                yield Fragment("weight", name, start, parameter.ds_tensor[:numel])
                yield from _of_all_states(optimizer, master, name, place, start, numel)
            place += share


def _of_all_states(optimizer, master, name, place, start, numel):
    """The fragment of `name` from its element `start` on, which lies at `place` in the buffers of `master`."""
    state = optimizer.optimizer.state[master]
    for kind, buffer in [("master", master)] + [(key, state[key]) for key in STATES]:
        yield Fragment(kind, name, start, buffer[place:place + numel])


def scalars(engine, stage):
    """Per group what is not cut, as the oracle's reader gives it: hyper-parameters, and the step of each buffer."""
    optimizer = engine.optimizer
    if stage == 3:
        masters, group_of = optimizer.fp32_partitioned_groups_flat, optimizer.sub_group_to_group_id
    else:
        masters = optimizer.single_partition_of_fp32_groups
        group_of = range(len(masters))
    found = [{"options": {key: value for key, value in group.items() if key != "params"}}
             for group in optimizer.optimizer.param_groups]
    for index, master in enumerate(masters):
        for key, value in optimizer.optimizer.state[master].items():
            if key not in STATES and plain(found[group_of[index]].setdefault(key, value)) != plain(value):
                raise ValueError(f"the buffers of group {group_of[index]} disagree on {key}")
    return found


def uncovered(compared, sizes):
    """What the ranks have not compared, of their `compared` lists: every element of every kind must be in one, or whole in all."""
    spans = collections.defaultdict(list)
    for rank in compared:
        for kind, name, start, numel in rank:
            spans[kind, name].append((start, start + numel))
    wrong = []
    for kind in ("weight", "master", *STATES):
        for name, numel in sizes.items():
            of_one = sorted(set(spans[kind, name]))
            ends = [0] + [end for _, end in of_one]
            if [start for start, _ in of_one] != ends[:-1] or ends[-1] != numel:
                wrong.append(f"{kind} of {name}: {of_one} of {numel} elements")
    return wrong
