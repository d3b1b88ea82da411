"""Writes checkpoints as large as wanted in the layout of a transformer under ZeRO-2 in bf16 with AdamW, saved at 4 ranks
unless told otherwise.

Objects that are no tensors come from a small checkpoint that DeepSpeed saved.
"""
from collections import OrderedDict
import contextlib
import copy
from dataclasses import dataclass
import multiprocessing
import os
import pathlib
import tempfile

import gather
import torch

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "zero"
TEMPLATE = DATA / "stage2_bf16_ws4"  # three groups, four ranks
RANKS = 4
RANKS_OF_A_WRITER = 256
FORK = multiprocessing.get_context("fork")


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


@dataclass(frozen=True)
class Model:
    layers: int
    width: int
    hidden: int
    key_value: int
    vocabulary: int

    def groups(self):
        """The embedding, the matrices, the norms."""
        width, matrices, norms = self.width, OrderedDict(), OrderedDict()
        shapes = {"q": (width, width), "k": (self.key_value, width), "v": (self.key_value, width), "o": (width, width),
                  "gate": (self.hidden, width), "up": (self.hidden, width), "down": (width, self.hidden)}
        for layer in range(self.layers):
            for name, shape in shapes.items():
                matrices[f"layers.{layer}.{name}.weight"] = torch.Size(shape)
            for name in ("norm1", "norm2"):
                norms[f"layers.{layer}.{name}.weight"] = torch.Size((width,))
        matrices["head.weight"] = torch.Size((self.vocabulary, width))
        norms["norm.weight"] = torch.Size((width,))
        return [Group(OrderedDict({"embedding.weight": torch.Size((self.vocabulary, width))})), Group(matrices), Group(norms)]


def make_sparse(root, model, world_size=RANKS):
    """Tensors are holes: apparent size, hardly any on disk."""
    layout = model.groups()
    with tempfile.NamedTemporaryFile() as hole:
        hole.truncate(4 * max(group.partition_numel(world_size) * world_size for group in layout))

        def tensor(numel, dtype=torch.float32):
            """Maps the hole, as memory of this size need not be there."""
            return torch.from_file(hole.name, shared=True, size=numel, dtype=dtype)

        # As many ranks as wanted: each has a pickle of its own, which takes Python some milliseconds.
        writers = min(len(os.sched_getaffinity(0)), -(-world_size // RANKS_OF_A_WRITER))
        processes = [FORK.Process(target=_make, args=(root, layout, world_size, tensor, torch.serialization.skip_data(),
                                                      range(first, world_size, writers))) for first in range(writers)]
        run_all(processes, f"the checkpoint in {root} could not be written")
    return layout


def run_all(processes, complaint):
    """Until all have ended; RuntimeError where one of them failed."""
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(complaint)


def make_full(root, model):
    """Tensors are random numbers, the weights others than the masters: mounted with a warning."""
    _make(root, model.groups(), RANKS, _random_tensors(), contextlib.nullcontext(), range(RANKS))


def _random_tensors():
    generator = torch.Generator().manual_seed(0)
    return lambda numel, dtype=torch.float32: torch.rand(numel, generator=generator).to(dtype)


def model_file(root):
    return f"{gather.tag_of(root)}/mp_rank_00_model_states.pt"


def optimizer_file(root, rank):
    return f"{gather.tag_of(root)}/bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"


def _make(root, layout, world_size, tensor, saving, of_ranks):
    """What the ranks `of_ranks` save."""
    template = pathlib.Path(gather.tag_of(TEMPLATE))
    tag = pathlib.Path(root, template.name)
    tag.mkdir(parents=True, exist_ok=True)
    pathlib.Path(root, "latest").write_text(template.name, encoding="ascii")
    for name, content in _contents(layout, world_size, tensor, of_ranks):
        with saving:
            torch.save(content, tag / name)


def contents(model):
    """Yields (rank, name, what that rank saves under it) of the files of a tag that make_full() would write."""
    for rank, (name, content) in zip([0, *range(RANKS)], _contents(model.groups(), RANKS, _random_tensors(), range(RANKS))):
        yield rank, name, content


def _contents(layout, world_size, tensor, of_ranks):
    """Yields (name, content): rank 0's model states, then the optimizer file of each rank."""
    if 0 in of_ranks:
        content = gather.load(model_file(TEMPLATE))
        yield os.path.basename(model_file(TEMPLATE)), _model(content, layout, world_size, tensor)
    for rank in of_ranks:
        content = gather.load(optimizer_file(TEMPLATE, rank % RANKS))
        yield os.path.basename(optimizer_file(TEMPLATE, rank)), _optimizer(content, layout, rank, world_size, tensor)


def _model(content, layout, world_size, tensor):
    module, metadata = OrderedDict(), content["module"]._metadata
    for group in layout:
        flat = tensor(group.partition_numel(world_size) * world_size, torch.bfloat16)
        for name, shape in group.shapes.items():
            start = group.offset(name)
            module[name] = flat[start:start + shape.numel()].view(shape)
    module._metadata = metadata
    content.update(module=module, buffer_names=[], param_shapes=[group.shapes for group in layout], shared_params={},
                   frozen_param_shapes=OrderedDict(), frozen_param_fragments=OrderedDict(), dp_world_size=world_size)
    return content


def _optimizer(content, layout, rank, world_size, tensor):
    state = content["optimizer_state_dict"]
    for index, group in enumerate(layout):
        partition = group.partition_numel(world_size)
        lean = max(0, min(partition, group.numel - rank * partition))
        master = tensor(partition).requires_grad_(True)
        state["single_partition_of_fp32_groups"][index] = master[:lean]
        entry = state["base_optimizer_state"]["state"][index]
        entry.update(exp_avg=tensor(partition), exp_avg_sq=tensor(partition))
        state["partition_count"][index] = world_size
        state["group_paddings"][index] = partition - lean
        state["param_alignment_paddings"][index] = [0] * len(group.shapes)
        state["param_slice_mappings"][index] = _mapping(group, rank, world_size, state["param_slice_mappings"][index])
    return content


def _mapping(group, rank, world_size, example):
    place = next(iter(example.values()))
    partition, start, result = group.partition_numel(world_size), 0, OrderedDict()
    for name, shape in group.shapes.items():
        first, last = max(start, rank * partition), min(start + shape.numel(), (rank + 1) * partition)
        if first < last:
            result[name] = copy.copy(place)
            result[name].start, result[name].numel = first - rank * partition, last - first
        start += shape.numel()
    return result
