#!/usr/bin/env python3
"""What a resume at another world size costs: through a mount, from ordinary files of that world size, and through DeepSpeed's
universal checkpoint, at stages 2 and 3. Makes checkpoints of 4 ranks (95 million parameters, 1.3 GB, unless told otherwise),
prints times, memory and disk; exit code 0 when the expectations of the project hold, or are not asked for. The report adds
what bench_scale.py measures.
"""
import contextlib
from dataclasses import dataclass
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "oracle")]

import ranks  # noqa: E402  before torch: sets its environment

import psutil  # noqa: E402
import torch  # noqa: E402

import bench_scale  # noqa: E402
import gather  # noqa: E402
import large_checkpoint  # noqa: E402
import large_stage3  # noqa: E402
import mounting  # noqa: E402
import reporting  # noqa: E402

WORLD_SIZE = 3
MIB = 1 << 20


@dataclass(frozen=True)
class Measured:
    stage: int
    checkpoint_bytes: int
    mount: list  # seconds
    shards_view: list
    shards_files: list
    resume_view: list
    resume_files: list
    daemon_peak: int  # bytes
    convert_seconds: float
    convert_peak: int
    convert_disk: int


def main(arguments=None):
    options = parser(__doc__).parse_args(arguments)
    measured = [measure(stage, options) for stage in (2, 3)]
    lines = "\n\n".join("\n".join(table(m)) for m in measured)
    print(lines)
    missed = [f"stage {m.stage}: {line}" for m in measured for line in expectations_missed(m)]
    for line in missed:
        print(f"NOT AS EXPECTED: {line}")
    if options.report:
        scale = bench_scale.measure(options.directory)
        write_report(options, lines, "\n".join(bench_scale.table(scale)))
        missed += bench_scale.expectations_missed(scale)
    return 1 if missed and options.check else 0


def parser(description):
    """Of what the benchmarks over whole checkpoints are told alike."""
    made = reporting.parser(description, report="write the results as a document")
    made.add_argument("--check", action="store_true", help="fail when an expectation does not hold")
    return made


