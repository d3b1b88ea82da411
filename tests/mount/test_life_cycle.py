"""From mount to unmount, as a daemon and in the foreground, and everything that stops a mount from coming up."""
import contextlib
import errno
import os
import pathlib
import shlex
import signal
import subprocess
import time

import pytest

from mount_fixtures import Mount, binary, daemons_naming, mounts_below, require_fuse, unmount, wait_until
from seccomp import refuse_system_call

TAG = "global_step2"
MOUNT_POINT_EXIT = 6
USAGE_EXIT = 2


@pytest.fixture
def point(tmp_path):
    directory = tmp_path / "mount"
    directory.mkdir()
    return directory


def run(*args, timeout=60):
    require_fuse()
    return subprocess.run([binary(), *map(str, args)], capture_output=True, text=True, timeout=timeout, check=False)


def assert_one_sentence(result, *words):
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert str(word) in result.stderr


def open_descriptors(process):
    """What they lead to, without those that are closed meanwhile."""
    targets = []
    for path in pathlib.Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            targets.append(os.readlink(path))
    return targets


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
    targets = open_descriptors(daemon)
    assert not any(target.startswith("pipe:") for target in targets), targets
    unmount(point)
    wait_until(lambda: not daemons_naming(str(point)), "the daemon's end")


def test_relative_paths(source, point, tmp_path):
    require_fuse()
    subprocess.run([binary(), source.name, point.name, "--world-size=3", "--log-file=log"], cwd=tmp_path, check=True,
                   timeout=60)
    assert (point / "latest").read_text() == TAG
    assert (tmp_path / "log").exists()
    unmount(point)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_with_exit_code_0(source, mounted, number):
    mount = mounted(source, "--world-size=3")
    assert (mount.path / "latest").read_text() == TAG
    mount.process.send_signal(number)
    assert mount.wait() == 0
    assert not mounts_below(mount.path)
    sender = f"{number.name} from process {os.getpid()} of user {os.getuid()} ends the mount"
    assert sender in mount.log_text()
    assert mount.log_text().splitlines()[-1].endswith(f"unmounted {source} from {mount.path}")


def test_a_hang_up_ends_a_mount_without_a_log_file(source, point):
    require_fuse()
    process = subprocess.Popen([binary(), source, point, "--world-size=3", "-f"], stderr=subprocess.PIPE, text=True)
    wait_until(lambda: mounts_below(point.parent), "the mount")
    assert (point / "latest").read_text() == TAG
    process.send_signal(signal.SIGHUP)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"SIGHUP from process {os.getpid()} of user {os.getuid()} ends the mount" in log
    assert not mounts_below(point.parent)


def test_a_hang_up_reopens_the_log_file(source, mounted):
    mount = mounted(source, "--world-size=3")
    aside = mount.log.with_suffix(".1")
    mount.log.rename(aside)
    mount.process.send_signal(signal.SIGHUP)
    wait_until(mount.log.exists, "the new log file")
    wait_until(lambda: "SIGHUP" in mount.log_text(), "the line in the new log file")
    assert (mount.path / "latest").read_text() == TAG
    unmount(mount.path)
    assert mount.wait() == 0
    assert " mounted " in aside.read_text() and "unmounted" not in aside.read_text()
    assert "unmounted" in mount.log_text()


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


def test_an_ending_daemon_leaves_the_next_mount_alone(source, mounted, tmp_path):
    first = mounted(source, "--world-size=3", mount_point=tmp_path / "same")
    descriptor = os.open(first.path / "latest", os.O_RDONLY)
    subprocess.run(["fusermount3", "-u", "-z", str(first.path)], check=True)
    second = mounted(source, "--world-size=2", mount_point=tmp_path / "same")
    os.close(descriptor)
    assert first.wait() == 0
    assert mounts_below(second.path) == [str(second.path)]
    assert len(list((second.path / TAG).glob("*optim_states.pt"))) == 2


def test_a_signalled_daemon_leaves_the_next_mount_alone(source, mounted, tmp_path):
    first = mounted(source, "--world-size=3", mount_point=tmp_path / "same")
    descriptor = os.open(first.path / "latest", os.O_RDONLY)
    subprocess.run(["fusermount3", "-u", "-z", str(first.path)], check=True)
    second = mounted(source, "--world-size=2", mount_point=tmp_path / "same")
    first.process.send_signal(signal.SIGTERM)
    assert first.wait() == 0
    with contextlib.suppress(OSError):
        os.close(descriptor)
    assert mounts_below(second.path) == [str(second.path)]
    assert len(list((second.path / TAG).glob("*optim_states.pt"))) == 2


def test_an_aborted_mount_is_cleared(source, mounted):
    mount = mounted(source, "--world-size=3")
    control = pathlib.Path(f"/sys/fs/fuse/connections/{os.minor(mount.path.stat().st_dev)}/abort")
    if control.exists():
        control.write_text("1")
    elif os.geteuid() == 0:  # nobody has mounted fusectl: see it in a mount namespace that ends with the command
        subprocess.run(["unshare", "-m", "--propagation", "slave", "sh", "-c",
                        f"mount -t fusectl none {control.parents[1]} && echo 1 > {control}"], check=True)
    else:
        pytest.skip(f"{control} is missing, and only root can mount fusectl")
    assert mount.wait() == 0
    assert not mounts_below(mount.path)


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
    assert_one_sentence(result, mount.path, "mounted there already", "ckptfs umount")


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
        assert result.stderr.endswith("choose a directory outside it" +
                                      (", or add --writable to mount over it\n" if mount_point == source else "\n"))


