"""Cases of pjdfstest that ask every call the same question: what it answers where a path leads nowhere, or who asks may not."""
import contextlib
import os
import stat
import subprocess
import time

from case import APPEND_ONLY, case, IMMUTABLE, Skip

CREATE = os.O_CREAT | os.O_WRONLY

# Call -> [(what must be at the path: a file, a directory or nothing; the step on the path)]. "original" is a file beside it, "spare" is free.
CALLS = {
    "chmod": [("file", lambda path: ("chmod", path, 0o642))],
    "chown": [("file", lambda path: ("chown", path, -1, -1)), ("file", lambda path: ("lchown", path, -1, -1))],
    "ftruncate": [("file", lambda path: ("ftruncate", path, 123))],
    "truncate": [("file", lambda path: ("truncate", path, 123))],
    "link": [("file", lambda path: ("link", path, "spare")), ("nothing", lambda path: ("link", "original", path))],
    "mkdir": [("nothing", lambda path: ("mkdir", path, 0o755))],
    "mkfifo": [("nothing", lambda path: ("mkfifo", path, 0o644))],
    "mknod": [("nothing", lambda path: ("mknod", path, stat.S_IFIFO | 0o644)), ("nothing", lambda path: ("mknod", path, stat.S_IFREG | 0o644))],
    "open": [("file", lambda path: ("open", path, os.O_RDONLY)), ("nothing", lambda path: ("open", path, CREATE))],
    "rename": [("file", lambda path: ("rename", path, "spare")), ("nothing", lambda path: ("rename", "original", path))],
    "rmdir": [("directory", lambda path: ("rmdir", path))],
    "symlink": [("nothing", lambda path: ("symlink", "target", path))],
    "unlink": [("file", lambda path: ("unlink", path))],
}


def call_of(name):
    return name.split("/")[0]


def numbered(numbers):
    """{"chmod": "05", ...} or a number that most have in common -> names of cases."""
    return [f"{call}/{number}" for call, number in numbers.items()]


def common(number, **others):
    return numbered({call: number for call in CALLS} | others)


def steps_of(name, needs):
    chosen = [one for one in CALLS[call_of(name)] if one[0] in needs]
    assert chosen, name
    return chosen


def variants(c, name, needs=("file", "directory", "nothing"), owner=None):
    """For each step of a call: (what must be there, the step), in a new directory that is left afterwards."""
    for needed, step in steps_of(name, needs):
        c.enter(owner if c.is_root else None)
        c.make("regular", "original", owner=owner)
        yield needed, step
        c.leave()


def put(c, needed, path, by=None):
    """What a step needs at `path`."""
    if needed == "file":
        c(None, "create", path, by=by)
    elif needed == "directory":
        c(None, "mkdir", path, 0o755, by=by)


@case(*common("01", rename="12"))
def a_component_is_not_a_directory(c, name):
    for _, step in variants(c, name):
        for kind in c.kinds:
            if kind not in ("dir", "symlink"):
                c.make(kind, "n1")
                c("ENOTDIR", *step("n1/test"))
                c.remove(kind, "n1")


@case(*common("02", rename="01"))
def a_name_is_too_long(c, name):
    limit = os.pathconf(".", "PC_NAME_MAX")
    c.note(("NAME_MAX",), limit)
    for needed, step in variants(c, name):
        longest = "x" * limit
        put(c, needed, longest)
        c(None, *step(longest))
        if not os.path.exists("original"):
            c.make("regular", "original")
        c("ENAMETOOLONG", *step(longest + "x"))


LONG_PATHS = common("03", rename="02")


@case(*LONG_PATHS)
def a_path_is_too_long(c, name):
    limit = os.pathconf(".", "PC_PATH_MAX")
    for needed, step in variants(c, name):
        longest = ""
        while len(longest) < limit - 202:
            longest += "y" * 99 + "/"
            c(None, "mkdir", longest, 0o755)
        longest += "x" * (limit - 1 - len(longest))
        with c.part("the longest path"):
            put(c, needed, longest)
            c(None, *step(longest))
        c("ENAMETOOLONG", *step(longest + "x"))


@case(*common("04", rename="03"), "link/09")
def nothing_is_there(c, name):
    for needed, step in variants(c, name):
        if name != "link/09":
            c("ENOENT", *step("nowhere/test"))
        if needed != "nothing":
            c("ENOENT", *step("missing"))


@case(*common("05", link="06", rename="04", rmdir="07"))
def a_component_may_not_be_searched(c, name):
    for needed, step in variants(c, name, owner=c.one):
        c(None, "mkdir", "n1", 0o755, by=c.one)
        put(c, needed, "n1/n2", by=c.one)
        c(None, "chmod", "n1", 0o644)
        c("EACCES", *step("n1/n2"), by=c.one)
        c(None, "chmod", "n1", 0o755)
        c(None, *step("n1/n2"), by=c.one)


