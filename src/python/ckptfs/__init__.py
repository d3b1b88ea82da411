"""ckptfs: a ZeRO checkpoint at any world size, and as other views, without converting it.

    with ckptfs.open("checkpoints", world_size=8) as tree:              # read in process; needs no FUSE
        torch.load(tree.open("global_step500/mp_rank_00_model_states.pt"))
    with ckptfs.mount("checkpoints", world_size=8) as path: ...         # the same as a directory
    ckptfs.tensor("checkpoints", "lm_head.weight")
    ckptfs.inspect("checkpoints"); ckptfs.verify("checkpoints", world_size=8); ckptfs.diff("checkpoints", "others")
    ckptfs.export("checkpoints", "copy", world_size=8)

Everything is loaded on first use: importing this package costs next to nothing.
"""
TYPE_CHECKING = False  # type checkers know the name; the module `typing` would be most of what the import costs

if TYPE_CHECKING:
    from ._options import ViewOptions
    from .commands import check, diff, export, inspect, verify
    from .errors import CheckpointWarning, Error, ErrorCode, VerificationError
    from .files import ViewFile, ViewReader
    from .mounting import Mount, mount
    from .tensors import TensorInfo, tensor
    from .tree import DirEntry, Tree
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
    "diff": ("commands", "diff"),
    "export": ("commands", "export"),
    "inspect": ("commands", "inspect"),
    "mount": ("mounting", "mount"),
    "open": ("tree", "open_tree"),
    "tensor": ("tensors", "tensor"),
    "verify": ("commands", "verify"),
}

__all__ = ["CheckpointWarning", "DirEntry", "Error", "ErrorCode", "Mount", "TensorInfo", "Tree", "VerificationError",
           "ViewFile", "ViewOptions", "ViewReader", "check", "diff", "export", "inspect", "mount", "open", "tensor", "verify"]


def __getattr__(name: str) -> object:
    import importlib
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
