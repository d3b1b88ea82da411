#!/usr/bin/env python3
"""What the derived views cost against the conversions that they replace: time to the first byte and to the whole, memory and disk, at
stages 2 and 3, beside the files of a world-size view in the same run. Makes checkpoints of 4 ranks (95 million parameters, 1.3 GB,
unless told otherwise), and one of 70 billion parameters whose data are holes. Exit code 0 when the expectations of the project hold, or
are not asked for.
"""
import concurrent.futures
import contextlib
from dataclasses import dataclass, field
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "oracle")]

import ranks  # noqa: E402,F401  before torch: sets its environment

import psutil  # noqa: E402
import torch  # noqa: E402

import bench_resume  # noqa: E402
import bench_scale  # noqa: E402
import gather  # noqa: E402
import large_checkpoint  # noqa: E402
import large_stage3  # noqa: E402
import mounting  # noqa: E402

MIB = 1 << 20
READERS = 4
REFERENCE = f"world-size-{bench_resume.WORLD_SIZE}"
# Source bytes for each byte that is read, by stage: more than 1 where masters are converted on the way. Stages 1 and 2 keep the weights in
# bf16, stage 3 keeps masters alone.
VIEWS = {
    REFERENCE: {2: 1, 3: 1},
    "weights-fp32": {2: 1, 3: 1},
    "weights-bf16": {2: 1, 3: 2},
    "weights-fp16": {2: 2, 3: 2},
    "weights-fp32-bin": {2: 1, 3: 1},
    "universal": {2: 1, 3: 1},
}


@dataclass
class Shown:
    """One view: seconds and bytes."""

    files: int = 0
    bytes: int = 0
    first_byte: list = field(default_factory=list)
    whole: list = field(default_factory=list)
    anonymous_peak: int = 0

    def rate(self):
        return self.bytes / statistics.median(self.whole)


@dataclass(frozen=True)
class Converted:
    seconds: float
    peak: int
    disk: int


@dataclass(frozen=True)
class Measured:
    stage: int
    views: dict
    conversions: dict


@dataclass(frozen=True)
class Listed:
    view: str
    files: int
    mount: float
    listing: float
    peak: int


def main(arguments=None):
    options = parse_arguments(arguments)
    measured = [measure(stage, options) for stage in (2, 3)]
    listed = list_large(options.directory) if options.large else []
    text = "\n\n".join(["\n".join(table(m)) for m in measured] + (["\n".join(large_table(listed))] if listed else []))
    print(text)
    missed = [f"stage {m.stage}: {line}" for m in measured for line in expectations_missed(m)] + large_missed(listed)
    for line in missed:
        print(f"NOT AS EXPECTED: {line}")
    if options.report:
        write_report(options, text, missed)
    return 1 if missed and options.check else 0


def parse_arguments(arguments):
    parser = bench_resume.parser(__doc__)
    parser.add_argument("--no-large", dest="large", action="store_false", help="without the 70 billion parameters")
    return parser.parse_args(arguments)


def measure(stage, options):
    with tempfile.TemporaryDirectory(prefix="ckptfs-bench-", dir=options.directory) as scratch:
        source = f"{scratch}/source"
        bench_resume.make_source(stage, source, options)
        bench_resume.warm(source)
        views = {name: Shown() for name in VIEWS}
        for turn in range(options.repetitions + 1):  # the first one warms up
            for name in sorted(views, reverse=bool(turn % 2)):
                show(source, name, views[name], counts=turn > 0)
        for name, shown in views.items():
            shown.anonymous_peak = memory_of_readers(source, name)
        return Measured(stage, views, {"zero_to_fp32": convert_to_fp32(source, f"{scratch}/fp32"),
                                       "ds_to_universal": convert_to_universal(source, f"{scratch}/universal")})


def show(source, name, shown, counts):
    start = time.perf_counter()
    with mounting.mounted(source, None, f"--view={name}") as mount:
        files = files_of(mount, source, name)
        with open(files[0], "rb", buffering=0) as file:
            file.read(1)
        first = time.perf_counter()
        total = sum(read_whole(file) for file in files)
        end = time.perf_counter()
    shown.files, shown.bytes = len(files), total
    if counts:
        shown.first_byte.append(first - start)
        shown.whole.append(end - first)


def files_of(mount, source, name):
    """The files that the view computes."""
    root = pathlib.Path(mount)
    tag = pathlib.Path(gather.tag_of(source)).name
    if name == "universal":
        files = root.joinpath(f"{tag}_universal").rglob("*.pt")
    elif name.endswith("-bin"):
        files = root.glob("pytorch_model*.bin")
    elif name.startswith("weights"):
        files = root.glob("model*.safetensors")
    else:
        files = root.joinpath(tag).glob("*optim_states.pt")
    return sorted(str(file) for file in files)


def read_whole(path):
    buffer, total = bytearray(MIB), 0
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            total += count
    return total


def memory_of_readers(source, name):
    """The most memory of its own that the daemon has while several readers read everything at once."""
    with mounting.mounted(source, None, f"--view={name}") as mount:
        files = files_of(mount, source, name)
        peak = AnonymousPeak(mount)
        with concurrent.futures.ThreadPoolExecutor(READERS) as readers:
            list(readers.map(lambda _: [read_whole(file) for file in files], range(READERS)))
        return peak.stop()


