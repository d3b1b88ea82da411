"""What is written in a writable mount is written in SOURCE, through the kernel's passthrough and without it."""
import concurrent.futures
import ctypes
import errno
import fcntl
import mmap
import os
import random
import socket
import stat
import struct
import subprocess
import sys

import pytest
from writable import PLAIN, Place, errno_of

@pytest.fixture
def place(tmp_path, mounted, io_mode):
    source = tmp_path / "source"
    source.mkdir()
    return Place(source, mounted(source, PLAIN, "--writable", f"--io={io_mode}"))


def test_what_is_written_is_the_sources_and_the_other_way_round(place):
    ours, theirs = place.both("f")
    data = random.Random(1).randbytes(3 * 2**20 + 17)
    ours.write_bytes(data)
    assert theirs.read_bytes() == data
    assert ours.read_bytes() == data
    theirs.write_bytes(data[::-1])
    assert ours.read_bytes() == data[::-1]
    with open(ours, "r+b") as file:
        for offset in (0, 4095, 2**20 - 1, len(data) + 5000):
            file.seek(offset)
            file.write(b"here")
    expected = bytearray(data[::-1].ljust(len(data) + 5000, b"\0"))
    for offset in (0, 4095, 2**20 - 1, len(data) + 5000):
        expected[offset:offset + 4] = b"here"
    assert theirs.read_bytes() == expected
    assert ours.read_bytes() == expected
    assert ours.stat().st_size == len(expected)


def test_modes_times_and_owner_are_the_sources(place):
    ours, theirs = place.both("f")
    before = os.umask(0o027)
    try:
        ours.touch(0o666)
        (place.path / "d").mkdir(0o777)
    finally:
        os.umask(before)
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o640
    assert stat.S_IMODE((place.source / "d").stat().st_mode) == 0o750
    os.chmod(ours, 0o604)
    os.utime(ours, ns=(1_234_567_890_123_456_789, 987_654_321_987_654_321))
    for field in ("st_mode", "st_uid", "st_gid", "st_size", "st_nlink", "st_atime_ns", "st_mtime_ns", "st_ctime_ns"):
        assert getattr(ours.stat(), field) == getattr(theirs.stat(), field), field
    assert theirs.stat().st_mtime_ns == 987_654_321_987_654_321
    if os.geteuid() == 0:
        os.chown(ours, 12, 34)
        assert (theirs.stat().st_uid, theirs.stat().st_gid) == (12, 34)


def test_a_default_access_control_list_replaces_the_umask(place):
    no_id = 0xFFFFFFFF
    entries = [(1, 7, no_id), (2, 6, 12345), (4, 5, no_id), (16, 7, no_id), (32, 0, no_id)]
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    ours, theirs = place.both("d")
    ours.mkdir()
    os.setxattr(ours, "system.posix_acl_default", value)
    assert os.getxattr(theirs, "system.posix_acl_default") == value
    before = os.umask(0o077)
    try:
        (ours / "f").touch(0o666)
        (theirs / "native").touch(0o666)
    finally:
        os.umask(before)
    assert (theirs / "f").stat().st_mode == (theirs / "native").stat().st_mode
    assert stat.S_IMODE((theirs / "f").stat().st_mode) == 0o660
    acl = os.getxattr(ours / "f", "system.posix_acl_access")
    assert acl == os.getxattr(theirs / "native", "system.posix_acl_access")


def test_a_directory_made_after_one_was_removed_that_is_held_open_lives(place):
    """Rotation before a save, while a shell, tensorboard or `tail` is in the old tag: ext4 gives the new one its number."""
    ours = place.path / "old"
    ours.mkdir()
    held = os.open(ours, os.O_RDONLY | os.O_DIRECTORY)
    try:
        ours.rmdir()
        for name in ("1", "2", "3"):
            (place.path / name).mkdir()
            (place.path / name / "f").write_text(name)
            assert (place.source / name / "f").read_text() == name
            assert os.listdir(place.path / name) == ["f"]
        assert errno_of(os.open, "f", os.O_RDWR | os.O_CREAT, dir_fd=held) == errno.ENOENT
    finally:
        os.close(held)


