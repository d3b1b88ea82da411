#!/usr/bin/env python3
"""What fio measures of a view, of ordinary files with the same bytes, and of other file systems in front of those files.

The jobs are tests/bench/fio/*.fio: each of 1 to 16 processes reads its own shard, cut anew for 16 ranks from a checkpoint of 4. fio is
Debian's package of that name: on PATH, or where CKPTFS_FIO says. Sides take turns, each with a mount of its own; everything is in the
page cache below. Every number is view / files, in time; in brackets both speeds.
"""
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "oracle")]

import ranks  # noqa: E402,F401  before torch: sets its environment

import gather  # noqa: E402
import mirror  # noqa: E402
import peers  # noqa: E402
from readings import Checkpoint, about  # noqa: E402
from reporting import parser  # noqa: E402
import reporting  # noqa: E402

RANKS = 16
JOBS = ("sequential", "random-4k", "random-1m")
FILES, VIEW = "files", "the view"


def main(arguments=None):
    options = parse_arguments(arguments)
    try:
        program = fio()
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="ckptfs-bench-", dir=options.directory) as scratch:
        made = Checkpoint(options, scratch, RANKS)
        measured = measure(program, options, made)
        lines = [f"{version(program)}, {about(options, made)} {options.milliseconds} ms each.", "", *tables(options, measured)]
    for sentence in peers.missing():
        lines += ["", sentence]
    reporting.publish(lines, options.report, f"fio on {reporting.processors()} processors")
    return 0


def parse_arguments(arguments):
    made = parser(__doc__)
    made.add_argument("--jobs", type=int, nargs="+", default=[1, 2, 4, 8, 16], help=f"processes, up to {RANKS}")
    made.add_argument("--milliseconds", type=int, default=1000, help="how long fio reads each time")
    return made.parse_args(arguments)


def fio():
    """The program."""
    found = os.environ.get("CKPTFS_FIO") or shutil.which("fio")
    if not found or not os.access(found, os.X_OK):
        raise FileNotFoundError(f"bench_fio.py needs fio, and {found or 'PATH'} {'is no program' if found else 'has none'}: "
                                "`apt-get install fio`, or say in CKPTFS_FIO where it is")
    return found


def version(program):
    return subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.strip()


def measure(program, options, made):
    """{(job, processes, side): (bytes a second, the latency in ns that 99 % of the requests keep)}, medians."""
    files = made.copies[RANKS]
    sides = {VIEW: lambda: made.shown(RANKS), "mirror_fs": lambda: mirror.mirrored(files, "--direct")}
    sides |= {peer.name: lambda peer=peer: peer.mounted(files) for peer in peers.installed()}
    found = {}
    for job in JOBS:
        for processes in options.jobs:
            seen = {side: [] for side in (FILES, *sides)}
            for turn in range(options.repetitions + 1):  # the first one warms up
                for side in sorted(seen, reverse=bool(turn % 2)):
                    if side == FILES:
                        got = run(program, job, files, processes, options.milliseconds)
                    else:
                        with sides[side]() as mount:
                            got = run(program, job, os.fspath(mount), processes, options.milliseconds)
                    if turn:
                        seen[side].append(got)
            for side, results in seen.items():
                found[job, processes, side] = tuple(map(statistics.median, zip(*results)))
    return found


def run(program, job, root, processes, milliseconds):
    environment = {**os.environ, "CKPTFS_FIO_DIRECTORY": gather.tag_of(root), "CKPTFS_FIO_JOBS": str(processes),
                   "CKPTFS_FIO_MS": str(milliseconds)}
    done = subprocess.run([program, "--readonly", "--output-format=json", HERE / "fio" / f"{job}.fio"], env=environment,
                          stdout=subprocess.PIPE, text=True, check=True)
    # What fio has to say to people comes before.
    (result,) = json.loads(done.stdout[done.stdout.index("{"):])["jobs"]
    if result["error"] or not result["read"]["total_ios"]:
        raise RuntimeError(f"fio read nothing of {root} in the job {job}: error {result['error']}")
    return result["read"]["bw_bytes"], result["read"]["clat_ns"]["percentile"]["99.000000"]


def tables(options, measured):
    sides = list(dict.fromkeys(side for _, _, side in measured))
    jobs = [reporting.counted(processes, "job") for processes in options.jobs]
    speeds = [[f"{job}, {side}", *(compared(measured[job, processes, side][0], measured[job, processes, FILES][0]) for processes in options.jobs)]
              for job in JOBS for side in sides if side != FILES]
    latencies = [[f"{job}, {side}", *(f"{measured[job, processes, side][1] / 1e3:.0f} µs" for processes in options.jobs)]
                 for job in JOBS for side in sides]
    return [*reporting.table(["times as long as files", *jobs], speeds), "",
            *reporting.table(["99 % of the requests within", *jobs], latencies)]


def compared(speed, files):
    return f"{files / speed:.2f} ({speed / 1e6:.0f} of {files / 1e6:.0f} MB/s)"


if __name__ == "__main__":
    sys.exit(main())
