"""libckptfs.so through ctypes, as thinly as tests need it; the package in src/python is what programs use."""
from __future__ import annotations

import ctypes
import dataclasses
import pathlib
from collections.abc import Iterator


class _Failure(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("system_errno", ctypes.c_int), ("message", ctypes.c_void_p)]


class _Attributes(ctypes.Structure):
    _fields_ = [("inode", ctypes.c_uint64), ("mode", ctypes.c_uint32), ("nlink", ctypes.c_uint32),
                ("uid", ctypes.c_uint32), ("gid", ctypes.c_uint32), ("size", ctypes.c_uint64),
                ("blocks", ctypes.c_uint64), ("atime_ns", ctypes.c_int64), ("mtime_ns", ctypes.c_int64),
                ("ctime_ns", ctypes.c_int64)]


_Take = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32)


@dataclasses.dataclass(frozen=True)
class Attributes:
    """What lstat(2) tells of a file, times in nanoseconds."""

    inode: int
    mode: int
    nlink: int
    uid: int
    gid: int
    size: int
    blocks: int
    mtime_ns: int
    ctime_ns: int


class Tree:
    """A view that is read in process; a context manager. Raises OSError with the interface's errno and sentence."""

    def __init__(self, library: pathlib.Path, source: pathlib.Path, *words: str) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.ckptfs_file_nbytes.restype = ctypes.c_uint64
        self._library.ckptfs_free.argtypes = [ctypes.c_void_p]
        self._pointer = ctypes.c_void_p()
        given = (ctypes.c_char_p * len(words))(*[word.encode() for word in words])
        self._call("tree_open", str(source).encode(), given, ctypes.c_size_t(len(words)), None, None,
                   ctypes.byref(self._pointer))

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.ckptfs_tree_close(self._pointer)

    def attributes(self, path: str, follow: bool = False) -> Attributes:
        found = _Attributes()
        self._call("tree_attributes", self._pointer, path.encode(), int(follow), ctypes.byref(found))
        return Attributes(*(getattr(found, field.name) for field in dataclasses.fields(Attributes)))

    def list(self, path: str) -> dict[str, int]:
        """Names, with the bits of S_IFMT of what they are."""
        found: dict[str, int] = {}

        def take(_: object, name: bytes, kind: int) -> int:
            found[name.decode()] = kind
            return 0

        self._call("tree_list", self._pointer, path.encode(), _Take(take), None)
        return found

    def read_link(self, path: str) -> str:
        text = ctypes.c_void_p()
        self._call("tree_read_link", self._pointer, path.encode(), ctypes.byref(text))
        return self._taken(text)

    def read(self, path: str) -> bytes:
        """All of a file."""
        file = ctypes.c_void_p()
        self._call("tree_open_file", self._pointer, path.encode(), ctypes.byref(file))
        try:
            nbytes = self._library.ckptfs_file_nbytes(file)
            out = ctypes.create_string_buffer(max(nbytes, 1))
            self._call("file_read", file, ctypes.c_uint64(0), out, ctypes.c_uint64(nbytes))
            return out.raw[:nbytes]
        finally:
            self._library.ckptfs_file_close(file)

    def walk(self, path: str = "") -> Iterator[str]:
        """The paths of all entries below, directories before what is in them; links are not followed."""
        for name, kind in self.list(path).items():
            below = f"{path}/{name}" if path else name
            yield below
            if kind == 0o040000:
                yield from self.walk(below)

    def _taken(self, text: ctypes.c_void_p) -> str:
        value = ctypes.string_at(text).decode()
        self._library.ckptfs_free(text)
        return value

    def _call(self, name: str, *arguments: object) -> None:
        failure = _Failure()
        if getattr(self._library, f"ckptfs_{name}")(*arguments, ctypes.byref(failure)) != 0:
            raise OSError(failure.system_errno, self._taken(ctypes.c_void_p(failure.message)))
