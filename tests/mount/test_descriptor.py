"""ckptfs SOURCE /dev/fd/N: somebody else has mounted, with a descriptor of /dev/fuse that ckptfs inherits and serves."""
import contextlib
import errno
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading

import pytest
from descriptors import MNT_DETACH, MS_NODEV, MS_NOSUID, fuse_device, mount_with, start, unmount, unmounted_later
from mount_fixtures import binary, require_fuse, wait_until
from users import User, in_child, outcome, require_root

TAG = "global_step2"
OWNER = User(20001, 20001)
STRANGER = User(20003, 20003)
WRITABLE = MS_NOSUID | MS_NODEV
OTHERS = ("allow_other", "default_permissions")


def contents(directory):
    """Of every file below `directory`."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(pathlib.Path(directory).rglob("*")) if path.is_file()}


@pytest.fixture
def place():
    """A directory that everybody may search."""
    require_root()
    require_fuse()
    with tempfile.TemporaryDirectory(prefix="ckptfs-descriptor-") as directory:
        os.chmod(directory, 0o755)
        yield pathlib.Path(directory)


@pytest.fixture
def run(place, checkpoint):
    """A checkpoint there, of OWNER's, that everybody may read."""
    made = place / "run"
    shutil.move(checkpoint(), made)
    for directory, _, files in os.walk(made):
        for name in [".", *files]:
            path = os.path.join(directory, name)
            os.chown(path, OWNER.uid, OWNER.gid)
            os.chmod(path, 0o755 if name == "." else 0o644)
    return made


@pytest.fixture
def expected(run, mounted):
    """What a mount of 3 ranks shows that ckptfs makes itself."""
    mount = mounted(run, "--world-size=3")
    shown = contents(mount.path)
    mount.close()
    return shown


class Served:
    """A file system in the foreground, mounted by root, served by `user`. `path` is the mount point."""

    def __init__(self, source, path, log, *options, user=None, mount=("default_permissions",), flags=None, device=os.O_RDWR):
        self.path, self.log = path, log
        with fuse_device(device) as descriptor:
            mount_with(descriptor, path, *mount, owner=user or 0, **({} if flags is None else {"flags": flags}))
            self.process = start([binary(), source, "{}", "-f", *options], descriptor, user=user)
        # Whatever it says, line by line.
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(iter(self.process.stdout.readline, "")))
        self.reader.start()
        wait_until(lambda: self.process.poll() is not None or "serving" in self.text(), "the file system is served")

    def text(self):
        return "".join(self.lines)

    def end(self):
        """Unmounts, and returns the daemon's exit code."""
        unmount(self.path)
        return self.wait()

    def wait(self):
        code = self.process.wait(60)
        self.reader.join()
        self.process.stdout.close()
        return code


@pytest.fixture
def serve(place):
    """serve(source, *options, ...) -> Served; what a failed test leaves is unmounted, which ends the daemon."""
    made = []
    with contextlib.ExitStack() as stack:

        def make(source, *options, **more):
            point = stack.enter_context(unmounted_later(place / f"shown{len(made)}"))
            made.append(Served(source, point, None, *options, **more))
            return made[-1]

        yield make
    for served in made:
        if not served.process.stdout.closed:
            served.wait()


def test_what_is_mounted_is_served_by_a_user_without_rights(run, expected, serve):
    served = serve(run, "--world-size=3", user=OWNER.uid)
    assert outcome(lambda: contents(served.path), OWNER) == expected
    assert outcome(lambda: os.listdir(served.path)) == "EACCES", "it is mounted for its user alone, whom root is not"
    [line] = [line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if f" {served.path} " in line]
    assert line.startswith("/shown "), "its name is that of whoever mounted it"
    assert "on the file system of descriptor " in served.text()
    assert served.end() == 0
    assert "error" not in served.text()


