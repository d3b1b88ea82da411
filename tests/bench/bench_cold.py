#!/usr/bin/env python3
"""What a view costs on a disk, with all in the page cache and with nothing: shards read in the ways that readings.py lists, from the view and
from ordinary files with the same bytes, and the mount itself.

Makes a checkpoint of 4 ranks on a disk (--directory; not in memory) and shows it at 8. Cold: the files that are read below, SOURCE's or
the ordinary ones, are not in the page cache; names and inodes are, unless --drop-everything is given, which root may and everybody on the
machine notices. Every number is view / files, in time; in brackets both speeds.
"""
import os
import pathlib
import statistics
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "oracle")]

import ranks  # noqa: E402,F401  before torch: sets its environment

import page_cache  # noqa: E402
from readings import CUT, SHARDS, Checkpoint, about, compare  # noqa: E402
from reporting import parser  # noqa: E402
import reporting  # noqa: E402

WAYS = ("raw", "torch.load")


def main(arguments=None):
    options = parse_arguments(arguments)
    with tempfile.TemporaryDirectory(prefix="ckptfs-bench-", dir=options.directory) as scratch:
        made = Checkpoint(options, scratch)
        files = [os.path.join(folder, name) for root in (made.source, made.copies[CUT]) for folder, _, names in os.walk(root) for name in names]
        os.sync()

        def drop():
            page_cache.drop(files)
            if options.drop_everything:
                page_cache.drop_everything()

        states = {"warm": lambda: None, "cold": drop}
        rows = [row(f"{way}, {reporting.counted(readers, 'reader')}", SHARDS[way], readers, made, states, options)
                for way in WAYS for readers in options.readers]
        mounts = [["mount", *(reporting.seconds(mount(made, before, options)) for before in states.values())]]
        what = "Cold: no page of any file, no name and no inode" if options.drop_everything else "Cold: no page of any file"
        lines = [f"{about(options, made)} {what}.", "", *reporting.table(["view / files, in time", *states], rows), "",
                 *reporting.table(["seconds", *states], mounts)]
    reporting.publish(lines, options.report, f"cold on {reporting.processors()} processors")
    return 0


def parse_arguments(arguments):
    made = parser(__doc__)
    made.add_argument("--readers", type=int, nargs="+", default=[1, 8], help=f"up to {CUT}")
    made.add_argument("--drop-everything", action="store_true", help="names and inodes too, of the whole machine (root)")
    return made.parse_args(arguments)


def row(label, way, readers, made, states, options):
    """Warm comes first: whatever is made is in the page cache."""
    return [label, *(str(compare(way, made.copies[CUT], lambda: made.shown(CUT), readers, options.repetitions, before))
                     for before in states.values())]


def mount(made, before, options):
    """Until the mount answers, the median."""
    spent = []
    for _ in range(options.repetitions):
        before()
        start = time.perf_counter()
        with made.shown(CUT):
            spent.append(time.perf_counter() - start)
    return statistics.median(spent)


if __name__ == "__main__":
    sys.exit(main())
