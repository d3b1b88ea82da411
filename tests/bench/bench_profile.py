#!/usr/bin/env python3
"""Where the time of readers goes: of raw reads and of torch.load, from ordinary files and from a view, and of raw reads through
mirror_fs that reads nothing, which is the way through FUSE alone.

Both sides are asked what they took: the readers by getrusage(2), the daemon by /proc/<pid>. All is told for each GB that is read, by all readers
together, in the page cache below. Where perf is installed (Debian's linux-perf; on PATH, or where CKPTFS_PERF says) and may look into the kernel, a second
table says what the processors did meanwhile, by the function that a sample found.
"""
from collections import Counter
from dataclasses import dataclass
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "oracle")]

import ranks  # noqa: E402,F401  before torch: sets its environment

import torch  # noqa: E402

import mirror  # noqa: E402
from readings import CUT, FORK, SHARDS, Checkpoint, about, nbytes_of, shards  # noqa: E402
from reporting import parser  # noqa: E402
import reporting  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLES_A_SECOND = 997
# By the name of the function, the first that fits: what the kernel is called for has many names, and they change.
KINDS = {
    "copying": r"copy|memcpy|memmove|rep_movs",
    "fresh memory and page faults": r"clear_page|fault|alloc|charge|lru|rmqueue|zap_|unmap|free_|_page_list|rmap|mmap|vma|mas_|pte|pmd|tlb",
    "FUSE": r"fuse",
    "waiting and waking": r"sched|wake|wait|futex|idle|ttwu|finish_task_switch|queue_task|update_curr|entity|_raw_spin_unlock_irq|clock|timer|ipi|apic",
    "page cache": r"filemap|xas_|xa_|folio|page_cache|find_get|ext4|xfs|shmem|overlay|ovl_|touch_atime",
}
KERNEL, PROGRAM = "other of the kernel", "the program and its libraries"


@dataclass(frozen=True)
class Spent:
    """By all readers, which read one time after another: seconds, and counts. The time that elapsed is that of the slowest."""

    elapsed: float
    user: float
    system: float
    faults: int
    waits: int
    daemon_user: float = 0
    daemon_system: float = 0
    daemon_waits: int = 0
    samples: dict | None = None  # (side, kind) -> how many

    @classmethod
    def by_all(cls, counted, daemon, samples):
        elapsed, *sums = zip(*counted)
        return cls(max(elapsed), *(sum(counts) for counts in sums), *daemon, samples)


def main(arguments=None):
    options = parse_arguments(arguments)
    with tempfile.TemporaryDirectory(prefix="ckptfs-bench-", dir=options.directory) as scratch:
        made = Checkpoint(options, scratch)
        perf, why_not = find_perf(scratch)
        files = made.copies[CUT]
        cases = {
            ("raw", "files"): None,
            ("raw", "the view"): lambda: made.shown(CUT),
            ("raw", "mirror_fs that reads nothing"): lambda: mirror.mirrored(files, "--direct", "--nothing"),
            ("torch.load", "files"): None,
            ("torch.load", "the view"): lambda: made.shown(CUT),
        }
        lines = [about(options, made)]
        for readers in options.readers:
            found = {case: measure(case[0], files, shown, readers, options.repetitions, perf, scratch) for case, shown in cases.items()}
            nbytes = sum(map(nbytes_of, shards(files, readers))) * options.repetitions
            lines += ["", *spent_table(found, readers, nbytes)]
            if perf:
                lines += ["", *samples_table(found, readers)]
    if not perf:
        lines += ["", f"No table of samples: {why_not}."]
    reporting.publish(lines, options.report, f"profile of {reporting.processors()} processors")
    return 0


def parse_arguments(arguments):
    made = parser(__doc__)
    made.add_argument("--readers", type=int, nargs="+", default=[1])
    return made.parse_args(arguments)


def find_perf(scratch):
    """The program, or why there will be no samples."""
    program = os.environ.get("CKPTFS_PERF") or shutil.which("perf")
    if not program:
        return None, "perf is not installed (Debian's package linux-perf, or its path in CKPTFS_PERF)"
    tried = subprocess.run([program, "record", "-e", "cpu-clock", "-o", f"{scratch}/perf.try", "--", "true"],
                           capture_output=True, text=True, check=False)
    if tried.returncode:
        return None, f"perf cannot record here: {tried.stderr.strip().splitlines()[0]}"
    return program, None


def measure(way, files, shown, readers, repetitions, perf, scratch):
    if shown is None:
        return follow(SHARDS[way].read, shards(files, readers), None, repetitions, perf, scratch)
    with shown() as mount:
        return follow(SHARDS[way].read, shards(mount.path, readers), mount.pid, repetitions, perf, scratch)