@pytest.mark.parametrize("number", [3, 4, 5, 64])
def test_the_shell_gets_its_prompt_and_the_descriptor_lives_on(run, expected, place, number):
    with unmounted_later(place / "shown") as point:
        with fuse_device() as descriptor:
            mount_with(descriptor, point)
            command = start([binary(), run, "{}", "--world-size=3", f"--log-file={place}/log"], descriptor, number)
        output, _ = command.communicate(timeout=60)
        assert (command.returncode, output) == (0, "")
        assert contents(point) == expected
        unmount(point)
    assert f"on the file system of descriptor {number}" in (place / "log").read_text()


def test_a_descriptor_that_does_not_wait_is_made_to(run, expected, serve):
    served = serve(run, "--world-size=3", device=os.O_RDWR | os.O_NONBLOCK)
    assert contents(served.path) == expected
    assert served.end() == 0


def test_a_daemon_that_is_told_to_end_leaves_unmounting_to_who_mounted(run, serve):
    served = serve(run, "--world-size=3")
    os.listdir(served.path)
    served.process.send_signal(signal.SIGTERM)
    assert served.wait() == 0
    assert outcome(lambda: os.statvfs(served.path)) == "ENOTCONN"
    assert os.path.ismount(served.path) or f" {served.path} " in pathlib.Path("/proc/self/mounts").read_text()


@pytest.mark.parametrize("mount", [("allow_other",), OTHERS], ids=["", "default_permissions"])
def test_others_are_let_in_as_far_as_the_source_does(run, serve, mount):
    """The kernel checks permissions, asked to by whoever mounted or not; the directories above SOURCE count."""
    (run / "notes.txt").write_text("for everybody")
    (run / "secret").write_text("for the owner")
    os.chmod(run / "secret", 0o600)
    os.chown(run / "secret", OWNER.uid, OWNER.gid)
    served = serve(run, "--world-size=3", user=OWNER.uid, mount=mount)
    read = {name: (lambda path: lambda: path.read_text())(served.path / name) for name in ("notes.txt", "secret")}
    assert outcome(read["notes.txt"], STRANGER) == "for everybody"
    assert outcome(read["secret"], STRANGER) == "EACCES"
    assert outcome(read["secret"], OWNER) == "for the owner"
    os.chmod(run, 0o700)
    wait_until(lambda: outcome(read["notes.txt"], STRANGER) == "EACCES", "the closed directory is seen")
    assert served.end() == 0


def test_what_is_written_is_written_in_the_source(run, serve):
    served = serve(run, "--world-size=3", "--writable", user=OWNER.uid, flags=WRITABLE)
    assert outcome(lambda: (served.path / "new").write_text("written"), OWNER) == 7
    assert (run / "new").read_text() == "written"
    assert (run / "new").stat().st_uid == OWNER.uid
    assert outcome(lambda: shutil.rmtree(served.path / TAG), OWNER) is None
    assert not (run / TAG).exists()
    assert served.end() == 0


def test_a_daemon_of_a_user_writes_for_nobody_else(run, serve):
    """What another user wrote would be the daemon's."""
    os.chmod(run, 0o777)
    (run / "open").write_text("as it is")
    os.chmod(run / "open", 0o666)
    served = serve(run, "--world-size=3", "--writable", user=OWNER.uid, flags=WRITABLE, mount=OTHERS)
    for user in (STRANGER, User(0, 0)):
        assert outcome(lambda: (served.path / "new").write_text("x"), user) == "EACCES"
        assert outcome(lambda: (served.path / "open").write_text("x"), user) == "EACCES"
        assert outcome(lambda: os.unlink(served.path / "open"), user) == "EACCES"
    assert (run / "open").read_text() == "as it is"
    assert not (run / "new").exists()
    assert outcome(lambda: (served.path / "open").write_text("x"), OWNER) == 1
    assert served.end() == 0


def test_a_daemon_of_root_writes_as_who_asks(run, serve):
    os.chmod(run, 0o777)
    served = serve(run, "--world-size=3", "--writable", flags=WRITABLE, mount=OTHERS)
    assert outcome(lambda: (served.path / "new").write_text("x"), STRANGER) == 1
    assert (run / "new").stat().st_uid == STRANGER.uid
    assert served.end() == 0


