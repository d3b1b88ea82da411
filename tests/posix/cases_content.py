"""Cases of pjdfstest on opening a file and on its size."""
import os
import subprocess

from case import case
from cases_refused import another_file_system
from users import User

DENIED = "EACCES"


@case("open/06", root=True)
def open_asks_the_mode(c):
    """Three users: the owner, one of the group, another. Each bit decides for its own user alone."""
    c.enter(c.one)
    users = (c.one, User(c.two.uid, c.one.gid), User(c.two.uid, c.two.gid), User(c.two.uid, c.two.gid, (c.one.gid,)))
    shifts = (6, 3, 0, 3)
    for kind in ("regular", "fifo", "dir"):
        c.make(kind, "n1", owner=c.one)
        for user, shift in zip(users, shifts, strict=True):
            for bits in range(8):
                c(None, "chmod", "n1", (0o777 & ~(7 << shift)) | bits << shift)
                can_read, can_write = bits & 4, bits & 2
                c(None if can_read else DENIED, "open", "n1", os.O_RDONLY | os.O_NONBLOCK, by=user)
                if kind == "regular":
                    c(None if can_write else DENIED, "open", "n1", os.O_WRONLY, by=user)
                if kind != "dir":
                    c(None if can_read and can_write else DENIED, "open", "n1", os.O_RDWR | os.O_NONBLOCK, by=user)
                if kind == "fifo" and not can_write:
                    c([DENIED, "ENXIO"], "open", "n1", os.O_WRONLY | os.O_NONBLOCK, by=user)
        c.remove(kind, "n1")
    c.leave()


@case("open/07", root=True)
def truncating_is_writing(c):
    c.enter(c.one)
    c.make("regular", "n1", owner=c.one)
    c(4, "write", "n1", b"text")
    group, other = User(c.two.uid, c.one.gid), c.two
    for mode, user in ((0o477, c.one), (0o747, group), (0o774, other)):
        c(None, "chmod", "n1", mode)
        c(DENIED, "open", "n1", os.O_RDONLY | os.O_TRUNC, by=user)
        c.see(4, "n1", "size")
    c(None, "chmod", "n1", 0o646)
    c(None, "open", "n1", os.O_RDONLY | os.O_TRUNC, by=other)
    c.see(0, "n1", "size")
    c.leave()


@case("open/13")
def a_directory_is_not_written(c):
    c.make("dir", "n0")
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_TRUNC, os.O_RDONLY | os.O_CREAT):
        c("EISDIR", "open", "n0", flags)
    c(None, "open", "n0", os.O_RDONLY)


@case("open/16")
def no_link_is_followed_on_request(c):
    c(None, "symlink", "n0", "n1")
    for flags in (os.O_RDONLY | os.O_CREAT, os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        c("ELOOP", "open", "n1", flags | os.O_NOFOLLOW)


@case("open/17")
def nobody_reads_the_fifo(c):
    c.make("fifo", "n0")
    c("ENXIO", "open", "n0", os.O_WRONLY | os.O_NONBLOCK)


@case("open/22")
def the_file_must_be_new(c):
    for kind in c.kinds:
        c.make(kind, "n0")
        c("EEXIST", "open", "n0", os.O_CREAT | os.O_EXCL, 0o644)
        c("EEXIST", "open", "n0", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_TRUNC, 0o644)
        c.remove(kind, "n0")


@case("open/23")
def a_mode_of_access_that_is_none(c):
    c.make("regular", "n0")
    c([None, "EINVAL"], "open", "n0", os.O_WRONLY | os.O_RDWR)


@case("open/24")
def a_socket_is_not_opened(c):
    c.make("socket", "n0")
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        c("ENXIO", "open", "n0", flags)


@case("open/25")
def a_file_is_larger_than_2_gib(c):
    far = 2 * 2**30 + 1
    c.make("regular", "n0")
    c(1, "with_open", "n0", os.O_WRONLY, lambda handle: os.pwrite(handle, b"a", far))
    c.see(far + 1, "n0", "size")
    c(b"a", "with_open", "n0", os.O_RDONLY, lambda handle: os.pread(handle, 1, far))
    c(b"\0", "with_open", "n0", os.O_RDONLY, lambda handle: os.pread(handle, 1, far - 1))


@case("open/26")
def who_makes_a_file_may_use_it(c):
    for access in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY):
        c(None, "open", "n0", os.O_CREAT | access, 0)
        c.see(("regular", 0), "n0", "type,mode")
        c.remove("regular", "n0")
    c.enter(c.one if c.is_root else None)
    c(4, "with_open", "n0", os.O_CREAT | os.O_RDWR, lambda handle: os.write(handle, b"text"))
    c.leave()


