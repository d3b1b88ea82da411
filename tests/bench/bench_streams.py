#!/usr/bin/env python3
"""How fast the ranks of one machine read their shards: from a view, and from ordinary files that hold the same bytes.

Makes a checkpoint of 4 ranks in memory or on disk (--directory) and reads the optimizer shards of 1 to 8 ranks, one process each:

    raw           read() of 16 MiB at a time into the same memory
    torch.load    as DeepSpeed and Lightning load them
    mmap          torch.load(mmap=True), then one byte of every page
    cp            into a file in memory

once shown at 8 ranks, where every shard is cut anew, and once at 4, where all are SOURCE's own. Raw reads also go through
mirror_fs, which hands out the same files through FUSE, and through the same with nothing read at all: what the kernel and
libfuse take for themselves. Then storage that answers late (mirror_fs again, with a delay) is shown, next to a copy that keeps
16 requests in flight.

Each round has a mount of its own, so that no pages of an earlier one are there; the source is in the page cache. Every number is
view / files, in time: the median of the repetitions, which alternate.
"""
import argparse
import concurrent.futures
import multiprocessing
import os
import pathlib
import platform
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

import large_checkpoint  # noqa: E402
import large_stage3  # noqa: E402
import mirror  # noqa: E402
import mounting  # noqa: E402

CUT, SAME = 8, large_checkpoint.RANKS
MIB = 1 << 20
IN_FLIGHT = 16
FORK = multiprocessing.get_context("fork")


def read_raw(path):
    buffer = memoryview(bytearray(16 * MIB))
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def load(path):
    torch.load(path, weights_only=False)


def load_mapped(path):
    for tensor in tensors_of(torch.load(path, mmap=True, weights_only=False)):
        tensor.detach().view(-1).view(torch.uint8)[::4096].sum()


def copy(path):
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as target:
        subprocess.run(["cp", path, target.name], check=True)


