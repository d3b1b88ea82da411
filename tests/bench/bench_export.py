#!/usr/bin/env python3
"""What `ckptfs export` costs against `cp -a` of the same bytes, and against the conversions whose work it takes over, at stages 2 and 3, on
a disk and in memory. Makes checkpoints of 4 ranks (95 million parameters, 1.3 GB, unless told otherwise). Exit code 0 when the expectations
of the project hold, or are not asked for.
"""
from dataclasses import dataclass, field
import os
import pathlib
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "oracle")]

import ranks  # noqa: E402,F401  before torch: sets its environment

import psutil  # noqa: E402
import torch  # noqa: E402

import bench_resume  # noqa: E402
import bench_views  # noqa: E402
import bench_writing  # noqa: E402
import large_checkpoint  # noqa: E402
import mounting  # noqa: E402

WORLD_SIZE = bench_resume.WORLD_SIZE
VIEWS = (f"world-size-{large_checkpoint.RANKS}", f"world-size-{WORLD_SIZE}", "weights", "weights-fp16", "weights-fp32-bin", "states", "universal")
CONVERTERS = {"weights-fp32-bin": ("zero_to_fp32", bench_views.convert_to_fp32), "universal": ("ds_to_universal", bench_views.convert_to_universal)}
MOST_TIMES_CP = 1.3
LEAST_TIMES_CONVERTER = 20


@dataclass
class Exported:
    """One view: bytes, files, seconds."""

    nbytes: int = 0
    files: int = 0
    export: list = field(default_factory=list)
    copy: list = field(default_factory=list)  # cp -a, and until it is on disk
    plain_copy: list = field(default_factory=list)  # cp -a alone
    peak: int = 0  # memory of the export, bytes

    def ratio(self):
        """The median of the ratios of neighbours: what a disk does at the time happens to both."""
        return statistics.median(one / other for one, other in zip(self.export, self.copy, strict=True))


@dataclass(frozen=True)
class Measured:
    stage: int
    kind: str  # of file system
    views: dict
    conversions: dict  # view -> bench_views.Converted

    def times_faster(self, view):
        return self.conversions[view].seconds / statistics.median(self.views[view].export)


def main(arguments=None):
    made = bench_resume.parser(__doc__)
    made.add_argument("--memory", default="/dev/shm", help="a directory that lies in memory")
    options = made.parse_args(arguments)
    load = os.getloadavg()[0]
    measured = [measure(stage, directory, options) for directory in (options.directory, options.memory) for stage in (2, 3)]
    text = "\n\n".join("\n".join(table(m)) for m in measured)
    print(text)
    missed = [f"stage {m.stage} on {m.kind}, {line}" for m in measured for line in expectations_missed(m)]
    for line in missed:
        print(f"NOT AS EXPECTED: {line}")
    if options.report:
        write_report(options, load, text, missed)
    return 1 if missed and options.check else 0


def measure(stage, directory, options):
    with tempfile.TemporaryDirectory(prefix="ckptfs-bench-", dir=directory) as scratch:
        source = f"{scratch}/source"
        bench_resume.make_source(stage, source, options)
        bench_resume.warm(source)
        views = {view: Exported() for view in VIEWS}
        for turn in range(options.repetitions + 1):  # the first one warms up
            for view in random.Random(turn).sample(VIEWS, len(VIEWS)):
                export_and_copy(source, view, scratch, views[view], counts=turn > 0)
        conversions = {view: convert(source, f"{scratch}/{view}") for view, (_, convert) in CONVERTERS.items()}
        return Measured(stage, bench_writing.file_system(scratch), views, conversions)


def export_and_copy(source, view, scratch, exported, counts):
    """What was exported is an ordinary directory of the same bytes, which cp then copies."""
    target, copy = f"{scratch}/exported", f"{scratch}/copy"
    os.sync()  # nobody waits for the bytes of the one before
    start = time.perf_counter()
    process = subprocess.Popen([mounting.BINARY, "export", source, target, f"--view={view}", "--quiet"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    peak = bench_resume.PeakMemory(process.pid)
    _, error = process.communicate()
    export_seconds = time.perf_counter() - start
    peak.stop()
    if process.returncode != 0:
        raise RuntimeError(f"the export failed:\n{error}")
    start = time.perf_counter()
    subprocess.run(["cp", "-a", target, copy], check=True)
    plain_seconds = time.perf_counter() - start
    subprocess.run(["sync", "-f", copy], check=True)
    copy_seconds = time.perf_counter() - start
    exported.nbytes = bench_resume.size_of(target)
    exported.files = sum(len(names) for _, _, names in os.walk(target))
    exported.peak = max(exported.peak, peak.bytes)
    if counts:
        exported.export.append(export_seconds)
        exported.copy.append(copy_seconds)
        exported.plain_copy.append(plain_seconds)
    shutil.rmtree(target)
    shutil.rmtree(copy)


def table(m):
    lines = [f"| stage {m.stage}, saved at {large_checkpoint.RANKS} ranks, {m.kind} | files | size | export | rate | `cp -a`, and until it is on disk | "
             "export / cp | `cp -a` alone | memory of the export | conversion | conversion / export |", "| --- |" + " --- |" * 10]
    for view, one in m.views.items():
        converted = ["", ""]
        if view in m.conversions:
            converted = [f"`{CONVERTERS[view][0]}` {m.conversions[view].seconds:.1f} s, {m.conversions[view].disk / 1e9:.2f} GB",
                         f"{m.times_faster(view):.1f}"]
        lines.append(f"| `--view={view}` | {one.files:,} | {one.nbytes / 1e9:.2f} GB | {bench_resume.spread(one.export)} | "
                     f"{one.nbytes / statistics.median(one.export) / 1e9:.2f} GB/s | {bench_resume.spread(one.copy)} | {one.ratio():.2f} | "
                     f"{bench_resume.spread(one.plain_copy)} | {one.peak / 1e6:.0f} MB | {converted[0]} | {converted[1]} |")
    return lines


def expectations_missed(m):
    missed = [f"{view}: at most {MOST_TIMES_CP} times as long as cp ({one.ratio():.2f})" for view, one in m.views.items()
              if one.ratio() > MOST_TIMES_CP]
    return missed + [f"{view}: at least {LEAST_TIMES_CONVERTER} times faster than {CONVERTERS[view][0]} ({m.times_faster(view):.1f})"
                     for view in m.conversions if m.times_faster(view) < LEAST_TIMES_CONVERTER]


def write_report(options, load, text, missed):
    options.report.unlink(missing_ok=True)
    lines = ["# What an export costs against a copy", "",
             "Written by `tests/bench/bench_export.py --report docs/benchmark-export.md`: one run, page cache warm, every number from it; median (least to",
             f"most) of {options.repetitions} repetitions, views in another order each time, each followed by `cp -a` of what it left. {os.cpu_count()} cores, "
             f"{psutil.virtual_memory().total / 2**30:.0f} GiB of memory,", f"{platform.system()} {platform.release()}, torch {torch.__version__}; load when it began: {load:.1f}.",
             "", "An export ends when all is on disk; so does the copy that it is held against (`sync -f`), while `cp -a` alone leaves that to later, and so do",
             "the conversions. An export is the whole mirror: beside a view's files what passes through, such as the shards beside a universal tree, which a",
             "conversion leaves where they are.", "", text, ""]
    if missed:
        lines += ["Expected, and not so in this run:", "", *(f"* {line}" for line in missed), ""]
    options.report.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
