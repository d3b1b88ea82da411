#!/usr/bin/env python3
"""What the metadata of a large checkpoint costs: a model of 70 billion parameters (723 of them), saved at stage 2 and stage 3 by A ranks in
real files whose data are holes, shown at N. Times until a mount answers, until every file has told its size and until one is open and read
at both ends, beside what the same costs with SOURCE's own files; and the daemon's memory. Everything is in the page cache, as the files
were just made: about 3 GB at 10,000 ranks. Exit code 0 when the expectations of the project hold, or are not asked for.
"""
import argparse
from dataclasses import dataclass
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "oracle")]

import ranks  # noqa: E402,F401  before torch: sets its environment

import torch  # noqa: E402

import large_checkpoint  # noqa: E402
import large_stage3  # noqa: E402
import mounting  # noqa: E402
import reporting  # noqa: E402

SOURCE_RANKS = 512
WORLD_SIZES = (1024, 96, 8)
MANY_RANKS = 10_000
MAKERS = {2: large_checkpoint.make_sparse, 3: large_stage3.make_sparse}
SAMPLE = 200  # files at most that PyTorch is timed with; all are told from them
MIB = 1 << 20


@dataclass(frozen=True)
class Measured:
    world_size: int
    files: int
    mount: float  # seconds, like the next two
    stat: float
    read: float
    mounted_peak: int  # bytes, when the mount answers
    daemon_peak: int  # bytes, when all is done


@dataclass(frozen=True)
class Native:
    """What SOURCE's own files cost, in seconds."""

    stat: float
    load: float  # torch.load(mmap=True) of each: the pickle, no tensor


def main(arguments=None):
    options = parse_arguments(arguments)
    lines, missed = [f"{reporting.machine()}. 70 billion parameters; everything in the page cache.", ""], []
    rows = []
    for stage in options.stages:
        for source_ranks in options.ranks:
            with tempfile.TemporaryDirectory(prefix="ckptfs-bench-", dir=options.directory) as scratch:
                source = f"{scratch}/source"
                MAKERS[stage](source, large_stage3.LLAMA_70B, source_ranks)
                native = measure_native(source)
                measured = [show(source, scratch, world_size) for world_size in options.at]
            rows += [row(stage, source_ranks, native, m) for m in measured]
            print(*rows[-len(measured):], sep="\n", file=sys.stderr, flush=True)  # the next ones may take minutes
            missed += many_ranks_missed(stage, source_ranks, measured)
    lines += reporting.table(HEAD, rows)
    for line in missed:
        lines += ["", f"Not as expected: {line}."]
    reporting.publish(lines, options.report, "scale")
    return 1 if missed and options.check else 0


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", default=os.environ.get("TMPDIR", "/var/tmp"), help="where the files are made")
    parser.add_argument("--stages", type=int, nargs="+", default=[2, 3], choices=MAKERS)
    parser.add_argument("--ranks", type=int, nargs="+", default=[100, 1000, MANY_RANKS], metavar="A", help="that saved it")
    parser.add_argument("--at", type=int, nargs="+", default=[8, 1000, MANY_RANKS], metavar="N", help="ranks that it is shown to")
    parser.add_argument("--report", type=pathlib.Path, metavar="FILE", help="a document with a section for this benchmark")
    parser.add_argument("--check", action="store_true", help="fail when an expectation does not hold")
    return parser.parse_args(arguments)


def measure(directory, model=large_stage3.LLAMA_70B, source_ranks=SOURCE_RANKS, world_sizes=WORLD_SIZES):
    with tempfile.TemporaryDirectory(prefix="ckptfs-bench-", dir=directory) as scratch:
        source = f"{scratch}/source"
        large_stage3.make_sparse(source, model, source_ranks)
        return [show(source, scratch, world_size) for world_size in world_sizes]