def tensors_of(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors_of(item)


WAYS = {"raw": read_raw, "torch.load": load, "mmap": load_mapped, "cp": copy}


def main(arguments=None):
    options = parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ckptfs-bench-", dir=options.directory) as scratch:
        lines = Streams(options, scratch).measure()
    text = "\n".join(lines)
    print(text)
    if options.report:
        put_section(options.report, text)
    return 0


def parser():
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--layers", type=int, default=10)
    made.add_argument("--width", type=int, default=768)
    made.add_argument("--vocabulary", type=int, default=16000)
    made.add_argument("--repetitions", type=int, default=5)
    made.add_argument("--readers", type=int, nargs="+", default=[1, 2, 4, 8])
    made.add_argument("--delays", type=int, nargs="*", default=[1, 5, 20], metavar="MS", help="of the storage that answers late")
    made.add_argument("--directory", default=os.environ.get("TMPDIR", "/var/tmp"), help="where the files are made")
    made.add_argument("--report", type=pathlib.Path, metavar="FILE", help="a document with a section for as many processors as are used")
    return made


class Streams:
    def __init__(self, options, scratch):
        self.options = options
        self.source = f"{scratch}/source"
        width = options.width
        large_checkpoint.make_full(
            self.source, large_checkpoint.Model(options.layers, width, width * 8 // 3, width, options.vocabulary))
        self.copies = {SAME: self.source, CUT: f"{scratch}/copies"}
        with mounting.mounted(self.source, CUT) as mount:
            shutil.copytree(mount.path, self.copies[CUT])

    def measure(self):
        readers = self.options.readers
        size = os.stat(large_stage3.optimizer_file(self.copies[CUT], 0)).st_size
        lines = [about(self.options, size), "",
                 "| view / files, in time | " + " | ".join(readers_in_words(count) for count in readers) + " |",
                 "| --- |" + " --- |" * len(readers)]
        for way in WAYS:
            lines.append(self.row(f"{way}, cut anew", way, CUT, lambda: mounting.mounted(self.source, CUT)))
        for way in WAYS:
            lines.append(self.row(f"{way}, SOURCE's own shards", way, SAME, lambda: mounting.mounted(self.source, SAME)))
        lines.append(self.row("raw, mirror_fs", "raw", CUT, lambda: mirror.mirrored(self.copies[CUT], "--direct")))
        lines.append(self.row("raw, mirror_fs that reads nothing", "raw", CUT,
                              lambda: mirror.mirrored(self.copies[CUT], "--direct", "--nothing")))
        if self.options.delays:
            lines += ["", f"| storage that answers late | mount | a copy, {IN_FLIGHT} requests in flight | the view, one reader | "
                      "view / copy, in speed |", "| --- | --- | --- | --- | --- |",
                      *(self.late(delay) for delay in self.options.delays)]
        return lines

    def row(self, label, way, world_size, shown):
        cells = [self.compare(WAYS[way], self.copies[world_size], shown, min(readers, world_size)) if readers <= world_size else ""
                 for readers in self.options.readers]
        return f"| {label} | " + " | ".join(cells) + " |"

    def compare(self, way, files, shown, readers):
        seconds = {"view": [], "files": []}
        for turn in range(self.options.repetitions + 1):
            # The order alternates, so that neither side always follows the other; the first round warms up.
            for which in sorted(seconds, reverse=bool(turn % 2)):
                if which == "view":
                    with shown() as mount:
                        spent = time_readers(way, os.fspath(mount), readers)
                else:
                    spent = time_readers(way, files, readers)
                if turn:
                    seconds[which].append(spent)
        view, native = (statistics.median(seconds[which]) for which in ("view", "files"))
        nbytes = sum(os.stat(large_stage3.optimizer_file(files, rank)).st_size for rank in range(readers))
        return f"{view / native:.2f} ({nbytes / view / 1e9:.1f} of {nbytes / native / 1e9:.1f} GB/s)"

    def late(self, delay):
        with mirror.mirrored(self.source, f"--delay-ms={delay}", "--direct") as slow:
            start = time.perf_counter()
            with mounting.mounted(slow, CUT) as mount:
                mounted = time.perf_counter() - start
                shard = large_stage3.optimizer_file(mount.path, 0)
                nbytes = os.stat(shard).st_size
                view = nbytes / timed(read_raw, shard)
            parallel = nbytes / timed(read_in_parallel, large_stage3.optimizer_file(slow, 0), nbytes)
        return f"| {delay} ms | {mounted:.2f} s | {parallel / 1e6:.0f} MB/s | {view / 1e6:.0f} MB/s | {view / parallel:.2f} |"


def time_readers(way, root, readers):
    """Until the last of them has read its shard, from when all are ready."""
    barrier = FORK.Barrier(readers)
    spans = FORK.SimpleQueue()

    def read(rank):
        path = large_stage3.optimizer_file(root, rank)
        torch.set_num_threads(1)
        barrier.wait()
        start = time.perf_counter()
        way(path)
        spans.put((start, time.perf_counter()))

    processes = [FORK.Process(target=read, args=(rank,)) for rank in range(readers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"a reader of {root} failed")
    found = [spans.get() for _ in processes]
    return max(end for _, end in found) - min(start for start, _ in found)


def read_in_parallel(path, nbytes):
    """The first bytes of a file, in requests of one MiB."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with concurrent.futures.ThreadPoolExecutor(IN_FLIGHT) as pool:
            for _ in pool.map(lambda at: os.pread(descriptor, min(MIB, nbytes - at), at), range(0, nbytes, MIB)):
                pass
    finally:
        os.close(descriptor)


def timed(body, *arguments):
    start = time.perf_counter()
    body(*arguments)
    return time.perf_counter() - start


def processors():
    return len(os.sched_getaffinity(0))


def readers_in_words(count):
    return "1 reader" if count == 1 else f"{count} readers"


def about(options, size):
    return (f"{processors()} processors, {psutil.virtual_memory().total / 2**30:.0f} GiB of memory, {platform.system()} "
            f"{platform.release()}, torch {torch.__version__}. Shards of {size / 1e9:.2f} GB at {CUT} ranks; "
            f"{options.repetitions} repetitions.")


def put_section(document, text):
    """Between the marks of the section for this many processors."""
    begin, end = f"<!-- {processors()} processors -->", f"<!-- end of {processors()} processors -->"
    before, rest = document.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
