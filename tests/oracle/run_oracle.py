#!/usr/bin/env python3
"""Shows with real DeepSpeed that a job resumes through ckptfs as it would from its own checkpoint: runs the cells of cells.py.

Each cell runs once through a mount and, where it resumes, once through the Python hook. Exit code 0 when every chosen cell ran and
passed. A line a run, and at the end 'N passed, M failed'.
"""
import argparse
import contextlib
import fcntl
import fnmatch
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from xml.sax.saxutils import quoteattr

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

import mounting  # noqa: E402
import report  # noqa: E402
import ways  # noqa: E402

CELL_TIMEOUT = 900.0  # ends what hangs; says nothing about how fast a cell should be


def main():
    options = parse_arguments()
    missing = what_is_missing(options.through)
    if missing:
        return give_up(missing, options)
    from cells import CELLS, table_hash

    chosen = [cell for cell in CELLS if options.full or options.only or cell.quick]
    if options.only:
        chosen = [cell for cell in chosen if fnmatch.fnmatch(cell.name, options.only)]
    chosen = [(cell, way) for cell in chosen for way in options.through if way in cell.ways]
    if options.list:
        print("\n".join(report.name_of(*run) for run in chosen))
        return 0
    if not chosen:
        print(f"no cell of this way is named {options.only}")
        return 1
    results = run(chosen, options.jobs)
    failed = [result for result in results if not result.passed]
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    if options.junit:
        write_junit(options.junit, [(result.name, result.seconds, None if result.passed else "failure", result.problem)
                                    for result in results])
    if options.report:
        report.write(options.report, results, table_hash())
    return 1 if failed or len(results) != len(chosen) else 0


def parse_arguments():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--full", action="store_true", help="every cell, not the quick subset")
    arguments.add_argument("--only", metavar="PATTERN", help="the cells, quick or not, whose names match the shell pattern")
    arguments.add_argument("--through", metavar="WAY", choices=tuple(ways.WAYS), action="append",
                           help="only this way, 'mount' or 'hook', to what ckptfs shows")
    arguments.add_argument("--jobs", metavar="N", type=int, default=1, help="cells at a time")
    arguments.add_argument("--list", action="store_true", help="print the names of the chosen cells and run nothing")
    arguments.add_argument("--report", metavar="FILE", type=pathlib.Path, help="with --full: write the results as a document")
    arguments.add_argument("--junit", metavar="FILE", type=pathlib.Path, help="write the results as JUnit XML")
    options = arguments.parse_args()
    if options.jobs < 1:
        arguments.error("--jobs needs a number from 1 on")
    if options.report and not options.full:
        arguments.error("--report needs --full: a document of some cells would pass for one of all")
    if options.report and (options.only or options.through):
        arguments.error("--report excludes --only and --through")
    options.through = tuple(options.through or ways.WAYS)
    return options


def what_is_missing(through):
    """Why the oracle cannot run here; None when it can."""
    if missing := ways.prepare(through):
        return missing
    try:
        import ranks  # noqa: F401  sets the environment that DeepSpeed reads on import

        import deepspeed  # noqa: F401
    except ImportError as error:
        return f"DeepSpeed cannot be imported: {error}"
    return None


def give_up(missing, options):
    """Nothing can run: a failure where everything must, else a clear word."""
    must_run = os.environ.get("CI") == "true" or options.full
    print(f"{'FAILED' if must_run else 'SKIPPED'}: the oracle cannot run: {missing}")
    if options.junit:
        write_junit(options.junit, [("all cells", 0.0, "failure" if must_run else "skipped", missing)])
    return 1 if must_run else 0


def run(chosen, jobs):
    """The results in the order of `chosen`, which are cells and ways; a line for each as it ends."""
    if not mounting.BINARY.exists():
        sys.exit(f"{mounting.BINARY} is missing: build it, or say where it is in CKPTFS_BINARY")
    waiting, running, results = list(chosen), [], {}
    with tempfile.TemporaryDirectory(prefix="ckptfs-oracle-", ignore_cleanup_errors=True) as directory:
        try:
            build_operators([cell for cell, _ in chosen], directory)
            while waiting or running:
                if waiting and len(running) < jobs:
                    running.append(Running(*waiting.pop(0), directory))
                for ended in [cell for cell in running if cell.has_ended()]:
                    running.remove(ended)
                    results[ended.cell, ended.way] = ended.result
                    print(ended.result.line, flush=True)
                time.sleep(0.01)
        finally:
            for cell in running:
                cell.end()
            unmount_below(directory)
    return [results[cell, way] for cell, way in chosen]


