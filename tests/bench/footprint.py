#!/usr/bin/env python3
"""What a mount keeps in memory, and how often `ckptfs verify` reads a checkpoint.

    footprint.py [--report FILE]      prints a table in Markdown, or writes it into FILE between its two marks

Small checkpoints (tests/data/zero): what is measured does not depend on the size of tensors.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "oracle")]

from large_checkpoint import Model, make_sparse  # noqa: E402
from mounting import BINARY, mounted  # noqa: E402
import reporting  # noqa: E402

SOURCE = ROOT / "tests/data/zero/stage2_bf16_ws4"
TAGS = 300
READERS = 64
FILES = 20_000


def idle():
    """Resident and anonymous memory of a mount of one tag, before anybody has looked into it."""
    with mounted(SOURCE, 3) as mount:
        return mount.status("VmRSS") * 1024, mount.status("RssAnon") * 1024


def many_tags(directory):
    """Peak memory after every file of many tags was looked at."""
    source = pathlib.Path(directory, "tags")
    source.mkdir()
    for step in range(TAGS):
        shutil.copytree(SOURCE / "global_step2", source / f"global_step{step}")
    (source / "latest").write_text(f"global_step{TAGS - 1}", encoding="ascii")
    with mounted(source, 3) as mount:
        for folder, _, names in os.walk(mount.path):
            for name in names:
                os.stat(os.path.join(folder, name))
        return mount.status("VmHWM") * 1024


def many_readers(directory):
    """Peak memory while many threads read large files with direct I/O, a MiB at a time."""
    source = pathlib.Path(directory, "readers")
    shutil.copytree(SOURCE, source)
    for reader in range(READERS):
        with open(source / f"large{reader}", "wb") as file:
            file.truncate(64 << 20)
    with mounted(source, 3, "--io=direct") as mount:
        def read(name):
            with open(os.path.join(mount.path, name), "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass

        threads = [threading.Thread(target=read, args=(f"large{reader}",)) for reader in range(READERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return mount.status("VmHWM") * 1024


def inode(directory):
    """Growth by one file that was looked at and that the kernel may still ask for."""
    source = pathlib.Path(directory, "inodes")
    shutil.copytree(SOURCE, source)
    (source / "files").mkdir()
    for number in range(FILES):
        (source / "files" / f"file-{number:06}").touch()
    with mounted(source, 3) as mount:
        before = mount.status("RssAnon") * 1024
        for number in range(FILES):
            os.stat(f"{mount.path}/files/file-{number:06}")
        return (mount.status("RssAnon") * 1024 - before) / FILES


def times_read(directory, *options):
    """Bytes that verify reads of a checkpoint, by the checkpoint's own."""
    sizes = []
    for layers in (2, 8):
        source = pathlib.Path(directory, f"verify-{layers}")
        if not source.exists():
            make_sparse(source, Model(layers=layers, width=512, hidden=1024, key_value=256, vocabulary=1000))
        # Of two sizes the difference: it is free of the libraries and of what starting reads.
        sizes.append((bytes_read([BINARY, "verify", source, *options]), tree_nbytes(source)))
    return (sizes[1][0] - sizes[0][0]) / (sizes[1][1] - sizes[0][1])


def tree_nbytes(root):
    return sum(path.stat().st_size for path in root.rglob("*.pt"))


def bytes_read(command):
    """rchar of a command, taken when it has ended and before it is reaped."""
    child = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    fields = dict(line.split(": ") for line in pathlib.Path(f"/proc/{child.pid}/io").read_text(encoding="ascii").splitlines())
    if child.wait() != 0:
        raise RuntimeError(f"{command} failed")
    return int(fields["rchar"])


def table():
    with tempfile.TemporaryDirectory(prefix="ckptfs-footprint-") as directory:
        resident, anonymous = idle()
        rows = [
            ("resident memory of a mount of one tag, idle", f"{reporting.megabytes(resident)}, of which {reporting.megabytes(anonymous)} its own"),
            (f"peak, {TAGS} tags of 4 ranks, every file looked at", reporting.megabytes(many_tags(directory))),
            (f"peak, {READERS} readers of a MiB at a time", reporting.megabytes(many_readers(directory))),
            ("each file that was looked at, until the kernel forgets it", f"{inode(directory):.0f} bytes"),
            ("`verify` reads every byte", f"{times_read(directory):.1f} times"),
            ("`verify --world-size=3` reads every byte", f"{times_read(directory, '--world-size=3'):.1f} times"),
        ]
    return "\n".join(["| | |", "| --- | --- |", *(f"| {what} | {value} |" for what, value in rows)])


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--report", metavar="FILE", type=pathlib.Path, help="a document with the two marks")
    options = arguments.parse_args()
    reporting.publish([table()], options.report, "footprint")


if __name__ == "__main__":
    main()
