"""Single tensors out of the views `weights` and `states`, which are safetensors files."""
from __future__ import annotations

import errno
import importlib
import importlib.util
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from . import _options
from .errors import Error, ErrorCode, InvalidArgument, NotFound

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import PathLike, ViewOptions
    from .files import ViewFile
    from .tree import Tree

__all__ = ["TensorInfo", "tensor"]

Value = TypeVar("Value")
Framework = Literal["torch", "numpy"]

INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"
MAX_HEADER_NBYTES = 1 << 30

# Names of dtypes in safetensors files, in torch and in numpy (those with a dot are of ml_dtypes).
_DTYPES: dict[str, tuple[str, str, int]] = {
    "BOOL": ("bool", "bool", 1),
    "U8": ("uint8", "uint8", 1),
    "I8": ("int8", "int8", 1),
    "U16": ("uint16", "uint16", 2),
    "I16": ("int16", "int16", 2),
    "U32": ("uint32", "uint32", 4),
    "I32": ("int32", "int32", 4),
    "U64": ("uint64", "uint64", 8),
    "I64": ("int64", "int64", 8),
    "F8_E4M3": ("float8_e4m3fn", "ml_dtypes.float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", "ml_dtypes.float8_e5m2", 1),
    "F16": ("float16", "float16", 2),
    "BF16": ("bfloat16", "ml_dtypes.bfloat16", 2),
    "F32": ("float32", "float32", 4),
    "F64": ("float64", "float64", 8),
    "C64": ("complex64", "complex64", 8),
}


@dataclass(frozen=True)
class TensorInfo:
    """What is known of a tensor without reading it."""

    dtype: str
    """As in safetensors files: "F32", "BF16", "F16", "I64", ..."""
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True)
class Place:
    """Where a tensor's bytes lie."""

    path: str
    info: TensorInfo
    offset: int


def tensor(source: PathLike, name: str, *, state: str | None = None, framework: Framework | None = None,
           **options: Unpack[ViewOptions]) -> Any:
    """One tensor of the checkpoint at `source`: `ckptfs.tensor("checkpoints", "lm_head.weight", dtype="bf16")`.

    `tag` among the options is the tag's directory from the source. Who reads several opens a Tree once and asks that; see
    Tree.tensor() for the arguments.
    """
    from .tree import Tree
    tag = options.pop("tag", None)
    options.setdefault("view", "weights" if state is None else "states")
    with Tree(source, _options.parse("tensor", options)) as tree:
        return read_tensor(tree, name, state, tag, framework)


def tensors_of(tree: Tree, state: str | None, tag: str | None) -> dict[str, Place]:
    """Of the weights, or of a state, of the tag at `tag`, or of the current one."""
    places: dict[str, Place] = {}
    view, paths = _files(tree, state, tag)
    for path in paths:
        with view.open(path, 0) as file:
            places.update(_header(view, file))
    return places


def read_tensor(tree: Tree, name: str, state: str | None, tag: str | None, framework: Framework | None) -> Any:
    """Into the memory of a new tensor of `framework`."""
    kind = framework or _installed()
    if kind not in get_args(Framework):
        raise InvalidArgument(f"framework is {framework!r}; it is one of {', '.join(map(repr, get_args(Framework)))}",
                              ErrorCode.INVALID_ARGUMENT, errno.EINVAL)
    view, paths = _files(tree, state, tag)
    path = paths[0] if len(paths) == 1 else _index(view, os.path.dirname(paths[0])).get(name, paths[0])
    with view.open(path, 0) as file:
        place = _header(view, file).get(name)
        if place is not None:
            return _read(file, place, name, kind)
    what = "tensor" if state is None else f"state '{state}' of a parameter"
    raise NotFound(f"'{tree.source}' has no {what} '{name}'; tensors() lists what there is", ErrorCode.NOT_FOUND, errno.ENOENT)


def _files(tree: Tree, state: str | None, tag: str | None) -> tuple[Tree, list[str]]:
    """The view that has the tensors, and the files that hold them."""
    view = tree.related("weights" if state is None else "states")
    directory = _tag_directory(tree, view, WHOLE if state is None else f"{state}.safetensors", tag)
    if state is not None:
        return view, [os.path.join(directory, f"{state}.safetensors")]
    if view.exists(os.path.join(directory, INDEX)):
        return view, sorted(set(_index(view, directory).values()))
    return view, [os.path.join(directory, WHOLE)]


