"""Writes checkpoints as large as wanted in the layout of a transformer under ZeRO-3 in bf16 with AdamW, at any number of ranks.

The files of two roles are written once; all ranks' files are copies, as ranks differ in nothing but numbers. Objects that are
no tensors come from a small checkpoint that DeepSpeed saved.
"""
from collections import OrderedDict
import concurrent.futures
import contextlib
from dataclasses import dataclass
import errno
import os
import pathlib
import tempfile

import gather
import torch

from large_checkpoint import DATA, Model

TEMPLATE = DATA / "stage3_groups_ws3"  # three groups
SUB_GROUP_SIZE = 10**9  # DeepSpeed's default
LLAMA_70B = Model(layers=80, width=8192, hidden=28672, key_value=1024, vocabulary=32000)  # 723 parameters
PARTS = ("master", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class SubGroup:
    group: int
    shapes: OrderedDict  # name -> torch.Size

    def numel(self, world_size):
        return sum(share(shape, world_size) for shape in self.shapes.values())

    def place(self, name, element, world_size):
        """The rank, and the index in its flat sub-group, of an element of a parameter."""
        rank, inside = divmod(element, share(self.shapes[name], world_size))
        names = list(self.shapes)
        return rank, inside + sum(share(self.shapes[before], world_size) for before in names[:names.index(name)])


def share(shape, world_size):
    return -(-shape.numel() // world_size)


def sub_groups(model, world_size):
    """As DeepSpeed cuts each group: a sub-group ends with the parameter that fills it."""
    result = []
    for index, group in enumerate(model.groups()):
        shapes, filled = OrderedDict(), 0
        whole = sum(share(shape, world_size) for shape in group.shapes.values()) <= SUB_GROUP_SIZE
        for name, shape in group.shapes.items():
            shapes[name] = shape
            filled += share(shape, world_size)
            if filled >= SUB_GROUP_SIZE and not whole:
                result.append(SubGroup(index, shapes))
                shapes, filled = OrderedDict(), 0
        if shapes:
            result.append(SubGroup(index, shapes))
    return result


def make_sparse(root, model, world_size):
    """Tensors are holes: apparent size, hardly any on disk."""
    with tempfile.NamedTemporaryFile() as hole:
        hole.truncate(4 * max(part.numel(world_size) for part in sub_groups(model, world_size)))

        def tensor(numel):
            """Maps the hole, as memory of this size need not be there."""
            return torch.from_file(hole.name, shared=True, size=numel, dtype=torch.float32)

        _make(root, model, world_size, tensor, torch.serialization.skip_data())


def make_full(root, model, world_size):
    """Tensors are random numbers, the same on all ranks."""
    generator = torch.Generator().manual_seed(0)
    _make(root, model, world_size, lambda numel: torch.rand(numel, generator=generator), contextlib.nullcontext())


def model_file(root, rank):
    return f"{gather.tag_of(root)}/zero_pp_rank_{rank}_mp_rank_00_model_states.pt"


def optimizer_file(root, rank):
    return f"{gather.tag_of(root)}/bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"


def _make(root, model, world_size, tensor, saving):
    tag = os.path.basename(gather.tag_of(TEMPLATE))
    pathlib.Path(root, tag).mkdir(parents=True)
    pathlib.Path(root, "latest").write_text(tag, encoding="ascii")
    parts = sub_groups(model, world_size)
    contents = {model_file: _model(gather.load(model_file(TEMPLATE, 0)), model, parts, world_size),
                optimizer_file: _optimizer(gather.load(optimizer_file(TEMPLATE, 0)), model, parts, world_size, tensor)}
    for path, content in contents.items():
        with saving:
            torch.save(content, path(root, 0))
        with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for _ in pool.map(lambda rank, path=path: copy_sparse(path(root, 0), path(root, rank)), range(1, world_size)):
                pass  # a failure is raised here


def _names(model):
    """The parameters in the order of the model's construction."""
    names = [name for group in model.groups() for name in group.shapes]
    last = ["norm.weight", "head.weight"]
    return ["embedding.weight", *sorted((n for n in names if n.startswith("layers.")), key=lambda n: int(n.split(".")[1])), *last]


def _model(content, model, parts, world_size):
    module = OrderedDict((name, torch.zeros(0, dtype=torch.bfloat16)) for name in _names(model))
    module._metadata = content["module"]._metadata
    content.update(module=module, buffer_names=[], param_shapes=[part.shapes for part in parts], shared_params={},
                   frozen_param_shapes=OrderedDict(), frozen_param_fragments=OrderedDict(), dp_world_size=world_size)
    return content


def _optimizer(content, model, parts, world_size, tensor):
    state, number = content["optimizer_state_dict"], {name: index for index, name in enumerate(_names(model))}
    inner = state["optimizer_state_dict"]
    step, masters = inner["state"][0]["step"], []
    for part in parts:
        master = tensor(part.numel(world_size)).requires_grad_(True)
        first, *_, last = (*part.shapes, *part.shapes)
        master.ds_id = f"{number[first]}_{number[last]}"
        masters.append(master)
    inner["state"] = {index: {"step": step.clone(), "exp_avg": tensor(part.numel(world_size)),
                              "exp_avg_sq": tensor(part.numel(world_size))} for index, part in enumerate(parts)}
    for group, options in enumerate(inner["param_groups"]):
        options["params"] = [index for index, part in enumerate(parts) if part.group == group]
    state.update(fp32_flat_groups=masters, partition_count=world_size)
    return content


def copy_sparse(source, target):
    """Copies data, leaves holes."""
    with open(source, "rb") as reading, open(target, "wb") as writing:
        size, place = os.fstat(reading.fileno()).st_size, 0
        os.truncate(writing.fileno(), size)
        while place < size:
            try:
                place = os.lseek(reading.fileno(), place, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # only a hole is left
                    return
                raise
            end = os.lseek(reading.fileno(), place, os.SEEK_HOLE)
            os.lseek(writing.fileno(), place, os.SEEK_SET)
            while place < end:
                place += os.sendfile(writing.fileno(), reading.fileno(), place, end - place)
