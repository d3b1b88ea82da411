"""Other file systems that hand out a directory through FUSE, mounted for the length of a `with` block: what a mount is compared with.

Those that others know are optional: a program of this name on PATH, or the one that a variable of the environment names.
"""
import contextlib
from dataclasses import dataclass
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

from mounting import ROOT, Mount, MountError, is_mounted, unmount


@dataclass(frozen=True)
class Peer:
    name: str
    variable: str  # of the environment: where the program is
    package: str  # how to get it
    options: tuple  # that keep it in the foreground and from writing; {} stands for the directory
    built: pathlib.Path | None = None  # where a build leaves it

    def program(self):
        """Its path; None where it is not installed."""
        named = os.environ.get(self.variable)
        if named and not os.access(named, os.X_OK):
            raise FileNotFoundError(f"{self.variable} names {named}, which is no program")
        built = str(self.built) if self.built and self.built.exists() else None
        return named or shutil.which(self.name) or built

    def left_out(self):
        return f"Left out: {self.name}, which is not installed ({self.package}, or its path in {self.variable})."

    def mounted(self, source):
        options = [option.format(source) for option in self.options]
        return serving(self.name, [self.program(), *options])


# Nothing stays in the page cache, as nothing of a shard of a view does: a benchmark that reads a file twice would measure that.
PEERS = (
    Peer("bindfs", "CKPTFS_BINDFS", "Debian's package bindfs", ("-f", "-r", "--multithreaded", "-o", "direct_io", "{}")),
    Peer("passthrough_ll", "CKPTFS_PASSTHROUGH_LL", "built from the examples of Debian's package libfuse3-dev",
         ("-f", "-o", "source={},cache=never"), ROOT / "build" / "passthrough_ll"),
)


def installed():
    return [peer for peer in PEERS if peer.program()]


def missing():
    """A sentence for each that is not installed."""
    return [peer.left_out() for peer in PEERS if not peer.program()]


@contextlib.contextmanager
def serving(name, command):
    """Runs `command` with a new mount point as its last word, and yields a Mount without a log."""
    with tempfile.TemporaryDirectory(prefix="ckptfs-peer-") as scratch:
        point = os.path.join(scratch, "mount")
        os.mkdir(point)
        said = pathlib.Path(scratch, "said")
        with open(said, "wb") as sink:
            process = subprocess.Popen([*command, point], stdin=subprocess.DEVNULL, stderr=sink)
        try:
            while not is_mounted(point):
                if process.poll() is not None:
                    raise MountError(f"{name} ended with {process.returncode}: {said.read_text()}")
                time.sleep(0.001)
            yield Mount(point, process.pid, None)
        finally:
            complaint = unmount(point)
            process.wait(30)
        if complaint or process.returncode:
            raise MountError(complaint or f"{name} ended with {process.returncode}: {said.read_text()}")
