"""What a training run is, apart from its world size: model, optimizer and DeepSpeed config of the oracle's cells."""
from dataclasses import dataclass, replace
import hashlib

import torch
import torch.nn.functional as F
from torch import nn

GLOBAL_BATCH = 840  # divides evenly over every world size up to 8
SEQUENCE = 4
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Recipe:
    """One training run. Two runs with equal recipes and equal world sizes are equal bit for bit."""

    stage: int = 2
    dtype: str = "bf16"
    optimizer: str = "adamw"
    groups: int = 2
    steps: int = 2
    round_robin: bool = False
    alignment: bool = False
    elastic: bool = False
    offload: bool = False
    bf16_optimizer: bool = False
    frozen: bool = False  # a frozen layer, an empty parameter; the embedding is tied in every run
    tied: bool = True
    drift: bool = False  # training changes what no optimizer owns: a buffer and the frozen layer
    overflow: bool = False  # fp16: five steps end in the middle of an overflow
    sub_group_size: int = None  # this and the six after it: stage 3
    offload_parameters: bool = False
    zero_init: bool = False  # the model is built under deepspeed.zero.Init
    hpz: int = None  # zero_hpz_partition_size
    gathered_save: bool = False  # stage3_gather_16bit_weights_on_model_save
    persistence: int = None  # stage3_param_persistence_threshold
    tiny: bool = False  # a parameter of two elements
    tensor_parallel: int = 1  # ranks that hold one model together
    describes_cut: bool = False  # its module has universal_checkpoint_info, and a hidden layer that degrees up to 4 divide
    pipeline: int = 1  # its stages
    sequence_mesh: int = 1  # ranks that share a sequence, on a mesh that the config asks for
    width: int = 18
    vocabulary: int = 67
    layers: int = 2
    learning_rate: float = 1e-2

    def but(self, **changes):
        return replace(self, **changes)

    def data_parallel(self, world_size):
        """How many of `world_size` ranks hold the same part of the model."""
        return world_size // (self.tensor_parallel * self.pipeline * self.sequence_mesh)

    @property
    def key(self):
        """Names the recipe in paths; equal for equal recipes only."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]


# The run that saved mount_scripts/sample, at 4 ranks.
SAMPLE = Recipe(stage=2, groups=3, frozen=True, drift=True, width=25, vocabulary=101, layers=3, steps=3)


class Block(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Net(nn.Module):
    """A language model in small: odd shapes, so that no partition boundary meets a parameter boundary."""

    def __init__(self, recipe):
        super().__init__()
        width = recipe.width
        self.embedding = nn.Embedding(recipe.vocabulary, width)
        self.position = nn.Parameter(torch.zeros(SEQUENCE + 1, width))
        self.blocks = nn.ModuleList(Block(width, 2 * width - 5) for _ in range(recipe.layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, recipe.vocabulary, bias=False)
        if recipe.tied:
            self.head.weight = self.embedding.weight
        self.frozen = None
        if recipe.frozen:
            self.frozen = nn.Linear(width, width + 1)
            if recipe.stage < 3:  # where DeepSpeed cannot run a model with one
                self.empty = nn.Parameter(torch.zeros(0, width))
        self.gain = nn.Parameter(torch.zeros(2)) if recipe.tiny else None
        self.register_buffer("drifting", torch.full((3,), 0.5))
        self.register_buffer("count", torch.tensor([7], dtype=torch.int64))
        self.register_buffer("scratch", torch.ones(2), persistent=False)

    def initialise(self):
        initialise(self)
        if self.frozen is not None:
            self.frozen.requires_grad_(False)

    def forward(self, ids, labels):
        x = self.embedding(ids) + self.position[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        if self.frozen is not None:
            x = x + 0.1 * self.frozen(x)[..., : x.shape[-1]]
        if self.gain is not None:
            x = x * (1 + self.gain.sum())
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())

    def drift(self):
        with torch.no_grad():
            self.drifting += 0.25
            if self.frozen is not None:
                bias = self.frozen.bias
                getattr(bias, "ds_tensor", bias).add_(0.5)  # at stage 3, the rank's own slice


def initialise(model):
    """Values depend on names only, never on the order of construction."""
    for name, parameter in model.named_parameters():
        values = initial(name, parameter.shape)
        with torch.no_grad():
            parameter.copy_(values)


def initial(name, shape):
    seed = int(hashlib.md5(name.encode()).hexdigest()[:8], 16)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values * (0.3 if len(shape) > 1 else 0.1) + float(name.endswith("norm.weight"))


def batch(recipe, step):
    """The samples of one optimizer step, the same at every world size."""
    generator = torch.Generator().manual_seed(1000 + step)
    ids = torch.randint(0, recipe.vocabulary, (GLOBAL_BATCH, SEQUENCE), generator=generator)
    return ids, (ids * 3 + 1) % recipe.vocabulary


def ds_config(recipe, world_size, universal=False):
    zero = {"stage": recipe.stage}
    if recipe.round_robin:
        zero["round_robin_gradients"] = True
    if recipe.alignment:
        zero["parameter_alignment"] = True
    if recipe.elastic:
        zero["elastic_checkpoint"] = True
    if recipe.offload:
        zero["offload_optimizer"] = {"device": "cpu"}
    if recipe.stage == 3:
        zero.update(_stage3(recipe))
        if recipe.optimizer == "muon":
            zero["reduce_scatter"] = False  # or DeepSpeed refuses
    config = {
        "train_batch_size": GLOBAL_BATCH,
        "train_micro_batch_size_per_gpu": GLOBAL_BATCH // recipe.data_parallel(world_size),
        "gradient_accumulation_steps": 1,
        "steps_per_print": 10**9,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": zero,
        "scheduler": {
            "type": "WarmupLR",
            "params": {"warmup_min_lr": 0.0, "warmup_max_lr": recipe.learning_rate, "warmup_num_steps": 10},
        },
    }
    if recipe.sequence_mesh > 1:
        config |= {"data_parallel_size": recipe.data_parallel(world_size), "sequence_parallel_size": recipe.sequence_mesh}
    if recipe.dtype == "bf16":
        config["bf16"] = {"enabled": True}
    if recipe.dtype == "fp16":
        # From 2**8 nothing overflows here. From 2**16, doubled every step, the fifth step overflows: it is skipped and
        # uses up the hysteresis, so that the next overflow, and only that, halves the scale.
        config["fp16"] = {
            "enabled": True,
            "initial_scale_power": 16 if recipe.overflow else 8,
            "loss_scale_window": 1 if recipe.overflow else 2,
            "hysteresis": 2,
        }
    if recipe.bf16_optimizer:
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    if recipe.optimizer == "muon":
        config["optimizer"] = {
            "type": "Muon",
            "params": {"lr": recipe.learning_rate, "weight_decay": 0.01, "momentum": 0.9},
        }
    if recipe.optimizer == "fused_adam":
        config["optimizer"] = {"type": "AdamW", "params": {"lr": recipe.learning_rate}}
    if universal:
        config["checkpoint"] = {"load_universal": True}
    return config


def _stage3(recipe):
    settings = {
        "sub_group_size": recipe.sub_group_size,
        "offload_param": {"device": "cpu"} if recipe.offload_parameters else None,
        "zero_hpz_partition_size": recipe.hpz,
        "stage3_gather_16bit_weights_on_model_save": recipe.gathered_save or None,
        "stage3_param_persistence_threshold": recipe.persistence,
    }
    return {key: value for key, value in settings.items() if value is not None}


def parameter_groups(model, recipe):
    """One, two or three groups whose hyperparameters all differ."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if recipe.groups == 1:
        return [{"params": [p for _, p in trained], "weight_decay": 0.01}]
    matrices = [p for _, p in trained if p.dim() > 1]
    vectors = {"params": [p for _, p in trained if p.dim() <= 1], "weight_decay": 0.0}
    if recipe.groups == 2:
        return [{"params": matrices, "weight_decay": 0.1}, vectors]
    first = {"params": matrices[:1], "weight_decay": 0.05, "lr": recipe.learning_rate / 2}
    return [first, {"params": matrices[1:], "weight_decay": 0.1}, vectors]