class AnonymousPeak(threading.Thread):
    def __init__(self, mount):
        super().__init__(daemon=True)
        self._mount, self._over, self._bytes = mount, threading.Event(), 0
        self.start()

    def run(self):
        while not self._over.wait(0.005):
            self._bytes = max(self._bytes, self._mount.status("RssAnon") * 1024)

    def stop(self):
        self._over.set()
        self.join()
        return self._bytes


def convert_to_fp32(source, target):
    script = [sys.executable, "-m", "deepspeed.utils.zero_to_fp32", source, target, "--safe_serialization"]
    return convert(script, target)


def convert_to_universal(source, target):
    tag = pathlib.Path(gather.tag_of(source))
    return convert([sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--inject_missing_state", "--input_folder", str(tag),
                    "--output_folder", f"{target}/{tag.name}"], target)


def convert(command, target):
    os.makedirs(target)
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = bench_resume.PeakMemory(process.pid)
    errors = process.communicate()[1]
    seconds = time.perf_counter() - start
    peak.stop()
    if process.returncode != 0:
        raise RuntimeError(f"{command[2]} failed:\n{errors.decode()}")
    return Converted(seconds, peak.bytes, bench_resume.size_of(target))


def list_large(directory):
    with tempfile.TemporaryDirectory(prefix="ckptfs-bench-", dir=directory) as scratch:
        source = f"{scratch}/source"
        large_stage3.make_sparse(source, large_stage3.LLAMA_70B, bench_scale.SOURCE_RANKS)
        return [list_view(source, name) for name in ("weights-bf16", "universal")]


def list_view(source, name):
    start = time.perf_counter()
    with mounting.mounted(source, None, f"--view={name}") as mount:
        mounted = time.perf_counter()
        listed = subprocess.run(["ls", "-lR", mount.path], check=True, capture_output=True, text=True).stdout
        end = time.perf_counter()
        files = sum(line.startswith("-") for line in listed.splitlines())
        return Listed(name, files, mounted - start, end - mounted, mount.status("VmHWM") * 1024)


def table(m):
    reference = m.views[REFERENCE].rate()
    lines = [f"| stage {m.stage}, saved at {large_checkpoint.RANKS} ranks | files | size | first byte, from the command on | all of it | rate | "
             f"of {REFERENCE}'s | the same, by bytes of the source | memory of its own, {READERS} readers |", "| --- |" + " --- |" * 8]
    for name, shown in m.views.items():
        lines.append(f"| `--view={name}`{', converted' if VIEWS[name][m.stage] > 1 else ''} | {shown.files:,} | {shown.bytes / 1e9:.2f} GB | "
                     f"{bench_resume.spread(shown.first_byte)} | {bench_resume.spread(shown.whole)} | {shown.rate() / 1e9:.2f} GB/s | "
                     f"{shown.rate() / reference:.2f} | {VIEWS[name][m.stage] * shown.rate() / reference:.2f} | {shown.anonymous_peak / 1e6:.0f} MB |")
    for name, done in m.conversions.items():
        lines.append(f"| `{name}` | | {done.disk / 1e9:.2f} GB on disk | {done.seconds:.1f} s | {done.seconds:.1f} s | | | | {done.peak / 1e6:.0f} MB |")
    return lines


def expectations_missed(m):
    reference = m.views[REFERENCE].rate()
    missed = []
    for name, shown in m.views.items():
        factor = VIEWS[name][m.stage]
        least, found = (0.75, 0.95)[factor == 1], factor * shown.rate() / reference
        if statistics.median(shown.first_byte) >= 0.5:
            missed.append(f"{name}: the first byte comes in less than 0.5 s")
        if name != "universal" and found < least:
            missed.append(f"{name}: source bytes are read at {least:.0%} of the rate of {REFERENCE} at least ({found:.0%})")
        if shown.anonymous_peak >= 60e6:
            missed.append(f"{name}: less than 60 MB of memory with {READERS} readers")
    return missed


def large_table(listed):
    return [f"| 70 billion parameters, stage 3, saved at {bench_scale.SOURCE_RANKS} ranks | files | mount | `ls -lR` | peak memory of the daemon |",
            "| --- | --- | --- | --- | --- |",
            *(f"| `--view={one.view}` | {one.files:,} | {one.mount:.2f} s | {one.listing:.2f} s | {one.peak / 1e6:.0f} MB |" for one in listed)]


def large_missed(listed):
    limits = {"weights-bf16": 3, "universal": 5}
    return [f"70 billion parameters, {one.view}: {what}" for one in listed
            for what, holds in {f"listed in {limits[one.view]} s": one.listing < limits[one.view],
                                "less than 300 MB of memory": one.peak < 300e6}.items() if not holds]


def write_report(options, text, missed):
    with contextlib.suppress(FileNotFoundError):
        options.report.unlink()
    lines = ["# What views cost against conversions", "",
             "Written by `tests/bench/bench_views.py --report docs/benchmark-views.md`: one run, page cache warm, every number from it; median (least to",
             f"most) of {options.repetitions} repetitions, views in alternating order. {os.cpu_count()} cores, "
             f"{psutil.virtual_memory().total / 2**30:.0f} GiB of memory, {platform.system()} {platform.release()}, torch {torch.__version__}.",
             "Reads are of 1 MiB, one after the other. What converts has nothing to give before it ends. A view of 16 bits over fp32 masters reads two",
             "bytes for each that it gives: it is held to the rate at which it reads. A universal tree is hundreds of small files, each opened for itself.", "",
             text, ""]
    if missed:
        lines += ["Expected, and not so in this run:", "", *(f"* {line}" for line in missed), ""]
    options.report.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
