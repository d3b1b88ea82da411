"""Tests of the Python package, run against what is installed: nothing here puts the sources on sys.path.

CKPTFS_NATIVE, where it is set, names the build whose library and program are used instead of the package's own.
"""
import os
import pathlib
import shutil
import sys

import pytest

import ckptfs
from ckptfs import _programs

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
sys.path.insert(0, str(ROOT / "tests" / "oracle"))
# The daemons that are looked for after each test.
os.environ["CKPTFS_BIN"] = _programs.program()

import graph  # noqa: E402
from mount_fixtures import *  # noqa: E402,F401,F403  (fixtures)

TAG = "global_step2"


@pytest.fixture(autouse=True)
def places_below(tmp_path, monkeypatch):
    """Mounts of ckptfs.mount() where `no_leaks` looks for them."""
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


@pytest.fixture
def source(checkpoint):
    """A checkpoint of 4 ranks with what trainers put around it."""
    root = checkpoint()
    (root / TAG / "notes.txt").write_text("kept as it is\n")
    (root / "empty").touch()
    (root / "nested" / "deep er").mkdir(parents=True)
    (root / "nested" / "deep er" / "f,i\\le").write_bytes(b"content" * 20000)
    (root / "nested" / os.fsdecode(b"latin-\xe4")).write_bytes(b"a name that is no UTF-8")
    (root / "secret").write_text("x")
    (root / "secret").chmod(0o600)
    (root / "last.ckpt").symlink_to("nested")
    (root / "shard").symlink_to(f"{TAG}/mp_rank_00_model_states.pt")
    (root / "dangling").symlink_to("nowhere")
    return root


@pytest.fixture
def sample(tmp_path):
    """A copy of the sample that users begin with, as `checkpoints`: 4 ranks."""
    target = tmp_path / "checkpoints"
    shutil.copytree(ROOT / "mount_scripts" / "sample", target)
    return target


@pytest.fixture
def damage():
    """damage(FILE): changes a byte in the largest record of a .pt."""
    def change(path):
        with graph.Archive(path) as archive:
            record = max(archive.records, key=lambda name: archive.size(name) if name.startswith("data/") else -1)
            place = archive.place(record) + archive.size(record) // 2
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)

    return change


@pytest.fixture
def tree(source):
    """Of three ranks."""
    with ckptfs.open(source, world_size=3) as opened:
        yield opened
