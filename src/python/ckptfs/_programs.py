"""Which of the package's programs to run: the same one twice, for the system's libfuse and for the bundled one."""
from __future__ import annotations

import ctypes
import functools
import os

from ._library import native_directory
from .errors import Error, ErrorCode

# As libfuse counts: 3.14.
_OLDEST_LIBFUSE = 314
_SONAME = "libfuse3.so.3"


@functools.cache
def program() -> str:
    """The program that works here. The system's libfuse is preferred: it knows where the system has its fusermount3."""
    directory = native_directory()
    own = directory / "ckptfs"
    bundled = directory / "ckptfs-with-libfuse"
    if own.is_file() and (_has_system_libfuse() or not bundled.is_file()):
        return os.fspath(own)
    if bundled.is_file():
        return os.fspath(bundled)
    raise Error(f"'{own}' is missing: this is a source tree, or a package without its programs; install the wheel, or set "
                "CKPTFS_NATIVE to the directory of a build", ErrorCode.INTERNAL)


def _has_system_libfuse() -> bool:
    try:
        return int(ctypes.CDLL(_SONAME).fuse_version()) >= _OLDEST_LIBFUSE
    except (OSError, AttributeError):
        return False
