"""Cases of pjdfstest on what makes a file and what takes it away."""
import os
import stat

from case import case
from users import User

CREATE = os.O_CREAT | os.O_WRONLY
MASKS = ((0, 0o755, 0o755), (0, 0o151, 0o151), (0o077, 0o151, 0o100), (0o070, 0o345, 0o305), (0o501, 0o345, 0o244))
MAKERS = {"mkdir": ("dir", lambda mode: ("mkdir", "n0", mode)), "mkfifo": ("fifo", lambda mode: ("mkfifo", "n0", mode)),
          "mknod": ("fifo", lambda mode: ("mknod", "n0", stat.S_IFIFO | mode)), "open": ("regular", lambda mode: ("open", "n0", CREATE, mode))}


@case("mkdir/00", "mkfifo/00", "mknod/00", "open/00")
def what_is_made_has_mode_owner_and_times(c, name):
    kind, step = MAKERS[name.split("/")[0]]
    c.enter()
    for mask, mode, expected in MASKS:
        c(None, *step(mode), umask=mask)
        c.see((kind, expected), "n0", "type,mode")
        c.remove(kind, "n0")
    if c.is_root:
        c(None, "chown", ".", c.one.uid, c.one.gid)
        for user, mode in ((c.one, 0o755), (User(c.one.uid, c.two.gid), 0o755), (c.two, 0o777), (c.one, 0o2777), (c.two, 0o2777)):
            c(None, "chmod", ".", mode)
            c(None, *step(0o755), by=user)
            c.see((user.uid, c.one.gid if mode & 0o2000 else user.gid), "n0", "uid,gid")
            c([0o755, 0o2755], "lstat", "n0", "mode")
            c.remove(kind, "n0")
    before = c.time(".")
    c.rest()
    c(None, *step(0o755))
    for path, which in (("n0", "atime"), ("n0", "mtime"), ("n0", "ctime"), (".", "mtime"), (".", "ctime")):
        c.check(before < c.time(path, which), f"{which} of {path} is that of the making")
    c.remove(kind, "n0")
    if name == "open/00":
        opening_what_is_there(c)
    c.leave()


def opening_what_is_there(c):
    c.make("regular", "n0")
    before = c.time(".", "mtime"), c.time(".")
    c.rest()
    c(None, "open", "n0", os.O_CREAT | os.O_RDONLY, 0o600)
    c.check(before == (c.time(".", "mtime"), c.time(".")), "opening what is there changes no time of the directory")
    c.see(0o644, "n0", "mode")
    c(5, "write", "n0", b"test\n")
    before = c.time("n0", "mtime"), c.time("n0")
    c.rest()
    c(None, "open", "n0", os.O_WRONLY | os.O_TRUNC)
    c.check(before[0] < c.time("n0", "mtime") and before[1] < c.time("n0"), "O_TRUNC changes mtime and ctime")
    c.see(0, "n0", "size")
    c.remove("regular", "n0")


@case("mknod/11", root=True)
def mknod_makes_devices(c):
    for kind, bits in (("char", stat.S_IFCHR), ("block", stat.S_IFBLK)):
        for major, minor in ((1, 2), (4095, 1048575)):
            before = c.time(".")
            c.rest()
            c(None, "mknod", "n0", bits | 0o755, major, minor)
            c.see((kind, 0o755, os.makedev(major, minor)), "n0", "type,mode,device")
            for path, which in (("n0", "atime"), ("n0", "mtime"), ("n0", "ctime"), (".", "mtime"), (".", "ctime")):
                c.check(before < c.time(path, which), f"{which} of {path} is that of the making")
            c("EEXIST", "mknod", "n0", bits | 0o777, 3, 4)
            c.remove(kind, "n0")
    c.enter(c.one)
    c("EPERM", "mknod", "n0", stat.S_IFCHR | 0o644, 1, 3, by=c.one)
    c.leave()


