#!/usr/bin/env python3
"""How fast the ranks of one machine read their shards, and the model: from a view, and from ordinary files that hold the same bytes.

Makes a checkpoint of 4 ranks in memory or on disk (--directory) and reads the optimizer shards of 1 to 8 ranks, one process each, in
the ways that readings.py lists: once shown at 8 ranks, where every shard is cut anew (again with nothing read ahead), and once at 4,
where all are SOURCE's own; then the model as safetensors. Raw reads also go through mirror_fs, which hands out the same files through FUSE, and through the same with
nothing read at all: what the kernel and libfuse take for themselves; and, where they are installed, through file systems that others
know (tests/support/peers.py). Then storage that answers late (mirror_fs again, with a delay) is shown, next to a copy that keeps
16 requests in flight.

Each round has a mount of its own, so that no pages of an earlier one are there; the source is in the page cache. Every number is
view / files, in time: the median of the repetitions, which alternate.
"""
import concurrent.futures
import os
import pathlib
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "oracle")]

import ranks  # noqa: E402,F401  before torch: sets its environment

import large_stage3  # noqa: E402
import mirror  # noqa: E402
import mounting  # noqa: E402
import peers  # noqa: E402
from readings import CUT, MIB, MODELS, SAME, SHARDS, Checkpoint, about, compare, read_raw, timed  # noqa: E402
from reporting import parser  # noqa: E402
import reporting  # noqa: E402

IN_FLIGHT = 16
# Pages are handed over then, whatever the number of processors; not to who maps a file.
NOT_AHEAD, UNMAPPED = "--read-ahead-memory=0", ("raw", "torch.load", "cp")


def main(arguments=None):
    options = parse_arguments(arguments)
    with tempfile.TemporaryDirectory(prefix="ckptfs-bench-", dir=options.directory) as scratch:
        lines = Streams(options, scratch).measure()
    reporting.publish(lines, options.report, f"{reporting.processors()} processors")
    return 0


def parse_arguments(arguments):
    made = parser(__doc__)
    made.add_argument("--readers", type=int, nargs="+", default=[1, 2, 4, 8])
    made.add_argument("--delays", type=int, nargs="*", default=[1, 5, 20], metavar="MS", help="of the storage that answers late")
    return made.parse_args(arguments)


class Streams:
    def __init__(self, options, scratch):
        self.options = options
        self.made = Checkpoint(options, scratch, with_model=True)
        self.peaks = {}  # (label, readers) -> bytes

    def measure(self):
        made = self.made
        head = ["view / files, in time", *(reporting.counted(count, "reader") for count in self.options.readers)]
        rows = [self.row(f"{name}, cut anew", way, made.copies[CUT], CUT, lambda: made.shown(CUT)) for name, way in SHARDS.items()]
        rows += [self.row(f"{name}, {NOT_AHEAD}", SHARDS[name], made.copies[CUT], CUT, lambda: made.shown(CUT, NOT_AHEAD)) for name in UNMAPPED]
        rows += [self.row(f"{name}, SOURCE's own shards", way, made.copies[SAME], SAME, lambda: made.shown(SAME)) for name, way in SHARDS.items()]
        rows += [self.row(f"{name}, safetensors", way, made.model, CUT, made.shown_model) for name, way in MODELS.items()]
        rows += self.through_others()
        peaks = [[label, *(reporting.megabytes(self.peaks[label, count]) if (label, count) in self.peaks else ""
                                for count in self.options.readers)] for label in dict.fromkeys(label for label, _ in self.peaks)]
        lines = [about(self.options, made), "", *reporting.table(head, rows), "",
                 *reporting.table(["peak memory of the daemon", *head[1:]], peaks)]
        if self.options.delays:
            late = [f"a copy, {IN_FLIGHT} requests in flight", "the view, one reader", "view / copy, in speed"]
            lines += ["", *reporting.table(["storage that answers late", "mount", *late], [self.late(delay) for delay in self.options.delays])]
        for sentence in peers.missing():
            lines += ["", sentence]
        return lines

    def through_others(self):
        """The same files, through file systems that are not ckptfs."""
        raw, files = SHARDS["raw"], self.made.copies[CUT]
        yield self.row("raw, mirror_fs", raw, files, CUT, lambda: mirror.mirrored(files, "--direct"))
        yield self.row("raw, mirror_fs that reads nothing", raw, files, CUT, lambda: mirror.mirrored(files, "--direct", "--nothing"))
        for peer in peers.installed():
            for name in ("raw", "torch.load"):
                yield self.row(f"{name}, {peer.name}", SHARDS[name], files, CUT, lambda peer=peer: peer.mounted(files))

    def row(self, label, way, files, most, shown):
        """A cell for each number of readers, up to as many as there are files for."""
        cells = []
        for readers in self.options.readers:
            if readers > most:
                cells.append("")
                continue
            found = compare(way, files, shown, readers, self.options.repetitions)
            self.peaks[label, readers] = found.peak
            cells.append(str(found))
        return [label, *cells]

    def late(self, delay):
        source = self.made.source
        with mirror.mirrored(source, f"--delay-ms={delay}", "--direct") as slow:
            start = time.perf_counter()
            with mounting.mounted(slow, CUT) as mount:
                mounted = time.perf_counter() - start
                shard = large_stage3.optimizer_file(mount.path, 0)
                nbytes = os.stat(shard).st_size
                view = nbytes / timed(read_raw, shard)
            parallel = nbytes / timed(read_in_parallel, large_stage3.optimizer_file(slow.path, 0), nbytes)
        return [f"{delay} ms", f"{mounted:.2f} s", f"{parallel / 1e6:.0f} MB/s", f"{view / 1e6:.0f} MB/s", f"{view / parallel:.2f}"]


def read_in_parallel(path, nbytes):
    """The first bytes of a file, in requests of one MiB."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with concurrent.futures.ThreadPoolExecutor(IN_FLIGHT) as pool:
            for _ in pool.map(lambda at: os.pread(descriptor, min(MIB, nbytes - at), at), range(0, nbytes, MIB)):
                pass
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
