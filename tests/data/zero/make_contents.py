#!/usr/bin/env python3
"""Writes contents.json: what each checkpoint beside this file holds, as Python readers see it.

By fixture, a list of model-parallel ranks, each with "masters" {name: tensor}, "states" {key: {name: tensor}}, "weights" (of
optimized parameters, as `module` or a pipeline's layer files hold them; a tensor without bytes where stage 3 keeps only its dtype),
"frozen", "buffers", "tied" {name: owner} and "order" (of the names in `module`). A tensor is [dtype, shape, FNV-1a hash of its bytes].
Masters and states are gathered by tests/oracle/gather.py. Where zero_to_fp32 reads a fixture, its result is held against them.
"""
import contextlib
import io
import json
import math
import os
import pathlib
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "oracle"))

import gather  # noqa: E402
import gather_stage3  # noqa: E402


def main():
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    contents = {}
    for latest in sorted(HERE.glob("**/latest")):
        fixture = latest.parent
        name = str(fixture.relative_to(HERE))
        tag = gather.tag_of(fixture)
        if name == "universal":
            continue
        contents[name] = [rank_of(tag, family, several) for family, several in families_of(tag)]
        if len(contents[name]) == 1 and zero_to_fp32_reads(name):
            with contextlib.redirect_stdout(io.StringIO()):
                check(name, contents[name][0], get_fp32_state_dict_from_zero_checkpoint(str(fixture)))
    lines = [f" {json.dumps(name)}: {json.dumps(ranks)}" for name, ranks in contents.items()]
    (HERE / "contents.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="ascii")
    return 0


def zero_to_fp32_reads(name):
    """It refuses stage 0 and BF16_Optimizer."""
    return not name.startswith(("stage0", "bf16_optimizer"))


def families_of(tag):
    families = sorted({file.split("mp_rank_")[1][:2] for file in os.listdir(tag) if "mp_rank_" in file})
    return [(family, len(families) > 1) for family in families]


def rank_of(tag, family, several):
    stage3 = f"{tag}/zero_pp_rank_0_mp_rank_{family}_model_states.pt"
    model = gather.load(stage3 if os.path.exists(stage3) else f"{tag}/mp_rank_{family}_model_states.pt")
    masters, states = {}, {}
    if model["param_shapes"] is not None:
        gathered = gather.gather(tag)
        mark = f"{int(family)}:"
        own = {name[len(mark):] if several else name: value for name, value in gathered.masters.items()
               if name.startswith(mark) or not several}
        masters = own
        for (name, key), value in gathered.states.items():
            if name.startswith(mark) or not several:
                states.setdefault(key, {})[name[len(mark):] if several else name] = value
    module = model["module"] if model["module"] is not None else layers(tag, masters)
    buffers = {name: module[name] for name in model["buffer_names"] if name in module}
    if os.path.exists(stage3):
        models = [gather.load(stage3.replace("_rank_0_", f"_rank_{rank}_")) for rank in range(model["dp_world_size"])]
        frozen = gather_stage3._frozen(models)
    else:
        frozen = {name: module[name] for name in model["frozen_param_shapes"] or {}}
    tied = dict(model["shared_params"] or {})
    if os.path.exists(stage3):  # only the first of all ranks lists them
        tied = dict(gather.load(f"{tag}/zero_pp_rank_0_mp_rank_00_model_states.pt")["shared_params"])
    else:
        places = {}
        for name, value in module.items():
            place = value.data_ptr(), value.shape
            if value.numel() and places.setdefault(place, name) != name:
                tied[name] = places[place]
    weights = {name: value for name, value in module.items() if name not in (*buffers, *frozen, *tied)}
    return {"masters": described(masters), "states": {key: described(value) for key, value in states.items()},
            "weights": described(weights), "frozen": described(frozen), "buffers": described(buffers), "tied": tied,
            "order": list(module)}


def layers(tag, masters):
    """The tensors of a pipeline stage's layers under the names of PipelineModule, those of other stages left out."""
    found = {}
    for file in sorted(name for name in os.listdir(tag) if name.startswith("layer_")):
        for name, value in gather.load(os.path.join(tag, file)).items():
            found[f"{int(file.split('_')[1].split('-')[0])}.{name}"] = value
    return {name: value for name, value in found.items() if name in masters}


def described(tensors):
    return {name: [str(value.dtype).removeprefix("torch."), list(value.shape), fnv1a(value)]
            for name, value in tensors.items()}


def fnv1a(tensor):
    result = 0xCBF29CE484222325
    flat = tensor.detach().contiguous().flatten()
    for byte in flat.view(torch.uint8).numpy().tobytes() if math.prod(flat.shape) else b"":
        result = (result ^ byte) * 0x100000001B3 % 2**64
    return f"{result:016x}"


def check(name, rank, state_dict):
    """What zero_to_fp32 gives, against what was gathered; it widens frozen parameters and buffers."""
    found = described(state_dict)
    wanted = dict(rank["masters"])
    for duplicate, owner in rank["tied"].items():
        if owner in wanted and duplicate in found:  # it knows those of shared_params alone
            wanted[duplicate] = wanted[owner]
    for key, tensor in wanted.items():
        if found[key] != tensor:
            raise SystemExit(f"{name}: zero_to_fp32 gives another {key}")
    if missing := set(found) - set(wanted) - set(rank["frozen"]) - set(rank["buffers"]):
        raise SystemExit(f"{name}: only zero_to_fp32 has {missing}")


if __name__ == "__main__":
    sys.exit(main())
