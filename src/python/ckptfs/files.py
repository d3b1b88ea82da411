"""Files of a view as Python's file objects."""
from __future__ import annotations

import ctypes
import io
import operator
import os
from typing import TYPE_CHECKING, NoReturn

from . import _library

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["ViewFile", "ViewReader"]

BUFFER_NBYTES = 1 << 16


class ViewFile(io.RawIOBase):
    """A file of a view, without a buffer: `Tree.open(path, buffering=0)`.

    It has no descriptor: `fileno()` raises io.UnsupportedOperation, and nothing can map it. Reads give all bytes that are
    asked for, up to the end, or an Error: ESTALE where a source file has changed, after which it is to be opened again.
    `readinto_at()` may be called by several threads at once; the others share a position.

    It belongs to the process that opened it, and cannot be pickled.
    """

    mode = "rb"

    def __init__(self, library: _library.Library, handle: _library.FileHandle, name: str) -> None:
        super().__init__()
        self.name = name
        self.size = library.nbytes(handle)
        """In bytes."""
        self.is_virtual = library.is_virtual(handle)
        """Whether it is put together for the view, rather than a file of the source as it is."""
        self._library = library
        self._handle: _library.FileHandle | None = handle
        self._position = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def write(self, _: object) -> NoReturn:
        """Views are read-only."""
        raise io.UnsupportedOperation("not writable")

    def close(self) -> None:
        """Lets go of the source files."""
        self._handle = None
        super().close()

    def tell(self) -> int:
        """The position, in bytes from the start."""
        self._usable()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Sets the position, which may lie behind the end, and returns it."""
        self._usable()
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}
        if whence not in starts:
            raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
        position = starts[whence] + operator.index(offset)
        if position < 0:
            raise ValueError(f"negative seek position {position}")
        self._position = position
        return position

    def readinto(self, buffer: Buffer) -> int:
        """Fills `buffer` from the position on; returns how many bytes, which is less at the end only."""
        count = self.readinto_at(buffer, self._position)
        self._position += count
        return count

    def readinto_at(self, buffer: Buffer, offset: int) -> int:
        """Fills `buffer` (writable, contiguous: bytearray, memoryview, array, numpy) from `offset` on; returns how many
        bytes, which is less at the end only. The position stays."""
        handle = self._usable()
        offset = operator.index(offset)
        if offset < 0:
            raise ValueError(f"negative offset {offset}")
        with memoryview(buffer) as view:
            if view.readonly:
                raise TypeError("readinto() argument must be a read-write bytes-like object, not a read-only one")
            count = min(view.nbytes, max(self.size - offset, 0))
        if count > 0:
            first = ctypes.c_char.from_buffer(buffer)
            try:
                self._library.read(handle, offset, ctypes.addressof(first), count)
            finally:
                del first  # an error's traceback would keep it, and while it is there, the buffer cannot change its size
        return count

    def read_to(self, address: int, nbytes: int, offset: int) -> None:
        """Exactly `nbytes` from `offset` on to memory at `address`, which is the caller's; the position stays."""
        self._library.read(self._usable(), offset, address, nbytes)

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes from the position on; all that are left where it is negative or None."""
        left = max(self.size - self.tell(), 0)
        count = left if size is None or size < 0 else min(operator.index(size), left)
        taken = io.BytesIO()  # hands its memory over, where bytes(bytearray) would hold the file twice
        if count > 0:
            taken.seek(count - 1)
            taken.write(b"\0")
        with taken.getbuffer() as buffer:
            count = self.readinto(buffer)
        taken.truncate(count)
        return taken.getvalue()

    def readall(self) -> bytes:
        """All bytes from the position on."""
        return self.read()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a file of a view cannot be pickled: pickle its Tree, which can, and open the file again")

    def __reduce_ex__(self, _: object) -> NoReturn:
        self.__reduce__()

    def __repr__(self) -> str:
        return f"<ckptfs.ViewFile {self.name!r}{' (closed)' if self.closed else ''}>"

    def _usable(self) -> _library.FileHandle:
        handle = self._handle
        if handle is None:
            raise ValueError("I/O operation on closed file.")
        if handle.pid != os.getpid():
            raise ValueError(f"'{self.name}' was opened before this process was forked: open it here again; its Tree, "
                             "which does so by itself, can be taken along")
        return handle


class ViewReader(io.BufferedReader):
    """A file of a view with a buffer: what `Tree.open()` returns. `raw` is the ViewFile.

    Threads that read one file should each have an own one, or use `raw.readinto_at()`.
    """

    raw: ViewFile

    def __init__(self, raw: ViewFile, buffer_size: int = BUFFER_NBYTES) -> None:
        super().__init__(raw, buffer_size)

    @property
    def size(self) -> int:
        """In bytes."""
        return self.raw.size
