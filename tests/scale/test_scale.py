"""A checkpoint of more than 100 GB, in holes: mounting and reading it in places costs metadata, not the reading of tensors."""
import os
import pathlib
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "oracle")]

import ranks  # noqa: E402,F401  sets what DeepSpeed reads when it is imported

if os.environ.get("CI") != "true":
    pytest.importorskip("deepspeed", reason="the pickles of the template name DeepSpeed's classes")

import gather  # noqa: E402
import graph  # noqa: E402
import large_checkpoint  # noqa: E402
from large_checkpoint import RANKS  # noqa: E402
from mounting import BINARY, ROOT, mounted  # noqa: E402
from peak_memory import peak_memory  # noqa: E402

# 8 billion parameters, 112 GB.
MODEL = large_checkpoint.Model(layers=32, width=4096, hidden=14336, key_value=1024, vocabulary=128256)
MEMORY_KIB = 100_000_000 // 1024
A_FILE = 64 * 1024  # what may be read of each file besides its pickle and its directory
SAMPLE = ROOT / "mount_scripts" / "sample"
MARK_AT = ("embedding.weight", "layers.0.q.weight", "layers.17.down.weight", "head.weight", "layers.31.norm2.weight", "norm.weight")
PARTS = ("master", "exp_avg", "exp_avg_sq")