@case(*numbered({"link": "07", "mkdir": "06", "mkfifo": "06", "mknod": "06", "open": "08", "rename": "05", "rmdir": "08", "symlink": "06",
                 "unlink": "06"}))
def a_directory_may_not_be_written(c, name):
    for needed, step in variants(c, name, owner=c.one):
        if name == "open/08" and needed == "file" or name == "link/07" and needed == "file":
            continue  # they change the other directory, or none
        c(None, "mkdir", "n1", 0o755, by=c.one)
        put(c, needed, "n1/n2", by=c.one)
        c(None, "chmod", "n1", 0o555)
        c("EACCES", *step("n1/n2"), by=c.one)
        c(None, "chmod", "n1", 0o755)
        c(None, *step("n1/n2"), by=c.one)


@case("truncate/06", "ftruncate/06", root=True)
def a_file_may_not_be_written(c, name):
    for _, step in variants(c, name):
        c.make("regular", "n1", owner=c.one)
        c("EACCES", *step("n1"), by=c.two)
        c(None, "chmod", "n1", 0o444)
        c("EACCES", *step("n1"), by=c.one)
        c.see(0, "n1", "size")


@case(*common("06", ftruncate="07", truncate="07", link="08", mkdir="07", mkfifo="07", mknod="07", open="12", rename="11", rmdir="05",
              symlink="07", unlink="07"))
def links_lead_in_circles(c, name):
    follows_the_last = ("chmod", "chown", "truncate", "ftruncate", "open")
    for needed, step in variants(c, name):
        c(None, "symlink", "n1", "n0")
        c(None, "symlink", "n0", "n1")
        for link in ("n0", "n1"):
            c("ELOOP", *step(f"{link}/test"))
            if call_of(name) in follows_the_last and step(link)[0] != "lchown":
                c("ELOOP", *step(link))


@case(*numbered({"link": "10", "mkdir": "10", "mkfifo": "09", "mknod": "08", "symlink": "08"}))
def the_name_is_taken(c, name):
    for _, step in variants(c, name, needs=("nothing",)):
        for kind in c.kinds:
            c.make(kind, "n1")
            c("EEXIST", *step("n1"))
            c.see(kind, "n1", "type")
            c.remove(kind, "n1")


@case(*numbered({"chmod": "08", "chown": "08", "ftruncate": "08", "truncate": "08", "link": "12", "rename": "06", "rmdir": "09", "unlink": "09"}),
      "open/10", root=True)
def the_file_is_immutable(c, name):
    for needed, step in variants(c, name, needs=("file", "directory")):
        put(c, needed, "n1")
        for flags in (IMMUTABLE, APPEND_ONLY):
            c.set_flags("n1", flags)
            with c.part("to nobody" if call_of(name) == "chown" else ""):
                c([None, "EPERM"] if call_of(name) == "chown" else None if name == "open/10" else "EPERM", *step("n1"))
            if call_of(name) == "chown":
                c("EPERM", "chown", "n1", 0, c.one.gid)
            c("EPERM", "chmod", "n1", 0o640)
            if needed == "file":
                c("EPERM", "open", "n1", os.O_WRONLY)
                c("EPERM", "open", "n1", os.O_RDWR)
            c.set_flags("n1", 0)
            c(None, "chmod", "n1", 0o644 if needed == "file" else 0o755)
        c(None, *step("n1"))


@case("open/11", root=True)
def the_file_may_only_grow(c):
    c.make("regular", "n1")
    c.set_flags("n1", APPEND_ONLY)
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND | os.O_TRUNC):
        c("EPERM", "open", "n1", flags)
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_APPEND):
        c(None, "open", "n1", flags)
    c(5, "with_open", "n1", os.O_WRONLY | os.O_APPEND, lambda handle: os.write(handle, b"grows"))
    c.see(5, "n1", "size")
    c.set_flags("n1", 0)


@case(*numbered({"link": "13", "mkdir": "08", "mkfifo": "10", "mknod": "09", "open": "09", "symlink": "09"}), "rename/08", root=True)
def the_directory_that_is_to_hold_it_is_immutable(c, name):
    for _, step in variants(c, name, needs=("nothing",)):
        c.make("dir", "n1")
        c.set_flags("n1", IMMUTABLE)
        c("EPERM", *step("n1/n2"))
        c.set_flags("n1", APPEND_ONLY)
        c(None, *step("n1/n2"))
        c.set_flags("n1", 0)