def test_a_mount_that_was_made_read_only_stays_so(run, serve):
    """Whatever the daemon would do; where the kernel tells whose mount it is, the daemon says so at once."""
    served = serve(run, "--world-size=3", "--writable")
    if served.process.poll() is None:
        assert outcome(lambda: (served.path / "new").write_text("x")) == "EROFS"
        assert served.end() == 0
    else:
        assert served.wait() == 2
        assert f"it is mounted read-only on '{served.path}'" in served.text()


def test_mount_fuse3_mounts_and_gives_up_its_privileges(run, expected, place):
    """The launcher that libfuse brings; it finds ckptfs on PATH."""
    (place / "bin").mkdir()
    (place / "bin" / "ckptfs").symlink_to(binary())
    with unmounted_later(place / "shown") as point:
        subprocess.run(["mount.fuse3", f"ckptfs#{run}", point, "-o", "ro,world-size=3,allow_other,drop_privileges"], check=True,
                       timeout=60, env={**os.environ, "PATH": f"{place}/bin:{os.environ['PATH']}"})
        assert in_child(lambda: contents(point), STRANGER) == expected
        unmount(point)


def refused(source, descriptor, *options, number=None):
    """(exit code, the one line) of a ckptfs that does not serve `descriptor`."""
    process = start([binary(), source, "{}", "--world-size=3", *options], descriptor, number)
    output, _ = process.communicate(timeout=60)
    assert len(output.splitlines()) == 1, output
    assert output.startswith("ckptfs: cannot serve the file system of descriptor ")
    return process.returncode, output


@pytest.mark.parametrize("options", [(), ("-f",), ("--writable",)], ids=str)
def test_what_cannot_be_served_is_refused_in_one_line(run, place, options):
    with unmounted_later(place / "shown") as point:
        with fuse_device() as descriptor:
            code, line = refused(run, descriptor, *options)
            assert code == 6 and "nothing is mounted with it yet" in line
            mount_with(descriptor, point, flags=WRITABLE)
            code, line = refused(run, descriptor, *options, number=0)
            assert code == 2 and "standard streams" in line
            os.read(descriptor, 1 << 20)
            code, line = refused(run, descriptor, *options)
            assert code == 6 and "another process serves it already" in line
            unmount(point)
            code, line = refused(run, descriptor, *options)
            assert code == 6 and "it was unmounted" in line
    with fuse_device(os.O_RDONLY) as descriptor:
        code, line = refused(run, descriptor, *options)
        assert code == 6 and "not open for reading and writing" in line
    for path, kind in ((binary(), "a file"), (place, "a directory"), ("/dev/null", "another device")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            code, line = refused(run, descriptor, *options)
            assert code == 6 and f"it is {kind};" in line
        finally:
            os.close(descriptor)


def test_a_descriptor_that_is_not_open_is_named(run):
    done = subprocess.run([binary(), run, "/dev/fd/77", "--world-size=3"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr.startswith("ckptfs: cannot serve the file system of descriptor 77: no such descriptor is open here")


@pytest.mark.parametrize("options", [(), ("--writable",)], ids=["", "writable"])
@pytest.mark.parametrize("where", [".", "..", "inside"])
def test_a_mount_over_its_own_source_is_refused_rather_than_waited_for(run, where, options):
    """Nobody would answer the daemon that looks for SOURCE in its own mount."""
    point = os.path.normpath(run / where)
    os.makedirs(point, exist_ok=True)
    with fuse_device() as descriptor:
        mount_with(descriptor, point, flags=WRITABLE, name=str(run))
        try:
            code, line = refused(run, descriptor, *options)
        finally:
            unmount(point, MNT_DETACH)
    assert code == 2
    assert f"it is mounted on '{point}', which {'lies inside' if where == 'inside' else 'is or contains'} the source '{run}'" in line


def test_the_checkpoint_is_looked_at_before_anything_is_served(place):
    (place / "empty").mkdir()
    with unmounted_later(place / "shown") as point, fuse_device() as descriptor:
        mount_with(descriptor, point)
        process = start([binary(), place / "empty", "{}", "--world-size=3"], descriptor)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 3, output
        # Whoever mounted has the descriptor still, and can start another.
        assert errno.errorcode[errno.ENOTCONN] not in output
