"""Views for whatever takes fsspec: `ckptfs://SOURCE!/VIEW/PATH`.

    fsspec.open("ckptfs:///data/run!/world-size-8/global_step500/mp_rank_00_model_states.pt")
    pandas.read_json("ckptfs:///data/run!/weights/trainer_state.json")

SOURCE is the directory of the checkpoint; a relative one counts from the working directory. What follows the first `!/` is a
path in the view: in the catalogue, whose directories are the views, unless `world_size`, `dp_size` or `view` is among the
storage options. These are the keywords of ckptfs.open().
"""
from __future__ import annotations

import errno
import stat as modes
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NoReturn

from fsspec.spec import AbstractFileSystem

from . import _options
from .errors import ErrorCode, InvalidArgument, NotFound
from .tree import Tree

if TYPE_CHECKING:
    from .files import ViewReader

__all__ = ["CkptfsFileSystem"]

# Trees of so many sources are kept open.
_MAX_TREES = 16
_OF_FSSPEC = ("use_listings_cache", "listings_expiry_time", "max_paths", "asynchronous", "loop")


class CkptfsFileSystem(AbstractFileSystem):
    """Read-only: whatever would change a view is an Error with EROFS. Paths are URLs without `ckptfs://`."""

    protocol = "ckptfs"
    root_marker = ""

    def __init__(self, *args: Any, **storage_options: Any) -> None:
        super().__init__(*args, **storage_options)
        own = {name: value for name, value in storage_options.items() if name not in _OF_FSSPEC}
        self._options = _options.parse("ckptfs.fsspec.CkptfsFileSystem", own)
        self._trees: dict[str, Tree] = {}

    @property
    def fsid(self) -> str:
        """Of this implementation."""
        return "ckptfs"

    @classmethod
    def _parent(cls, path: str) -> str:
        return str(cls._strip_protocol(path)).rpartition("/")[0]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Name, size and type of what `path` leads to, and the fields that the local file system has too."""
        name, tree, below = self._place(path)
        own = tree.lstat(below)
        is_link = modes.S_ISLNK(own.st_mode)
        found = own
        if is_link:
            try:
                found = tree.stat(below)
            except FileNotFoundError:
                pass  # it leads nowhere: what there is to say is the link's own
        kind = "directory" if modes.S_ISDIR(found.st_mode) else "file" if modes.S_ISREG(found.st_mode) else "other"
        answer: dict[str, Any] = {"name": name, "size": 0 if kind == "directory" else found.st_size, "type": kind, "islink": is_link,
                  "mode": found.st_mode, "uid": found.st_uid, "gid": found.st_gid, "mtime": found.st_mtime,
                  "created": found.st_ctime, "ino": found.st_ino, "nlink": found.st_nlink}
        if is_link:
            answer["destination"] = tree.readlink(below)
        return answer

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """The entries of a directory; of a file, the file."""
        name, tree, below = self._place(path)
        names = [f"{name}/{entry}" for entry in tree.listdir(below)] if tree.isdir(below) else [self.info(path)["name"]]
        return [self.info(entry) for entry in names] if detail else names

    def created(self, path: str) -> datetime:
        """When the source's metadata last changed."""
        return datetime.fromtimestamp(self.info(path)["created"], timezone.utc)

    def modified(self, path: str) -> datetime:
        """When the newest of the source's files was written."""
        return datetime.fromtimestamp(self.info(path)["mtime"], timezone.utc)

    def ukey(self, path: str) -> str:
        """Another one for another save."""
        found = self.info(path)
        return f"{found['ino']}-{found['size']}-{found['mtime']}"

    def _open(self, path: str, mode: str = "rb", **_: Any) -> ViewReader:
        if mode != "rb":
            self._read_only(path)
        tree, below = self._place(path)[1:]
        return tree.open(below)

    def _place(self, path: str) -> tuple[str, Tree, str]:
        """The path without its protocol, the tree of its source, and the path in that."""
        name = str(self._strip_protocol(path))
        source, mark, below = name.partition("!")
        while mark and below and not below.startswith("/"):  # a `!` within the source's name
            more, mark, below = below.partition("!")
            source += "!" + more
        if not mark:
            raise NotFound(f"'{name}' names no view: write ckptfs://SOURCE!/VIEW/PATH, such as "
                           f"ckptfs://{name}!/world-size-8", ErrorCode.NOT_FOUND, errno.ENOENT)
        return name, self._tree(_options.absolute(source)), below

    def _tree(self, source: str) -> Tree:
        tree = self._trees.get(source)
        if tree is None:
            tree = Tree(source, self._options)
            while len(self._trees) >= _MAX_TREES:
                self._trees.pop(next(iter(self._trees)), None)  # it is closed with its last user
            self._trees[source] = tree
        return tree

    def _read_only(self, path: object, *_: Any, **__: Any) -> NoReturn:
        """Fails: views are read-only."""
        raise InvalidArgument(f"'{path}' cannot be changed: views are read-only", ErrorCode.INVALID_ARGUMENT, errno.EROFS)

    mkdir = makedirs = rmdir = rm = rm_file = _rm = touch = cp_file = mv = put = put_file = pipe_file = _read_only
