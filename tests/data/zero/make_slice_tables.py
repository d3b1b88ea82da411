#!/usr/bin/env python3
"""Writes slice_tables.pt: how DeepSpeed's ds_to_universal joins tensor-parallel slices of given shapes.

A list of cases: {"name", "degree", "info": a universal_checkpoint_info, "shapes": of the parameter p on each rank, "slices": the
elements of each, "shape" and "whole": of what merge_tp_slices makes of them, "own_shape": whether the parameter itself has that shape
(rather than the view that it is taken apart by)}.
"""
import pathlib
import sys

import torch
from deepspeed.checkpoint import affine, ds_to_universal

HERE = pathlib.Path(__file__).resolve().parent
NAME = "layers.0.p"


def main():
    cases = [
        case("unnamed", {}, [[2, 3], [4, 3], [1, 3]]),
        case("replicated", {"tp_replicated_parameter_patterns": [r"layers\.\d+\.p"]}, [[2, 3], [2, 3]], replicated=True),
        case("row", {"parameter_with_row_parallelism_patterns": [r"^layers\.0\.p$"]}, [[3, 2], [3, 4]]),
        case("row of three", {"parameter_with_row_parallelism_patterns": ["layers.*p"]}, [[2, 1, 3], [2, 2, 3]]),
        case("vector", {}, [[3], [4]]),
        case("halves", {"parameter_with_2_sub_params_cat_dim_0": [r"layers.0.p$"]}, [[4, 3], [4, 3]]),
        case("odd halves", {"parameter_with_2_sub_params_cat_dim_0": [r"layers.0.p"]}, [[5, 2], [3, 2]]),
        case("vocabulary", {"vocabulary_parameter_patterns": ["layers.0.p"], "original_vocab_size": 7}, [[4, 3], [4, 3]]),
        case("vocabulary of one rank", {"vocabulary_parameter_patterns": ["layers.0.p"], "original_vocab_size": 3},
             [[4, 3], [4, 3]]),
        case("three equal", sub((3, -1), 0), [[6, 2], [6, 2]]),
        case("three equal in a vector", sub((3, -1), 0), [[6], [6]], own_shape=False),
        case("named sizes", sub(((4, 2, 2), -1), 0), [[4, 3], [4, 3]]),
        case("sizes along axis 1", sub((3, (4, 2)), 1), [[3, 3], [3, 3]]),
        case("uneven", sub(((5, 3), -1), 0, [[3, 2], [1, 2]]), [[4, 3], [4, 3]]),
        case("uneven along axis 1", sub((2, (5, 1)), 1, [[3, 2], [1, 0]]), [[2, 4], [2, 2]]),
    ]
    cases += [
        mapped("replicated", affine.replicated_map((2, 3), 2)),
        mapped("split rows", affine.contiguous_split_map((5, 3), [2, 3], 0)),
        mapped("split columns", affine.contiguous_split_map((4, 6), [1, 5], 1)),
        mapped("split the middle", affine.contiguous_split_map((2, 3, 4), [1, 2], 1)),
        mapped("split with an empty rank", affine.contiguous_split_map((4, 3), [3, 0], 1)),
        mapped("sub-parameters", affine.sub_param_map((8, 3), [5, 3], [[3, 2], [1, 2]], 0)),
        mapped("sub-parameters of columns", affine.sub_param_map((2, 6), [4, 2], [[2, 2], [1, 1]], 1)),
        mapped("segments", affine.segmented_map((7, 2), [(4, False), (3, True)], 0, 2, [[2, 2]])),
        mapped("gathered blocks", affine.block_gather_map((8, 2), {0: [0, 2], 1: [1, 3]}, 2, 0)),
    ]
    torch.save(cases, HERE / "slice_tables.pt")
    return 0


def sub(shape, axis, widths=None):
    info = {"parameter_with_sub_params": [{"patterns": ["layers.0.p"], "shape": shape, "partition_dim": axis}]}
    if widths:
        info.update(universal_checkpoint_version=0.4, sub_param_shard_widths={"layers.0.p": widths})
    return info


def case(name, info, shapes, replicated=False, own_shape=True):
    slices = []
    for rank, shape in enumerate(shapes):
        numel = torch.Size(shape).numel()
        slices.append(torch.arange(numel).view(shape) + (0 if replicated else 1000 * rank))
    return joined(name, info, slices, own_shape)


def mapped(name, param_map):
    whole = torch.arange(param_map.numel).view(param_map.logical_shape)
    info = {"affine_map": {"version": 1, "params": {r"^layers\.0\.p$": param_map.to_dict()}},
            "tp_replicated_parameter_patterns": [r"^layers\.0\.p$"]}
    return joined("map: " + name, info, [param_map.extract(whole, rank) for rank in param_map.shard_shapes], True)


def joined(name, info, slices, own_shape):
    saved = {}
    ds_to_universal._merge_zero_shards = lambda base, state, degree, shapes: [] if state == "step" else slices
    ds_to_universal._save_checkpoint = lambda path, content: saved.__setitem__(pathlib.Path(path).stem, content["param"])
    shapes = [slice.shape for slice in slices]
    unmatched = ds_to_universal.merge_tp_slices(info, "out", "in", len(slices), (NAME, shapes))
    if unmatched:
        raise SystemExit(f"{name}: {unmatched} match nothing")
    whole = saved["fp32"]
    return {"name": name, "degree": len(slices), "info": info, "shapes": [list(shape) for shape in shapes],
            "slices": [slice.flatten().tolist() for slice in slices], "shape": list(whole.shape),
            "whole": whole.flatten().tolist(), "own_shape": own_shape}


if __name__ == "__main__":
    sys.exit(main())