@case("symlink/00")
def symlink_makes_links(c):
    c.make("regular", "n0")
    c(None, "symlink", "n0", "n1")
    c.see("symlink", "n1", "type")
    c.see(("regular", 0o644), "n1", "type,mode", follow=True)
    c("n0", "readlink", "n1")
    c.remove("regular", "n0")
    c("ENOENT", "stat", "n1", "type")
    c.remove("symlink", "n1")
    for number, target in enumerate(("/etc", "../../..", "/nowhere/at all", ".", "nowhere/at all", "x" * 4095)):
        c(None, "symlink", target, f"l{number}")
        with c.part("out of SOURCE" if number < 3 else ""):
            c(target, "readlink", f"l{number}")
            c.see(("symlink", len(target)), f"l{number}", "type,size")
            c.remove("symlink", f"l{number}")
    c(["ENAMETOOLONG"], "symlink", "x" * 4096, "n1")
    c("ENOENT", "symlink", "", "n1")
    c.make("dir", "n0")
    before = c.time("n0")
    c.rest()
    c(None, "symlink", "test", "n0/n1")
    c.check(before < c.time("n0", "mtime") and before < c.time("n0"), "symlink changes mtime and ctime of the directory")


@case("link/00")
def link_makes_names(c):
    for kind in c.kinds:
        if kind == "dir":
            continue
        c.make(kind, "n0")
        c.see((kind, 1), "n0", "type,nlink")
        inode = c.inode("n0")
        c(None, "link", "n0", "n1")
        c(None, "link", "n1", "n2")
        for name in ("n0", "n1", "n2"):
            c.see((kind, 3), name, "type,nlink")
            c.check(c.inode(name) == inode, "all names are one file")
        if kind != "symlink":
            c(None, "chmod", "n1", 0o201)
        if c.is_root:
            c(None, "lchown", "n1", c.one.uid, c.two.gid)
        for name in ("n0", "n1", "n2"):
            c(None, "lstat", name, "type,mode,nlink,uid,gid")
        before, directory = c.time("n1"), (c.time("."), c.time(".", "mtime"))
        c.rest()
        c(None, "link", "n1", "n3")
        c.check(before < c.time("n1"), "link changes ctime of the file")
        c.check(directory[0] < c.time(".") and directory[1] < c.time(".", "mtime"), "link changes the times of the directory")
        c(None, "unlink", "n0")
        c("ENOENT", "lstat", "n0", "type")
        c.see((kind, 3), "n2", "type,nlink")
        for name in ("n2", "n3"):
            c(None, "unlink", name)
        c.see((kind, 1), "n1", "type,nlink")
        c(None, "unlink", "n1")
        if c.is_root:
            c.make(kind, "n0", owner=c.one)
            before, directory = c.time("n0"), (c.time("."), c.time(".", "mtime"))
            c.rest()
            c(["EACCES", "EPERM"], "link", "n0", "n1", by=c.one)
            c.check(before == c.time("n0"), "link that fails does not change ctime")
            c.check(directory == (c.time("."), c.time(".", "mtime")), "nor times of the directory")
            c.remove(kind, "n0")


@case("link/05")
def a_file_has_many_names(c):
    """pjdfstest fills a small file system up to LINK_MAX; there are as many names here as that of ext4 and one more, if they may be made."""
    c.make("regular", "n0")
    answers = [c.outcome("link", "n0", f"l{number}") for number in range(200)]
    c.note(("200 links",), sorted(set(map(str, answers))))
    c.see(201, "n0", "nlink")
    for number in range(200):
        os.unlink(f"l{number}")
    c.see(1, "n0", "nlink")


@case("link/11")
def a_directory_has_one_name(c):
    c.enter(c.one if c.is_root else None)
    for user in (None, c.one):
        c(None, "mkdir", "n0", 0o755, by=user)
        c("EPERM", "link", "n0", "n1", by=user)
        c(None, "rmdir", "n0", by=user)
    c.leave()


@case("unlink/00")
def unlink_removes_names(c):
    for kind in c.kinds:
        if kind == "dir":
            continue
        c.make(kind, "n0")
        c.see(kind, "n0", "type")
        c.remove(kind, "n0")
        c("ENOENT", "lstat", "n0", "type")
        c.make(kind, "n0")
        c(None, "link", "n0", "n1")
        before = c.time("n0")
        c.rest()
        c(None, "unlink", "n1")
        c.check(before < c.time("n0"), "unlink changes ctime of what has another name")
        c.see(1, "n0", "nlink")
        if c.is_root:
            before = c.time("n0")
            c.rest()
            c("EACCES", "unlink", "n0", by=c.one)
            c.check(before == c.time("n0"), "unlink that fails does not change ctime")
        c.remove(kind, "n0")
        c.make("dir", "n0")
        c.make(kind, "n0/n1")
        before = c.time("n0")
        c.rest()
        c(None, "unlink", "n0/n1")
        c.check(before < c.time("n0", "mtime") and before < c.time("n0"), "unlink changes mtime and ctime of the directory")
        c.remove("dir", "n0")


