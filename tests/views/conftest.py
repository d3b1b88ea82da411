"""Derived views through the kernel, against the programs whose work they take over."""
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / name) for name in ("support", "oracle", "frameworks"))]

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

from mount_directory import mount_directory  # noqa: E402
import ranks  # noqa: E402,F401  sets the environment of a CPU run, before DeepSpeed is imported


@pytest.fixture(scope="session", autouse=True)
def directory(tmp_path_factory):
    """Holds all that is mounted or written; nothing may be mounted in it at the end."""
    with mount_directory(tmp_path_factory, "views") as root:
        yield root