@case("rename/07", "rmdir/10", "unlink/10", root=True)
def the_directory_that_holds_it_is_immutable(c, name):
    for needed, step in variants(c, name, needs=("file", "directory")):
        c.make("dir", "n1")
        put(c, needed, "n1/n2")
        for flags in (IMMUTABLE, APPEND_ONLY):
            c.set_flags("n1", flags)
            c("EPERM", *step("n1/n2"))
            c.set_flags("n1", 0)
        c(None, *step("n1/n2"))


@case(*numbered({"chmod": "10", "chown": "10", "ftruncate": "14", "truncate": "14", "link": "17", "mkdir": "12", "mkfifo": "12", "mknod": "10",
                 "open": "21", "rename": "17", "rmdir": "15", "symlink": "12", "unlink": "13"}))
def the_address_is_not_there(c, name):
    calls = {
        "chmod": [(None, 0o644)], "chown": [(None, -1, -1)], "ftruncate": [(None, 123)], "truncate": [(None, 123)],
        "link": [(None, "n1"), ("original", None)], "mkdir": [(None, 0o755)], "mkfifo": [(None, 0o644)],
        "mknod": [(None, stat.S_IFIFO | 0o644, 0)], "open": [(None, os.O_RDONLY), (None, CREATE, 0o644)],
        "rename": [(None, "n1"), ("original", None)], "rmdir": [(None,)], "symlink": [("target", None), (None, "n1")], "unlink": [(None,)],
    }
    c.make("regular", "original")
    for arguments in calls[call_of(name)]:
        c("EFAULT", "fault", "truncate" if call_of(name) == "ftruncate" else call_of(name), *arguments)
    c.see("regular", "original", "type")


def mounting(*command):
    """Skip where that is not allowed. A file that was just closed may be busy for a moment."""
    deadline = time.monotonic() + 5
    done = subprocess.run(command, capture_output=True, text=True)
    while "busy" in done.stderr and time.monotonic() < deadline:
        time.sleep(0.01)
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Skip(f"{' '.join(command[:-1])}: {done.stderr.strip()}")


@contextlib.contextmanager
def another_file_system(c, path, *options):
    """A directory of SOURCE that is a file system of its own."""
    place = os.path.join(c.below, path)
    mounting("mount", "-t", "tmpfs", *options, "none", place)
    try:
        yield place
    finally:
        mounting("umount", "-l", place)


@case(*numbered({"chmod": "09", "chown": "09", "ftruncate": "10", "truncate": "10", "link": "16", "mkdir": "09", "mkfifo": "08", "open": "14",
                 "rename": "16", "rmdir": "14", "symlink": "10", "unlink": "12"}), "open/15", root=True)
def the_file_system_is_read_only(c, name):
    c.make("dir", "fs")
    with another_file_system(c, "fs") as place:
        c(None, "create", "fs/original")
        os.chdir("fs")
        steps = steps_of(name, ("nothing",) if name == "open/15" else ("file", "directory", "nothing"))
        for number, (needed, _) in enumerate(steps):
            put(c, needed, f"n{number}")
        mounting("mount", "-o", "remount,ro", place)
        for number, (needed, step) in enumerate(steps):
            if name == "open/14" and needed == "file":
                c(None, *step(f"n{number}"))
                for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
                    c("EROFS", "open", f"n{number}", flags)
            else:
                with c.part("to nobody" if name == "chown/09" else ""):
                    c("EROFS", *step(f"n{number}"))
                if name == "chown/09":
                    c("EROFS", "chown", f"n{number}", 0, c.one.gid)
        os.chdir("..")


@case(*numbered({"link": "15", "mkdir": "11", "mkfifo": "11", "open": "19", "symlink": "11"}), root=True)
def no_inode_is_free(c, name):
    needs = ("file",) if name == "link/15" else ("nothing",)
    c.make("dir", "fs")
    with another_file_system(c, "fs", "-o", "nr_inodes=4"):
        c(None, "create", "fs/original")
        c(None, "create", "fs/n1")
        c([None, "ENOSPC"], "create", "fs/n2")
        c([None, "ENOSPC"], "create", "fs/n3")
        os.chdir("fs")
        for needed, step in steps_of(name, needs):
            c("ENOSPC", *step("original" if needed == "file" else "one-more"))
        os.chdir("..")


@case("link/14", "rename/15", root=True)
def two_file_systems(c, name):
    c.make("dir", "fs")
    with another_file_system(c, "fs"):
        for kind in ("regular", "fifo", "block", "char", "socket"):
            c.make(kind, "n1")
            c("EXDEV", call_of(name), "n1", "fs/n2")
            c.remove(kind, "n1")
            c.make(kind, "fs/n1")
            c("EXDEV", call_of(name), "fs/n1", "n2")
            c.remove(kind, "fs/n1")