def follow(read, paths, daemon, repetitions, perf, scratch):
    """A reader for each path, which reads it once to warm up before it is looked at."""
    readers = []
    for path in paths:
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=read_and_count, args=(read, path, repetitions, theirs))
        process.start()
        theirs.close()
        readers.append((process, ours))
    for _, connection in readers:
        connection.recv()
    with Samples(perf, [process.pid for process, _ in readers], daemon, scratch) as samples:
        before = daemon_counts(daemon) if daemon else (0, 0, 0)
        for _, connection in readers:
            connection.send("go")
        counted = [connection.recv() for _, connection in readers]
        after = daemon_counts(daemon) if daemon else (0, 0, 0)
    for process, connection in readers:
        connection.send("end")
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a reader of {paths} failed")
    return Spent.by_all(counted, [late - early for late, early in zip(after, before)], samples.found)


def read_and_count(read, path, repetitions, connection):
    torch.set_num_threads(1)
    read(path)
    connection.send("ready")
    connection.recv()
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for _ in range(repetitions):
        read(path)
    elapsed, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    connection.send((elapsed, *(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime", "ru_minflt", "ru_nvcsw"))))
    connection.recv()  # perf still knows the process


def daemon_counts(pid):
    """User and system time in seconds, and how often its threads have waited."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        user, system = file.read().rsplit(")", 1)[1].split()[11:13]
    waits = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status", encoding="ascii") as file:
            waits += int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", file.read(), re.MULTILINE).group(1))
    return int(user) / TICKS, int(system) / TICKS, waits


class Samples:
    """What perf finds readers and their daemon (None: there is none) at, inside a `with` block; nothing where there is no perf."""

    def __init__(self, perf, readers, daemon, scratch):
        self.perf, self.readers, self.daemon, self.data = perf, readers, daemon, f"{scratch}/perf.data"
        self.found = None

    def __enter__(self):
        if self.perf:
            processes = self.readers + ([self.daemon] if self.daemon else [])
            orders, self.orders = os.pipe()
            self.answers, answers = os.pipe()
            self.recording = subprocess.Popen(
                [self.perf, "record", "-q", "-e", "cpu-clock", "-F", str(SAMPLES_A_SECOND), "-o", self.data, "-D", "-1",
                 f"--control=fd:{orders},{answers}", "-p", ",".join(map(str, processes))],
                pass_fds=(orders, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            os.close(orders)
            os.close(answers)
            os.write(self.orders, b"enable\n")
            if not os.read(self.answers, 100):
                raise RuntimeError(f"perf ended with {self.recording.wait()} before it began")
        return self

    def __exit__(self, *_):
        if self.perf:
            self.recording.send_signal(signal.SIGINT)
            self.recording.wait(60)
            os.close(self.orders)
            os.close(self.answers)
            report = subprocess.run([self.perf, "report", "-i", self.data, "--no-children", "--stdio", "-F", "sample,pid,sym", "-t", ";"],
                                    capture_output=True, text=True, check=True).stdout
            self.found = self.counted(report)

    def counted(self, report):
        found = Counter()
        for samples, thread, where, name in re.findall(r"^\s*(\d+)\s*;\s*(\d+):[^;]*;\s*\[(.)\]\s*(\S+)", report, re.MULTILINE):
            side = "reader" if int(thread) in self.readers else "daemon"  # which has many threads
            found[side, kind_of(where, name)] += int(samples)
        return dict(found)


def kind_of(where, name):
    if where != "k":
        return PROGRAM
    return next((kind for kind, names in KINDS.items() if re.search(names, name)), KERNEL)


def spent_table(found, readers, nbytes):
    head = [f"{reporting.counted(readers, 'reader')}, for each GB", "times as long as files", "elapsed", "reader: user", "system", "page faults", "waits",
            "daemon: user", "system", "waits"]
    rows = []
    for (way, side), spent in found.items():
        a_gigabyte = nbytes / 1e9
        ms = [f"{seconds / a_gigabyte * 1e3:.0f} ms" for seconds in (spent.elapsed, spent.user, spent.system, spent.daemon_user, spent.daemon_system)]
        counts = [f"{count / a_gigabyte:,.0f}" for count in (spent.faults, spent.waits, spent.daemon_waits)]
        daemon = [ms[3], ms[4], counts[2]] if side != "files" else ["", "", ""]
        rows.append([f"{way}, {side}", f"{spent.elapsed / found[way, 'files'].elapsed:.2f}", *ms[:3], *counts[:2], *daemon])
    return reporting.table(head, rows)


def samples_table(found, readers):
    """Shares of the elapsed time: those of a reader and of a daemon that work at the same time are more than all of it together."""
    kinds = [*KINDS, KERNEL, PROGRAM]
    rows = []
    for (way, side), spent in found.items():
        for process in ("reader", "daemon") if side != "files" else ("reader",):
            cells = [f"{spent.samples.get((process, kind), 0) / SAMPLES_A_SECOND / spent.elapsed * 100:.0f} %" for kind in kinds]
            rows.append([f"{way}, {side}: {process}", *cells])
    return reporting.table([f"{reporting.counted(readers, 'reader')}: of the time that it takes, one processor is at", *kinds], rows)


if __name__ == "__main__":
    sys.exit(main())
