"""A mount for as long as a `with` statement lasts."""
import errno
import os
import pathlib
import signal
import subprocess
import sys
import warnings

import ckptfs
import pytest
from ckptfs import _programs, mounting
from conftest import TAG
from mount_fixtures import daemons_naming, mounts_below, require_fuse, wait_until


@pytest.fixture(autouse=True)
def fuse():
    require_fuse()


def optimizer_files(path):
    return len([name for name in os.listdir(path / TAG) if "optim" in name])


def test_a_mount_is_there_in_the_statement_only(checkpoint, tmp_path):
    root = checkpoint()
    with ckptfs.mount(root, world_size=3) as path:
        assert isinstance(path, pathlib.Path) and optimizer_files(path) == 3
        assert mounts_below(tmp_path) == [str(path)]
        with ckptfs.open(root, world_size=3) as tree:
            assert (path / "latest").read_bytes() == tree.read_bytes("latest")
    assert not mounts_below(tmp_path) and not path.exists() and not daemons_naming(str(root))


def test_it_ends_when_the_body_raises(checkpoint, tmp_path):
    with pytest.raises(ZeroDivisionError):
        with ckptfs.mount(checkpoint(), world_size=3):
            1 / 0  # noqa: B018
    assert not mounts_below(tmp_path)


def test_it_can_be_closed_by_hand(checkpoint, tmp_path):
    mount = ckptfs.mount(checkpoint(), world_size=3)
    assert optimizer_files(mount.path) == 3 and str(mount.path) in repr(mount) and not mount.closed
    mount.close()
    mount.close()
    assert mount.closed and not mounts_below(tmp_path)
    with pytest.raises(ValueError, match="closed"):
        mount.__enter__()


def test_it_goes_with_its_last_reference(checkpoint, tmp_path):
    mount = ckptfs.mount(checkpoint(), world_size=3)
    assert mounts_below(tmp_path)
    del mount
    assert not mounts_below(tmp_path)


def test_two_that_ask_for_the_same_share_one(checkpoint, tmp_path):
    root = checkpoint()
    with ckptfs.mount(root, world_size=3) as first:
        with ckptfs.mount(root, world_size=3) as second, ckptfs.mount(root, world_size=2) as third:
            assert first == second and second != third and len(mounts_below(tmp_path)) == 2
        assert optimizer_files(first) == 3


def test_views_and_options(checkpoint, tmp_path):
    root = checkpoint()
    with ckptfs.mount(root) as path:
        assert (path / "world-size-2" / TAG).is_dir()
    with ckptfs.mount(root, view="weights", dtype="fp32", log_file=tmp_path / "log") as path:
        assert (path / "model.safetensors").exists()
    assert (tmp_path / "log").read_text()
    with ckptfs.mount(root, world_size=3, ds_config={"zero_optimization": {"stage": 2}}, io="cached") as path:
        assert optimizer_files(path) == 3
    with ckptfs.mount(root, world_size=3, writable=True) as path:
        (path / "written").write_text("here")
    assert (root / "written").read_text() == "here"


PROGRAM = """
import ckptfs, os, signal, sys
mount = ckptfs.mount(sys.argv[1], world_size=3)
print(mount.path, flush=True)
exec(sys.argv[2])
"""


@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "os._exit(4)", "1 / 0", "os.kill(os.getpid(), signal.SIGKILL)",
                                 "os.kill(os.getpid(), signal.SIGTERM)", "os.fork() or sys.exit(5)",
                                 "os.fork() or os._exit(5)"])
def test_it_ends_with_its_process(checkpoint, tmp_path, end):
    root = checkpoint()
    done = subprocess.run([sys.executable, "-c", PROGRAM, root, end], stdout=subprocess.PIPE, text=True, check=False,
                          stderr=subprocess.DEVNULL)
    assert done.stdout.strip()
    wait_until(lambda: not mounts_below(tmp_path) and not daemons_naming(str(root)), "the mount is gone")


def test_a_forked_process_leaves_the_mount(checkpoint, tmp_path):
    with ckptfs.mount(checkpoint(), world_size=3) as path:
        process = os.fork()
        if process == 0:
            try:
                import gc
                gc.collect()
                sys.exit(optimizer_files(path))
            except SystemExit as end:
                import atexit
                atexit._run_exitfuncs()
                os._exit(end.code)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 3
        assert optimizer_files(path) == 3


def test_close_does_not_wait_for_forked_processes(checkpoint, tmp_path):
    """They hold the pipe too."""
    mount = ckptfs.mount(checkpoint(), world_size=3)
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    mount.close()
    assert not mounts_below(tmp_path)
    os.close(writing)
    os.waitpid(process, 0)


