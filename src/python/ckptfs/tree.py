"""A view of a checkpoint as a tree of directories and files, read in this process."""
from __future__ import annotations

import os
import stat as modes
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

from . import _library, _options
from .errors import CheckpointWarning
from .files import ViewFile, ViewReader

if TYPE_CHECKING:
    import numpy
    import torch
    from typing_extensions import Self, Unpack

    from ._options import PathLike, ViewOptions
    from .tensors import TensorInfo

__all__ = ["DirEntry", "Tree", "open_tree"]

_ABSENT = (FileNotFoundError, NotADirectoryError)


def open_tree(source: PathLike, **options: Unpack[ViewOptions]) -> Tree:
    """Opens a view of the checkpoint at `source`: `ckptfs.open("checkpoints", world_size=8)`.

    The tree is what a mount with the same options would show; nothing is mounted, and nothing but metadata (and a sample of
    the weights) is read. What is odd about the checkpoint is a CheckpointWarning. Keywords are those of `ViewOptions`.

    Raises Error: FileNotFoundError where there is no `source`; `code` says whether it is incomplete, damaged or unsupported.
    """
    return Tree(source, _options.parse("open", options))


class DirEntry:
    """A name in a directory of a Tree, as os.scandir() has it."""

    def __init__(self, tree: Tree, directory: str, name: str, kind: int) -> None:
        self.name = name
        """Without the directory."""
        self.path = os.path.join(directory, name)
        """From the tree's root."""
        self._tree = tree
        self._kind = kind

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return modes.S_ISLNK(self._own_kind())

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a directory, or leads to one. A link that leads nowhere is none."""
        return modes.S_ISDIR(self._kind_of(follow_symlinks))

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a file, or leads to one."""
        return modes.S_ISREG(self._kind_of(follow_symlinks))

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """As Tree.stat(), or Tree.lstat()."""
        return self._tree.stat(self.path, follow_symlinks=follow_symlinks)

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"<ckptfs.DirEntry {self.path!r}>"

    def _own_kind(self) -> int:
        if self._kind == 0:
            self._kind = modes.S_IFMT(self._tree.lstat(self.path).st_mode)
        return self._kind

    def _kind_of(self, follow: bool) -> int:
        kind = self._own_kind()
        if not follow or not modes.S_ISLNK(kind):
            return kind
        try:
            return modes.S_IFMT(self._tree.stat(self.path).st_mode)
        except _ABSENT:
            return 0


