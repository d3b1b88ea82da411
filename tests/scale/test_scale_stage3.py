"""A model of 70 billion parameters under ZeRO-3, in holes: many files of many parameters cost their metadata, each pickle once."""
import os
import pathlib
import struct
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "oracle")]

import ranks  # noqa: E402,F401  sets what DeepSpeed reads when it is imported

if os.environ.get("CI") != "true":
    pytest.importorskip("deepspeed", reason="the pickles of the template name DeepSpeed's classes")

import graph  # noqa: E402
import large_stage3  # noqa: E402
from large_stage3 import LLAMA_70B, PARTS  # noqa: E402
from mounting import mounted  # noqa: E402
from test_scale import apparent_bytes, metadata_bytes  # noqa: E402

RANKS = 64
MEMORY_KIB = 100_000_000 // 1024
MARK_AT = ("embedding.weight", "layers.0.q.weight", "layers.41.down.weight", "head.weight", "layers.79.norm2.weight", "norm.weight")


def places(root, world_size, marks):
    """For each mark, the file and the byte in it where a checkpoint at `world_size` has that element."""
    parts = large_stage3.sub_groups(LLAMA_70B, world_size)
    for name, element, part in marks:
        ((index, sub_group),) = ((i, s) for i, s in enumerate(parts) if name in s.shapes)
        rank, flat = sub_group.place(name, element, world_size)
        path = large_stage3.optimizer_file(root, rank)
        with graph.Archive(path) as archive:
            state = archive.graph["optimizer_state_dict"]
            inner = state["optimizer_state_dict"]["state"][index]
            tensor = state["fp32_flat_groups"][index] if part == "master" else inner[part]
            yield path, archive.place(f"data/{tensor.storage.key}") + 4 * (tensor.offset + flat)


@pytest.fixture(scope="module")
def marks():
    """First, middle and last elements, and both sides of a rank's boundary, of some parameters."""
    shapes = {name: shape for group in LLAMA_70B.groups() for name, shape in group.shapes.items()}
    return [(name, element, part) for name in MARK_AT
            for element in (0, large_stage3.share(shapes[name], RANKS) - 1, large_stage3.share(shapes[name], RANKS),
                            shapes[name].numel() - 1)
            for part in PARTS]


@pytest.fixture(scope="module")
def source(tmp_path_factory, marks):
    root = str(tmp_path_factory.mktemp("scale") / "checkpoint")
    large_stage3.make_sparse(root, LLAMA_70B, RANKS)
    for number, (path, offset) in enumerate(places(root, RANKS, marks)):
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(struct.pack("<f", number + 1))
    return root


def test_it_is_a_model_of_70_billion_parameters(source):
    assert len(large_stage3.sub_groups(LLAMA_70B, 8)) > len(large_stage3.sub_groups(LLAMA_70B, RANKS)) > 3
    assert sum(len(group.shapes) for group in LLAMA_70B.groups()) == 723
    assert apparent_bytes(source) > 800e9


@pytest.mark.parametrize("world_size", [8, 96])
def test_every_file_tells_its_size_for_what_the_metadata_cost(source, marks, world_size):
    with mounted(source, world_size) as mount:
        assert mount.nbytes_read() <= metadata_bytes(source)
        # Each parameter may be padded on its own, in each of three parts; headers multiply.
        assert abs(apparent_bytes(mount.path) - apparent_bytes(source)) < 100e6
        ready = mount.nbytes_read()
        for number, (path, offset) in enumerate(places(mount.path, world_size, marks)):
            with open(path, "rb", buffering=0) as file:
                assert struct.unpack("<f", os.pread(file.fileno(), 4, offset))[0] == number + 1, marks[number]
        # Besides the pickles of what is opened again, a read of 4 bytes becomes at most one of the kernel's readahead.
        assert mount.nbytes_read() - ready <= metadata_bytes(source) + len(marks) * 2 * 1024 * 1024
        assert mount.status("VmHWM") <= MEMORY_KIB


def test_sizes_cost_no_reading_of_data(source):
    """`stat` of every file, then again: the second time from what is kept."""
    with mounted(source, 128) as mount:
        apparent_bytes(mount.path)
        ready = mount.nbytes_read()
        apparent_bytes(mount.path)
        assert mount.nbytes_read() - ready <= 128 * 1024
