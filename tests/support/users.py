"""Does things as other users, each in a process of its own. Only root can."""
from dataclasses import dataclass
import errno
import os
import pickle
import traceback

import pytest


@dataclass(frozen=True)
class User:
    uid: int
    gid: int
    groups: tuple = ()


def require_root():
    if os.geteuid() != 0:
        assert os.environ.get("CI") != "true", "only root can become somebody else"
        pytest.skip("only root can become somebody else")


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
