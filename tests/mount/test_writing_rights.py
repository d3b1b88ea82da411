"""Who may write what in a writable mount, what goes with a write, and what SOURCE refuses."""
import errno
import os
import pathlib
import stat
import subprocess
import tempfile

import pytest
from users import require_root
from writable import PLAIN, Place

NOBODY = 65534


@pytest.fixture
def room():
    """A directory that everybody may go to."""
    require_root()
    with tempfile.TemporaryDirectory(prefix="ckptfs-writing-") as directory:
        os.chmod(directory, 0o755)
        yield pathlib.Path(directory)


@pytest.fixture
def shared(room, mounted, io_mode):
    """Mounted by root for all."""
    source = room / "source"
    source.mkdir()
    return Place(source, mounted(source, PLAIN, "--writable", "--allow-other", f"--io={io_mode}",
                                 mount_point=room / "mount"))


def errno_as_nobody(call, *args):
    """What `call` fails with in a process of another user; 0 where it does not."""
    child = os.fork()
    if child == 0:
        code = 255
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            call(*args)
            code = 0
        except OSError as failure:
            code = failure.errno
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def overwrite(path):
    with open(path, "r+b") as file:
        file.write(b"x")


@pytest.mark.parametrize("bits", [stat.S_ISUID, stat.S_ISGID])
def test_set_user_id_bits_go_when_another_user_writes(shared, bits):
    for name in ("written", "truncated", "roots"):
        ours, theirs = shared.both(name)
        ours.write_bytes(b"content")
        os.chmod(ours, 0o777 | bits)
        assert stat.S_IMODE(theirs.stat().st_mode) == 0o777 | bits
        if name == "written":
            assert errno_as_nobody(overwrite, ours) == 0
        elif name == "truncated":
            assert errno_as_nobody(os.truncate, ours, 3) == 0
        else:
            overwrite(ours)
        expected = 0o777 | bits if name == "roots" else 0o777
        assert stat.S_IMODE(theirs.stat().st_mode) == expected, name
        assert stat.S_IMODE(ours.stat().st_mode) == expected, name
        assert theirs.read_bytes() == (b"con" if name == "truncated" else b"xontent")


def test_what_a_user_makes_is_its_own_and_the_rest_is_closed(shared):
    os.chmod(shared.source, 0o755)
    assert errno_as_nobody((shared.path / "f").touch) == errno.EACCES
    (shared.path / "d").mkdir()
    os.chown(shared.path / "d", NOBODY, NOBODY)

    def make():
        (shared.path / "d/e").mkdir()
        (shared.path / "d/e/f").write_bytes(b"mine" * 100000)
        (shared.path / "d/e/l").symlink_to("f")

    assert errno_as_nobody(make) == 0
    for name in ("d/e", "d/e/f", "d/e/l"):
        found = (shared.source / name).lstat()
        assert (found.st_uid, found.st_gid) == (NOBODY, NOBODY), name
    assert (shared.source / "d/e/f").read_bytes() == b"mine" * 100000
    (shared.path / "closed").write_text("root's")
    os.chmod(shared.path / "closed", 0o644)
    closed = shared.path / "closed"
    for call, *more in ((overwrite,), (os.unlink,), (os.chmod, 0o777), (os.truncate, 0), (os.utime, (1, 1))):
        assert errno_as_nobody(call, closed, *more) in (errno.EACCES, errno.EPERM), call
    assert (shared.source / "closed").read_text() == "root's"


@pytest.fixture
def tiny_source(tmp_path):
    """On a file system of one mebibyte."""
    if os.geteuid() != 0:
        assert os.environ.get("CI") != "true", "only root can mount one"
        pytest.skip("only root can mount one")
    source = tmp_path / "source"
    source.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", source], check=True)
    yield source
    subprocess.run(["umount", source], check=True)


@pytest.fixture
def tiny(tiny_source, mounted, io_mode):
    return Place(tiny_source, mounted(tiny_source, PLAIN, "--writable", f"--io={io_mode}"))


def test_a_full_file_system_says_so(tiny):
    ours, theirs = tiny.both("f")
    with open(ours, "wb", buffering=0) as file:
        written = 0
        with pytest.raises(OSError) as failure:
            while written < 2**22:
                written += file.write(b"x" * 300000)
        assert failure.value.errno == errno.ENOSPC
        assert 2**19 < written <= 2**20
        assert theirs.stat().st_size == os.fstat(file.fileno()).st_size == written
        os.ftruncate(file.fileno(), 0)
        file.seek(0)
        assert file.write(b"y" * 1000) == 1000
    assert ours.read_bytes() == theirs.read_bytes() == b"y" * 1000


@pytest.fixture
def reserved_source(room):
    """On a file system of 40 MB of which root alone may use a part."""
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("this kernel has no loop devices")
    image, source = room / "image", room / "source"
    source.mkdir()
    with open(image, "wb") as file:
        file.truncate(40 * 10**6)
    subprocess.run(["mkfs.ext4", "-q", "-m", "30", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, source], check=True)
    (source / "mine").mkdir()
    os.chown(source / "mine", NOBODY, NOBODY)
    yield source
    subprocess.run(["umount", source], check=True)


def test_what_is_reserved_for_root_stays_so(reserved_source, room, mounted, io_mode):
    """The daemon is root's, and so is the kernel that writes in its place."""
    mount = mounted(reserved_source, PLAIN, "--writable", "--allow-other", f"--io={io_mode}", mount_point=room / "mount")

    def fill(path):
        with open(path, "wb", buffering=0) as file:
            while file.write(bytes(2**18)):
                pass

    def room_taken(path):
        assert errno_as_nobody(fill, path) == errno.ENOSPC
        size = (reserved_source / "mine" / path.name).stat().st_size
        path.unlink()
        os.sync()
        return size

    directly = room_taken(reserved_source / "mine" / "f")
    assert 10 * 2**20 < directly < 30 * 10**6
    assert abs(room_taken(mount.path / "mine" / "g") - directly) <= 2**20
