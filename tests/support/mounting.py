"""Mounts a checkpoint with the real program for the length of a `with` block, and leaves nothing behind."""
import contextlib
from dataclasses import dataclass
import json
import os
import pathlib
import re
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("CKPTFS_BINARY", ROOT / "build" / "ckptfs"))
SUSPICIOUS = re.compile(r"\b(error|critical|assert\w*|terminate|sanitizer)\b", re.IGNORECASE)


class MountError(AssertionError):
    """The program did not mount, did not end well, or logged what it should not."""


@dataclass(frozen=True)
class Mount:
    """A live mount. It is also a path: os.fspath(mount) is the mount point."""

    path: str
    pid: int
    log: pathlib.Path

    def __fspath__(self):
        return self.path

    def __str__(self):
        return self.path

    def status(self, field):
        """A number of /proc/<pid>/status: "VmHWM", in KiB, is the daemon's peak memory."""
        return _number(f"/proc/{self.pid}/status", field)

    def io(self, field):
        """A number of /proc/<pid>/io: "rchar" counts the bytes that the daemon has read."""
        return _number(f"/proc/{self.pid}/io", field)

    def nbytes_read(self):
        """Of SOURCE, by the daemon or by the kernel for it."""
        with open(f"{self.path}/.ckptfs/status.json", encoding="utf-8") as file:
            return self.io("rchar") + json.load(file)["bytes"]["handed_over"]


@contextlib.contextmanager
def mounted(source, world_size=None, *options, may_log_errors=False, timeout=60.0):
    """Mounts `source` at `world_size` (None: every world size) on a new directory and yields a Mount.

    Afterwards the daemon must have ended with exit code 0, the mount must be gone, and, unless `may_log_errors`, the log
    must hold no error.
    """
    with tempfile.TemporaryDirectory(prefix="ckptfs-mount-") as scratch:
        point, log = os.path.join(scratch, "mount"), pathlib.Path(scratch, "log")
        os.mkdir(point)
        command = [str(BINARY), str(source), point, "-f", f"--log-file={log}", *options]
        if world_size is not None:
            command.append(f"--world-size={world_size}")
        output = pathlib.Path(scratch, "output")
        with open(output, "wb") as sink:
            daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
        try:
            _wait_until_mounted(daemon, point, output, time.monotonic() + timeout)
            yield Mount(point, daemon.pid, log)
        finally:
            text = _end(daemon, point) + output.read_text() + (log.read_text() if log.exists() else "")
        if daemon.returncode != 0:
            raise MountError(f"ckptfs ended with {daemon.returncode}:\n{text}")
        if not may_log_errors and SUSPICIOUS.search(text):
            raise MountError(f"ckptfs logged:\n{text}")


def is_mounted(point):
    with open("/proc/mounts", encoding="utf-8", errors="surrogateescape", newline="\n") as mounts:
        return any(line.split(" ")[1] == point for line in mounts)


def _wait_until_mounted(daemon, point, output, deadline):
    while not is_mounted(point):
        if daemon.poll() is not None:
            raise MountError(f"ckptfs ended with {daemon.returncode} before it mounted:\n{output.read_text()}")
        if time.monotonic() > deadline:
            raise MountError(f"ckptfs did not mount in time:\n{output.read_text()}")
        time.sleep(0.005)
    os.listdir(point)  # answers only once the daemon does


def _end(daemon, point):
    """Unmounts and waits for the daemon. Returns what went wrong, as text."""
    wrong = ""
    if is_mounted(point):
        complaint = unmount(point)
        if complaint:
            wrong += f"error: fusermount3: {complaint}"
            subprocess.run(["fusermount3", "-u", "-z", point], check=False)
    else:
        wrong += "" if daemon.poll() else "error: the mount was gone before its end\n"
    try:
        daemon.wait(30)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
    if is_mounted(point):
        wrong += f"error: {point} is still mounted\n"
    return wrong


def unmount(point, patience=5.0):
    """Returns what fusermount3 complains of, empty when it unmounted. Files that were just closed may be busy for a moment."""
    deadline = time.monotonic() + patience
    while True:
        done = subprocess.run(["fusermount3", "-u", point], capture_output=True, text=True)
        if done.returncode == 0 or time.monotonic() > deadline:
            return done.stderr
        time.sleep(0.05)


def _number(path, field):
    with open(path, encoding="ascii") as lines:
        for line in lines:
            name, value = line.split(":", 1)
            if name == field:
                return int(value.split()[0])
    raise KeyError(field)
