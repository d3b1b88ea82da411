#!/usr/bin/env python3
"""What a save through a writable mount costs against a save into SOURCE itself: 4 ranks that save one checkpoint together (95 million
parameters, 1.3 GB, unless told otherwise), and one of them alone, each with and without fsync, in every way in which the kernel may keep the
data. SOURCE lies where `--directory` says, and in memory, where no disk disturbs the comparison. Exit code 0 when the expectations of the
project hold, or are not asked for.
"""
import contextlib
from dataclasses import dataclass, field
import os
import pathlib
import platform
import random
import shutil
import statistics
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "oracle")]

import ranks  # noqa: E402  before torch: sets its environment

import psutil  # noqa: E402
import torch  # noqa: E402

import bench_resume  # noqa: E402
import large_checkpoint  # noqa: E402
import mounting  # noqa: E402

DIRECT = "into SOURCE itself"
WAYS = {DIRECT: None, "mount": "auto", "mount, `--io=cached`": "cached", "mount, `--io=direct`": "direct"}
SAVES = {(writers, is_synced): f"{writers} rank{'s' * (writers > 1)}{', fsync' * is_synced}"
         for writers in (large_checkpoint.RANKS, 1) for is_synced in (False, True)}


@dataclass
class Measured:
    kind: str  # of file system
    nbytes: dict = field(default_factory=dict)  # writers -> bytes that they save
    seconds: dict = field(default_factory=dict)  # (way, (writers, is_synced)) -> one for each repetition
    processor: dict = field(default_factory=dict)  # way -> seconds of processor time that the daemon took for all of them

    def ratio(self, way, save):
        """The median of the ratios of neighbours: what a disk does at the time happens to both."""
        pairs = zip(self.seconds[way, save], self.seconds[DIRECT, save], strict=True)
        return statistics.median(one / other for one, other in pairs)


def main(arguments=None):
    options = parse_arguments(arguments)
    load = os.getloadavg()[0]
    files = list(large_checkpoint.contents(bench_resume.model(options)))
    measured = [measure(files, directory, options.repetitions) for directory in (options.directory, options.memory)]
    text = "\n\n".join("\n".join(table(m, options.repetitions)) for m in measured)
    print(text)
    missed = [f"SOURCE on {m.kind}, {line}" for m in measured for line in expectations_missed(m)]
    for line in missed:
        print(f"NOT AS EXPECTED: {line}")
    if options.report:
        write_report(options, measured[0], load, text, missed)
    return 1 if missed and options.check else 0


def parse_arguments(arguments):
    made = bench_resume.parser(__doc__)
    made.add_argument("--memory", default="/dev/shm", help="a directory that lies in memory")
    return made.parse_args(arguments)


def measure(files, directory, repetitions):
    """All mounts at once, each of a SOURCE of its own; the ranks save in each in turn."""
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="ckptfs-bench-", dir=directory))
        roots, mounts = {}, {}
        for number, (way, io) in enumerate(WAYS.items()):
            roots[way] = f"{scratch}/source{number}"
            os.mkdir(roots[way])
            if io:
                mounts[way] = stack.enter_context(mounting.mounted(roots[way], large_checkpoint.RANKS, "--writable", f"--io={io}"))
                roots[way] = mounts[way].path
        answers = ranks.run_ranks(large_checkpoint.RANKS, lambda rank: save_everywhere(rank, files, roots, repetitions), timeout=7200)
        measured = Measured(file_system(scratch))
        for turn, save, way in answers[0][0]:
            spans = [spans[turn, save, way] for spans, _ in answers if (turn, save, way) in spans]
            if turn:  # the first one warms up
                measured.seconds.setdefault((way, save), []).append(max(end for _, end in spans) - min(start for start, _ in spans))
        measured.nbytes = {writers: sum(nbytes for _, nbytes in answers[:writers]) for writers in (1, large_checkpoint.RANKS)}
        for way, mount in mounts.items():
            measured.processor[way] = sum(psutil.Process(mount.pid).cpu_times()[:2])
    return measured


