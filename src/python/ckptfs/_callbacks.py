"""Calls of the library that call Python back, and the end of the interpreter.

It stops every other thread that comes back to it then. One that has the library below it cannot be stopped: the process would
abort. So the end waits for such calls.
"""
from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator


class Calls:
    """Those that other threads than the main one make now. Safe for concurrent use."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)
        atexit.register(self._end)

    def _reset(self) -> None:
        """None is made in a process that was forked: the threads that made them are not there."""
        self._changed = threading.Condition()
        self._stops: dict[object, Callable[[], object]] = {}
        self._has_ended = False

    @contextlib.contextmanager
    def one(self, stop: Callable[[], object] = lambda: None) -> Iterator[None]:
        """A call by this thread, which `stop`, called on another one, makes end soon; it may be short enough without."""
        if threading.current_thread() is threading.main_thread():
            yield
            return
        self.stand_still_at_the_end()
        call = object()
        with self._changed:
            self._stops[call] = stop
        try:
            yield
        finally:
            with self._changed:
                del self._stops[call]
                self._changed.notify_all()

    def stand_still_at_the_end(self) -> None:
        """Does not return to a daemon thread once the interpreter ends, which would stop it at its next step anyway."""
        while self._has_ended and threading.current_thread() is not threading.main_thread():
            time.sleep(3600)

    def _end(self) -> None:
        with self._changed:
            self._has_ended = True
            for stop in self._stops.values():
                stop()
            self._changed.wait_for(lambda: not self._stops)


calls = Calls()
