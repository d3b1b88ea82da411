"""A SOURCE on a file system that makes inode numbers up and forgets them, as those do that show an object store."""
import contextlib
import errno
import os
import pathlib
import subprocess

import pytest

from mount_fixtures import binary, require_fuse, unmount, wait_until

TAG = "global_step2"
SOURCES = pathlib.Path(__file__).resolve().parents[1] / "support" / "programs"
OPTIMIZER = "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """Made here, as what builds the program to test need not build any tests."""
    made = tmp_path_factory.mktemp("forgetful") / "forgetful_fs"
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], capture_output=True, text=True, check=True).stdout.split()
    subprocess.run(["c++", "-std=c++20", "-O1", "-o", made, SOURCES / "forgetful_fs.cpp", *flags, "-pthread"], check=True)
    return made


@contextlib.contextmanager
def mounted_by(program, source, point):
    """`source` through such a file system: its process."""
    require_fuse()
    point.mkdir()
    with subprocess.Popen([program, source, point], stdin=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: process.poll() is not None or os.path.ismount(point), "the file system answers")
            assert process.poll() is None
            yield process
        finally:
            unmount(point)


@pytest.fixture
def forgetful(source, tmp_path, program):
    point = tmp_path / "forgetful"
    with mounted_by(program, source, point) as process:
        yield point
    assert process.wait(60) == 0


def test_a_stale_mount_of_another_file_system_is_cleared_by_what_clears_any(source, tmp_path, program):
    point = tmp_path / "forgetful"
    with mounted_by(program, source, point) as process:
        process.kill()
        process.wait()
        refused = subprocess.run([binary(), source, point, "--world-size=3"], capture_output=True, text=True, timeout=60, check=False)
        assert refused.returncode == 6
        assert f"it is a stale mount whose daemon is gone; clear it with: fusermount3 -u '{point}' (-uz where" in refused.stderr


def descriptors_below(process, directory):
    found = 0
    for entry in pathlib.Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(entry).startswith(f"{directory}/{TAG}/")
    return found


def test_it_forgets(forgetful):
    """What the others rest on."""
    path = forgetful / TAG / "mp_rank_00_model_states.pt"
    assert path.stat().st_ino != path.stat().st_ino


def test_a_source_that_forgets_inodes_is_not_stale_for_ever(source, forgetful, mounted):
    expected = (mounted(source, "--world-size=3").path / TAG / OPTIMIZER).read_bytes()
    mount = mounted(forgetful, "--world-size=3")
    path = mount.path / TAG / OPTIMIZER
    inode = path.stat().st_ino
    with open(path, "rb", buffering=0) as file:
        assert file.readall() == expected
        # What appears shows that the mount has looked anew; what is closed is opened again by its name.
        (source / TAG / "new").touch()
        wait_until((mount.path / TAG / "new").exists, "the new file")
        wait_until(lambda: descriptors_below(mount.process, forgetful) == 0, "unused descriptors are closed")
        assert os.pread(file.fileno(), len(expected), 0) == expected
    assert path.read_bytes() == expected
    assert path.stat().st_ino == inode


def test_a_save_there_is_seen(source, forgetful, mounted):
    """The twin: what is written changes more than an inode number."""
    mount = mounted(forgetful, "--world-size=3")
    path = mount.path / TAG / OPTIMIZER
    before = path.read_bytes()
    with open(path, "rb", buffering=0) as file:
        for shard in (source / TAG).glob("*_states.pt"):
            shard.write_bytes(shard.read_bytes())
        with pytest.raises(OSError) as failure:
            os.pread(file.fileno(), len(before), 0)
        assert failure.value.errno == errno.ESTALE
    assert path.read_bytes() == before