def test_ctrl_c_leaves_the_mount_to_the_program(checkpoint, tmp_path):
    """A terminal's signal goes to all processes of a group: what is to be done with it, this one decides."""
    program = """
import ckptfs, os, signal, sys
try:
    with ckptfs.mount(sys.argv[1], world_size=3) as path:
        try:
            os.killpg(0, signal.SIGINT)
            signal.pause()
        except KeyboardInterrupt:
            print(len(os.listdir(path / 'global_step2')), flush=True)
            raise
except KeyboardInterrupt:
    print('ended', flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program, checkpoint()], capture_output=True, text=True, check=False,
                          start_new_session=True)
    assert done.stdout.split()[-1] == "ended" and int(done.stdout.split()[0]) > 3
    assert not mounts_below(tmp_path)


def test_what_is_wrong_with_the_source(checkpoint, tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        ckptfs.mount(tmp_path / "absent", world_size=3)
    assert "absent" in str(raised.value)
    root = checkpoint()
    with pytest.raises(ValueError):
        ckptfs.mount(root, world_size=0)
    (root / TAG / "mp_rank_00_model_states.pt").unlink()
    with pytest.raises(ckptfs.Error) as raised:
        ckptfs.mount(root, world_size=3)
    assert raised.value.code == ckptfs.ErrorCode.DAMAGED


def test_warnings_are_pythons(checkpoint):
    root = checkpoint()
    os.rename(root / TAG, root / "whole")
    (root / "latest").write_text("broken")
    (root / "broken").mkdir()
    (root / "broken" / "mp_rank_00_model_states.pt").write_bytes(b"no zip")
    with pytest.warns(ckptfs.CheckpointWarning, match="broken"):
        ckptfs.mount(root, world_size=3).close()


def test_a_warning_that_is_an_error_leaves_no_mount(checkpoint, tmp_path):
    root = checkpoint()
    os.rename(root / TAG, root / "whole")
    (root / "latest").write_text("broken")
    (root / "broken").mkdir()
    (root / "broken" / "mp_rank_00_model_states.pt").write_bytes(b"no zip")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ckptfs.CheckpointWarning):
            ckptfs.mount(root, world_size=3)
    assert not mounts_below(tmp_path)


def test_nothing_is_in_the_way_here():
    assert mounting.obstacle() is None


def refusing(code):
    def refuse(path, *_):
        raise OSError(code, os.strerror(code), path)
    return refuse


@pytest.mark.parametrize("code, expected", [(errno.ENOENT, "/dev/fuse is missing"), (errno.EPERM, "cannot be opened"),
                                            (errno.EACCES, "cannot be opened")])
def test_the_device_is_missing(monkeypatch, code, expected):
    with monkeypatch.context() as patch:
        patch.setattr(mounting.os, "open", refusing(code))
        assert expected in mounting.obstacle() and "--device /dev/fuse" in mounting.obstacle()


FULL, NONE = "000001ffffffffff", "0000000000000000"


@pytest.mark.parametrize("status, expected", [
    ({"CapEff": NONE, "CapBnd": NONE}, "no CAP_SYS_ADMIN"),
    ({"CapEff": NONE, "CapBnd": FULL, "NoNewPrivs": "1"}, "no_new_privs"),
    ({"CapEff": NONE, "CapBnd": FULL, "NoNewPrivs": "0"}, None),
    ({"CapEff": FULL, "CapBnd": FULL}, None),
])
def test_rights_are_missing(monkeypatch, status, expected):
    monkeypatch.setattr(mounting, "_own_status", lambda: status)
    found = mounting.obstacle()
    assert found is None if expected is None else expected in found


def test_fusermount_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(mounting, "_own_status", lambda: {"CapEff": NONE, "CapBnd": FULL})
    (tmp_path / "fusermount3").write_text("#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "fusermount3 is not in PATH" in mounting.obstacle()
    (tmp_path / "fusermount3").chmod(0o755)
    assert "does not run as root" in mounting.obstacle()
    (tmp_path / "fusermount3").chmod(0o4755)
    assert mounting.obstacle() is None
    monkeypatch.setattr(mounting, "_TABLE", str(tmp_path / "mtab"))
    assert f"{tmp_path}/mtab is missing, without which fusermount3 does not unmount" in mounting.obstacle()
    monkeypatch.setattr(mounting.os, "geteuid", lambda: 4000000001)
    assert "user 4000000001 is in no user database" in mounting.obstacle()


def test_a_mount_that_fails_says_what_is_missing(checkpoint, monkeypatch, tmp_path):
    """The program fails as it does where FUSE refuses; what is known of the machine is said with it."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho 'ckptfs: the mount failed' >&2\nexit 6\n")
    program.chmod(0o755)
    monkeypatch.setattr(_programs, "program", lambda: str(program))
    monkeypatch.setattr(mounting, "_own_status", lambda: {"CapEff": NONE, "CapBnd": NONE})
    with pytest.raises(ckptfs.Error, match="the mount failed; this container may not mount") as raised:
        ckptfs.mount(checkpoint(), world_size=3)
    assert raised.value.code == ckptfs.ErrorCode.MOUNT