def client_optimizer(groups, recipe):
    """The optimizer that the training script makes itself; None where the config names one."""
    lr, optim = recipe.learning_rate, torch.optim
    if recipe.optimizer in ("muon", "fused_adam"):
        return None
    if recipe.optimizer == "cpu_adam":
        from deepspeed.ops.adam import DeepSpeedCPUAdam

        return DeepSpeedCPUAdam(groups, lr=lr)
    if recipe.optimizer == "lion":
        from deepspeed.ops.lion import DeepSpeedCPULion

        # It adds this key of Adam's to its groups when it loads: with it from the start, a load changes nothing.
        return DeepSpeedCPULion([group | {"amsgrad": False} for group in groups], lr=lr / 10)
    if recipe.optimizer == "transformers_adafactor":
        from transformers.optimization import Adafactor

        return Adafactor(groups, lr=lr, scale_parameter=False, relative_step=False)
    makers = {
        "adamw": lambda: optim.AdamW(groups, lr=lr, foreach=False),
        "amsgrad": lambda: optim.Adam(groups, lr=lr, amsgrad=True),
        "sgd": lambda: optim.SGD(groups, lr=lr),
        "sgd_momentum": lambda: optim.SGD(groups, lr=lr, momentum=0.9),
        "rmsprop": lambda: optim.RMSprop(groups, lr=lr, momentum=0.5, centered=True),
        "adagrad": lambda: optim.Adagrad(groups, lr=lr),
        "adafactor": lambda: optim.Adafactor(groups, lr=lr),
    }
    return makers[recipe.optimizer]()