class Tree:
    """What a mount would show, read in process. Made by `ckptfs.open()`; a context manager.

    Paths are relative to the root of the view, which is "" or "/". Methods are those of `os` and `os.path`, and raise what
    those raise, as `ckptfs.Error`. A tree is safe for concurrent use by threads, and reads of several threads run at the
    same time. It follows its source as a mount does: a save over a tag is seen by who opens a file after it.

    A tree works after a fork: the first use in the new process opens the source again. It can be pickled, as what it was
    opened with.
    """

    def __init__(self, source: PathLike, options: _options.Options, *, warn: bool = True) -> None:
        self._source = _options.absolute(source)
        self._options = options
        self._related: dict[str, Tree] = {}
        self.remembered: dict[str, Any] = {}  # of the other modules of this package
        self._handle: _library.TreeHandle | None
        self._handle, messages = self._opened()
        for message in messages if warn else ():
            warnings.warn(message, CheckpointWarning, stacklevel=3)

    @property
    def source(self) -> str:
        """The absolute path of the checkpoint."""
        return self._source

    @property
    def options(self) -> _options.Options:
        """What the tree was opened with, as words of the command line."""
        return self._options

    def close(self) -> None:
        """Ends the use of the tree. Files that are open stay usable. A second call does nothing."""
        self._handle = None
        for tree in self._related.values():
            tree.close()

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._handle is None

    def __enter__(self) -> Self:
        self._usable()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        self._usable()
        return _opened_again, (self._source, self._options)

    def __repr__(self) -> str:
        words = " ".join(self._options.words)
        return f"<ckptfs.Tree {self._source!r}{' ' + words if words else ''}{' (closed)' if self.closed else ''}>"

    def listdir(self, path: PathLike = "") -> list[str]:
        """The names in a directory, sorted by their bytes."""
        return [os.fsdecode(name) for name, _ in self._entries(path)]

    def scandir(self, path: PathLike = "") -> list[DirEntry]:
        """The entries of a directory, with their types."""
        directory = os.fspath(path)
        return [DirEntry(self, directory, os.fsdecode(name), kind) for name, kind in self._entries(path)]

    def walk(self, top: PathLike = "") -> Iterator[tuple[str, list[str], list[str]]]:
        """As os.walk(): directory, names of directories, names of everything else, from the top down.

        Links to directories are not followed. Names that are taken out of the list of directories are not walked.
        """
        directory = os.fspath(top)
        directories: list[str] = []
        others: list[str] = []
        for entry in self.scandir(directory):
            (directories if entry.is_dir() else others).append(entry.name)
        yield directory, directories, others
        for name in directories:
            path = os.path.join(directory, name)
            if not self.islink(path):
                yield from self.walk(path)

    def stat(self, path: PathLike, *, follow_symlinks: bool = True) -> os.stat_result:
        """As os.stat(). The inode number is another one where the bytes may be others; `st_dev` is 0."""
        found = _library.library().attributes(self._usable(), _bytes(path), follow_symlinks)
        times = (found.atime_ns, found.mtime_ns, found.ctime_ns)
        seconds = [time // 10**9 + 1e-9 * (time % 10**9) for time in times]  # as os.stat() has them
        named = {"st_atime": seconds[0], "st_mtime": seconds[1], "st_ctime": seconds[2], "st_atime_ns": times[0],
                 "st_mtime_ns": times[1], "st_ctime_ns": times[2], "st_blksize": 4096, "st_blocks": found.blocks}
        return os.stat_result((found.mode, found.inode, 0, found.nlink, found.uid, found.gid, found.size,
                               *(time // 10**9 for time in times)), named)

    def lstat(self, path: PathLike) -> os.stat_result:
        """As os.lstat(): of a link itself."""
        return self.stat(path, follow_symlinks=False)

    def readlink(self, path: PathLike) -> str:
        """The text of a symbolic link."""
        return os.fsdecode(_library.library().read_link(self._usable(), _bytes(path)))

    def exists(self, path: PathLike) -> bool:
        """Whether `path` leads to something."""
        return self._kind(path, True) != 0

    def isdir(self, path: PathLike) -> bool:
        """Whether `path` leads to a directory."""
        return modes.S_ISDIR(self._kind(path, True))

    def isfile(self, path: PathLike) -> bool:
        """Whether `path` leads to a file."""
        return modes.S_ISREG(self._kind(path, True))

    def islink(self, path: PathLike) -> bool:
        """Whether `path` is a symbolic link."""
        return modes.S_ISLNK(self._kind(path, False))

    @overload
    def open(self, path: PathLike, buffering: Literal[0]) -> ViewFile: ...

    @overload
    def open(self, path: PathLike, buffering: Literal[-1] = -1) -> ViewReader: ...

    @overload
    def open(self, path: PathLike, buffering: int) -> ViewFile | ViewReader: ...

    def open(self, path: PathLike, buffering: int = -1) -> ViewFile | ViewReader:
        """Opens a file for reading bytes, as open(path, "rb", buffering) does; works with whatever takes a file object.

        `buffering`: the size of the buffer in bytes; 0 for a file without one.
        """
        library = _library.library()
        tree = self._usable()
        file = ViewFile(library, library.open_file(tree, _bytes(path)), os.fspath(path))
        if buffering == 0:
            return file
        return ViewReader(file) if buffering < 0 else ViewReader(file, buffering)

    def read_bytes(self, path: PathLike) -> bytes:
        """All bytes of a file."""
        with self.open(path, 0) as file:
            return file.readall()

    def tensors(self, *, state: str | None = None, tag: str | None = None) -> dict[str, TensorInfo]:
        """Names, dtypes and shapes of the model's tensors, or of an optimizer's state; see tensor()."""
        from .tensors import tensors_of
        return {name: where.info for name, where in tensors_of(self, state, tag).items()}

    @overload
    def tensor(self, name: str, *, state: str | None = ..., tag: str | None = ...,
               framework: Literal["torch"]) -> torch.Tensor: ...

    @overload
    def tensor(self, name: str, *, state: str | None = ..., tag: str | None = ...,
               framework: Literal["numpy"]) -> numpy.ndarray[Any, Any]: ...

    @overload
    def tensor(self, name: str, *, state: str | None = ..., tag: str | None = ..., framework: None = ...) -> Any: ...

    def tensor(self, name: str, *, state: str | None = None, tag: str | None = None,
               framework: Literal["torch", "numpy"] | None = None) -> Any:
        """One whole tensor, read from the ranks' files straight into its memory.

        `name`: as in the view `weights`, and in tensors(). `state`: "fp32" for the master, "exp_avg", ...; None for the
        weight, in the `dtype` that the tree was opened with. `tag`: the tag's directory from the source; None for the one
        that `latest` names. `framework`: None for torch, where it is installed, else numpy, in which bfloat16 takes the
        package ml_dtypes.

        The tree may be of any view: the tensor is the same in all of them.
        """
        from .tensors import read_tensor
        return read_tensor(self, name, state, tag, framework)

    def related(self, view: str) -> Tree:
        """Another view of the same source, with the options that say something of it; closed with this tree."""
        self._usable()
        if view not in self._related:
            self._related[view] = Tree(self._source, _options.for_view(self._options, view), warn=False)
        return self._related[view]

    def _opened(self) -> tuple[_library.TreeHandle, list[str]]:
        with self._options.for_command() as words:
            return _library.library().open_tree(os.fsencode(self._source), words)

    def _usable(self) -> _library.TreeHandle:
        handle = self._handle
        if handle is None:
            raise ValueError("the tree is closed")
        if handle.pid != os.getpid():
            # No lock: one may have been held when the process was forked. Two threads open it twice at worst.
            handle = self._handle = self._opened()[0]  # who opened it has heard the warnings
        return handle

    def _entries(self, path: PathLike) -> list[tuple[bytes, int]]:
        return _library.library().entries(self._usable(), _bytes(path))

    def _kind(self, path: PathLike, follow: bool) -> int:
        """The bits of S_IFMT, or 0 where there is nothing."""
        try:
            return modes.S_IFMT(self.stat(path, follow_symlinks=follow).st_mode)
        except _ABSENT:
            return 0


def _opened_again(source: str, options: _options.Options) -> Tree:
    """A tree that was pickled: who opened it has heard the warnings."""
    return Tree(source, options, warn=False)


def _bytes(path: PathLike) -> bytes:
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise ValueError("embedded null byte")
    return encoded.strip(b"/")
