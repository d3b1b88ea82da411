"""ckptfs: a ZeRO checkpoint at any world size, and as other views, without converting it.

    with ckptfs.open("checkpoints", world_size=8) as tree:              # read in process; needs no FUSE
        torch.load(tree.open("global_step500/mp_rank_00_model_states.pt"))
    with ckptfs.mount("checkpoints", world_size=8) as path: ...         # the same as a directory
    ckptfs.tensor("checkpoints", "lm_head.weight")
    ckptfs.inspect("checkpoints"); ckptfs.verify("checkpoints", world_size=8)
    ckptfs.export("checkpoints", "copy", world_size=8)

Everything is loaded on first use: importing this package costs next to nothing.
"""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._options import ViewOptions as ViewOptions
    from .commands import check as check
    from .commands import export as export
    from .commands import inspect as inspect
    from .commands import verify as verify
    from .errors import CheckpointWarning as CheckpointWarning
    from .errors import Error as Error
    from .errors import ErrorCode as ErrorCode
    from .errors import VerificationError as VerificationError
    from .files import ViewFile as ViewFile
    from .files import ViewReader as ViewReader
    from .mounting import Mount as Mount
    from .mounting import mount as mount
    from .tensors import TensorInfo as TensorInfo
    from .tensors import tensor as tensor
    from .tree import DirEntry as DirEntry
    from .tree import Tree as Tree
    from .tree import open_tree as open

    __version__: str

# Where each name is, and what it is called there.
_PLACES = {
    "CheckpointWarning": ("errors", "CheckpointWarning"),
    "DirEntry": ("tree", "DirEntry"),
    "Error": ("errors", "Error"),
    "ErrorCode": ("errors", "ErrorCode"),
    "Mount": ("mounting", "Mount"),
    "TensorInfo": ("tensors", "TensorInfo"),
    "Tree": ("tree", "Tree"),
    "VerificationError": ("errors", "VerificationError"),
    "ViewFile": ("files", "ViewFile"),
    "ViewOptions": ("_options", "ViewOptions"),
    "ViewReader": ("files", "ViewReader"),
    "check": ("commands", "check"),
    "export": ("commands", "export"),
    "inspect": ("commands", "inspect"),
    "mount": ("mounting", "mount"),
    "open": ("tree", "open_tree"),
    "tensor": ("tensors", "tensor"),
    "verify": ("commands", "verify"),
}

__all__ = sorted(_PLACES)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    if name == "__version__":
        from ._library import library
        value: object = library().version()
    elif name in _PLACES:
        module, attribute = _PLACES[name]
        value = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    else:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES, "__version__"})
