"""Resumes of DeepSpeed at another world size, with or without /dev/fuse: one import and one line.

    import ckptfs.deepspeed
    ckptfs.deepspeed.enable()

From then on `engine.load_checkpoint(directory)` reads a checkpoint that another number of ranks saved as if this number had.
Lightning's DeepSpeedStrategy (Trainer and Fabric), the Hugging Face Trainer and accelerate call it, and need nothing else.

For the length of a load DeepSpeed is given a temporary directory instead of its own, which has the names of the re-cut
tag: a link to a mount, or empty files. Of those its checkpoint engine, which opens every file of a full resume, reads what
ckptfs computes. Nothing of DeepSpeed is changed but `DeepSpeedEngine.load_checkpoint`, and during a load the `load` of that
engine's own checkpoint engine.
"""
from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import logging
import math
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import ckptfs
from . import mounting

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Enabled", "enable"]

Through = Literal["auto", "mount", "process"]

_logger = logging.getLogger("ckptfs")

_TESTED = "0.14 to 0.19"
_PARAMETERS = ("load_dir", "tag", "load_optimizer_states", "load_module_only")
_METHODS = ("zero_optimization", "bfloat16_enabled", "load_universal_checkpoint", "zero_optimization_partition_weights")
# Those whose load(path, map_location) hands `path` to torch.load, which takes an open file as well.
_CHECKPOINT_ENGINES = ("TorchCheckpointEngine", "FastCheckpointEngine", "DecoupledCheckpointEngine")
# Of a config, what the cut depends on; the rest may hold what is no JSON.
_LAYOUT_SECTIONS = ("zero_optimization", "bf16", "bfloat16", "fp16", "data_types", "sequence_parallel_size",
                    "data_parallel_size")
_CANNOT_SHOW = (ckptfs.ErrorCode.UNSUPPORTED, ckptfs.ErrorCode.INCOMPLETE, ckptfs.ErrorCode.DAMAGED,
                ckptfs.ErrorCode.INCONSISTENT)
_NOTHING_HERE = (ckptfs.ErrorCode.NOT_A_CHECKPOINT, ckptfs.ErrorCode.NOT_FOUND)


class Enabled:
    """What enable() returns. A context manager: at its end, as at disable(), DeepSpeed is as before.

    Of several that are enabled at once the last says how checkpoints are read.
    """

    def __init__(self, through: Through, options: dict[str, Any]) -> None:
        self.through = through
        """"auto", "mount" or "process"."""
        self.options = options
        """What ckptfs.open() is given besides the engine's own size and config."""

    def disable(self) -> None:
        """Ends it. A second call does nothing."""
        with _lock:
            if self in _enabled:
                _enabled.remove(self)
                if not _enabled:
                    _uninstall()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.disable()


@dataclass(frozen=True)
class _Installed:
    owner: Any  # deepspeed.runtime.engine.DeepSpeedEngine
    original: Callable[..., Any]
    replacement: Callable[..., Any]


_lock = threading.Lock()  # for the two below
_enabled: list[Enabled] = []
_installed: _Installed | None = None


def enable(*, through: Through = "auto", accept_mixed: bool = False, rank_values_of: int | None = None) -> Enabled:
    """Makes every `engine.load_checkpoint()` of this process read checkpoints of another world size.

    `through`: "auto" reads through a mount, which the ranks of a node share, and in process where none can be made;
    "mount" and "process" do the one or the other alone. The logger "ckptfs" says at INFO which it was. `accept_mixed`,
    `rank_values_of`: as of ckptfs.open().

    The cut is that of the engine that loads: its data-parallel world size, and its own config. What is cut for it already,
    universal checkpoints, stage 0, and weights alone below stage 3 are left to DeepSpeed, untouched; so is, with a warning,
    what ckptfs cannot show. Imports DeepSpeed. Raises ckptfs.Error where this DeepSpeed does not load as those do that
    are known.
    """
    if through not in get_args(Through):
        raise ValueError(f"enable(): through is {through!r}; it is one of {', '.join(map(repr, get_args(Through)))}")
    enabled = Enabled(through, {"accept_mixed": accept_mixed, "rank_values_of": rank_values_of})
    with _lock:
        _install()
        _enabled.append(enabled)
    return enabled


def _install() -> None:
    global _installed
    owner = importlib.import_module("deepspeed.runtime.engine").DeepSpeedEngine
    original = owner.load_checkpoint
    if _installed is not None and original is _installed.replacement:
        return
    _check_interface(owner)

    @functools.wraps(original)
    def load_checkpoint(engine: Any, *args: Any, **kwargs: Any) -> Any:
        return _load(original, engine, args, kwargs)

    owner.load_checkpoint = load_checkpoint
    _installed = _Installed(owner, original, load_checkpoint)