def test_names_are_made_and_removed_in_the_source(place):
    ours, theirs = place.both("d")
    ours.mkdir()
    assert errno_of(ours.mkdir) == errno.EEXIST
    (ours / "f").write_text("x")
    assert errno_of(ours.rmdir) == errno.ENOTEMPTY
    os.link(ours / "f", ours / "g")
    assert (theirs / "g").stat().st_ino == (theirs / "f").stat().st_ino
    assert (ours / "g").stat().st_ino == (ours / "f").stat().st_ino
    assert (ours / "g").stat().st_nlink == 2
    (ours / "l").symlink_to("../elsewhere/that is not")
    assert os.readlink(theirs / "l") == "../elsewhere/that is not"
    os.mkfifo(ours / "p", 0o600)
    assert stat.S_ISFIFO((theirs / "p").stat().st_mode)
    os.mknod(ours / "n", 0o600 | stat.S_IFREG)
    assert stat.S_ISREG((theirs / "n").stat().st_mode)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(ours / "s"))
    assert stat.S_ISSOCK((theirs / "s").stat().st_mode)
    assert errno_of(os.open, ours / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY) == errno.EEXIST
    assert sorted(os.listdir(ours)) == sorted(os.listdir(theirs)) == ["f", "g", "l", "n", "p", "s"]
    for name in os.listdir(ours):
        (ours / name).unlink()
    assert errno_of((ours / "f").unlink) == errno.ENOENT
    assert os.listdir(theirs) == []
    ours.rmdir()
    assert not theirs.exists()
    assert errno_of(os.mkdir, place.path / ("n" * 256)) == errno.ENAMETOOLONG


def renameat2(one, other, flags):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), flags) != 0:
        failure = ctypes.get_errno()
        raise OSError(failure, os.strerror(failure))


def test_renames(place):
    no_replace, exchange = 1, 2
    (place.path / "d").mkdir()
    for name in ("a", "b", "d/c"):
        (place.path / name).write_text(name)
    assert errno_of(renameat2, place.path / "a", place.path / "b", no_replace) == errno.EEXIST
    renameat2(place.path / "a", place.path / "b", exchange)
    assert (place.source / "a").read_text() == "b"
    with open(place.path / "a") as held:
        os.rename(place.path / "a", place.path / "d" / "c")
        assert held.read() == "b"
    assert (place.source / "d" / "c").read_text() == (place.path / "d" / "c").read_text() == "b"
    with open(place.path / "d" / "c", "a") as held:
        os.rename(place.path / "d", place.path / "e")
        held.write(" more")
    assert (place.source / "e" / "c").read_text() == (place.path / "e" / "c").read_text() == "b more"
    assert errno_of(os.rename, place.path / "e", place.path / "e" / "below") == errno.EINVAL
    assert sorted(os.listdir(place.source)) == ["b", "e"]


def test_sizes(place):
    ours, theirs = place.both("f")
    ours.write_bytes(b"x" * 10000)
    os.truncate(ours, 5)
    assert theirs.read_bytes() == ours.read_bytes() == b"xxxxx"
    with open(ours, "r+b") as file:
        file.truncate(9)
        assert os.fstat(file.fileno()).st_size == 9
        file.seek(0, os.SEEK_END)
        file.write(b"y")
    assert theirs.read_bytes() == ours.read_bytes() == b"xxxxx\0\0\0\0y"
    with open(ours, "r+b") as reader:
        with open(ours, "wb"):
            assert theirs.stat().st_size == 0
        assert reader.read() == b""
        reader.write(b"z")
    assert theirs.read_bytes() == b"z"


