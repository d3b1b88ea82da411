"""The commands that mount nothing, as functions: `inspect`, `verify`, `check`, `diff`, `export`."""
from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from . import _options
from ._running import Done, run
from .errors import ErrorCode, VerificationError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import PathLike, ViewOptions

__all__ = ["check", "diff", "export", "inspect", "verify"]

_FOUND_PROBLEMS = (ErrorCode.VERIFICATION, ErrorCode.UNSUPPORTED)
_OF_EXPORT = frozenset({"jobs", "memory", "verify"})


def inspect(source: PathLike, **options: Unpack[ViewOptions]) -> dict[str, Any]:
    """What the checkpoint at `source` is: the object of `ckptfs inspect --json`, described in docs/cli.md.

    With `world_size` or `view` also how it is shown then. Reads metadata, and a sample of the weights.
    Raises Error where no tag is whole.
    """
    return inspect_words(_options.operand(source), _options.parse("inspect", options))


def inspect_words(source: str, options: _options.Options) -> dict[str, Any]:
    """inspect() with words of the command line."""
    with options.for_command() as words:
        done = run(["inspect", source, "--json", *words])
    description: dict[str, Any] = json.loads(done.expect_success().out)
    return description


def check(source: PathLike, world_size: int, ds_config: PathLike | Mapping[str, Any]) -> dict[str, Any]:
    """Whether a DeepSpeed config resumes the checkpoint at `world_size` ranks: the object of `ckptfs check --json`.

    `agrees` among it is the answer: a config that does not agree is no exception.
    """
    options = _options.parse("check", {"world_size": world_size, "ds_config": ds_config})
    with options.for_command() as words:
        done = run(["check", _options.operand(source), "--json", *words])
    return _answer_of(done)


def diff(a: PathLike, b: PathLike, **options: Unpack[ViewOptions]) -> dict[str, Any]:
    """Where two checkpoints differ, and by how much: the object of `ckptfs diff --json`, which docs/schemas/diff.json describes.

    `same` among it is the answer: a difference is no exception. With `world_size` or `view` both are shown so first. Reads every tensor
    that both have.
    """
    with _options.parse("diff", options).for_command() as words:
        done = run(["diff", _options.operand(a), _options.operand(b), "--json", *words])
    return _answer_of(done)


def verify(source: PathLike, **options: Unpack[ViewOptions]) -> str:
    """Reads every byte of the checkpoint, and of the view that `options` name, and returns what was read, tag by tag.

    The files of a view are read a second time by the installed torch, which has to find the same. `tag`: only this one.
    Raises VerificationError, with that text as `report`, where there is a problem: who goes on after verify() goes on with a
    checkpoint that is whole.
    """
    from . import second_reader
    with _options.parse("verify", options).for_command() as words:
        done = run(["verify", _options.operand(source), *words], reader=second_reader.table())
    if done.error is not None and done.error.code in _FOUND_PROBLEMS and done.out:
        raise VerificationError(str(done.error), done.error.code, done.error.errno or errno.EIO, done.out)
    return done.expect_success().out


def export(source: PathLike, destination: PathLike, *, jobs: int | None = None, memory: int | str | None = None,
           verify: bool = False, progress: bool | Callable[[str], object] = False, **options: Unpack[ViewOptions]) -> None:
    """Writes the files of a view to the directory `destination`, which is there as a whole or not at all.

    `jobs`: files and ranges at once. `memory`: for buffers, in bytes or as "1GiB". `verify`: read back what was written.
    `progress`: True prints it to standard error; a function is called with each line, most of them on another thread. A second call goes
    on where one was stopped, be it by KeyboardInterrupt or by what another handler of a signal raises.
    """
    parsed = _options.parse("export", {**options, "jobs": jobs, "memory": memory, "verify": verify}, _OF_EXPORT)
    show = _print if progress is True else progress or None
    with parsed.for_command() as words:
        quiet = [] if show else ["--quiet"]
        done = run(["export", _options.operand(source), _options.operand(destination), *quiet, *words], show=show)
    done.expect_success()
    if show:
        for line in done.out.splitlines():  # what came of it
            show(line)


def _answer_of(done: Done) -> dict[str, Any]:
    """What a command printed that answers a question: a "no" is no failure."""
    if done.error is not None and not (done.error.code == ErrorCode.VERIFICATION and done.out):
        raise done.error
    answer: dict[str, Any] = json.loads(done.out)
    return answer


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
