"""A mount for as long as a `with` statement lasts, and what keeps a machine from having one.

The mount is that of `ckptfs run`: processes of this user that ask for the same view share it, and it ends with the last of
them. Its COMMAND here is a process that waits for the end of a pipe which this process holds: so the mount ends with this
process, however that one ends.
"""
from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import pwd
import shutil
import stat as modes
import subprocess
import sys
import tempfile
import warnings
import weakref
from typing import IO, TYPE_CHECKING

from . import _options, _programs
from ._running import Done
from .errors import CheckpointWarning, Error, ErrorCode, error_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import PathLike, ViewOptions

__all__ = ["Mount", "mount", "obstacle"]

# Tells where the mount is, then waits until nobody holds the other end of its standard input any more.
_HOLDER = "import os; os.write(1, os.environb[b'CKPTFS_VIEW'] + b'\\0'); os.close(1); os.read(0, 1)"
_OF_MOUNT = frozenset({"writable", "io", "log_file"})
_CAP_SYS_ADMIN = 1 << 21
_TABLE = "/etc/mtab"

# The exit statuses of docs/cli.md, with the errno that says the same.
_STATUSES: dict[int, tuple[ErrorCode, int]] = {
    2: (ErrorCode.INVALID_ARGUMENT, errno.EINVAL),
    3: (ErrorCode.NOT_A_CHECKPOINT, errno.ENOENT),
    4: (ErrorCode.DAMAGED, errno.EIO),
    5: (ErrorCode.UNSUPPORTED, errno.EIO),
    6: (ErrorCode.MOUNT, errno.EIO),
    7: (ErrorCode.IO, errno.EIO),
}
_PREFIX = "ckptfs: "
_WARNING = "ckptfs: warning: "


def mount(source: PathLike, *, writable: bool = False, io: str | None = None, log_file: PathLike | None = None,
          **options: Unpack[ViewOptions]) -> Mount:
    """Mounts a view of the checkpoint at `source`: `with ckptfs.mount("checkpoints", world_size=8) as path:`.

    `path` is the directory where the view is, outside of the source; it is this user's alone, and shared with other
    processes of his that ask for the same. `writable`: write in the source what is written there. `io`: "cached" or
    "direct". `log_file`: otherwise the daemon's log goes to syslog.

    The mount ends with the `with` statement, with close(), and with this process. Raises Error: `code` is ErrorCode.MOUNT
    where a mount cannot be made here, and the message says what is missing; obstacle() says that before.
    """
    parsed = _options.parse("mount", {**options, "writable": writable, "io": io, "log_file": log_file}, _OF_MOUNT)
    return Mount(source, parsed)


class Mount:
    """A mount that is there until close(). A context manager, whose value is `path`."""

    path: pathlib.Path

    def __init__(self, source: PathLike, options: _options.Options) -> None:
        if not sys.executable:
            raise Error("this Python does not know its own program (sys.executable), which a mount needs", ErrorCode.MOUNT)
        with options.for_command() as words, tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [_programs.program(), "run", _options.absolute(source), *words, "--", sys.executable, "-I", "-S", "-c",
                 _HOLDER],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
                start_new_session=True)  # signals of the terminal are for this process
            assert process.stdin is not None and process.stdout is not None
            try:
                with process.stdout:
                    place = _up_to_null(process.stdout)
            except BaseException:
                _end(process, os.getpid())
                raise
            if not place:
                process.stdin.close()
                status = process.wait()
            said.seek(0)
            text = said.read().decode("utf-8", "surrogateescape")
        if not place:
            raise _error_of(status, text)
        self.path = pathlib.Path(os.fsdecode(place))
        self._finalizer = weakref.finalize(self, _end, process, os.getpid())
        try:
            for warning in Done(None, "", text).warnings:
                warnings.warn(warning, CheckpointWarning, stacklevel=3)
        except BaseException:  # warnings can be errors
            self.close()
            raise

    def close(self) -> None:
        """Unmounts, unless others use the same mount. A second call does nothing, nor does one in a forked process."""
        self._finalizer()

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return not self._finalizer.alive

    def __enter__(self) -> pathlib.Path:
        if self.closed:
            raise ValueError("the mount is closed")
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ckptfs.Mount '{self.path}'{' (closed)' if self.closed else ''}>"


def _up_to_null(stream: IO[bytes]) -> bytes:
    """What comes before the first null byte; nothing where the end comes first."""
    taken = b""
    while not taken.endswith(b"\0"):
        byte = stream.read(1)
        if not byte:
            return b""
        taken += byte
    return taken[:-1]


def _end(process: subprocess.Popen[bytes], pid: int) -> None:
    """By a signal, as forked processes may hold the pipe too."""
    if os.getpid() != pid:
        return
    stdin: IO[bytes] | None = process.stdin
    if stdin is not None:
        with contextlib.suppress(OSError):
            stdin.close()
    process.terminate()
    process.wait()


def obstacle() -> str | None:
    """Why no view can be mounted on this machine by this process, and unmounted again, in a sentence that says what to do; None
    where nothing is known to be in the way. Cheap: nothing is tried but the opening of /dev/fuse."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return ("/dev/fuse is missing: load the kernel's module (modprobe fuse), or give the container the device "
                "(--device /dev/fuse --cap-add SYS_ADMIN)")
    except OSError as failure:
        return f"/dev/fuse cannot be opened ({failure.strerror}): give the container the device (--device /dev/fuse)"
    try:
        _programs.program()
    except Error as failure:
        return str(failure)
    status = _own_status()
    if _CAP_SYS_ADMIN & int(status.get("CapEff", "0"), 16):
        return None
    if not _CAP_SYS_ADMIN & int(status.get("CapBnd", "0"), 16):
        return "this container may not mount (no CAP_SYS_ADMIN): start it with --cap-add SYS_ADMIN --device /dev/fuse"
    helper = shutil.which("fusermount3")
    if helper is None:
        return "fusermount3 is not in PATH, and who is not root needs it to mount: apt install fuse3, or dnf install fuse3"
    if status.get("NoNewPrivs") == "1":
        return "this process may not gain rights (no_new_privs), so fusermount3 cannot mount for it"
    found = os.stat(helper)
    if found.st_uid != 0 or not found.st_mode & modes.S_ISUID:
        return f"'{helper}' does not run as root, so it cannot mount for other users: reinstall the package fuse3"
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return f"user {os.geteuid()} is in no user database, where fusermount3 looks for a name: add a line for it to /etc/passwd"
    if not os.path.exists(_TABLE):
        return f"{_TABLE} is missing, without which fusermount3 does not unmount: let root make it (ln -sf /proc/self/mounts {_TABLE})"
    return None


def _own_status() -> dict[str, str]:
    """The lines of /proc/self/status."""
    lines = pathlib.Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _error_of(status: int, said: str) -> Error:
    """Why the program ended before there was a mount, with what is known of this machine where the mount itself failed."""
    code, number = _STATUSES.get(status, (ErrorCode.INTERNAL, errno.EIO))
    lines = [line[len(_PREFIX):] for line in said.splitlines() if line.startswith(_PREFIX) and not line.startswith(_WARNING)]
    known = obstacle() if code == ErrorCode.MOUNT else None
    why = "\n".join(lines) or f"the program ended with status {status}, and did not say why"
    return error_of(code, number, why if known is None else f"{why}; {known}")
