"""libckptfs.so through ctypes: the only module that knows pointers. The header is include/ckptfs/ckptfs.h.

ctypes gives up the interpreter's lock around every call, so that reads of several threads run at once.
"""
from __future__ import annotations

import ctypes
import functools
import os
import pathlib
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_uint64, c_void_p, py_object
from typing import Any

from ._callbacks import calls
from .errors import Error, ErrorCode, error_of, numbered

INTERFACE_VERSION = 1
READER_INTERFACE_VERSION = 1


class Failure(ctypes.Structure):
    """ckptfs_failure; the message is the library's to free."""

    _fields_ = [("code", c_int), ("system_errno", c_int), ("message", c_void_p)]


class Attributes(ctypes.Structure):
    """ckptfs_attributes."""

    _fields_ = [("inode", c_uint64), ("mode", c_uint32), ("nlink", c_uint32), ("uid", c_uint32), ("gid", c_uint32),
                ("size", c_uint64), ("blocks", c_uint64), ("atime_ns", c_int64), ("mtime_ns", c_int64),
                ("ctime_ns", c_int64)]


# `context` is the list or the dictionary that takes what is said. They are called without a step of Python: on the main thread
# one would run the handlers of signals, and what these raise, Ctrl-C among it, would be lost, and the entry with it.
_append = ctypes.pythonapi.PyList_Append
_append.argtypes = [py_object, py_object]
_set_item = ctypes.pythonapi.PyDict_SetItem
_set_item.argtypes = [py_object, py_object, py_object]
WarnCallback = ctypes.CFUNCTYPE(None, py_object, c_char_p)
EntryCallback = ctypes.CFUNCTYPE(c_int, py_object, c_char_p, c_uint32)
_TAKE_WARNING = WarnCallback(_append)
_TAKE_ENTRY = EntryCallback(_set_item)
StreamCallback = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)
InterruptedCallback = ctypes.CFUNCTYPE(c_int, c_void_p)


class Streams(ctypes.Structure):
    """ckptfs_streams."""

    _fields_ = [("context", c_void_p), ("out", StreamCallback), ("error", StreamCallback),
                ("interrupted", InterruptedCallback), ("streams_are_one", c_int)]


ReadCallback = ctypes.CFUNCTYPE(c_int, c_void_p, c_uint64, c_void_p, c_uint64)
ChunkCallback = ctypes.CFUNCTYPE(c_int, c_void_p, c_char_p, c_uint64, c_uint64, c_void_p, c_uint64)


class ReaderFile(ctypes.Structure):
    """CkptfsTorchFile."""

    _fields_ = [("context", c_void_p), ("nbytes", c_uint64), ("read", ReadCallback)]


class ReaderSink(ctypes.Structure):
    """CkptfsTorchSink."""

    _fields_ = [("context", c_void_p), ("chunk", ChunkCallback)]


ReadAllCallback = ctypes.CFUNCTYPE(c_int, POINTER(ReaderFile), POINTER(ReaderSink), c_void_p, c_size_t)


class Reader(ctypes.Structure):
    """CkptfsTorchModule: a second reader of .pt files."""

    _fields_ = [("interface_version", c_uint32), ("torch_version", c_char_p), ("read_all_records", ReadAllCallback)]


_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ckptfs_version": (c_char_p, []),
    "ckptfs_free": (None, [c_void_p]),
    "ckptfs_tree_open": (c_int, [c_char_p, POINTER(c_char_p), c_size_t, WarnCallback, py_object, POINTER(c_void_p),
                                 POINTER(Failure)]),
    "ckptfs_tree_close": (None, [c_void_p]),
    "ckptfs_tree_attributes": (c_int, [c_void_p, c_char_p, c_int, POINTER(Attributes), POINTER(Failure)]),
    "ckptfs_tree_list": (c_int, [c_void_p, c_char_p, EntryCallback, py_object, POINTER(Failure)]),
    "ckptfs_tree_read_link": (c_int, [c_void_p, c_char_p, POINTER(c_void_p), POINTER(Failure)]),
    "ckptfs_tree_open_file": (c_int, [c_void_p, c_char_p, POINTER(c_void_p), POINTER(Failure)]),
    "ckptfs_file_close": (None, [c_void_p]),
    "ckptfs_file_nbytes": (c_uint64, [c_void_p]),
    "ckptfs_file_is_virtual": (c_int, [c_void_p]),
    "ckptfs_file_read": (c_int, [c_void_p, c_uint64, c_void_p, c_uint64, POINTER(Failure)]),
    "ckptfs_command": (c_int, [POINTER(c_char_p), c_size_t, POINTER(Streams), POINTER(Reader), POINTER(Failure)]),
}


def native_directory() -> pathlib.Path:
    """Where the library and the programs lie: in the package, or, for development, where CKPTFS_NATIVE says."""
    named = os.environ.get("CKPTFS_NATIVE")
    return pathlib.Path(named) if named else pathlib.Path(__file__).resolve().parent / "_native"


class TreeHandle:
    """A ckptfs_tree that is closed with the last reference, unless that is another process's: after a fork the locks
    in it may be held by threads that are not there any more."""

    def __init__(self, library: Library, pointer: int) -> None:
        self.pid = os.getpid()
        self.pointer = pointer
        self._close = library.functions.ckptfs_tree_close

    def __del__(self) -> None:
        if os.getpid() == self.pid:
            self._close(self.pointer)


class FileHandle:
    """A ckptfs_file, in the same way."""

    def __init__(self, library: Library, pointer: int) -> None:
        self.pid = os.getpid()
        self.pointer = pointer
        self._close = library.functions.ckptfs_file_close

    def __del__(self) -> None:
        if os.getpid() == self.pid:
            self._close(self.pointer)


