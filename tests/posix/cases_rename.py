"""Cases of pjdfstest on rename."""
from case import case, ROOT
from users import User

NOT_DIRECTORIES = ("regular", "fifo", "block", "char", "socket", "symlink")


def movable(c):
    return [kind for kind in c.kinds if kind != "dir"]


@case("rename/00")
def rename_changes_the_name(c):
    for kind in movable(c):
        c.make(kind, "n0")
        inode = c.inode("n0")
        c(None, "rename", "n0", "n1")
        c("ENOENT", "lstat", "n0", "type")
        c.see((kind, 1), "n1", "type,nlink")
        c(None, "link", "n1", "n0")
        c(None, "rename", "n1", "n2")
        c("ENOENT", "lstat", "n1", "type")
        for name in ("n0", "n2"):
            c.see((kind, 2), name, "type,nlink")
            c.check(c.inode(name) == inode, "the file stays the same")
        c(None, "rename", "n0", "n2")  # two names of one file: nothing is done
        c.see((kind, 2), "n0", "type,nlink")
        c(None, "unlink", "n0")
        if c.is_root:
            before = c.time("n2")
            c.rest()
            c("EACCES", "rename", "n2", "n1", by=c.one)
            c.check(before == c.time("n2"), "rename that fails does not change ctime")
        c(None, "unlink", "n2")
    c.make("dir", "n0")
    inode = c.inode("n0")
    c(None, "rename", "n0", "n1")
    c("ENOENT", "lstat", "n0", "type")
    c.see(("dir", 0o755), "n1", "type,mode")
    c.check(c.inode("n1") == inode, "the directory stays the same")
    c.make("regular", "n0")
    c(None, "symlink", "n0", "n2")
    c(None, "rename", "n2", "n3")
    c.see("regular", "n3", "type", follow=True)
    c.see("symlink", "n3", "type")


@case("rename/09", root=True)
def from_a_sticky_directory(c):
    c.make("dir", "n0", owner=c.one, mode=0o1777)
    c.make("dir", "n1", owner=c.one)
    for kind in movable(c):
        for directory, owner in pairs(c):
            c(None, "chown", "n0", directory.uid, directory.gid)
            c.make(kind, "n0/n2", owner=owner)
            inode = c.inode("n0/n2")
            for target in ("none", "regular", "symlink"):
                if target != "none":
                    c.make(target, "n1/n3", owner=c.one)
                if c.one in (directory, owner):
                    c(None, "rename", "n0/n2", "n1/n3", by=c.one)
                    c("ENOENT", "lstat", "n0/n2", "type")
                    c.see((owner.uid, owner.gid), "n1/n3", "uid,gid")
                    c.check(c.inode("n1/n3") == inode, "the file stays the same")
                    c(None, "rename", "n1/n3", "n0/n2", by=c.one)
                else:
                    c(["EACCES", "EPERM"], "rename", "n0/n2", "n1/n3", by=c.one)
                    c.check(c.inode("n0/n2") == inode, "the file is where it was")
                    if target != "none":
                        c.see(c.one.uid, "n1/n3", "uid")
                        c(None, "unlink", "n1/n3")
            c(None, "unlink", "n0/n2")
    for directory, owner in pairs(c):
        c(None, "chown", "n0", directory.uid, directory.gid)
        for with_target in (False, True):
            c.make("dir", "n0/n2", owner=owner)
            if with_target:
                c.make("dir", "n1/n3", owner=c.one)
            # Its own ".." changes too, which is for its owner.
            c(None if owner == c.one else ["EACCES", "EPERM"], "rename", "n0/n2", "n1/n3", by=c.one)
            if owner == c.one:
                c.remove("dir", "n1/n3")
            else:
                c(None if directory == c.one else ["EACCES", "EPERM"], "rename", "n0/n2", "n0/n4", by=c.one)
                c.remove("dir", "n0/n4" if directory == c.one else "n0/n2")
                if with_target:
                    c.remove("dir", "n1/n3")


def pairs(c):
    return [(directory, owner) for directory in (c.one, ROOT, c.two) for owner in (c.one, ROOT, c.two)]