def test_a_stale_mount_is_named_with_the_command_that_clears_it(source, tmp_path):
    mount = Mount(source, tmp_path / "mount", tmp_path / "log", "--world-size=3")
    mount.process.kill()
    mount.process.wait()
    mount.process.stdout.close()
    try:
        result = run(source, mount.path, "--world-size=3")
        assert result.returncode == MOUNT_POINT_EXIT
        assert_one_sentence(result, mount.path, "stale", "ckptfs umount", "--lazy")
    finally:
        unmount(mount.path)


def test_a_daemon_that_was_just_killed_is_not_taken_for_a_mount(source, tmp_path):
    mount = Mount(source, tmp_path / "mount", tmp_path / "log", "--world-size=3")
    inside = os.open(mount.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.stat(mount.path)  # which the kernel remembers for a second
        mount.process.kill()
        mount.process.wait()
        mount.process.stdout.close()
        result = run(source, mount.path, "--world-size=3")
        assert result.returncode == MOUNT_POINT_EXIT
        assert_one_sentence(result, mount.path, "stale", "--lazy")
    finally:
        os.close(inside)
        unmount(mount.path)


@pytest.mark.parametrize("foreground", [[], ["-f"]])
def test_an_error_before_the_mount_is_one_sentence_and_no_mount(tmp_path, point, foreground):
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / "empty", point, "--world-size=3", *foreground)
    assert result.returncode not in (0, MOUNT_POINT_EXIT)
    assert_one_sentence(result, tmp_path / "empty")
    assert not mounts_below(point)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-"])
def test_closed_standard_streams(source, point, tmp_path, closed):
    require_fuse()
    (tmp_path / "empty").mkdir()

    def start(from_where):
        command = shlex.join([binary(), str(from_where), str(point), "--world-size=3", f"--log-file={tmp_path}/log"])
        return subprocess.run(f"exec {command} {closed}", shell=True, stderr=subprocess.PIPE, text=True, timeout=60,
                              check=False)

    refused = start(tmp_path / "empty")
    assert refused.returncode == 3
    assert refused.stderr.startswith("ckptfs: ")
    assert len(refused.stderr.splitlines()) == 1
    started = start(source)
    assert (started.returncode, started.stderr) == (0, "")
    assert (point / "latest").read_text() == TAG
    unmount(point)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_start_that_is_broken_off_leaves_nothing(source, point, number):
    require_fuse()
    broken_off = 0
    for delay_ms in range(0, 60, 6):
        process = subprocess.Popen([binary(), str(source), str(point), "--world-size=3"], stdin=subprocess.DEVNULL)
        time.sleep(delay_ms / 1000)
        process.send_signal(number)
        code = process.wait(60)
        assert code in (0, -number)
        if code == 0:
            unmount(point)
        else:
            broken_off += 1
        wait_until(lambda: not daemons_naming(str(point)), "the daemon's end")
        assert not mounts_below(point)
    assert broken_off > 0


def children_of(parent):
    """Without a walk through /proc, which takes longer than a mount."""
    with contextlib.suppress(FileNotFoundError):
        return [int(number) for number in pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return []


def test_a_daemon_whose_parent_was_killed_before_the_mount_ends(source, point):
    require_fuse()
    killed = 0
    for _ in range(20):
        process = subprocess.Popen([binary(), str(source), str(point), "--world-size=3"], stdin=subprocess.DEVNULL)
        children = []
        while not children and process.poll() is None:
            children = children_of(process.pid)
        for child in children:
            os.kill(child, signal.SIGSTOP)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.3)
        if process.poll() is None:  # so that the child has not reported yet, and cannot before it goes on
            process.kill()
            process.wait()
            killed += 1
        for child in children:
            os.kill(child, signal.SIGCONT)
        if process.returncode == 0:
            unmount(point)
        wait_until(lambda: not daemons_naming(str(point)), "the daemon's end")
        assert not mounts_below(point)
        if killed == 3:
            break
    assert killed > 0


CLOSE_RANGE = 436  # its number on every architecture


def without_close_range():
    """In a child before exec: close_range() fails from here on, as on an older kernel."""
    refuse_system_call(CLOSE_RANGE, errno.ENOSYS)


def test_the_callers_descriptors_are_let_go_without_close_range(source, point):
    require_fuse()
    if os.geteuid() != 0:
        pytest.skip("for root: others could not mount under the filter that takes close_range() away")
    reader, writer = os.pipe()
    try:
        subprocess.run([binary(), str(source), str(point), "--world-size=3"], check=True, timeout=60,
                       pass_fds=[writer], preexec_fn=without_close_range)
        (daemon,) = daemons_naming(str(point))
        targets = open_descriptors(daemon)
        assert not any(target.startswith("pipe:") for target in targets), targets
    finally:
        os.close(reader)
        os.close(writer)
        unmount(point)


def test_a_name_cannot_forge_a_line_of_the_log(source, mounted):
    mount = mounted(source, "--world-size=3", "--io=cached")
    forged = source / "global_step2" / "x\n2026-01-01T00:00:00.000 error forged"
    forged.write_text("content")
    path = mount.path / "global_step2" / forged.name
    time.sleep(1.1)
    with open(path, "rb", buffering=0) as file:
        forged.write_text("changed")
        with pytest.raises(OSError):
            file.read(1)
    assert "x\\x0a2026" in mount.log_text()
    assert not any(line.startswith("2026-01-01T00") for line in mount.log_text().splitlines())
    mount.expect_error("forged")
