"""Derived views through the kernel, against the programs whose work they take over."""
import os
import pathlib
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / name) for name in ("support", "oracle", "frameworks"))]

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import ranks  # noqa: E402,F401  sets the environment of a CPU run, before DeepSpeed is imported


@pytest.fixture(scope="session", autouse=True)
def directory(tmp_path_factory):
    """Holds all that is mounted or written; nothing may be mounted in it at the end."""
    if not os.path.exists("/dev/fuse"):
        assert os.environ.get("CI") != "true", "/dev/fuse is missing"
        pytest.skip("/dev/fuse is missing")
    root = tmp_path_factory.mktemp("views")
    before, tempfile.tempdir = tempfile.tempdir, str(root)
    yield root
    tempfile.tempdir = before
    with open("/proc/mounts", encoding="utf-8") as mounts:
        left = [line.split()[1] for line in mounts if line.split()[1].startswith(f"{root}/")]
    assert not left, f"still mounted: {left}"