def model(options):
    width = options.width
    return large_checkpoint.Model(options.layers, width, width * 8 // 3, width, options.vocabulary)


def make_source(stage, source, options):
    """A checkpoint of the size that is asked for."""
    if stage == 3:
        large_stage3.make_full(source, model(options), large_checkpoint.RANKS)
    else:
        large_checkpoint.make_full(source, model(options))


def measure(stage, options):
    # Not in /tmp where that is memory: the disk is part of the comparison.
    with tempfile.TemporaryDirectory(prefix="ckptfs-bench-", dir=options.directory) as scratch:
        source = f"{scratch}/source"
        make_source(stage, source, options)
        return measure_resume(stage, source, scratch, options.repetitions)


def measure_resume(stage, source, scratch, repetitions):
    copies, universal = f"{scratch}/copies", f"{scratch}/universal"
    mounts = [time_mount(source, scratch) for _ in range(repetitions)]
    with mounting.mounted(source, WORLD_SIZE) as mount:
        shutil.copytree(mount.path, copies)
    warm(source)
    times = {(what, root): [] for what in ("shards", "resume") for root in ("view", "files")}
    with mounting.mounted(source, WORLD_SIZE) as mount:
        roots = {"view": mount.path, "files": copies}
        for turn in range(repetitions + 1):
            for what in ("shards", "resume"):
                # The order alternates, so that neither side always follows the other; the first round warms up.
                for name in sorted(roots, reverse=bool(turn % 2)):
                    seconds = time_load(stage, roots[name], what)
                    if turn:
                        times[what, name].append(seconds)
        daemon_peak = mount.status("VmHWM") * 1024
    seconds, peak = time_conversion(source, universal)
    return Measured(stage, size_of(source), mounts, times["shards", "view"], times["shards", "files"], times["resume", "view"],
                    times["resume", "files"], daemon_peak, seconds, peak, size_of(universal))


def time_mount(source, scratch):
    """Until the program returns to the shell, which is when the mount answers."""
    point = f"{scratch}/point"
    os.makedirs(point, exist_ok=True)
    start = time.perf_counter()
    subprocess.run([mounting.BINARY, source, point, f"--world-size={WORLD_SIZE}", f"--log-file={scratch}/log"], check=True)
    seconds = time.perf_counter() - start
    complaint = mounting.unmount(point)
    if complaint:
        raise mounting.MountError(complaint)
    return seconds


def time_load(stage, root, what):
    """Until the last of the ranks, each a process of its own, has loaded its files."""
    def load(rank):
        shard = large_stage3.optimizer_file(root, rank)
        model_states = large_stage3.model_file(root, rank) if stage == 3 else f"{gather.tag_of(root)}/mp_rank_00_model_states.pt"
        files = [shard] if what == "shards" else [model_states, model_states, shard]  # as engine.load_checkpoint does
        torch.distributed.barrier()
        start = time.perf_counter()
        for file in files:
            gather.load(file)
        return start, time.perf_counter()

    spans = ranks.run_ranks(WORLD_SIZE, load)
    return max(end for _, end in spans) - min(start for start, _ in spans)


def time_conversion(source, target):
    """DeepSpeed's conversion with its own defaults, as a command. Returns seconds and peak memory of all its processes."""
    tag = pathlib.Path(gather.tag_of(source))
    os.makedirs(target)
    command = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--inject_missing_state",
               "--input_folder", str(tag), "--output_folder", f"{target}/{tag.name}"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = PeakMemory(process.pid)
    errors = process.communicate()[1]
    seconds = time.perf_counter() - start
    peak.stop()
    if process.returncode != 0:
        raise RuntimeError(f"ds_to_universal failed:\n{errors.decode()}")
    return seconds, peak.bytes


class PeakMemory(threading.Thread):
    """Watches the memory that belongs to a process and its descendants alone."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.bytes = 0
        self._root, self._over = psutil.Process(pid), threading.Event()
        self.start()

    def run(self):
        while not self._over.wait(0.1):
            with contextlib.suppress(psutil.NoSuchProcess):
                total = 0
                for process in [self._root, *self._root.children(recursive=True)]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        total += process.memory_full_info().uss
                self.bytes = max(self.bytes, total)

    def stop(self):
        self._over.set()
        self.join()


def warm(root):
    for folder, _, names in os.walk(root):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                while file.read(16 * MIB):
                    pass


def size_of(root):
    return sum(os.stat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(root) for name in names)


def median(values):
    return statistics.median(values)


def spread(values, unit="s"):
    return f"{median(values):.3f} {unit} ({min(values):.3f} to {max(values):.3f})"


def ratio(one, other):
    return median(one) / median(other)


def table(m):
    return [
        f"| stage {m.stage}, {m.checkpoint_bytes / 1e9:.2f} GB, saved at {large_checkpoint.RANKS} ranks, resumed at {WORLD_SIZE} | median (least to most) |",
        "| --- | --- |",
        f"| mount | {spread(m.mount)} |",
        f"| torch.load of all {WORLD_SIZE} optimizer shards at once, from the view | {spread(m.shards_view)} |",
        f"| the same from ordinary files | {spread(m.shards_files)} |",
        f"| view / files | {ratio(m.shards_view, m.shards_files):.2f} |",
        f"| all that engine.load_checkpoint loads, {WORLD_SIZE} ranks at once, from the view | {spread(m.resume_view)} |",
        f"| the same from ordinary files | {spread(m.resume_files)} |",
        f"| view / files | {ratio(m.resume_view, m.resume_files):.2f} |",
        f"| peak memory of the daemon, all ranks loading | {m.daemon_peak / 1e6:.0f} MB |",
        "| disk used by the mount | 0 |",
        f"| ds_to_universal: time | {m.convert_seconds:.1f} s |",
        f"| ds_to_universal: peak memory | {m.convert_peak / 1e6:.0f} MB |",
        f"| ds_to_universal: disk | {m.convert_disk / 1e9:.2f} GB |",
        f"| ds_to_universal / mount, time | {m.convert_seconds / median(m.mount):.0f} |",
    ]


def expectations_missed(m):
    expected = {
        "mounting takes less than 0.5 s": median(m.mount) < 0.5,
        "mounting is at least 100 times faster than the conversion": m.convert_seconds >= 100 * median(m.mount),
        "loading the shards takes at most 1.3 times as long as from files": ratio(m.shards_view, m.shards_files) <= 1.3,
        "the daemon stays below 100 MB": m.daemon_peak < 100e6,
    }
    return [text for text, holds in expected.items() if not holds]


def write_report(options, lines, scale):
    text = ["# What a resume at another world size costs", "",
            "Written by `tests/bench/bench_resume.py --report docs/benchmark.md`: one run, page cache warm, every number from it.",
            f"{options.repetitions} repetitions, view and files in alternating order. {os.cpu_count()} cores, "
            f"{psutil.virtual_memory().total / 2**30:.0f} GiB of memory, {platform.system()} {platform.release()}, "
            f"torch {torch.__version__}.", "", lines, "",
            "## Scale", "",
            "Layout only: real headers and pickles, holes for data (`tests/bench/bench_scale.py`). Sizes and reads follow from metadata,",
            "so this is all that a mount of a checkpoint of this size costs before tensors are read.", "", scale]
    options.report.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
