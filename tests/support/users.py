"""Does things as other users, each in a process of its own. Only root can."""
import ctypes
from dataclasses import dataclass
import errno
import os
import pickle
import stat
import subprocess
import traceback

import pytest

CLONE_NEWNS = 0x00020000


@dataclass(frozen=True)
class User:
    uid: int
    gid: int
    groups: tuple = ()


def require_root():
    if os.geteuid() != 0:
        assert os.environ.get("CI") != "true", "only root can become somebody else"
        pytest.skip("only root can become somebody else")


def let_users_mount(directory):
    """Where /dev/fuse is root's alone, gives this process and its children, and nobody else, one that users may open.

    `directory` is new. Nothing may be mounted yet: what is stays mounted for everybody else.
    """
    if os.geteuid() != 0 or os.stat("/dev/fuse").st_mode & 0o006 == 0o006:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
    subprocess.run(["mount", "--make-rslave", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", directory], check=True)
    os.mknod(f"{directory}/fuse", stat.S_IFCHR | 0o600, os.stat("/dev/fuse").st_rdev)
    os.chmod(f"{directory}/fuse", 0o666)
    subprocess.run(["mount", "--bind", f"{directory}/fuse", "/dev/fuse"], check=True)
    subprocess.run(["umount", directory], check=True)


def in_child(function, user=None, umask=0o022):
    """What function() returns, which must pickle, in a process of `user` (None: of this process's own)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _child(function, user, umask, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        received = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0 and received, f"the process ended with {status}"
    is_done, value = pickle.loads(received)
    assert is_done, value
    return value


def outcome(function, user=None, umask=0o022):
    """What function() returns in a process of `user`, or the name of the errno that it ends with."""

    def answer():
        try:
            return function()
        except OSError as failure:
            return errno.errorcode[failure.errno]

    return in_child(answer, user, umask)


def _child(function, user, umask, writing):
    """Never returns."""
    try:
        if user:
            os.setgroups(user.groups)
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
        os.umask(umask)
        answer = (True, function())
    except BaseException:
        answer = (False, traceback.format_exc())
    try:
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(answer, pipe)
    finally:
        os._exit(0)