def _uninstall() -> None:
    """Unless somebody has put a function around ours, which then stays, and does nothing."""
    global _installed
    if _installed is not None and _installed.owner.load_checkpoint is _installed.replacement:
        _installed.owner.load_checkpoint = _installed.original
        _installed = None


def _check_interface(owner: Any) -> None:
    missing = [name for name in _PARAMETERS if name not in inspect.signature(owner.load_checkpoint).parameters]
    missing += [name for name in _METHODS if not hasattr(owner, name)]
    if missing:
        raise ckptfs.Error(
            f"DeepSpeed {importlib.import_module('deepspeed').__version__} does not load as versions {_TESTED} do: "
            f"DeepSpeedEngine has no {', '.join(missing)}; resume through a mount instead, with `ckptfs run --in-place`, or "
            "from the files that `ckptfs export` writes", ckptfs.ErrorCode.UNSUPPORTED)


def _load(original: Callable[..., Any], engine: Any, args: Any, kwargs: Any) -> Any:
    """engine.load_checkpoint(*args, **kwargs), from re-cut files if the checkpoint has another cut than the engine."""
    enabled = _enabled[-1:]  # another thread may disable it meanwhile
    call = inspect.signature(original).bind(engine, *args, **kwargs)
    call.apply_defaults()
    if not enabled or isinstance(call.arguments["load_dir"], _Served):
        return original(engine, *args, **kwargs)
    load_dir, tag = call.arguments["load_dir"], _tag_of(engine, call.arguments)
    with contextlib.ExitStack() as stack:
        served = None
        try:
            if tag is not None:
                served = _serve(stack, enabled[0], engine, os.path.join(load_dir, tag), call.arguments)
        except ckptfs.Error as refusal:
            if refusal.code not in _CANNOT_SHOW:
                raise
            return _load_natively(original, engine, args, kwargs, refusal)
        if served is None or tag is None:
            return original(engine, *args, **kwargs)
        call.arguments["load_dir"], call.arguments["tag"] = served, served.tag
        path, *rest = original(*call.args, **call.kwargs)
        # What is remembered is where the checkpoint really lies.
        if getattr(engine, "_curr_ckpt_path", None) == os.path.join(served, served.tag):
            engine._curr_ckpt_path = os.path.join(load_dir, tag)
        return path and os.path.join(load_dir, tag, os.path.relpath(path, os.path.join(served, served.tag))), *rest


def _load_natively(original: Callable[..., Any], engine: Any, args: Any, kwargs: Any, refusal: ckptfs.Error) -> Any:
    """At the world size that wrote it, DeepSpeed may well load what ckptfs cannot show; at another it says no itself."""
    _logger.warning("left to DeepSpeed, which resumes at the world size that saved: %s", refusal)
    try:
        return original(engine, *args, **kwargs)
    except Exception as failure:
        if sys.version_info >= (3, 11):
            failure.add_note(f"ckptfs could not show this checkpoint at another world size: {refusal}")
        raise


def _tag_of(engine: Any, arguments: dict[str, Any]) -> str | None:
    """The name of the tag that may have to be re-cut; None where DeepSpeed needs no help, or finds nothing to load."""
    if engine.load_universal_checkpoint() or not (engine.zero_optimization() or engine.bfloat16_enabled()):
        return None
    if _wants_weights_alone(arguments) and not engine.zero_optimization_partition_weights():
        return None  # one file holds the weights, whatever the world size
    tag = arguments["tag"]
    if tag is None:
        latest = os.path.join(arguments["load_dir"], "latest")
        if not os.path.isfile(latest):
            return None
        with open(latest, encoding="utf-8") as file:
            tag = file.read().strip()
    return str(tag)


def _wants_weights_alone(arguments: dict[str, Any]) -> bool:
    return arguments["load_module_only"] or not arguments["load_optimizer_states"]


class _Served(str):
    """A directory with the one tag `tag`, which a load is given; by its type a load within the load knows it."""

    tag: str


def _serve(stack: contextlib.ExitStack, enabled: Enabled, engine: Any, source: str,
           arguments: dict[str, Any]) -> _Served | None:
    """A directory for DeepSpeed to load from, which lasts as long as `stack`; None where `source` is right as it is."""
    if not os.path.isdir(source) or _is_shown_by_ckptfs(source):
        return None
    options = {**enabled.options, "dp_size": engine.seq_dp_world_size, "ds_config": _layout_config(engine)}
    try:
        tree = stack.enter_context(ckptfs.open(source, **options))
    except ckptfs.Error as refusal:
        if refusal.code not in _NOTHING_HERE:
            raise
        _logger.debug("left to DeepSpeed: %s", refusal)
        return None
    if not _is_recut(tree):
        _logger.debug("left to DeepSpeed: '%s' is cut for %d data-parallel ranks", source, options["dp_size"])
        return None
    served = _Served(stack.enter_context(tempfile.TemporaryDirectory(prefix="ckptfs-load-")))
    served.tag = os.path.basename(os.path.normpath(source))
    with open(os.path.join(served, "latest"), "w", encoding="utf-8") as file:
        file.write(served.tag)
    why_not = "it was not asked for" if enabled.through == "process" else _mount(stack, enabled, source, served, options)
    if why_not:
        _check_can_go_in_process(engine, source, arguments, why_not)
        _stand_in(tree, os.path.join(served, served.tag))
        stack.enter_context(_reading_from(tree, engine.checkpoint_engine, os.path.join(served, served.tag)))
    _logger.info("'%s' is read at %d data-parallel ranks %s", source, options["dp_size"],
                 f"in process; no mount: {why_not}" if why_not else "through a mount")
    return served


