"""Tests of `ckptfs export` with the real program."""
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / name) for name in ("support", "oracle"))]

import ranks  # noqa: E402,F401  sets the environment of a CPU run, before DeepSpeed is imported

if os.environ.get("CI") != "true":
    pytest.importorskip("deepspeed", reason="the pickles of large checkpoints name DeepSpeed's classes")

import large_checkpoint  # noqa: E402
from mount_fixtures import *  # noqa: E402,F401,F403  (fixtures)


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """A checkpoint of 4 ranks and 260 MB, which takes long enough for something to happen meanwhile. Not to be changed."""
    root = tmp_path_factory.mktemp("large") / "source"
    large_checkpoint.make_full(str(root), large_checkpoint.Model(layers=4, width=512, hidden=1408, key_value=256, vocabulary=8000))
    return root


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out" / "exported"


@pytest.fixture(autouse=True)
def parent(target):
    target.parent.mkdir(exist_ok=True)