class Sparse:
    """The checkpoint, with numbers written here and there into its holes."""

    def __init__(self, root):
        self.root = root
        self.groups = large_checkpoint.make_sparse(root, MODEL)
        self.marks = list(self._chosen_marks())
        for number, mark in enumerate(self.marks):
            path, offset = place(root, self.groups, RANKS, *mark)
            with open(path, "r+b") as file:
                file.seek(offset)
                file.write(struct.pack("<f", number + 1))

    def _chosen_marks(self):
        """(group, name, element, part): first, last and middle elements, and both sides of every rank's boundary."""
        for index, group in enumerate(self.groups):
            for name in MARK_AT:
                if name in group.shapes:
                    numel = group.shapes[name].numel()
                    yield from ((index, name, element, part) for element in (0, numel // 3, numel - 1) for part in PARTS)
            boundary = group.partition_numel(RANKS)
            for flat in (boundary - 1, boundary, 3 * boundary - 1, 3 * boundary):
                if flat < group.numel:
                    name, element = parameter_at(group, flat)
                    yield index, name, element, "exp_avg"


def parameter_at(group, flat):
    for name, shape in group.shapes.items():
        if flat < shape.numel():
            return name, flat
        flat -= shape.numel()
    raise IndexError(flat)


def place(root, groups, world_size, index, name, element, part):
    """The file, and the byte in it, where a checkpoint at `world_size` has the element of a parameter's master or state."""
    flat = groups[index].offset(name) + element
    rank, inside = divmod(flat, groups[index].partition_numel(world_size))
    path = f"{gather.tag_of(root)}/bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
    with graph.Archive(path) as archive:
        state = archive.graph["optimizer_state_dict"]
        if part == "master":
            tensor = state["single_partition_of_fp32_groups"][index]
        else:
            tensor = state["base_optimizer_state"]["state"][index][part]
        return path, archive.place(f"data/{tensor.storage.key}") + 4 * (tensor.offset + inside)


def metadata_bytes(root):
    """Pickles, zip directories and 64 KiB of each file of the latest tag."""
    total = 0
    for name in os.listdir(gather.tag_of(root)):
        path = os.path.join(gather.tag_of(root), name)
        with graph.Archive(path) as archive:
            total += archive.size("data.pkl") + os.path.getsize(path) - archive.directory_offset + A_FILE
    return total


def apparent_bytes(root):
    tag = gather.tag_of(root)
    return sum(os.stat(os.path.join(tag, name)).st_size for name in os.listdir(tag))


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    return Sparse(str(tmp_path_factory.mktemp("scale") / "checkpoint"))


def test_the_checkpoint_is_large_and_its_holes_are_holes(sparse):
    tag = gather.tag_of(sparse.root)
    on_disk = sum(os.stat(os.path.join(tag, name)).st_blocks * 512 for name in os.listdir(tag))
    assert apparent_bytes(sparse.root) > 100e9
    assert on_disk < 10e6


@pytest.mark.parametrize("world_size", [3, 8, 64])
def test_reads_in_places_cost_what_they_return(sparse, world_size):
    with mounted(sparse.root, world_size) as mount:
        ready = mount.nbytes_read()
        assert ready <= metadata_bytes(sparse.root)
        names = os.listdir(gather.tag_of(mount.path))
        assert len(names) == world_size + 1
        # Padding differs, headers multiply: the payload is the same.
        assert abs(apparent_bytes(mount.path) - apparent_bytes(sparse.root)) < 1e6
        for number, mark in enumerate(sparse.marks):
            path, offset = place(mount.path, sparse.groups, world_size, *mark)
            with open(path, "rb", buffering=0) as file:
                assert struct.unpack("<f", os.pread(file.fileno(), 4, offset))[0] == number + 1, mark
        assert mount.status("VmHWM") <= MEMORY_KIB
        # A read of 4 bytes becomes at most one of the kernel's readahead.
        assert mount.nbytes_read() - ready <= len(sparse.marks) * 2 * 1024 * 1024


def test_many_readers_at_once_do_not_grow_the_daemon(sparse):
    length = 64 * 1024 * 1024
    # What is read ahead of readers that wait is bounded by itself, and a busy machine makes all of them wait.
    with mounted(sparse.root, 3, "--read-ahead-memory=16MiB") as mount:
        tag = gather.tag_of(mount.path)
        shards = [os.path.join(tag, name) for name in sorted(os.listdir(tag))]

        def read(turn):
            with open(shards[turn % len(shards)], "rb", buffering=0) as file:
                return len(os.pread(file.fileno(), length, turn * 997 * 1024 * 1024 % (os.stat(file.fileno()).st_size - length)))

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(read, range(16))) == [length] * 16
        assert mount.status("VmHWM") <= MEMORY_KIB


@pytest.mark.parametrize("view", ["world-size-3", "weights-fp16", "universal"])
def test_an_export_writes_and_reads_no_holes(sparse, tmp_path, view):
    """More than 100 GB, with their checksums, in the memory and on the disk that their metadata takes."""
    target = tmp_path / "exported"
    process = subprocess.Popen([str(BINARY), "export", sparse.root, str(target), f"--view={view}"], stdout=subprocess.DEVNULL)
    assert peak_memory(process) <= MEMORY_KIB * 1024
    assert process.returncode == 0
    found = [path.stat() for path in target.rglob("*") if path.is_file()]
    assert sum(status.st_size for status in found) > 30e9
    assert sum(status.st_blocks * 512 for status in found) < 30e6
    if view == "world-size-3":
        for number, mark in enumerate(sparse.marks):
            path, offset = place(str(target), sparse.groups, 3, *mark)
            with open(path, "rb", buffering=0) as file:
                assert struct.unpack("<f", os.pread(file.fileno(), 4, offset))[0] == number + 1, mark


@pytest.mark.parametrize("world_size", [3, 4, None])
def test_mounting_reads_no_more_than_metadata(world_size):
    with mounted(SAMPLE, world_size) as mount:
        assert mount.io("rchar") <= metadata_bytes(str(SAMPLE))


def test_the_limit_on_bytes_read_is_one_that_reading_breaks(sparse):
    """The twin: a daemon that had read as much as one gigabyte would be seen."""
    with mounted(sparse.root, 3) as mount:
        path = os.path.join(gather.tag_of(mount.path), "mp_rank_00_model_states.pt")
        with open(path, "rb", buffering=0) as file:
            for turn in range(8):
                os.pread(file.fileno(), 1 << 20, turn * (1 << 30))
        assert mount.nbytes_read() > metadata_bytes(sparse.root)
