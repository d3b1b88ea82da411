"""Runs a command of the library: its streams, its failure as an exception, and KeyboardInterrupt."""
from __future__ import annotations

import ctypes
import threading
import warnings
from collections.abc import Callable, Sequence

from . import _library
from ._callbacks import calls
from .errors import CheckpointWarning, Error

_WARNING = "ckptfs: warning: "


class Done:
    """How a command ended, and what it said on standard output and standard error."""

    def __init__(self, error: Error | None, out: str, said: str) -> None:
        self.error = error
        """Why it failed; None where it did not."""
        self.out = out
        self.warnings = [line[len(_WARNING):] for line in said.splitlines() if line.startswith(_WARNING)]

    def expect_success(self) -> Done:
        """Raises the error of a command that failed; issues the warnings of one that did not."""
        if self.error is not None:
            raise self.error
        for warning in self.warnings:
            warnings.warn(warning, CheckpointWarning, stacklevel=4)
        return self


def run(words: Sequence[str], *, reader: _library.Reader | None = None,
        show: Callable[[str], object] | None = None) -> Done:
    """Runs the command to its end. `show` is called with each line of standard error, on another thread.

    A KeyboardInterrupt, whatever else a handler of a signal raises, and an exception of `show` stops the command, and is
    raised when it has stopped.
    """
    running = _Running(words, reader, show)
    running.start()
    interrupt: BaseException | None = None
    while True:
        try:
            running.ended.wait()
            break
        except BaseException as failure:
            interrupt = failure
            running.stop()
    running.join()
    calls.stand_still_at_the_end()
    if interrupt is not None:
        raise interrupt
    if running.failure is not None:
        raise running.failure
    return Done(running.error, running.out.decode("utf-8", "surrogateescape"),
                running.said.decode("utf-8", "surrogateescape"))


class _Running(threading.Thread):
    """On a thread of its own, as signals are handled between two steps of Python on the main one alone."""

    def __init__(self, words: Sequence[str], reader: _library.Reader | None, show: Callable[[str], object] | None) -> None:
        super().__init__(name="ckptfs-command", daemon=True)
        self.error: Error | None = None
        self.out = bytearray()
        self.said = bytearray()
        self.failure: BaseException | None = None
        self.interrupted = False
        self.ended = threading.Event()
        self._words = words
        self._reader = reader
        self._show = show
        self._shown = 0

    def stop(self) -> None:
        """It ends soon."""
        self.interrupted = True

    def run(self) -> None:
        streams = _library.Streams(None, _library.StreamCallback(self._take_out),
                                   _library.StreamCallback(self._take_said),
                                   _library.InterruptedCallback(self._is_interrupted), 0)
        try:
            with calls.one(self.stop):
                _, self.error = _library.library().command(self._words, streams, self._reader)
        except BaseException as failure:
            self.failure = failure
        finally:
            self.ended.set()

    def _take_out(self, _: object, address: int, nbytes: int) -> int:
        self.out += ctypes.string_at(address, nbytes)
        return 0

    def _take_said(self, _: object, address: int, nbytes: int) -> int:
        self.said += ctypes.string_at(address, nbytes)
        if self._show is None:
            return 0
        try:
            while (end := self.said.find(b"\n", self._shown)) >= 0:
                line = self.said[self._shown:end].decode("utf-8", "surrogateescape")
                self._shown = end + 1
                self._show(line)
        except BaseException as failure:
            self.failure = failure
            self.stop()
        return 0

    def _is_interrupted(self, _: object) -> int:
        return int(self.interrupted)
