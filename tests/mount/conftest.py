"""Tests of the mount through the kernel."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from mount_fixtures import *  # noqa: E402,F401,F403  (fixtures)

TAG = "global_step2"


@pytest.fixture
def source(checkpoint):
    """A checkpoint of 4 ranks with what trainers put around it."""
    root = checkpoint()
    (root / TAG / "notes.txt").write_text("kept as it is\n")
    (root / "rng_state_0.pth").write_bytes(bytes(range(256)) * 1000)
    (root / "zero_to_fp32.py").write_text("print('hello')\n")
    (root / "zero_to_fp32.py").chmod(0o744)
    (root / "secret").write_text("x")
    (root / "secret").chmod(0o600)
    (root / "empty").touch()
    (root / "nested" / "deep er").mkdir(parents=True)
    (root / "nested" / "deep er" / "f,i\\le").write_bytes(b"content" * 20000)
    (root / "last.ckpt").symlink_to("nested")
    (root / "dangling").symlink_to("nowhere")
    return root


@pytest.fixture(params=["auto", "cached", "direct"])
def io_mode(request):
    """Of a writable mount: with the kernel's own reads and writes, where it has them, and without."""
    return request.param
