"""Engines that may be given a checkpoint: how their recipes and configs differ from those that saved it."""
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Engine:
    changes: dict = field(default_factory=dict)  # of the recipe
    settings: dict = field(default_factory=dict)  # of the config, beyond what a recipe says


def _zero(**settings):
    return {"zero_optimization": settings}


ENGINES = {
    "same": Engine(),
    "stage1": Engine({"stage": 1, "bf16_optimizer": False}),
    "stage2": Engine({"stage": 2, "bf16_optimizer": False}),
    "stage3": Engine({"stage": 3, "bf16_optimizer": False}),
    "stage0": Engine({"bf16_optimizer": False}, _zero(stage=0)),
    "bf16": Engine({"dtype": "bf16"}),
    "fp16": Engine({"dtype": "fp16", "bf16_optimizer": False}),
    "fp32": Engine({"dtype": "fp32", "bf16_optimizer": False}),
    "bf16-optimizer": Engine({"stage": 1, "dtype": "bf16", "bf16_optimizer": True}),
    "bf16-optimizer-round-robin": Engine({"stage": 1, "bf16_optimizer": True, "round_robin": True}),
    "bf16-optimizer-alignment": Engine({"stage": 1, "bf16_optimizer": True, "alignment": True}),
    "bf16-optimizer-rounded": Engine({"stage": 1, "bf16_optimizer": True}, _zero(load_from_fp32_weights=False)),
    "fp32-gradients": Engine({"bf16_optimizer": False}, {"data_types": {"grad_accum_dtype": "fp32"}}),
    "bf16-gradients": Engine({"bf16_optimizer": False}, {"data_types": {"grad_accum_dtype": "bf16"}}),
    "round-robin": Engine({"stage": 2, "round_robin": True, "bf16_optimizer": False}),
    "alignment": Engine({"stage": 2, "alignment": True, "bf16_optimizer": False}),
    "elastic": Engine({"elastic": True, "bf16_optimizer": False}),
    "plain": Engine({"elastic": False}),
    "offload": Engine({"offload": True}),
    "offload-parameters": Engine({"offload": True, "offload_parameters": True}),
    "sub-groups": Engine({"sub_group_size": 40}),
    "rounded": Engine({}, _zero(load_from_fp32_weights=False)),
    "universal": Engine({}, {"checkpoint": {"load_universal": True}}),
    "in-turn": Engine({}, _zero(pipeline_loading_checkpoint=True)),
    "static-scale": Engine({}, {"fp16": {"loss_scale": 128}}),
}


def merged(config, settings):
    result = dict(config)
    for key, value in settings.items():
        result[key] = merged(result[key], value) if isinstance(value, dict) and isinstance(result.get(key), dict) else value
    return result