def show(source, scratch, world_size):
    """One mount: until it answers, until every file has told its size, until one has been read at both ends."""
    point = f"{scratch}/point"
    os.makedirs(point, exist_ok=True)
    start = time.perf_counter()
    daemon = subprocess.Popen([mounting.BINARY, source, point, "-f", f"--world-size={world_size}", f"--log-file={scratch}/log"])
    try:
        while not mounting.is_mounted(point):
            if daemon.poll() is not None:
                raise mounting.MountError(f"ckptfs ended with {daemon.returncode}: {pathlib.Path(scratch, 'log').read_text()}")
            time.sleep(0.001)
        os.listdir(point)
        mounted = time.perf_counter()
        mount = mounting.Mount(point, daemon.pid, None)
        mounted_peak = mount.status("VmHWM") * 1024
        began = time.perf_counter()
        files = stat_all(point)
        known = time.perf_counter()
        with open(large_stage3.optimizer_file(point, world_size - 1), "rb", buffering=0) as file:
            file.read(MIB)
            file.seek(max(0, os.fstat(file.fileno()).st_size - MIB))
            file.read(MIB)
        read = time.perf_counter()
        peak = mount.status("VmHWM") * 1024
    finally:
        complaint = mounting.unmount(point)
        daemon.wait(30)
    if complaint:
        raise mounting.MountError(complaint)
    return Measured(world_size, len(files), mounted - start, known - began, read - known, mounted_peak, peak)


def stat_all(root):
    files = [entry for folder, _, names in os.walk(root) for entry in (os.path.join(folder, name) for name in names)]
    for file in files:
        os.stat(file)
    return files


def measure_native(source):
    start = time.perf_counter()
    files = stat_all(source)
    known = time.perf_counter()
    shards = sorted(file for file in files if file.endswith(".pt"))
    sample = shards[::-(-len(shards) // SAMPLE)]
    began = time.perf_counter()
    for file in sample:
        torch.load(file, mmap=True, weights_only=False)
    return Native(known - start, (time.perf_counter() - began) * len(shards) / len(sample))


HEAD = ["stage", "saved at", "shown at", "files", "mount", "of PyTorch's time for all pickles", "`stat` of every file",
        "of the time for SOURCE's files", "open one, read its first and its last MiB", "peak memory after the mount", "in the end"]


def row(stage, source_ranks, native, m):
    return [f"{stage}", f"{source_ranks:,}", f"{m.world_size:,}", f"{m.files:,}", reporting.seconds(m.mount),
            f"{m.mount / native.load:.3f}", reporting.seconds(m.stat), f"{m.stat / native.stat:.2f}",
            reporting.seconds(m.read), reporting.megabytes(m.mounted_peak), reporting.megabytes(m.daemon_peak)]


def many_ranks_missed(stage, source_ranks, measured):
    if source_ranks != MANY_RANKS:
        return []
    worst, most = max(m.mount for m in measured), max(m.mounted_peak for m in measured)
    expected = {
        f"mounting takes less than 10 s ({reporting.seconds(worst)})": worst < 10,
        f"the daemon mounts in less than 500 MB ({reporting.megabytes(most)})": most < 500e6,
    }
    return [f"stage {stage}, saved at {source_ranks:,}: {text}" for text, holds in expected.items() if not holds]


def table(measured, source_ranks=SOURCE_RANKS):
    rows = {
        "files": lambda m: f"{m.files:,}",
        "mount": lambda m: f"{m.mount:.2f} s",
        "`stat` of every file": lambda m: f"{m.stat:.2f} s",
        "open one, read its first and its last MiB": lambda m: f"{m.read:.3f} s",
        "peak memory of the daemon": lambda m: reporting.megabytes(m.daemon_peak),
    }
    head = [f"70 billion parameters, stage 3, saved at {source_ranks} ranks, shown at", *(f"{m.world_size:,}" for m in measured)]
    return reporting.table(head, [[what, *(tell(m) for m in measured)] for what, tell in rows.items()])


def expectations_missed(measured):
    expected = {
        "mounting takes less than 2 s": max(m.mount for m in measured) < 2,
        "stat of every file takes less than 10 s": max(m.stat for m in measured) < 10,
        "the daemon stays below 300 MB": max(m.daemon_peak for m in measured) < 300e6,
    }
    return [text for text, holds in expected.items() if not holds]


if __name__ == "__main__":
    sys.exit(main())
