"""pytest fixtures for tests of the mount itself: the real binary, and a check that it leaves nothing behind.

A folder of tests gets them with `from mount_fixtures import *` in its conftest.py, after putting this folder on sys.path.
CKPTFS_BIN names the binary (default: build/ckptfs). Tests that only need a mount to read from use mounting.py.
"""
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest

__all__ = ["checkpoint", "mounted", "no_leaks"]

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "zero"
PATIENCE_S = 60  # a limit for what never happens, not a measure of how fast it should


def binary():
    path = pathlib.Path(os.environ.get("CKPTFS_BIN", ROOT / "build" / "ckptfs")).resolve()
    assert path.exists(), f"{path} is missing: build it, or set CKPTFS_BIN"
    return str(path)


def require_fuse():
    if not os.path.exists("/dev/fuse"):
        assert os.environ.get("CI") != "true", "/dev/fuse is missing"
        pytest.skip("/dev/fuse is missing")


def wait_until(condition, what, patience_s=PATIENCE_S):
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, f"not within {patience_s} s: {what}"
        time.sleep(0.02)


def content_of(path):
    """The bytes, or the errno of what came instead."""
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as failure:
        return failure.errno


def mounts_below(directory):
    """Mount points of ckptfs at or below `directory`."""
    found = []
    for line in pathlib.Path("/proc/self/mounts").read_bytes().decode(errors="surrogateescape").split("\n")[:-1]:
        _, point, kind = line.split(" ")[:3]  # other white space is part of names
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point)
        if kind == "fuse.ckptfs" and (point + "/").startswith(str(directory) + "/"):
            found.append(point)
    return found


def daemons_naming(text):
    """Process ids of ckptfs whose command line has `text`."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[0] == binary().encode() and any(text.encode() in word for word in words):
                    found.append(int(entry.name))
    return found


def unmount(point):
    subprocess.run(["fusermount3", "-u", str(point)], check=True)


class Mount:
    """A mount in the foreground of a child process. `path` is the mount point; `user`: the id of who mounts, if not who runs the tests."""

    def __init__(self, source, mount_point, log, *args, user=None):
        require_fuse()
        self.source = pathlib.Path(source)
        self.path = pathlib.Path(mount_point)
        self.log = pathlib.Path(log)
        self.path.mkdir(parents=True, exist_ok=True)
        self.is_killed = False
        self.expected_errors = []
        self.allowed_errors = []
        identity = {}
        if user is not None:
            os.chown(self.path, user, user)
            identity = {"user": user, "group": user, "extra_groups": []}
        self.process = subprocess.Popen(
            [binary(), str(source), str(mount_point), "-f", f"--log-file={log}", *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **identity)
        wait_until(lambda: self.process.poll() is not None or " mounted " in self.log_text(), "the mount answers")
        assert self.process.poll() is None, f"exit code {self.process.returncode}: {self.process.stdout.read()}"
        assert mounts_below(self.path)  # which root cannot look into, where it is a user's

    def expect_error(self, pattern):
        """At least one line of level error in the log must match, and such lines are no failure."""
        self.expected_errors.append(pattern)

    def may_log_errors(self, pattern):
        """Lines of level error that match are no failure, nor is there any need of one."""
        self.allowed_errors.append(pattern)

    def log_text(self):
        return self.log.read_text() if self.log.exists() else ""

    def wait(self):
        """For the daemon, whoever ended it; returns its exit code."""
        return self.process.wait(PATIENCE_S)

    def kill(self):
        """As kill -9 does it. The mount point answers ENOTCONN until close()."""
        self.process.kill()
        self.wait()
        self.is_killed = True

    def close(self):
        """Unmounts and checks what is left. A second call does nothing."""
        if self.process.stdout.closed:
            return
        if self.is_killed:
            if mounts_below(self.path):
                unmount(self.path)
            self.process.stdout.close()
            return
        if self.process.poll() is None:
            unmount(self.path)
        code = self.wait()
        output = self.process.stdout.read()
        self.process.stdout.close()
        assert code == 0, f"exit code {code}: {output}{self.log_text()}"
        assert not mounts_below(self.path)
        errors = [line for line in (self.log_text() + output).splitlines()
                  if re.search(r"\berror\b|\bcritical\b|Sanitizer", line)]
        for pattern in self.expected_errors:
            assert any(re.search(pattern, line) for line in errors), f"no error line matches {pattern!r}"
        explained = self.expected_errors + self.allowed_errors
        unexpected = [line for line in errors if not any(re.search(p, line) for p in explained)]
        assert not unexpected, unexpected


@pytest.fixture
def mounted(tmp_path):
    """mounted(source, *args) -> Mount. Unmounted after the test; exit code and log are checked."""
    made = []

    def make(source, *args, mount_point=None):
        number = len(made)
        point = mount_point or tmp_path / f"mount{number}"
        made.append(Mount(source, point, tmp_path / f"mount{number}.log", *args))
        return made[-1]

    yield make
    for mount in reversed(made):
        mount.close()


@pytest.fixture
def checkpoint(tmp_path):
    """checkpoint(case) -> a copy of tests/data/zero/<case> that the test may change."""

    def make(case="stage2_bf16_ws4", name="source"):
        assert (DATA / case).is_dir(), f"{DATA / case} is missing"
        target = tmp_path / name
        shutil.copytree(DATA / case, target, symlinks=True)
        return target

    return make


@pytest.fixture(autouse=True)
def no_leaks(request, tmp_path):
    """Fails a test that leaves a mount or a daemon behind, and clears it away for the others."""
    yield
    left_mounts = mounts_below(tmp_path)
    for point in left_mounts:
        subprocess.run(["fusermount3", "-u", "-z", point], check=False)
    end = time.monotonic() + PATIENCE_S
    while daemons_naming(str(tmp_path)) and time.monotonic() < end:
        time.sleep(0.02)
    left_daemons = daemons_naming(str(tmp_path))
    for process in left_daemons:
        os.kill(process, 9)
    assert not left_mounts, f"{request.node.name} left mounts behind"
    assert not left_daemons, f"{request.node.name} left daemons behind"
