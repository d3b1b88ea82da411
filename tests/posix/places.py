"""Directories without tags, and writable mounts of them."""
import contextlib
import os
import pathlib
import tempfile

from mount_fixtures import Mount

WRITABLE = ("--world-size=3", "--writable")


@contextlib.contextmanager
def directory(owner=None):
    """A new directory that everybody may search; `owner`: the id of a user to whom it belongs."""
    with tempfile.TemporaryDirectory(prefix="ckptfs-posix-") as scratch:
        os.chmod(scratch, 0o755)
        if owner is not None:
            os.chown(scratch, owner, owner)
        yield pathlib.Path(scratch)


@contextlib.contextmanager
def mounted(scratch, *options, user=None):
    """Mounts `scratch`/source, which is new, and yields the Mount."""
    source = scratch / "source"
    source.mkdir()
    source.chmod(0o755)
    if user is not None:
        os.chown(source, user, user)
    mount = Mount(source, scratch / "mount", scratch / "log", *WRITABLE, *options, user=user)
    try:
        yield mount
    finally:
        mount.close()