def save_everywhere(rank, files, roots, repetitions):
    """One rank: {(turn, save, way): (begin, end)} of its own saves, and how many bytes one of them has."""
    own = [(name, content) for owner, name, content in files if owner == rank]
    spans, nbytes = {}, 0
    for turn in range(repetitions + 1):
        for save in SAVES:
            writers, is_synced = save
            # In another order each time, the same for all ranks, so that none always follows the same other.
            for way in random.Random(f"{turn} {save}").sample(sorted(roots), len(roots)):
                tag = pathlib.Path(roots[way], "global_step1")
                if rank == 0:
                    tag.mkdir()
                torch.distributed.barrier()
                if rank < writers:
                    spans[turn, save, way] = write(own, tag, is_synced)
                torch.distributed.barrier()
                if rank < writers:
                    nbytes = sum(os.path.getsize(tag / name) for name, _ in own)
                torch.distributed.barrier()
                if rank == 0:
                    shutil.rmtree(tag)
                    os.sync()  # nobody's save waits for the bytes of the one before
    return spans, nbytes


def write(own, tag, is_synced):
    """As DeepSpeed's checkpoint engine does."""
    start = time.perf_counter()
    for name, content in own:
        torch.save(content, tag / name)
        if is_synced:
            with open(tag / name, "rb") as file:
                os.fsync(file.fileno())
    return start, time.perf_counter()


def table(m, repetitions):
    lines = [f"| SOURCE on {m.kind} | " + " | ".join(f"{title} | times as long" for title in SAVES.values()) + " | processor time of the daemon, per GB |",
             "| --- |" + " --- |" * (2 * len(SAVES) + 1)]
    for way in WAYS:
        cells = [cell for save in SAVES for cell in (bench_resume.spread(m.seconds[way, save]), f"{m.ratio(way, save):.2f}" if way != DIRECT else "")]
        total = 2 * (repetitions + 1) * sum(m.nbytes.values())
        processor = f"{m.processor[way] / (total / 1e9):.2f} s" if way in m.processor else ""
        lines.append(f"| {way} | " + " | ".join(cells) + f" | {processor} |")
    return lines


def expectations_missed(m):
    together = (large_checkpoint.RANKS, False)
    return [f"{way}: {large_checkpoint.RANKS} ranks take at most {limit} times as long ({m.ratio(way, together):.2f})"
            for way, limit in (("mount", 1.3),) if m.ratio(way, together) > limit]


def file_system(directory):
    device = os.stat(directory).st_dev
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            fields, _, kind = line.partition(" - ")
            if fields.split()[2] == f"{os.major(device)}:{os.minor(device)}":
                return kind.split()[0]
    raise LookupError(f"{directory} is in no mount")


def write_report(options, m, load, text, missed):
    one, all_of_them = (f"{m.nbytes[writers] / 1e9:.2f} GB" for writers in (1, large_checkpoint.RANKS))
    lines = ["# What a save through a writable mount costs", "",
             "Written by `tests/bench/bench_writing.py --report docs/benchmark-writing.md`: one run, every number from it; median (least to most) of",
             f"{options.repetitions} repetitions, ways in random order, and the median of the ratios within a repetition. {os.cpu_count()} cores, "
             f"{psutil.virtual_memory().total / 2**30:.0f} GiB of memory, load {load:.1f} when it began,",
             f"{platform.system()} {platform.release()}, torch {torch.__version__}. {large_checkpoint.RANKS} ranks save {all_of_them} together with "
             f"`torch.save`; one rank alone {one}. `mount` is",
             "`--io=auto`: files that are written are the kernel's own to write where it offers passthrough to this user and on this file system.", "",
             text, ""]
    if missed:
        lines += ["Expected, and not so in this run:", "", *(f"* {line}" for line in missed), ""]
    options.report.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
