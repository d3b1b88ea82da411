"""The models of recipes that cut the model itself: over two or more tensor-parallel ranks, or over the stages of a pipeline."""
import torch
import torch.nn.functional as F
from torch import distributed, nn

from recipe import SEQUENCE, Block, initial, initialise


class ModelParallelUnit:
    """What DeepSpeed asks of an `mpu`: neighbouring ranks hold one model together, as in Megatron-LM."""

    def __init__(self, degree):
        rank, world_size = distributed.get_rank(), distributed.get_world_size()
        self.degree = degree
        self._groups = {}
        for first in range(0, world_size, degree):
            self._join("model", range(first, first + degree), rank)
        for first in range(degree):
            self._join("data", range(first, world_size, degree), rank)

    def _join(self, kind, members, rank):
        group = distributed.new_group(list(members))
        if rank in members:
            self._groups[kind] = group

    def get_model_parallel_rank(self):
        return distributed.get_rank(self.get_model_parallel_group())

    def get_model_parallel_world_size(self):
        return self.degree

    def get_model_parallel_group(self):
        return self._groups["model"]

    # As a universal load asks for them.
    get_tensor_model_parallel_rank = get_model_parallel_rank
    get_tensor_model_parallel_world_size = get_model_parallel_world_size
    get_tensor_model_parallel_group = get_model_parallel_group

    def get_data_parallel_rank(self):
        return distributed.get_rank(self.get_data_parallel_group())

    def get_data_parallel_world_size(self):
        return distributed.get_world_size(self.get_data_parallel_group())

    def get_data_parallel_group(self):
        return self._groups["data"]


class _Enter(torch.autograd.Function):
    """Into the part that each rank computes alone: the gradient is the sum over the ranks."""

    @staticmethod
    def forward(context, x, group):
        context.group = group
        return x.view_as(x)

    @staticmethod
    def backward(context, gradient):
        gradient = gradient.contiguous()
        distributed.all_reduce(gradient, group=context.group)
        return gradient, None


class _Leave(torch.autograd.Function):
    """Out of it: the value is the sum over the ranks."""

    @staticmethod
    def forward(context, x, group):
        x = x.contiguous().clone()
        distributed.all_reduce(x, group=group)
        return x

    @staticmethod
    def backward(context, gradient):
        return gradient, None


class ParallelBlock(nn.Module):
    """Block, its hidden layer cut over the ranks: unevenly, as its width is odd, so that the families differ in shape."""

    def __init__(self, width, hidden, unit):
        super().__init__()
        self._unit, self._hidden = unit, hidden
        bounds = [rank * hidden // unit.degree for rank in range(unit.degree + 1)]
        self._mine = slice(*bounds[unit.get_model_parallel_rank():][:2])
        part = self._mine.stop - self._mine.start
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, part)
        self.down = nn.Linear(part, width, bias=False)
        for parameter in (*self.up.parameters(), *self.down.parameters()):
            parameter.model_parallel = True

    def initialise(self, name):
        width = self.down.weight.shape[0]
        with torch.no_grad():
            self.up.weight.copy_(initial(f"{name}.up.weight", (self._hidden, width))[self._mine])
            self.up.bias.copy_(initial(f"{name}.up.bias", (self._hidden,))[self._mine])
            self.down.weight.copy_(initial(f"{name}.down.weight", (width, self._hidden))[:, self._mine])

    def forward(self, x):
        group = self._unit.get_model_parallel_group()
        inside = _Enter.apply(self.norm(x), group)
        return x + _Leave.apply(self.down(F.gelu(self.up(inside))), group)


# How TensorParallelNet is cut, as ds_to_universal asks it: `up` along its first axis, which needs no pattern.
CUT = {
    "universal_checkpoint_version": 0.4,
    "tp_replicated_parameter_patterns": [r".*norm\.(weight|bias)$", r"^embedding\.weight$"],
    "parameter_with_row_parallelism_patterns": [r"^blocks\.\d+\.down\.weight$"],
}


class TensorParallelNet(nn.Module):
    def __init__(self, recipe, unit):
        super().__init__()
        width = recipe.width
        self.embedding = nn.Embedding(recipe.vocabulary, width)
        hidden = 2 * width - (2 if recipe.describes_cut else 5)
        self.blocks = nn.ModuleList(ParallelBlock(width, hidden, unit) for _ in range(recipe.layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, recipe.vocabulary, bias=False)
        self.head.weight = self.embedding.weight
        if recipe.describes_cut:
            self.universal_checkpoint_info = CUT

    def initialise(self):
        initialise(self)
        for index, block in enumerate(self.blocks):
            block.initialise(f"blocks.{index}")

    def forward(self, ids, labels):
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x)
        return loss(self.head(self.norm(x)), labels)


class First(nn.Module):
    def __init__(self, recipe):
        super().__init__()
        self.embedding = nn.Embedding(recipe.vocabulary, recipe.width)
        self.position = nn.Parameter(torch.zeros(SEQUENCE + 1, recipe.width))

    def forward(self, ids):
        return self.embedding(ids) + self.position[: ids.shape[1]]


class Last(nn.Module):
    def __init__(self, recipe):
        super().__init__()
        self.norm = nn.LayerNorm(recipe.width)
        self.head = nn.Linear(recipe.width, recipe.vocabulary, bias=False)

    def forward(self, x):
        return self.head(self.norm(x))


def loss(logits, labels):
    return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())


def pipeline_module(recipe):
    from deepspeed.pipe import LayerSpec, PipelineModule

    width = recipe.width
    blocks = [LayerSpec(Block, width, 2 * width - 5) for _ in range(recipe.layers)]
    model = PipelineModule([LayerSpec(First, recipe), *blocks, LayerSpec(Last, recipe)], num_stages=recipe.pipeline,
                           loss_fn=loss, partition_method="uniform")
    initialise(model)
    return model
