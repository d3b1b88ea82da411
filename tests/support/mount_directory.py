"""A temporary directory for all that a session of tests mounts or writes."""
import contextlib
import os
import tempfile

import pytest


@contextlib.contextmanager
def mount_directory(tmp_path_factory, name):
    """Yields the directory, which `tempfile` uses meanwhile; nothing may be mounted in it at the end."""
    if not os.path.exists("/dev/fuse"):
        assert os.environ.get("CI") != "true", "/dev/fuse is missing"
        pytest.skip("/dev/fuse is missing")
    root = tmp_path_factory.mktemp(name)
    before, tempfile.tempdir = tempfile.tempdir, str(root)
    yield root
    tempfile.tempdir = before
    with open("/proc/mounts", encoding="utf-8") as mounts:
        left = [line.split()[1] for line in mounts if line.split()[1].startswith(f"{root}/")]
    assert not left, f"still mounted: {left}"
