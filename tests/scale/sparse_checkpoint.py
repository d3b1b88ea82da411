"""Makes a checkpoint of a model far larger than this machine: real headers and pickles, holes where tensors would be.

The layout is that of an 8-billion-parameter transformer under ZeRO-2 in bf16 with AdamW, saved at 4 ranks: 112 GB of apparent
size, some hundred KB on disk. Objects that are no tensors come from a small checkpoint that DeepSpeed saved.
"""
from collections import OrderedDict
import copy
from dataclasses import dataclass
import pathlib
import tempfile

import gather
import torch

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "zero"
TEMPLATE = DATA / "stage2_bf16_ws4"  # three groups, four ranks
RANKS = 4
LAYERS, WIDTH, HIDDEN, KEY_VALUE, VOCABULARY = 32, 4096, 14336, 1024, 128256


@dataclass(frozen=True)
class Group:
    shapes: OrderedDict  # name -> torch.Size

    @property
    def numel(self):
        return sum(shape.numel() for shape in self.shapes.values())

    def partition_numel(self, world_size):
        return -(-self.numel // (2 * world_size)) * 2

    def offset(self, name):
        names = list(self.shapes)
        return sum(self.shapes[before].numel() for before in names[:names.index(name)])


def groups():
    """The embedding, the matrices, the norms."""
    matrices, norms = OrderedDict(), OrderedDict()
    for layer in range(LAYERS):
        for name, rows, columns in (("q", WIDTH, WIDTH), ("k", KEY_VALUE, WIDTH), ("v", KEY_VALUE, WIDTH), ("o", WIDTH, WIDTH),
                                    ("gate", HIDDEN, WIDTH), ("up", HIDDEN, WIDTH), ("down", WIDTH, HIDDEN)):
            matrices[f"layers.{layer}.{name}.weight"] = torch.Size((rows, columns))
        for name in ("norm1", "norm2"):
            norms[f"layers.{layer}.{name}.weight"] = torch.Size((WIDTH,))
    matrices["head.weight"] = torch.Size((VOCABULARY, WIDTH))
    norms["norm.weight"] = torch.Size((WIDTH,))
    return [Group(OrderedDict({"embedding.weight": torch.Size((VOCABULARY, WIDTH))})), Group(matrices), Group(norms)]


def make(root):
    """Writes the checkpoint under the new directory `root`; returns its groups."""
    layout = groups()
    template = pathlib.Path(gather.tag_of(TEMPLATE))
    tag = pathlib.Path(root, template.name)
    tag.mkdir(parents=True)
    pathlib.Path(root, "latest").write_text(template.name, encoding="ascii")
    with tempfile.NamedTemporaryFile() as hole, torch.serialization.skip_data():
        hole.truncate(4 * max(group.partition_numel(RANKS) * RANKS for group in layout))

        def empty(numel, dtype=torch.float32):
            """Maps the hole, as memory of this size need not be there."""
            return torch.from_file(hole.name, shared=True, size=numel, dtype=dtype)

        name = "mp_rank_00_model_states.pt"
        torch.save(_model(gather.load(template / name), layout, empty), tag / name)
        for rank in range(RANKS):
            name = f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
            torch.save(_optimizer(gather.load(template / name), layout, rank, empty), tag / name)
    return layout


def _model(content, layout, empty):
    module, metadata = OrderedDict(), content["module"]._metadata
    for group in layout:
        flat = empty(group.partition_numel(RANKS) * RANKS, torch.bfloat16)
        for name, shape in group.shapes.items():
            start = group.offset(name)
            module[name] = flat[start:start + shape.numel()].view(shape)
    module._metadata = metadata
    content.update(module=module, buffer_names=[], param_shapes=[group.shapes for group in layout], shared_params={},
                   frozen_param_shapes=OrderedDict(), frozen_param_fragments=OrderedDict())
    return content


def _optimizer(content, layout, rank, empty):
    state = content["optimizer_state_dict"]
    for index, group in enumerate(layout):
        partition = group.partition_numel(RANKS)
        lean = max(0, min(partition, group.numel - rank * partition))
        master = empty(partition).requires_grad_(True)
        state["single_partition_of_fp32_groups"][index] = master[:lean]
        entry = state["base_optimizer_state"]["state"][index]
        entry.update(exp_avg=empty(partition), exp_avg_sq=empty(partition))
        state["group_paddings"][index] = partition - lean
        state["param_alignment_paddings"][index] = [0] * len(group.shapes)
        state["param_slice_mappings"][index] = _mapping(group, rank, state["param_slice_mappings"][index])
    return content


def _mapping(group, rank, example):
    place = next(iter(example.values()))
    partition, start, result = group.partition_numel(RANKS), 0, OrderedDict()
    for name, shape in group.shapes.items():
        first, last = max(start, rank * partition), min(start + shape.numel(), (rank + 1) * partition)
        if first < last:
            result[name] = copy.copy(place)
            result[name].start, result[name].numel = first - rank * partition, last - first
        start += shape.numel()
    return result
