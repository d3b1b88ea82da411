"""The installed torch as the second reader of `verify`: it must find what ckptfs finds.

What a build from source has in the module ckptfs_torch is done here through Python, as no promise holds between the C++ of
one torch and another. From torch 2.0 on.
"""
from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import io
import os
from typing import Any

from . import _library

# Larger records are read in pieces of this size.
CHUNK_NBYTES = 1 << 20

_REFUSED = 1
_NOT_THERE = 2


@functools.cache
def table() -> _library.Reader:
    """The reader as ckptfs_command() takes it. torch is imported when the first file is to be read."""
    return _library.Reader(_library.READER_INTERFACE_VERSION, _torch_version().encode(), _READ_ALL_RECORDS)


def _torch_version() -> str:
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return "none"


class StoppedError(Exception):
    """The other side has an error of its own, and says so itself."""


class CallbackFile:
    """The file of the C interface as torch takes one. Nothing is raised into torch: a read that fails is a short one."""

    def __init__(self, file: Any) -> None:
        self.size = int(file.nbytes)
        self.too_large: tuple[int, int] | None = None
        """Offset and size of the first read of more than `limit` bytes, which is answered as the end of the file."""
        self.limit: int | None = None
        self._context = file.context
        self._read = file.read
        self._position = 0

    def tell(self) -> int:
        """The position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Sets the position."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; none where they cannot be read."""
        left = max(self.size - self._position, 0)
        buffer = bytearray(left if size < 0 else min(size, left))
        return bytes(buffer[:self.readinto(buffer)])

    def readinto(self, buffer: Any) -> int:
        """How many bytes are in `buffer` now; 0 where they cannot be read."""
        with memoryview(buffer) as view:
            count = min(view.nbytes, max(self.size - self._position, 0))
            if self.limit is not None and view.nbytes > self.limit:
                self.too_large = self.too_large or (self._position, view.nbytes)
                return 0
        if count == 0 or not self.read_at(self._position, buffer, count):
            return 0
        self._position += count
        return count

    def read_at(self, offset: int, buffer: Any, count: int) -> bool:
        """Whether `count` bytes from `offset` on are in `buffer` now."""
        first = ctypes.c_char.from_buffer(buffer)
        return bool(self._read(self._context, offset, ctypes.addressof(first), count) == 0)


def read_records(file: Any, sink: Any) -> None:
    """Every record, from first to last, as torch finds it."""
    import torch

    seen = CallbackFile(file)
    reader = torch._C.PyTorchFileReader(seen)
    for name in reader.get_all_records():
        place = _place_of_large(reader, seen, name)
        if place is not None:
            _stream(seen, sink, name, *place)
        else:
            record = reader.get_record(name)
            _give(sink, name, 0, len(record), record)


def _place_of_large(reader: Any, seen: CallbackFile, name: str) -> tuple[int, int] | None:
    """Offset and size of a record that is larger than a piece, as torch says."""
    if hasattr(reader, "get_record_size"):  # from torch 2.7 on
        nbytes = reader.get_record_size(name)
        return (reader.get_record_offset(name), nbytes) if nbytes > CHUNK_NBYTES else None
    # torch is let begin to read it: it takes memory, which is never touched, and asks for all of its bytes at once.
    seen.limit, seen.too_large = CHUNK_NBYTES, None
    try:
        reader.get_record(name)
    except RuntimeError as failure:
        if seen.too_large is None and "allocate memory" in str(failure):
            raise MemoryError(f"torch {_torch_version()} needs address space for all of record '{name}' at once; a newer one does "
                              "not") from failure
        if seen.too_large is None:
            raise
    finally:
        seen.limit = None
    return seen.too_large


def _stream(seen: CallbackFile, sink: Any, name: str, begin: int, nbytes: int) -> None:
    buffer = bytearray(CHUNK_NBYTES)
    for done in range(0, nbytes, CHUNK_NBYTES):
        count = min(CHUNK_NBYTES, nbytes - done)
        if not seen.read_at(begin + done, buffer, count):
            raise StoppedError
        _give(sink, name, done, nbytes, bytes(buffer[:count]))


def _give(sink: Any, name: str, offset: int, record_nbytes: int, chunk: bytes) -> None:
    if sink.chunk(sink.context, name.encode("utf-8", "surrogateescape"), offset, record_nbytes, chunk, len(chunk)) != 0:
        raise StoppedError


def _read_all_records(file: Any, sink: Any, error: int, error_nbytes: int) -> int:
    """CkptfsTorchModule::read_all_records."""
    if importlib.util.find_spec("torch") is None:
        _write("the files of a view are read a second time by torch, which is not installed here: pip install torch", error,
               error_nbytes)
        return _NOT_THERE
    try:
        read_records(file.contents, sink.contents)
        return 0
    except MemoryError as failure:
        _write(str(failure) or "no memory is left", error, error_nbytes)
        return _NOT_THERE
    except BaseException as failure:  # it would be lost in C
        _write(str(failure).partition("\nException raised from")[0] or type(failure).__name__, error, error_nbytes)
        return _REFUSED


def _write(message: str, error: int, error_nbytes: int) -> None:
    if error_nbytes > 0:
        text = message.encode("utf-8", "replace")[:error_nbytes - 1] + b"\0"
        ctypes.memmove(error, text, len(text))


_READ_ALL_RECORDS = _library.ReadAllCallback(_read_all_records)