class Library:
    """The functions of the C interface with Python's types and exceptions. Safe for concurrent use."""

    def __init__(self, functions: Any) -> None:
        self.functions = functions

    def version(self) -> str:
        """Of ckptfs: "0.1.0"."""
        return bytes(self.functions.ckptfs_version()).decode()

    def open_tree(self, source: bytes, words: Sequence[str]) -> tuple[TreeHandle, list[str]]:
        """And the warnings."""
        said: list[bytes] = []
        pointer = c_void_p()
        failure = Failure()
        arguments = _strings(words)
        with calls.one():
            status = self.functions.ckptfs_tree_open(_terminated(source), arguments, len(words), _TAKE_WARNING, said,
                                                     byref(pointer), byref(failure))
        self._check(status, failure)
        return TreeHandle(self, pointer.value or 0), [_text(message) for message in said]

    def attributes(self, tree: TreeHandle, path: bytes, follow: bool) -> Attributes:
        """Of what `path` names, or, with `follow`, of what it leads to."""
        found = Attributes()
        failure = Failure()
        self._check(self.functions.ckptfs_tree_attributes(tree.pointer, path, follow, byref(found), byref(failure)),
                    failure)
        return found

    def entries(self, tree: TreeHandle, path: bytes) -> list[tuple[bytes, int]]:
        """Names in a directory, with their type as the bits of S_IFMT, or 0 where only a look would tell."""
        found: dict[bytes, int] = {}
        failure = Failure()
        with calls.one():
            status = self.functions.ckptfs_tree_list(tree.pointer, path, _TAKE_ENTRY, found, byref(failure))
        self._check(status, failure)
        return list(found.items())

    def read_link(self, tree: TreeHandle, path: bytes) -> bytes:
        """The text of a symbolic link."""
        text = c_void_p()
        failure = Failure()
        self._check(self.functions.ckptfs_tree_read_link(tree.pointer, path, byref(text), byref(failure)), failure)
        return self._taken(text)

    def open_file(self, tree: TreeHandle, path: bytes) -> FileHandle:
        """Links are followed."""
        pointer = c_void_p()
        failure = Failure()
        self._check(self.functions.ckptfs_tree_open_file(tree.pointer, path, byref(pointer), byref(failure)), failure)
        return FileHandle(self, pointer.value or 0)

    def nbytes(self, file: FileHandle) -> int:
        """The file's size."""
        return int(self.functions.ckptfs_file_nbytes(file.pointer))

    def is_virtual(self, file: FileHandle) -> bool:
        """Whether it is put together from pieces, rather than a file of the source as it is."""
        return bool(self.functions.ckptfs_file_is_virtual(file.pointer))

    def read(self, file: FileHandle, offset: int, address: int, nbytes: int) -> None:
        """Exactly `nbytes` to the memory at `address`, which the caller keeps alive, or an error."""
        failure = Failure()
        self._check(self.functions.ckptfs_file_read(file.pointer, offset, address, nbytes, byref(failure)), failure)

    def command(self, words: Sequence[str], streams: Streams, reader: Reader | None) -> tuple[int, Error | None]:
        """Runs a command that mounts nothing; returns its exit status, and why it is not 0."""
        failure = Failure()
        arguments = _strings(words)
        status = int(self.functions.ckptfs_command(arguments, len(words), byref(streams),
                                                   None if reader is None else byref(reader), byref(failure)))
        return status, self._error(failure) if status != 0 else None

    def _check(self, status: int, failure: Failure) -> None:
        if status != 0:
            raise self._error(failure)

    def _error(self, failure: Failure) -> Error:
        return error_of(numbered(failure.code), failure.system_errno, _text(self._taken(c_void_p(failure.message))))

    def _taken(self, text: c_void_p) -> bytes:
        """A text that the library made for its caller."""
        try:
            return ctypes.string_at(text) if text else b""
        finally:
            self.functions.ckptfs_free(text)


@functools.cache
def library() -> Library:
    """The library, loaded on first use. Raises Error where it is missing, or of another version than this package."""
    path = native_directory() / "libckptfs.so"
    try:
        functions = ctypes.CDLL(os.fspath(path))
    except OSError as failure:
        raise Error(_why_not_loaded(path, str(failure)), ErrorCode.INTERNAL) from None
    functions.ckptfs_interface_version.restype = c_uint32
    found = functions.ckptfs_interface_version()
    if found != INTERFACE_VERSION:
        raise Error(f"'{path}' has version {found} of the interface, this package needs {INTERFACE_VERSION}; install "
                    "ckptfs whole: pip install --force-reinstall ckptfs", ErrorCode.INTERNAL)
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(functions, name)
        function.restype = result
        function.argtypes = arguments
    return Library(functions)


def _why_not_loaded(path: pathlib.Path, reason: str) -> str:
    if path.exists():
        return f"the library of ckptfs cannot be loaded: {reason}; its wheel is for Linux with glibc 2.28 or newer on x86-64"
    if os.environ.get("CKPTFS_NATIVE"):
        return f"CKPTFS_NATIVE names '{path.parent}', which has no {path.name}; unset it, or build there"
    return (f"'{path}' is missing: this is a source tree, or a package without its library; install the wheel, or set "
            "CKPTFS_NATIVE to the directory of a build")


def _strings(words: Sequence[str]) -> ctypes.Array[c_char_p]:
    return (c_char_p * len(words))(*[_terminated(os.fsencode(word)) for word in words])


def _terminated(text: bytes) -> bytes:
    """`text`, of which C sees all."""
    if b"\0" in text:
        raise ValueError("embedded null byte")
    return text


def _text(message: bytes) -> str:
    return message.decode("utf-8", "surrogateescape")