def test_space_is_allocated_punched_and_found(place):
    keep_size, punch_hole = 1, 2
    ours, theirs = place.both("f")
    with open(ours, "w+b") as file:
        os.posix_fallocate(file.fileno(), 0, 2**20)
        assert theirs.stat().st_size == file.seek(0, os.SEEK_END) == 2**20
        assert theirs.stat().st_blocks >= 2**20 // 512
        os.pwrite(file.fileno(), b"\1" * 2**20, 0)
        libc = ctypes.CDLL(None, use_errno=True)
        libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
        assert libc.fallocate(file.fileno(), keep_size | punch_hole, 65536, 65536) == 0
        assert os.pread(file.fileno(), 65536, 65536) == bytes(65536)
        with open(theirs, "rb") as native:
            for offset, whence in ((0, os.SEEK_HOLE), (65536, os.SEEK_DATA), (200000, os.SEEK_HOLE)):
                expected = os.lseek(native.fileno(), offset, whence)
                assert os.lseek(file.fileno(), offset, whence) == expected
        assert errno_of(os.lseek, file.fileno(), 2**21, os.SEEK_DATA) == errno.ENXIO


def test_ranges_are_copied(place):
    data = random.Random(2).randbytes(500000)
    (place.path / "from").write_bytes(data)
    with open(place.path / "from", "rb") as one, open(place.path / "to", "w+b") as other:
        assert os.copy_file_range(one.fileno(), other.fileno(), 300000, 1000, 70) == 300000
        assert other.seek(0, os.SEEK_END) == 300070
        assert os.pread(other.fileno(), 400000, 0) == bytes(70) + data[1000:301000]
    assert (place.source / "to").read_bytes() == bytes(70) + data[1000:301000]


def test_extended_attributes(place):
    ours, theirs = place.both("f")
    ours.touch()
    assert os.listxattr(ours) == os.listxattr(theirs)
    os.setxattr(ours, "user.one", b"1")
    os.setxattr(ours, "user.two", b"2" * 2000, os.XATTR_CREATE)
    assert errno_of(os.setxattr, ours, "user.two", b"", os.XATTR_CREATE) == errno.EEXIST
    assert errno_of(os.setxattr, ours, "user.three", b"", os.XATTR_REPLACE) == errno.ENODATA
    assert os.getxattr(theirs, "user.two") == os.getxattr(ours, "user.two") == b"2" * 2000
    assert sorted(os.listxattr(ours)) == sorted(os.listxattr(theirs))
    assert {"user.one", "user.two"} <= set(os.listxattr(ours))
    libc = ctypes.CDLL(None, use_errno=True)
    small = ctypes.create_string_buffer(10)
    assert libc.getxattr(os.fsencode(ours), b"user.two", None, 0) == 2000
    assert libc.getxattr(os.fsencode(ours), b"user.two", small, 10) == -1 and ctypes.get_errno() == errno.ERANGE
    assert libc.listxattr(os.fsencode(ours), small, 10) == -1 and ctypes.get_errno() == errno.ERANGE
    os.removexattr(ours, "user.two")
    assert errno_of(os.getxattr, ours, "user.two") == errno_of(os.removexattr, ours, "user.two") == errno.ENODATA
    assert "user.two" not in os.listxattr(theirs)


def test_a_file_lives_on_without_its_name(place):
    ours, theirs = place.both("f")
    with open(ours, "w+b") as file:
        file.write(b"before")
        file.flush()
        ours.unlink()
        assert not theirs.exists()
        assert os.fstat(file.fileno()).st_nlink == 0
        file.write(b" after")
        file.flush()
        assert os.fstat(file.fileno()).st_size == 12
        assert os.pread(file.fileno(), 100, 0) == b"before after"
        file.truncate(3)
        os.fchmod(file.fileno(), 0o600)
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
        assert os.pread(file.fileno(), 100, 0) == b"bef"
        ours.write_bytes(b"another")
        assert os.pread(file.fileno(), 100, 0) == b"bef"
    assert theirs.read_bytes() == b"another"


def test_mapped_files_are_written(place):
    ours, theirs = place.both("f")
    ours.write_bytes(bytes(100000))
    with open(ours, "r+b") as file, mmap.mmap(file.fileno(), 100000) as mapped:
        mapped[50000:50005] = b"hello"
        mapped.flush()
        assert theirs.read_bytes()[50000:50005] == b"hello"
        assert os.pread(file.fileno(), 5, 50000) == b"hello"
        os.pwrite(file.fileno(), b"world", 50000)
        assert mapped[50000:50005] == b"world"
        mapped[99999:] = b"!"
    assert theirs.read_bytes() == ours.read_bytes() == bytes(50000) + b"world" + bytes(49994) + b"!"


