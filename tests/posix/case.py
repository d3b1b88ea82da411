"""A case of test_pjd.py: steps in a directory of its own, done by several users, and what each of them answered.

A case is a function of a Case. It runs once in SOURCE itself and once in the mount, each time in a process of its own, and leaves a
transcript; what a step should answer stands beside it.
"""
import contextlib
import ctypes
from dataclasses import dataclass, field
import errno
import fcntl
import os
import socket
import stat
import struct
import time

from users import in_child, User

LIBC = ctypes.CDLL(None, use_errno=True)
BAD_ADDRESS = ctypes.c_void_p(-1)
TICK_S = 0.012  # the coarsest clock that a kernel takes times from has 10 ms
KINDS = ("regular", "dir", "fifo", "block", "char", "socket", "symlink")
TYPES = {stat.S_IFREG: "regular", stat.S_IFDIR: "dir", stat.S_IFIFO: "fifo", stat.S_IFBLK: "block", stat.S_IFCHR: "char",
         stat.S_IFSOCK: "socket", stat.S_IFLNK: "symlink"}
FIELDS = {"type": lambda s: TYPES[stat.S_IFMT(s.st_mode)], "mode": lambda s: stat.S_IMODE(s.st_mode), "nlink": lambda s: s.st_nlink,
          "uid": lambda s: s.st_uid, "gid": lambda s: s.st_gid, "size": lambda s: s.st_size, "device": lambda s: s.st_rdev,
          "atime": lambda s: s.st_atime_ns, "mtime": lambda s: s.st_mtime_ns}
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602
IMMUTABLE, APPEND_ONLY = 0x10, 0x20


ROOT = User(0, 0)
ONE = User(20001, 20001)  # who owns what a case makes for somebody
TWO = User(20002, 20002)  # a stranger


@dataclass
class Transcript:
    steps: list = field(default_factory=list)  # (part of the case, what was done, what it answered)
    failures: list = field(default_factory=list)  # (part of the case, what was not as POSIX and Linux say)
    skipped: str = ""


class Skip(Exception):
    """This system has no means to ask the question."""


class Case:
    """`below`: in SOURCE itself, the directory in which the case runs; the working directory is the same one as it is shown.

    Run by root, `one` and `two` are users without rights; run by a user, that user is `one`.
    """

    def __init__(self, below, transcript):
        self.below = below
        self.transcript = transcript
        self.is_root = os.geteuid() == 0
        self.one = ONE if self.is_root else User(os.geteuid(), os.getegid(), tuple(os.getgroups()))
        self.two = TWO
        self._inodes = {}
        self._directories = 0
        self._part = ""

    def __call__(self, expected, operation, *arguments, by=None, umask=0):
        """Does a step. `expected`: the name of an errno, None for success whatever the value, a value, or a list of these."""
        answer = self.outcome(operation, *arguments, by=by, umask=umask)
        self.note((operation, *arguments, f"by {by.uid}" if by else ""), answer)
        wanted = expected if isinstance(expected, list) else [expected]
        is_error = isinstance(answer, str) and answer in errno.errorcode.values()
        if answer not in wanted and not (None in wanted and not is_error):
            self.fail(f"{operation}({', '.join(map(brief, arguments))}): {brief(answer)}, expected {expected!r}")
        return answer

    @contextlib.contextmanager
    def part(self, name):
        """Names the steps in a `with` block, for the list of what a mount answers otherwise."""
        before, self._part = self._part, name
        yield
        self._part = before

    def outcome(self, operation, *arguments, by=None, umask=0):
        before = os.umask(umask)
        try:
            with acting_as(by):
                return getattr(Operations, operation)(*arguments)
        except OSError as failure:
            return errno.errorcode[failure.errno]
        finally:
            os.umask(before)

    def note(self, what, answer):
        self.transcript.steps.append((self._part, " ".join(map(brief, what)), brief(answer)))

    def check(self, holds, what):
        """A step of which only whether it holds is compared."""
        self.note((what,), bool(holds))
        if not holds:
            self.fail(what)

    def fail(self, what):
        self.transcript.failures.append((self._part, what))

    def see(self, expected, path, fields, follow=False):
        """lstat (or stat): `fields` by name, the value or a tuple of them."""
        return self(expected, "stat" if follow else "lstat", path, fields)

    def enter(self, owner=None):
        """Goes on in a new empty directory."""
        name = f"d{self._directories}"
        self._directories += 1
        os.mkdir(name, 0o755)
        os.chdir(name)
        self.below = os.path.join(self.below, name)
        if owner:
            os.chown(".", owner.uid, owner.gid)

    def leave(self):
        os.chdir("..")
        self.below = os.path.dirname(self.below)

    @property
    def kinds(self):
        """The types of file that may be made here."""
        return KINDS if self.is_root else tuple(kind for kind in KINDS if kind not in ("block", "char"))

    def make(self, kind, path, owner=None, mode=None):
        """A file of any type, which succeeds."""
        steps = {"regular": ("create", path, 0o644), "dir": ("mkdir", path, 0o755), "fifo": ("mkfifo", path, 0o644),
                 "block": ("mknod", path, stat.S_IFBLK | 0o644, 1, 2), "char": ("mknod", path, stat.S_IFCHR | 0o644, 1, 2),
                 "socket": ("bind", path), "symlink": ("symlink", "target", path)}
        self(None, *steps[kind])
        if mode is not None and kind != "symlink":
            self(None, "chmod", path, mode)
        if owner and self.is_root:
            self(None, "lchown", path, owner.uid, owner.gid)

    def remove(self, kind, path):
        self(None, "rmdir" if kind == "dir" else "unlink", path)

    def inode(self, path):
        """The same small number for the same file."""
        one = os.lstat(path)
        return self._inodes.setdefault((one.st_dev, one.st_ino), len(self._inodes))

    def time(self, path, which="ctime"):
        return getattr(os.lstat(path), f"st_{which}_ns")

    def rest(self):
        """Until the clock of the file system has gone on."""
        time.sleep(TICK_S)

    def set_flags(self, path, flags):
        """chattr, in SOURCE: 0 takes the flags away. Skip where the file system has none."""
        handle = os.open(os.path.join(self.below, path), os.O_RDONLY)
        try:
            value = struct.unpack("l", fcntl.ioctl(handle, FS_IOC_GETFLAGS, bytes(8)))[0] & ~(IMMUTABLE | APPEND_ONLY)
            fcntl.ioctl(handle, FS_IOC_SETFLAGS, struct.pack("l", value | flags))
        except OSError as failure:
            raise Skip(f"no such flags on the file system of SOURCE: {failure}") from failure
        finally:
            os.close(handle)


