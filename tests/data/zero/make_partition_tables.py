#!/usr/bin/env python3
"""Writes partition_tables.json: how real DeepSpeed optimizers, on real ranks, cut groups of given shapes.

One case: {"stage", "dtype", "world_size", "round_robin", "alignment", "bf16_optimizer", "groups": [[[name, shape], ...], ...]}
in the optimizer's order, and under "expected", what DeepSpeed computed: "order" (names in flat order, a list per group),
"partition_numel" (a number per group), "param_alignment_paddings" (a list per group, absent from BF16_Optimizer), and per
rank "group_paddings" (a number per group), "master_numel" (a number per group: what the rank saves of its fp32 partition)
and "slice_mappings" (per group {name: [start, numel]}, in DeepSpeed's order).
"""
import json
import pathlib
import random
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "oracle"))

import ranks  # noqa: E402
from recipe import DTYPES, Recipe, ds_config  # noqa: E402

SHAPES = [
    [[[7, 11], [11], [3, 5], [5]]],
    [[[1]]],
    [[[2, 2], [3], [1]], [[1], [1]]],
    [[[64, 3]], [[5], [0, 4], [9, 9]], [[2]]],
    [[[1], [2], [3], [4], [5], [6], [7], [8], [9]]],
    [[[13, 17], [17], [1, 1], [29]], [[31], [3, 3, 3]]],
]
WORLD_SIZES = (1, 2, 3, 4, 7, 8)


def main():
    cases = [case for world_size in WORLD_SIZES for case in compute(world_size)]
    text = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (HERE / "partition_tables.json").write_text(f"[\n{text}\n]\n", encoding="ascii")
    print(f"{len(cases)} cases")


def compute(world_size):
    cases = list(chosen(world_size))
    answers = ranks.run_ranks(world_size, lambda rank: [answer(case) for case in cases], timeout=600)
    for index, case in enumerate(cases):
        by_rank = [rank_answers[index] for rank_answers in answers]
        common = by_rank[0]["common"]
        assert all(answer["common"] == common for answer in by_rank)
        expected = dict(common)
        for key in by_rank[0]["own"]:
            expected[key] = [answer["own"][key] for answer in by_rank]
        case["expected"] = expected
    return cases


def chosen(world_size):
    """Every list of shapes with every option that changes the layout; stages and dtypes take turns."""
    random.seed(world_size)
    options = [{}, {"round_robin": True}, {"alignment": True}, {"round_robin": True, "alignment": True},
               {"bf16_optimizer": True}]
    for shapes in SHAPES:
        numbers = iter(range(1000))
        groups = [[[f"p{next(numbers)}", shape] for shape in group] for group in shapes]
        for option in options:
            dtype = "bf16" if option.get("bf16_optimizer") else random.choice(list(DTYPES))
            stage = 1 if option.get("bf16_optimizer") else random.choice((1, 2))
            yield {"stage": stage, "dtype": dtype, "world_size": world_size, "round_robin": False, "alignment": False,
                   "bf16_optimizer": False, "groups": groups} | option


def answer(case):
    import deepspeed
    import torch

    model = torch.nn.Module()
    for name, shape in (parameter for group in case["groups"] for parameter in group):
        model.register_parameter(name, torch.nn.Parameter(torch.ones(shape)))
    groups = [{"params": [getattr(model, name) for name, _ in group]} for group in case["groups"]]
    recipe = Recipe(stage=case["stage"], dtype=case["dtype"], round_robin=case["round_robin"],
                    alignment=case["alignment"], bf16_optimizer=case["bf16_optimizer"])
    config = ds_config(recipe, case["world_size"])
    engine = deepspeed.initialize(model=model, optimizer=torch.optim.SGD(groups, lr=0.1), config=config)[0]
    state = engine.optimizer.state_dict()
    common = {"order": [list(shapes) for shapes in engine._get_zero_param_shapes()],
              "partition_numel": [part.numel() for part in masters_with_padding(engine.optimizer)]}
    if "param_alignment_paddings" in state:
        common["param_alignment_paddings"] = state["param_alignment_paddings"]
    own = {"group_paddings": state["group_paddings"],
           "master_numel": [part.numel() for part in state["single_partition_of_fp32_groups"]],
           "slice_mappings": [{name: [place.start, place.numel] for name, place in mapping.items()}
                              for mapping in state["param_slice_mappings"]]}
    return {"common": common, "own": own}


def masters_with_padding(optimizer):
    if hasattr(optimizer, "single_partition_of_fp32_groups"):
        return optimizer.single_partition_of_fp32_groups
    return optimizer.fp32_groups_flat_partition


if __name__ == "__main__":
    sys.exit(main())
