"""The console script `ckptfs`: becomes the program, and lends it the installed torch for `verify`."""
from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from . import _library, _programs, second_reader
from .errors import Error

_IO_STATUS = 7
_INTERNAL_STATUS = 70


def main() -> NoReturn:
    """Never returns: this process is the program's, or ends with the command's status."""
    # Python ignores these, and what is ignored stays ignored in the program.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    arguments = sys.argv[1:]
    try:
        if arguments[:1] == ["verify"]:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            sys.exit(_verify(arguments))
        os.execv(_programs.program(), [sys.argv[0], *arguments])
    except Error as failure:
        sys.stderr.write(f"ckptfs: {failure}\n")
        sys.exit(_INTERNAL_STATUS)
    except OSError as failure:
        sys.stderr.write(f"ckptfs: the program cannot be started: {failure}\n")
        sys.exit(_IO_STATUS)


def _verify(arguments: Sequence[str]) -> int:
    """In this process, where torch is."""
    streams = _library.Streams(None, _library.StreamCallback(_Writer(1)), _library.StreamCallback(_Writer(2)),
                               _library.InterruptedCallback(lambda _: 0), _are_one())
    return _library.library().command(arguments, streams, second_reader.table())[0]


def _are_one() -> bool:
    """Whether standard output and standard error lead to the same terminal or file."""
    try:
        return os.path.sameopenfile(1, 2)
    except OSError:  # one is closed
        return False


class _Writer:
    """Writes to a descriptor, whole."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, _: object, address: int, nbytes: int) -> int:
        left = memoryview(ctypes.string_at(address, nbytes))
        while left:
            try:
                left = left[os.write(self._descriptor, left):]
            except OSError:
                return 1
        return 0