@case("truncate/00", "ftruncate/00")
def the_size_changes(c, name):
    call = name.split("/")[0]
    for first in (b"", b"x" * 12345):
        c.make("regular", "n0")
        c(len(first), "write", "n0", first)
        for size in (1234567, 567, 23456, 1, 0):
            c(None, call, "n0", size)
            c.see(size, "n0", "size")
            if size:
                c(b"\0" if size > 12345 else None, "with_open", "n0", os.O_RDONLY, lambda handle, size=size: os.pread(handle, 1, size - 1))
        c.remove("regular", "n0")
    c.make("regular", "n0")
    before = c.time("n0")
    c.rest()
    c(None, call, "n0", 123)
    c.check(before < c.time("n0"), "a change of the size changes ctime")
    before = c.time("n0")
    c.rest()
    if call == "ftruncate":
        c("EINVAL", "ftruncate", "n0", 123, os.O_RDONLY)
    elif c.is_root:
        c("EACCES", "truncate", "n0", 123, by=c.one)
    c.check(before == c.time("n0"), "one that fails does not")
    c.remove("regular", "n0")
    if call == "ftruncate":
        c.enter(c.one if c.is_root else None)
        for user in (None, c.one):
            c(None, "with_open", "n0", os.O_CREAT | os.O_RDWR, lambda handle: os.ftruncate(handle, 5))
            c.see((5, 0), "n0", "size,mode")
            c.remove("regular", "n0")
            c(None, "with_open", "n0", os.O_CREAT | os.O_RDWR, lambda handle: os.ftruncate(handle, 5), by=user)
            c.remove("regular", "n0")
        c.leave()


@case("truncate/09", "ftruncate/09")
def a_directory_has_no_size_to_set(c, name):
    c.make("dir", "n0")
    c("EISDIR", name.split("/")[0], "n0", 123)


@case("truncate/11", "ftruncate/11", "open/20")
def a_program_that_runs_is_not_written(c, name):
    with open("/bin/sleep", "rb") as program:
        content = program.read()
    c.make("regular", "n0", mode=0o755)
    c(len(content), "write", "n0", content)
    with subprocess.Popen(["./n0", "60"]) as running:
        try:
            steps = {"open/20": [("open", "n0", os.O_WRONLY), ("open", "n0", os.O_RDWR), ("open", "n0", os.O_RDONLY | os.O_TRUNC)],
                     "truncate/11": [("truncate", "n0", 123)], "ftruncate/11": [("ftruncate", "n0", 123)]}
            for step in steps[name]:
                with c.part("O_RDONLY | O_TRUNC" if step[-1] == os.O_RDONLY | os.O_TRUNC else ""):
                    c("ETXTBSY", *step)
                    c.see(len(content), "n0", "size")
        finally:
            running.kill()


@case("truncate/12", "ftruncate/12")
def a_size_beyond_all_limits(c, name):
    c.make("regular", "n0")
    answer = c([None, "EFBIG", "EINVAL"], name.split("/")[0], "n0", 999999999999999)
    c.see(0 if answer else 999999999999999, "n0", "size")


@case("truncate/13", "ftruncate/13")
def a_size_below_nothing(c, name):
    c.make("regular", "n0")
    for size in (-1, -999999):
        c("EINVAL", name.split("/")[0], "n0", size)
        c.see(0, "n0", "size")


@case("posix_fallocate/00")
def posix_fallocate_grows(c):
    c.make("regular", "n0")
    c(None, "posix_fallocate", "n0", 0, 567)
    c.see(567, "n0", "size")
    c.remove("regular", "n0")
    c.make("regular", "n0")
    c(12345, "write", "n0", b"x" * 12345)
    c(None, "posix_fallocate", "n0", 20000, 3456)
    c.see(23456, "n0", "size")
    c(b"x\0", "with_open", "n0", os.O_RDONLY, lambda handle: os.pread(handle, 2, 12344))
    c.remove("regular", "n0")
    c.make("regular", "n0")
    before = c.time("n0")
    c.rest()
    c(None, "posix_fallocate", "n0", 0, 123)
    c.check(before < c.time("n0"), "posix_fallocate changes ctime")
    before = c.time("n0")
    c.rest()
    c("EINVAL", "posix_fallocate", "n0", 0, 0, os.O_WRONLY)
    c.check(before == c.time("n0"), "one that fails does not")
    c("EBADF", "posix_fallocate", "n0", 0, 1, os.O_RDONLY)
    c.remove("regular", "n0")
    c.enter(c.one if c.is_root else None)
    c(None, "posix_fallocate", "n0", 0, 1, os.O_CREAT | os.O_RDWR, 0)
    c.remove("regular", "n0")
    c(None, "posix_fallocate", "n0", 0, 1, os.O_CREAT | os.O_RDWR, 0, by=c.one)
    c.remove("regular", "n0")
    c.leave()


@case("rmdir/13", root=True)
def a_mount_point_is_not_removed(c):
    c.make("dir", "fs")
    with another_file_system(c, "fs"):
        c("EBUSY", "rmdir", "fs")
    c(None, "rmdir", "fs")
