"""Every way to write is refused with EROFS."""
import ctypes
import errno
import os

import pytest

TAG = "global_step2"
SHARD = f"{TAG}/mp_rank_00_model_states.pt"


def rename_exchange(path):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(path / "latest"), -100, os.fsencode(path / "empty"), 2) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


WAYS = {
    "open for writing": lambda path: os.open(path / "latest", os.O_WRONLY),
    "open for both": lambda path: os.open(path / SHARD, os.O_RDWR),
    "open for appending": lambda path: os.open(path / SHARD, os.O_WRONLY | os.O_APPEND),
    "truncate on opening": lambda path: os.open(path / "latest", os.O_WRONLY | os.O_TRUNC),
    "create": lambda path: os.open(path / "new", os.O_CREAT | os.O_WRONLY),
    "create in a tag": lambda path: os.open(path / TAG / "new", os.O_CREAT | os.O_WRONLY),
    "unnamed temporary file": lambda path: os.open(path, os.O_TMPFILE | os.O_RDWR),
    "truncate": lambda path: os.truncate(path / "latest", 0),
    "mkdir": lambda path: os.mkdir(path / "new"),
    "rmdir": lambda path: os.rmdir(path / "nested"),
    "unlink": lambda path: os.unlink(path / "latest"),
    "unlink a shard": lambda path: os.unlink(path / SHARD),
    "rename": lambda path: os.rename(path / "latest", path / "new"),
    "exchange": rename_exchange,
    "link": lambda path: os.link(path / "latest", path / "new"),
    "symlink": lambda path: os.symlink("latest", path / "new"),
    "mknod": lambda path: os.mkfifo(path / "new"),
    "chmod": lambda path: os.chmod(path / SHARD, 0o777),
    "chown": lambda path: os.chown(path / "latest", 1, 1),
    "utime": lambda path: os.utime(path / "latest", (0, 0)),
    "setxattr": lambda path: os.setxattr(path / "latest", "user.a", b"b"),
    "removexattr": lambda path: os.removexattr(path / "latest", "user.a"),
}


@pytest.mark.parametrize("way", WAYS)
def test_writing_is_refused(source, mounted, way):
    before = sorted(os.listdir(source)), (source / "latest").read_bytes()
    mount = mounted(source, "--world-size=3")
    with pytest.raises(OSError) as failure:
        WAYS[way](mount.path)
    assert failure.value.errno == errno.EROFS
    assert (sorted(os.listdir(source)), (source / "latest").read_bytes()) == before


def test_the_ways_do_write_where_writing_is_allowed(source):
    """So that each of them is refused for the mount's sake and no other."""
    WAYS["create"](source)
    WAYS["chmod"](source)
    WAYS["exchange"](source)
    WAYS["utime"](source)
    assert (source / "new").exists()