def _tag_directory(tree: Tree, view: Tree, file: str, tag: str | None) -> str:
    if tag is not None:
        return tag.strip("/")
    if view.isfile("latest"):
        return view.read_bytes("latest").decode("utf-8", "surrogateescape").strip()
    if view.exists(file) or (file == WHOLE and view.exists(INDEX)):
        return ""
    return _first_whole_tag(tree)


def _first_whole_tag(tree: Tree) -> str:
    """The one that a mount starts from, however deep it lies; looked for once for each tree."""
    from .commands import inspect_words
    if "tag" not in tree.remembered:
        tree.remembered["tag"] = inspect_words(tree.source, _options.for_reading(tree.options))["checkpoint"]["tag"]
    return str(tree.remembered["tag"])


def _index(view: Tree, directory: str) -> dict[str, str]:
    """The file of each tensor."""
    def parse(file: ViewFile) -> dict[str, str]:
        files = json.loads(file.readall())["weight_map"]
        return {name: os.path.join(directory, path) for name, path in files.items()}

    with view.open(os.path.join(directory, INDEX), 0) as file:
        return _remembered(view, file, parse)


def _header(view: Tree, file: ViewFile) -> dict[str, Place]:
    """The tensors of a safetensors file."""
    def parse(file: ViewFile) -> dict[str, Place]:
        nbytes = int.from_bytes(file.read(8), "little")
        if not 2 <= nbytes <= min(file.size - 8, MAX_HEADER_NBYTES):
            raise Error(f"'{file.name}' is no safetensors file: its header has {nbytes} bytes", ErrorCode.DAMAGED)
        header = json.loads(file.read(nbytes))
        header.pop("__metadata__", None)
        places = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            info = TensorInfo(entry["dtype"], tuple(entry["shape"]), end - begin)
            places[name] = Place(file.name, info, 8 + nbytes + begin)
        return places

    return _remembered(view, file, parse)


def _remembered(view: Tree, file: ViewFile, parse: Callable[[ViewFile], Value]) -> Value:
    """What `parse` makes of `file`, once for each generation of it: generations have inode numbers of their own."""
    found = view.stat(file.name)
    stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
    known = view.remembered.get(file.name)
    if known is None or known[0] != stamp:
        known = view.remembered[file.name] = (stamp, parse(file))
    value: Value = known[1]
    return value


def _installed() -> Framework:
    if importlib.util.find_spec("torch"):
        return "torch"
    if importlib.util.find_spec("numpy"):
        return "numpy"
    raise InvalidArgument("a tensor needs torch or numpy, and neither is installed: pip install torch, or pip install numpy",
                          ErrorCode.INVALID_ARGUMENT, errno.EINVAL)


def _read(file: ViewFile, place: Place, name: str, framework: Framework) -> Any:
    info = place.info
    if info.dtype not in _DTYPES or info.nbytes != math.prod(info.shape) * _DTYPES[info.dtype][2]:
        raise Error(f"'{file.name}': tensor '{name}' of dtype {info.dtype} and shape {list(info.shape)} has {info.nbytes} "
                    "bytes", ErrorCode.DAMAGED)
    if framework == "torch":
        import torch
        made = torch.empty(info.shape, dtype=getattr(torch, _DTYPES[info.dtype][0]), device="cpu")
        address = made.data_ptr()
    else:
        import numpy
        made = numpy.empty(info.shape, dtype=_numpy_dtype(info.dtype, name))
        address = made.ctypes.data
    if info.nbytes > 0:
        file.read_to(address, info.nbytes, place.offset)
    return made


def _numpy_dtype(dtype: str, name: str) -> Any:
    spelled = _DTYPES[dtype][1]
    if "." not in spelled:
        return spelled
    module, _, attribute = spelled.partition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError:
        raise InvalidArgument(f"tensor '{name}' has dtype {dtype}, which numpy does not know by itself: pip install ml_dtypes, "
                              "or torch, or ask for dtype=\"fp32\"", ErrorCode.INVALID_ARGUMENT, errno.EINVAL) from None
