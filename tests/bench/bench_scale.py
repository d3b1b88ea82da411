#!/usr/bin/env python3
"""What the metadata of a large checkpoint costs: a model of 70 billion parameters (723 of them), saved under ZeRO-3 at 512 ranks,
in 1,024 real files whose data are holes, shown at other world sizes. Prints times and memory; exit code 0 when the
expectations of the project hold, or are not asked for.
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

import large_stage3  # noqa: E402
import mounting  # noqa: E402

SOURCE_RANKS = 512
WORLD_SIZES = (1024, 96, 8)
MIB = 1 << 20


@dataclass(frozen=True)
class Measured:
    world_size: int
    files: int
    mount: float  # seconds, like the next two
    stat: float
    read: float
    daemon_peak: int  # bytes


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", default=os.environ.get("TMPDIR", "/var/tmp"), help="where the files are made")
    parser.add_argument("--check", action="store_true", help="fail when an expectation does not hold")
    options = parser.parse_args(arguments)
    measured = measure(options.directory)
    print("\n".join(table(measured)))
    missed = expectations_missed(measured)
    for line in missed:
        print(f"NOT AS EXPECTED: {line}")
    return 1 if missed and options.check else 0


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
        files = [entry for folder, _, names in os.walk(point) for entry in (os.path.join(folder, name) for name in names)]
        for file in files:
            os.stat(file)
        known = time.perf_counter()
        with open(large_stage3.optimizer_file(point, world_size - 1), "rb", buffering=0) as file:
            file.read(MIB)
            file.seek(max(0, os.fstat(file.fileno()).st_size - MIB))
            file.read(MIB)
        read = time.perf_counter()
        peak = mounting.Mount(point, daemon.pid, None).status("VmHWM") * 1024
    finally:
        complaint = mounting.unmount(point)
        daemon.wait(30)
    if complaint:
        raise mounting.MountError(complaint)
    return Measured(world_size, len(files), mounted - start, known - mounted, read - known, peak)


def table(measured, source_ranks=SOURCE_RANKS):
    rows = {
        "files": lambda m: f"{m.files:,}",
        "mount": lambda m: f"{m.mount:.2f} s",
        "`stat` of every file": lambda m: f"{m.stat:.2f} s",
        "open one, read its first and its last MiB": lambda m: f"{m.read:.3f} s",
        "peak memory of the daemon": lambda m: f"{m.daemon_peak / 1e6:.0f} MB",
    }
    return [
        f"| 70 billion parameters, stage 3, saved at {source_ranks} ranks, shown at | " +
        " | ".join(f"{m.world_size:,}" for m in measured) + " |",
        "| --- |" + " --- |" * len(measured),
        *(f"| {what} | " + " | ".join(tell(m) for m in measured) + " |" for what, tell in rows.items()),
    ]


def expectations_missed(measured):
    expected = {
        "mounting takes less than 2 s": max(m.mount for m in measured) < 2,
        "stat of every file takes less than 10 s": max(m.stat for m in measured) < 10,
        "the daemon stays below 300 MB": max(m.daemon_peak for m in measured) < 300e6,
    }
    return [text for text, holds in expected.items() if not holds]


if __name__ == "__main__":
    sys.exit(main())