@case("rename/10", root=True)
def into_a_sticky_directory(c):
    c.make("dir", "n0", owner=c.one)
    c.make("dir", "n1", mode=0o1777)
    for kind in ("regular", "fifo", "symlink", "dir"):
        for directory, owner in pairs(c):
            c(None, "chown", "n1", directory.uid, directory.gid)
            for target in (("dir",) if kind == "dir" else movable(c)):
                c.make(kind, "n0/n2", owner=c.one)
                inode = c.inode("n0/n2")
                c.make(target, "n1/n3", owner=owner)
                if c.one in (directory, owner):
                    c(None, "rename", "n0/n2", "n1/n3", by=c.one)
                    c("ENOENT", "lstat", "n0/n2", "type")
                    c.check(c.inode("n1/n3") == inode, "the file stays the same")
                else:
                    c(["EACCES", "EPERM"], "rename", "n0/n2", "n1/n3", by=c.one)
                    c.check(c.inode("n0/n2") == inode, "the file is where it was")
                    c.see((target, owner.uid, owner.gid), "n1/n3", "type,uid,gid")
                    c.remove(kind, "n0/n2")
                c.remove(kind if c.one in (directory, owner) else target, "n1/n3")


@case("rename/13")
def a_directory_onto_something_else(c):
    c.make("dir", "n0")
    for kind in movable(c):
        c.make(kind, "n1")
        c("ENOTDIR", "rename", "n0", "n1")
        c.see("dir", "n0", "type")
        c.see(kind, "n1", "type")
        c.remove(kind, "n1")


@case("rename/14")
def something_else_onto_a_directory(c):
    c.make("dir", "n0")
    for kind in movable(c):
        c.make(kind, "n1")
        c("EISDIR", "rename", "n1", "n0")
        c.see("dir", "n0", "type")
        c.see(kind, "n1", "type")
        c.remove(kind, "n1")


@case("rename/18")
def a_directory_into_itself(c):
    c.make("dir", "n0")
    c.make("dir", "n0/n1")
    c("EINVAL", "rename", "n0", "n0/n1")
    c("EINVAL", "rename", "n0", "n0/n1/n2")
    c("ENOTEMPTY", "rename", "n0/n1", "n0")


@case("rename/19")
def dots_have_no_other_name(c):
    c.make("dir", "n0")
    c.make("dir", "n0/n1")
    c(["EINVAL", "EBUSY"], "rename", "n0/n1/.", "n2")
    c(["EINVAL", "EBUSY"], "rename", "n0/n1/..", "n2")


@case("rename/20")
def onto_a_directory_that_is_not_empty(c):
    c.make("dir", "n0")
    c.make("dir", "n1")
    for kind in c.kinds:
        c.make(kind, "n1/n2")
        c(["EEXIST", "ENOTEMPTY"], "rename", "n0", "n1")
        c.remove(kind, "n1/n2")
    c(None, "rename", "n0", "n1")
    c("ENOENT", "lstat", "n0", "type")


@case("rename/21", root=True)
def moving_a_directory_is_writing_it(c):
    for name in ("n2", "n3"):
        c.make("dir", name, mode=0o777)
    c.make("dir", "n2/n0", mode=0o700)
    c([None, "EACCES"], "rename", "n2/n0", "n2/n1", by=c.one)
    c([None, "EACCES"], "rename", "n2/n1", "n2/n0", by=c.one)
    c([None, "EACCES"], "rename", "n2/n0", "n3/n1", by=c.one)
    c.make("regular", "n2/n4")
    c(None, "rename", "n2/n4", "n3/n5", by=c.one)
    c.see((0, 0), "n3/n5", "uid,gid")


@case("rename/22")
def rename_changes_ctime(c):
    for kind in c.kinds:
        c.make(kind, "n0")
        before, directory = c.time("n0"), (c.time("."), c.time(".", "mtime"))
        c.rest()
        c(None, "rename", "n0", "n1")
        c.check(before < c.time("n1"), "rename changes ctime")
        c.check(directory[0] < c.time(".") and directory[1] < c.time(".", "mtime"), "and the times of the directory")
        c.remove(kind, "n1")


@case("rename/23")
def onto_one_of_two_names(c):
    for kind in movable(c):
        c.make(kind, "n0")
        c.make(kind, "n1")
        c(None, "link", "n1", "n2")
        before = c.time("n2")
        c.rest()
        c(None, "rename", "n0", "n1")
        c.see((kind, 1), "n2", "type,nlink")
        c.check(before < c.time("n2"), "the file that lost a name has another ctime")
        for name in ("n1", "n2"):
            c.remove(kind, name)


@case("rename/24")
def a_moved_directory_has_another_parent(c):
    for name in ("n0", "n1", "n0/n2"):
        c.make("dir", name)
    c.see(3, "n0", "nlink")
    c.see(2, "n1", "nlink")
    c.check(c.inode("n0/n2/..") == c.inode("n0"), ".. is the first parent")
    c(None, "rename", "n0/n2", "n1/n3")
    c.see(2, "n0", "nlink")
    c.see(3, "n1", "nlink")
    c.check(c.inode("n1/n3/..") == c.inode("n1"), ".. is the other parent")