def build_operators(chosen, directory):
    """DeepSpeed compiles these on first use, a minute each: once, before a cell's time runs."""
    import ranks

    needed = {"cpu_adam": "CPUAdamBuilder", "fused_adam": "FusedAdamBuilder", "muon": "FusedAdamBuilder",
              "lion": "CPULionBuilder"}
    for name in sorted({needed[cell.recipe.optimizer] for cell in chosen if cell.recipe.optimizer in needed}):
        start = time.monotonic()
        ranks.in_child(lambda: build(name), timeout=900, log=f"{directory}/operators.log")
        print(f"operator {name.removesuffix('Builder')}: ready after {time.monotonic() - start:.0f} s", flush=True)


def build(name):
    """PyTorch's own lock is a file, which a build that was killed leaves behind, and for which every later one would wait for ever."""
    from deepspeed.accelerator import get_accelerator
    from torch.utils import cpp_extension

    builder = get_accelerator().create_op_builder(name)
    directory = pathlib.Path(cpp_extension._get_build_directory(builder.name, verbose=False))
    with open(directory.with_name(f"{builder.name}.builder"), "w", encoding="utf-8") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        (directory / "lock").unlink(missing_ok=True)
        builder.load(verbose=False)


class Running:
    """A cell in a process group of its own, which can be ended as a whole."""

    def __init__(self, cell, way, directory):
        self.cell, self.way = cell, way
        self.result = None
        self.start = time.monotonic()
        # All that it mounts or writes lies below, but for what cells share.
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="cell-", dir=directory))
        self.said = self.scratch / "said"
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _cell_main(cell, way, directory, self.scratch, self.said)

    def has_ended(self):
        """Sets the result if so."""
        done, status = os.waitpid(self.pid, os.WNOHANG)
        seconds = time.monotonic() - self.start
        if done:
            self.result = report.Result(self.cell, self.way, status == 0, self.said.read_text() if status else "", seconds)
        elif seconds > CELL_TIMEOUT:
            self.end()
            self.result = report.Result(self.cell, self.way, False, f"not done within {CELL_TIMEOUT:.0f} s", seconds)
        if self.result:
            unmount_below(self.scratch)
            shutil.rmtree(self.scratch, ignore_errors=True)
        return self.result is not None

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _cell_main(cell, way, directory, scratch, said):
    """Never returns."""
    code = 1
    try:
        os.setpgid(0, 0)
        said.write_text("the cell's process was killed")
        tempfile.tempdir = str(scratch)
        import checks

        getattr(checks, cell.check)(cell, checks.Session(directory, scratch, ways.WAYS[way]), str(scratch))
        code = 0
    except BaseException as error:
        said.write_text(getattr(error, "detail", None) or "".join(traceback.format_exception(error)))
    finally:
        os._exit(code)


def unmount_below(directory):
    with open("/proc/mounts", encoding="utf-8") as mounts:
        points = [line.split()[1] for line in mounts]
    for point in points:
        if point.startswith(f"{directory}/"):
            subprocess.run(["fusermount3", "-u", "-z", point], check=False)


def write_junit(file, rows):
    """Each row: name, seconds, None or "failure" or "skipped", what went wrong."""
    counts = {verdict: sum(row[2] == verdict for row in rows) for verdict in ("failure", "skipped")}
    lines = [f'<testsuite name="oracle" tests="{len(rows)}" errors="0" failures="{counts["failure"]}" '
             f'skipped="{counts["skipped"]}">']
    for name, seconds, verdict, problem in rows:
        lines.append(f'<testcase classname="oracle" name={quoteattr(name)} time="{seconds:.2f}">')
        if verdict:
            lines.append(f"<{verdict} message={quoteattr(problem)}/>")
        lines.append("</testcase>")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([*lines, "</testsuite>"]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
