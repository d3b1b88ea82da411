"""From mount to unmount, as a daemon and in the foreground, and everything that stops a mount from coming up."""
import contextlib
import os
import pathlib
import signal
import subprocess

import pytest

from mount_fixtures import Mount, binary, daemons_naming, mounts_below, require_fuse, unmount, wait_until

TAG = "global_step2"
MOUNT_POINT_EXIT = 6
USAGE_EXIT = 2


@pytest.fixture
def point(tmp_path):
    directory = tmp_path / "mount"
    directory.mkdir()
    return directory


def run(*args, timeout=30):
    require_fuse()
    return subprocess.run([binary(), *map(str, args)], capture_output=True, text=True, timeout=timeout, check=False)


def assert_one_sentence(result, *words):
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert str(word) in result.stderr


def test_the_daemon_is_there_when_the_shell_is(source, point, tmp_path):
    # run() waits for the end of its pipes: a daemon that held them would time out.
    result = run(source, point, "--world-size=3", f"--log-file={tmp_path}/log")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (point / TAG / "notes.txt").read_text() == "kept as it is\n"
    (daemon,) = daemons_naming(str(point))
    assert os.getsid(daemon) == daemon
    assert os.readlink(f"/proc/{daemon}/cwd") == "/"
    for descriptor in (0, 1, 2):
        assert os.readlink(f"/proc/{daemon}/fd/{descriptor}") == "/dev/null"
    targets = [os.readlink(path) for path in pathlib.Path(f"/proc/{daemon}/fd").iterdir()]
    assert not any(target.startswith("pipe:") for target in targets), targets
    unmount(point)
    wait_until(lambda: not daemons_naming(str(point)), "the daemon's end")


def test_relative_paths(source, point, tmp_path):
    require_fuse()
    subprocess.run([binary(), source.name, point.name, "--world-size=3", "--log-file=log"], cwd=tmp_path, check=True,
                   timeout=30)
    assert (point / "latest").read_text() == TAG
    assert (tmp_path / "log").exists()
    unmount(point)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_with_exit_code_0(source, mounted, number):
    mount = mounted(source, "--world-size=3")
    assert (mount.path / "latest").read_text() == TAG
    mount.process.send_signal(number)
    assert mount.wait() == 0
    assert not mounts_below(mount.path)


def test_a_signal_ends_a_mount_that_is_in_use(source, mounted):
    mount = mounted(source, "--world-size=3")
    descriptor = os.open(mount.path / "latest", os.O_RDONLY)
    mount.process.send_signal(signal.SIGTERM)
    assert mount.wait() == 0
    assert not mounts_below(mount.path)
    with contextlib.suppress(OSError):  # there is nobody left to close it
        os.close(descriptor)


def test_unmounting_ends_with_exit_code_0_and_another_mount_follows(source, mounted, tmp_path):
    first = mounted(source, "--world-size=3", mount_point=tmp_path / "same")
    unmount(first.path)
    assert first.wait() == 0
    second = mounted(source, "--world-size=2", mount_point=tmp_path / "same")
    assert len(list((second.path / TAG).glob("*optim_states.pt"))) == 2


def test_mount_options(source, mounted):
    mount = mounted(source, "--world-size=3")
    lines = [line.split() for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
    (line,) = [line for line in lines if line[1] == str(mount.path)]
    assert line[0] == str(source)
    assert line[2] == "fuse.ckptfs"
    assert {"ro", "nosuid", "nodev", "noatime", "default_permissions"} <= set(line[3].split(","))


def test_a_missing_mount_point(source, tmp_path):
    result = run(source, tmp_path / "nowhere", "--world-size=3")
    assert result.returncode == MOUNT_POINT_EXIT
    assert_one_sentence(result, tmp_path / "nowhere", "does not exist")


def test_a_file_as_mount_point(source, tmp_path):
    (tmp_path / "file").touch()
    result = run(source, tmp_path / "file", "--world-size=3")
    assert result.returncode == MOUNT_POINT_EXIT
    assert_one_sentence(result, tmp_path / "file", "not a directory")


def test_a_mount_point_that_is_not_empty(source, point):
    (point / "something").touch()
    result = run(source, point, "--world-size=3")
    assert result.returncode == MOUNT_POINT_EXIT
    assert_one_sentence(result, point, "not empty", "something")


def test_a_mount_point_in_use(source, mounted):
    mount = mounted(source, "--world-size=3")
    result = run(source, mount.path, "--world-size=3")
    assert result.returncode == MOUNT_POINT_EXIT
    assert_one_sentence(result, mount.path, "mounted there already", "fusermount3 -u")


def test_a_mount_point_inside_the_source_or_around_it(source, tmp_path):
    inside = source / "nested" / "inside"
    inside.mkdir()
    link = tmp_path / "link"
    link.symlink_to(inside)
    for mount_point, relation in ((inside, "inside"), (link, "inside"), (source, "is the source"),
                                  (tmp_path, "contains")):
        result = run(source, mount_point, "--world-size=3")
        assert result.returncode == USAGE_EXIT
        assert_one_sentence(result, mount_point, relation, source)


def test_a_stale_mount_is_named_with_the_command_that_clears_it(source, tmp_path):
    mount = Mount(source, tmp_path / "mount", tmp_path / "log", "--world-size=3")
    mount.process.kill()
    mount.process.wait()
    mount.process.stdout.close()
    try:
        result = run(source, mount.path, "--world-size=3")
        assert result.returncode == MOUNT_POINT_EXIT
        assert_one_sentence(result, mount.path, "stale", "fusermount3 -u")
    finally:
        unmount(mount.path)


@pytest.mark.parametrize("foreground", [[], ["-f"]])
def test_an_error_before_the_mount_is_one_sentence_and_no_mount(tmp_path, point, foreground):
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / "empty", point, "--world-size=3", *foreground)
    assert result.returncode not in (0, MOUNT_POINT_EXIT)
    assert_one_sentence(result, tmp_path / "empty")
    assert not mounts_below(point)