APPEND = """
import os, sys
path, mark, flags = sys.argv[1], sys.argv[2], int(sys.argv[3])
file = os.open(path, flags | os.O_APPEND | os.O_CREAT)
for number in range(400):
    line = f"{mark} {number} {'x' * (number % 50)}\\n".encode()
    assert os.write(file, line) == len(line)
"""


@pytest.mark.parametrize("access", [os.O_WRONLY, os.O_RDWR])
def test_two_append_at_once(place, access):
    ours, theirs = place.both("log")
    writers = [subprocess.Popen([sys.executable, "-c", APPEND, str(path), mark, str(access)])
               for path, mark in ((ours, "a"), (ours, "b"))]
    assert [writer.wait() for writer in writers] == [0, 0]
    lines = theirs.read_text().splitlines()
    for mark in "ab":
        own = [line for line in lines if line.startswith(mark)]
        assert own == [f"{mark} {number} {'x' * (number % 50)}" for number in range(400)]
    assert ours.read_bytes() == theirs.read_bytes()


def test_what_another_appends_to_the_source_is_not_overwritten(place):
    ours, theirs = place.both("log")
    with open(ours, "ab", buffering=0) as mine, open(theirs, "ab", buffering=0) as other:
        for number in range(200):
            (mine if number % 2 else other).write(f"{number}\n".encode())
    assert theirs.read_text().split() == [str(number) for number in range(200)]


def test_everything_is_synced(place):
    ours, theirs = place.both("f")
    with open(ours, "wb", buffering=0) as file:
        file.write(b"x" * 100000)
        os.fsync(file.fileno())
        os.fdatasync(file.fileno())
    with open(ours, "rb") as file:
        os.fsync(file.fileno())
    for directory in (place.path, ours.parent):
        descriptor = os.open(directory, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    file = os.open(ours, os.O_WRONLY | os.O_SYNC)
    os.write(file, b"y")
    os.close(file)
    assert theirs.read_bytes() == b"y" + b"x" * 99999


def test_direct_io_of_the_program_itself(place):
    ours, theirs = place.both("f")
    with mmap.mmap(-1, 2**16) as aligned:
        aligned.write(b"\7" * 2**16)
        file = os.open(ours, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
        assert os.writev(file, [aligned]) == 2**16
        aligned.seek(0)
        aligned.write(bytes(2**16))
        os.lseek(file, 0, os.SEEK_SET)
        assert os.readv(file, [aligned]) == 2**16
        assert aligned[:] == b"\7" * 2**16
        os.close(file)
    assert theirs.read_bytes() == b"\7" * 2**16


def test_locks_hold_within_the_mount(place):
    ours, _ = place.both("f")
    ours.touch()
    with open(ours, "r+b") as one, open(ours, "r+b") as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        assert errno_of(fcntl.flock, other, fcntl.LOCK_EX | fcntl.LOCK_NB) == errno.EAGAIN
        fcntl.flock(one, fcntl.LOCK_UN)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_space_is_the_sources(place):
    ours, theirs = os.statvfs(place.path), os.statvfs(place.source)
    assert (ours.f_blocks, ours.f_files, ours.f_namemax) == (theirs.f_blocks, theirs.f_files, theirs.f_namemax)


def test_many_threads_write_their_files_at_once(place):
    def save(number):
        path = place.path / f"rank{number}"
        data = random.Random(number).randbytes(2**20)
        for _ in range(5):
            path.with_suffix(".tmp").write_bytes(data)
            os.replace(path.with_suffix(".tmp"), path)
        assert path.read_bytes() == data

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(save, range(8)))
    for number in range(8):
        assert (place.source / f"rank{number}").read_bytes() == random.Random(number).randbytes(2**20)