def _layout_config(engine: Any) -> dict[str, Any]:
    """Of the engine's config, as it was given, what the cut depends on. Values that are no JSON become their text."""
    given = engine._config._param_dict
    return {name: _as_json(given[name]) for name in _LAYOUT_SECTIONS if name in given}


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(item) for item in value]
    is_json = value is None or isinstance(value, (bool, int, str)) or isinstance(value, float) and math.isfinite(value)
    return value if is_json else str(value)


def _is_shown_by_ckptfs(path: str) -> bool:
    """Whether it lies in a mount of ckptfs, which shows it at the world size that was asked of it."""
    number = os.stat(path).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        fields = [line.split() for line in mounts]
    return any(line[2] == device and line[line.index("-") + 1] == "fuse.ckptfs" for line in fields)


def _is_recut(tree: ckptfs.Tree) -> bool:
    """All files of a tag are SOURCE's own, or none is."""
    shard = next((name for name in tree.listdir() if name.endswith("optim_states.pt")), None)
    if shard is None:
        return False
    with tree.open(shard, buffering=0) as file:
        return file.is_virtual


def _mount(stack: contextlib.ExitStack, enabled: Enabled, source: str, served: _Served, options: dict[str, Any]) -> str:
    """Lets the tag of `served` be a mount, and returns "", or why there can be none."""
    obstacle = mounting.obstacle() if enabled.through == "auto" else None
    if obstacle:
        return obstacle
    try:
        path = stack.enter_context(ckptfs.mount(source, **options))
    except ckptfs.Error as refusal:
        if enabled.through == "mount" or refusal.code != ckptfs.ErrorCode.MOUNT:
            raise
        return str(refusal)
    os.symlink(path, os.path.join(served, served.tag))
    return ""


def _check_can_go_in_process(engine: Any, source: str, arguments: dict[str, Any], why_not: str) -> None:
    if engine.zero_optimization_partition_weights() and not arguments["load_optimizer_states"]:
        raise ckptfs.Error(
            f"'{source}': with load_optimizer_states=False DeepSpeed maps the files of ZeRO stage 3 by their paths, which "
            f"takes a mount, and there is none ({why_not}); load with the optimizer's states, or load the weights that "
            "`ckptfs export --view=weights` writes", ckptfs.ErrorCode.MOUNT)
    kind = type(engine.checkpoint_engine).__name__
    if kind not in _CHECKPOINT_ENGINES:
        raise ckptfs.Error(
            f"'{source}': DeepSpeed's checkpoint engine {kind} is not known to read files through torch.load, and a mount "
            f"cannot be made ({why_not}); load without it, or from the files that `ckptfs export` writes",
            ckptfs.ErrorCode.MOUNT)


def _stand_in(tree: ckptfs.Tree, directory: str) -> None:
    """Empty files under the names of the tree's root: DeepSpeed looks whether they are there before it loads them."""
    os.mkdir(directory)
    for entry in tree.scandir():
        path = os.path.join(directory, entry.name)
        if entry.is_dir():
            os.mkdir(path)
        else:
            with open(path, "xb"):
                pass


@contextlib.contextmanager
def _reading_from(tree: ckptfs.Tree, checkpoint_engine: Any, directory: str) -> Iterator[None]:
    """Lets `checkpoint_engine` load from `tree` what it is asked for below `directory`."""
    original, before = checkpoint_engine.load, vars(checkpoint_engine).get("load")

    def load(path: Any, *args: Any, **kwargs: Any) -> Any:
        inside = os.path.relpath(path, directory)
        if inside.startswith(os.pardir):
            return original(path, *args, **kwargs)
        with tree.open(inside) as file:
            return original(file, *args, **kwargs)

    checkpoint_engine.load = load
    try:
        yield
    finally:
        # Where somebody has put a function around ours, it stays, and passes everything on.
        if vars(checkpoint_engine).get("load") is load:
            if before is None:
                del checkpoint_engine.load
            else:
                checkpoint_engine.load = before