@case("unlink/08")
def unlink_of_a_directory(c):
    c.make("dir", "n0")
    c(["EISDIR", "EPERM"], "unlink", "n0")
    c.see("dir", "n0", "type")


@case("unlink/14")
def an_open_file_outlives_its_name(c):
    c.make("regular", "n0")
    c(5, "write", "n0", b"Hello")
    c(0, "with_open", "n0", os.O_RDONLY, lambda handle: os.unlink("n0"), lambda handle: os.fstat(handle).st_nlink)
    c("ENOENT", "lstat", "n0", "type")
    c.make("regular", "n0")
    c(b"Hello, World!", "with_open", "n0", os.O_RDWR, lambda handle: os.write(handle, b"Hello, World!"), lambda handle: os.unlink("n0"),
      lambda handle: os.pread(handle, 13, 0))
    c.make("regular", "n0")
    c((7, 0o600), "with_open", "n0", os.O_RDWR, lambda handle: os.unlink("n0"), lambda handle: os.ftruncate(handle, 7),
      lambda handle: os.fchmod(handle, 0o600), lambda handle: (os.fstat(handle).st_size, stat.S_IMODE(os.fstat(handle).st_mode)))
    c.make("regular", "n0")  # the new file of the name is another one
    c(b"", "with_open", "n0", os.O_RDWR, lambda handle: os.unlink("n0"), lambda handle: os.close(os.open("n0", CREATE, 0o644)),
      lambda handle: os.write(handle, b"of the old one"), lambda handle: read_of("n0"))


def read_of(path):
    with open(path, "rb") as file:
        return file.read()


@case("rmdir/00")
def rmdir_removes_directories(c):
    c.make("dir", "n0")
    c(None, "rmdir", "n0")
    c("ENOENT", "lstat", "n0", "type")
    c.make("dir", "n0")
    c.make("dir", "n0/n1")
    c.see(3, "n0", "nlink")
    before = c.time("n0")
    c.rest()
    c(None, "rmdir", "n0/n1")
    c.check(before < c.time("n0", "mtime") and before < c.time("n0"), "rmdir changes mtime and ctime of the directory")
    c.see(2, "n0", "nlink")


@case("rmdir/06")
def rmdir_of_what_is_not_empty(c):
    c.make("dir", "n0")
    for kind in c.kinds:
        c.make(kind, "n0/n1")
        c("ENOTEMPTY", "rmdir", "n0")
        c.remove(kind, "n0/n1")
    c(None, "rmdir", "n0")


@case("rmdir/12")
def rmdir_of_dots(c):
    c.make("dir", "n0")
    c.make("dir", "n0/n1")
    c("EINVAL", "rmdir", "n0/n1/.")
    c("ENOTEMPTY", "rmdir", "n0/n1/..")
    c.see(3, "n0", "nlink")


STICKY = 0o1777


@case("rmdir/11", "unlink/11", root=True)
def a_sticky_directory_keeps_what_is_anothers(c, name):
    c.make("dir", "n0")
    c(None, "chmod", "n0", STICKY)
    call = name.split("/")[0]
    for kind in ("dir",) if call == "rmdir" else [kind for kind in c.kinds if kind != "dir"]:
        for directory in (c.one, User(0, 0), c.two):
            for owner in (c.one, User(0, 0), c.two):
                c(None, "chown", "n0", directory.uid, directory.gid)
                c.make(kind, "n0/n1", owner=owner)
                c.see((kind, owner.uid, owner.gid), "n0/n1", "type,uid,gid")
                if c.one in (directory, owner):
                    c(None, call, "n0/n1", by=c.one)
                    c("ENOENT", "lstat", "n0/n1", "type")
                else:
                    c(["EACCES", "EPERM"], call, "n0/n1", by=c.one)
                    c.see((kind, owner.uid, owner.gid), "n0/n1", "type,uid,gid")
                    c.remove(kind, "n0/n1")
