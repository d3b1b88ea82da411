"""What the benchmarks of reading share: a checkpoint, ways to read it, and comparisons of a view with ordinary files.

    raw                read() of 16 MiB at a time into the same memory
    torch.load         as DeepSpeed and Lightning load them
    mmap               torch.load(mmap=True), then one byte of every page
    cp                 into a file in memory
    load_file          safetensors.torch.load_file(), then one byte of every page
    safe_open          safetensors.safe_open(), the first half of each tensor, one byte of every page of that

Of the first four a reader takes the optimizer shard of its rank, of the others the whole model.
"""
from dataclasses import dataclass
import glob
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

import safetensors
import safetensors.torch
import torch

import large_checkpoint
from large_checkpoint import FORK
import large_stage3
import mounting
import reporting

CUT, SAME = 8, large_checkpoint.RANKS
MIB = 1 << 20


def read_raw(path):
    buffer = memoryview(bytearray(16 * MIB))
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def load(path):
    torch.load(path, weights_only=False)


def load_mapped(path):
    touch(tensors_of(torch.load(path, mmap=True, weights_only=False)))


def copy(path):
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as target:
        subprocess.run(["cp", path, target.name], check=True)


def load_safetensors(path):
    for file in model_files(path):
        touch(safetensors.torch.load_file(file).values())


def load_halves(path):
    for path_of_file in model_files(path):
        with safetensors.safe_open(path_of_file, "pt") as file:
            for name in file.keys():
                part = file.get_slice(name)
                touch([part[:part.get_shape()[0] // 2]])


def touch(tensors):
    for tensor in tensors:
        tensor.detach().view(-1).view(torch.uint8)[::4096].sum()


def tensors_of(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors_of(item)


def model_files(root):
    found = sorted(glob.glob(f"{root}/model*.safetensors"))
    if not found:
        raise FileNotFoundError(f"{root} has no model*.safetensors")
    return found


def shards(root, readers):
    """What each reader of optimizer shards reads."""
    return [large_stage3.optimizer_file(root, rank) for rank in range(readers)]


def models(root, readers):
    """What each reader of the model reads."""
    return [os.fspath(root)] * readers


def nbytes_of(path):
    return os.stat(path).st_size if os.path.isfile(path) else sum(os.stat(file).st_size for file in model_files(path))


@dataclass(frozen=True)
class Way:
    read: object  # of one path
    paths: object = shards
    part: float = 1  # of the bytes


SHARDS = {"raw": Way(read_raw), "torch.load": Way(load), "mmap": Way(load_mapped), "cp": Way(copy)}
MODELS = {"load_file": Way(load_safetensors, models), "safe_open": Way(load_halves, models, 0.5)}


class Checkpoint:
    """Saved at SAME ranks, and `copies` of what views show of it: ordinary files with the same bytes."""

    def __init__(self, options, scratch, cut=CUT, with_model=False):
        self.cut = cut
        self.source = f"{scratch}/source"
        width = options.width
        large_checkpoint.make_full(
            self.source, large_checkpoint.Model(options.layers, width, width * 8 // 3, width, options.vocabulary))
        self.copies = {SAME: self.source, cut: f"{scratch}/copies"}
        with self.shown(cut) as mount:
            shutil.copytree(mount.path, self.copies[cut])
        if with_model:
            self.model = f"{scratch}/model"
            with self.shown_model() as mount:
                shutil.copytree(mount.path, self.model, ignore=shutil.ignore_patterns("global_step*"))

    def shown(self, world_size, *options):
        return mounting.mounted(self.source, world_size, *options)

    def shown_model(self):
        return mounting.mounted(self.source, None, "--view=weights")

    @property
    def shard_nbytes(self):
        return nbytes_of(large_stage3.optimizer_file(self.copies[self.cut], 0))


@dataclass(frozen=True)
class Compared:
    """Medians of one way to read, in seconds."""

    view: float
    files: float
    nbytes: float
    peak: int  # memory of the daemon, in bytes

    @property
    def ratio(self):
        return self.view / self.files

    def __str__(self):
        return f"{self.ratio:.2f} ({self.nbytes / self.view / 1e9:.1f} of {self.nbytes / self.files / 1e9:.1f} GB/s)"


def compare(way, files, shown, readers, repetitions, before=lambda: None):
    """`before` runs before each reading, when the mount is there."""
    seconds, peaks = {"view": [], "files": []}, []
    for turn in range(repetitions + 1):
        # The order alternates, so that neither side always follows the other; the first round warms up.
        for which in sorted(seconds, reverse=bool(turn % 2)):
            if which == "view":
                with shown() as mount:
                    before()
                    spent = time_readers(way.read, way.paths(os.fspath(mount), readers))
                    peaks.append(mount.status("VmHWM") * 1024)
            else:
                before()
                spent = time_readers(way.read, way.paths(files, readers))
            if turn:
                seconds[which].append(spent)
    view, native = (statistics.median(seconds[which]) for which in ("view", "files"))
    nbytes = sum(nbytes_of(path) for path in way.paths(files, readers)) * way.part
    return Compared(view, native, nbytes, max(peaks))


def time_readers(read, paths):
    """Until the last of them has read its path, from when all are ready."""
    barrier = FORK.Barrier(len(paths))
    spans = FORK.SimpleQueue()

    def run(path):
        torch.set_num_threads(1)
        barrier.wait()
        start = time.perf_counter()
        read(path)
        spans.put((start, time.perf_counter()))

    processes = [FORK.Process(target=run, args=(path,)) for path in paths]
    large_checkpoint.run_all(processes, f"a reader of {paths[0]} failed")
    found = [spans.get() for _ in processes]
    return max(end for _, end in found) - min(start for start, _ in found)


def timed(body, *arguments):
    start = time.perf_counter()
    body(*arguments)
    return time.perf_counter() - start


def about(options, made):
    return (f"{reporting.machine()}, torch {torch.__version__}. Shards of {made.shard_nbytes / 1e9:.2f} GB at {made.cut} ranks; "
            f"{reporting.counted(options.repetitions, 'repetition')}.")