def brief(value):
    """The same text in every process, and of any length of names."""
    text = getattr(value, "__name__", str(value))
    return text if len(text) < 80 else f"{text[:10]}...{text[-10:]} of {len(text)}"


class acting_as:
    """The effective user and groups of this process, for the length of a `with` block."""

    def __init__(self, user):
        self._user = user if user and user.uid != os.geteuid() else None

    def __enter__(self):
        if self._user:
            self._groups = os.getgroups()
            os.setgroups(self._user.groups)
            os.setegid(self._user.gid)
            os.seteuid(self._user.uid)

    def __exit__(self, *_):
        if self._user:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(self._groups)


class Operations:
    """What steps do: each a system call or two, by name. OSError as the system answers."""

    mkdir = staticmethod(os.mkdir)
    mkfifo = staticmethod(os.mkfifo)
    symlink = staticmethod(os.symlink)
    readlink = staticmethod(os.readlink)
    rename = staticmethod(os.rename)
    unlink = staticmethod(os.unlink)
    rmdir = staticmethod(os.rmdir)
    chmod = staticmethod(os.chmod)
    chown = staticmethod(os.chown)
    lchown = staticmethod(os.lchown)
    truncate = staticmethod(os.truncate)

    @staticmethod
    def link(existing, path):
        os.link(existing, path, follow_symlinks=False)

    @staticmethod
    def mknod(path, mode, major=0, minor=0):
        os.mknod(path, mode, os.makedev(major, minor))

    @staticmethod
    def bind(path):
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path)

    @staticmethod
    def create(path, mode=0o644):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))

    @staticmethod
    def open(path, flags, mode=0o644):
        os.close(os.open(path, flags, mode))

    @staticmethod
    def with_open(path, flags, *then):
        """Opens (a file that is new has no mode bits), then calls each of `then` with the descriptor; the last one's value."""
        handle, value = os.open(path, flags, 0), None
        try:
            for call in then:
                value = call(handle)
        finally:
            os.close(handle)
        return value

    @staticmethod
    def ftruncate(path, size, flags=os.O_WRONLY):
        handle = os.open(path, flags)
        try:
            os.ftruncate(handle, size)
        finally:
            os.close(handle)

    @staticmethod
    def posix_fallocate(path, offset, length, flags=os.O_RDWR, mode=0o644):
        handle = os.open(path, flags, mode)
        try:
            os.posix_fallocate(handle, offset, length)
        finally:
            os.close(handle)

    @staticmethod
    def write(path, data):
        handle = os.open(path, os.O_WRONLY)
        try:
            return os.write(handle, data)
        finally:
            os.close(handle)

    @staticmethod
    def utimens(path, atime, mtime, follow=True):
        """Nanoseconds, "now" or "omit" each."""
        special = {"now": (0, (1 << 30) - 1), "omit": (0, (1 << 30) - 2)}
        parts = [part for one in (atime, mtime) for part in special.get(one, None) or divmod(one, 10**9)]
        times = (ctypes.c_long * 4)(*parts)
        _libc("utimensat", -100, os.fsencode(path), times, 0 if follow else 0x100)

    @staticmethod
    def lstat(path, fields):
        return _fields(os.lstat(path), fields)

    @staticmethod
    def stat(path, fields):
        return _fields(os.stat(path), fields)

    @staticmethod
    def fault(call, *arguments):
        """A system call by name; a pointer that leads nowhere for each None."""
        _libc(call, *(BAD_ADDRESS if one is None else os.fsencode(one) if isinstance(one, str) else one for one in arguments))


def _fields(status, fields):
    values = tuple(FIELDS[name](status) for name in fields.split(","))
    return values if len(values) > 1 else values[0]


def _libc(call, *arguments):
    if getattr(LIBC, call)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), call)


CASES = {}  # name -> (function, whether only root can ask)


def case(*names, root=False):
    """Registers a function of a Case under the names of pjdfstest; of several, each with that name as its second argument."""

    def register(function):
        for name in names:
            assert name not in CASES, name
            CASES[name] = (function if len(names) == 1 else lambda c, name=name: function(c, name), root)
        return function

    return register


def run(name, shown, below, user=None):
    """The Transcript of a case in a new directory `shown`, whose place in SOURCE is `below`, in a process of its own.

    `user`: as whom, other than this process's own.
    """

    def ask():
        transcript = Transcript()
        os.mkdir(shown, 0o755)
        os.chdir(shown)
        try:
            CASES[name][0](Case(below, transcript))
        except Skip as reason:
            transcript.skipped = str(reason)
        except BaseException as failure:
            raise RuntimeError(f"after {transcript.steps[-3:]}, {transcript.failures}") from failure
        return transcript

    return in_child(ask, user, umask=0)
