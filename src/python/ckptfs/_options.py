"""What callers say of the view that they want: keywords here, words of the command line below."""
from __future__ import annotations

import contextlib
import errno
import json
import operator
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex, TypedDict

from .errors import ErrorCode, InvalidArgument

if TYPE_CHECKING:
    from typing_extensions import TypeAlias

    PathLike: TypeAlias = "str | os.PathLike[str]"


class ViewOptions(TypedDict, total=False):
    """Which view is meant, and how. Each keyword is the option of that name in docs/cli.md; None is as if not given.

    Without `world_size`, `dp_size` and `view` it is the catalogue, which has a directory for each view.
    """

    world_size: int | None
    """As so many ranks would have saved it."""
    dp_size: int | None
    """The same in data-parallel ranks."""
    view: str | None
    """"weights", "weights-bf16", "states", "lightning", "universal", "world-size-8", ..."""
    dtype: str | None
    """Of weights: "source", "fp32", "bf16" or "fp16"."""
    container: str | None
    """Of weights: "safetensors" or "bin"."""
    ds_config: str | os.PathLike[str] | Mapping[str, Any] | None
    """The DeepSpeed config of the run that will resume: a file, or what is in it."""
    sub_group_size: int | None
    """Of stage 3, in elements; wins over that of `ds_config`."""
    accept_mixed: bool | None
    """Show a tag whose files look like those of two saves."""
    rank_values_of: int | None
    """The rank whose own numbers all ranks get."""
    max_shard_size: int | str | None
    """Of weights: bytes of tensors after which a file ends, or "5GB", "5GiB"."""
    strip_prefix: str | Sequence[str] | None
    """Taken off the front of names."""
    rename: Mapping[str, str] | None
    """Of names: replacements by regular expression (Perl's, as PCRE2 reads it), applied in this order."""
    parameters: str | None
    """An expression: only parameters in whose name it is found."""
    trainable_only: bool | None
    """Only parameters that are trained."""
    tag: str | None
    """Of weights: the tag that stands beside the tags; of verify() and export(): the only tag."""
    allow_empty: bool | None
    """Open even while there is no whole checkpoint."""


@dataclass(frozen=True)
class Options:
    """Words of the command line, and the DeepSpeed config that stands in no file. A value; it can be pickled."""

    words: tuple[str, ...] = ()
    config: str | None = None

    @contextlib.contextmanager
    def for_command(self) -> Iterator[list[str]]:
        """All words, with the config in a file for as long as the context lasts."""
        if self.config is None:
            yield list(self.words)
            return
        with tempfile.NamedTemporaryFile("w", prefix="ckptfs-", suffix=".json", encoding="utf-8") as file:
            file.write(self.config)
            file.flush()
            yield [*self.words, f"--ds-config={file.name}"]


_NAMES = frozenset(ViewOptions.__annotations__)


def parse(function: str, given: Mapping[str, Any], also: frozenset[str] = frozenset()) -> Options:
    """Keywords of the public function `function` as options; `also`: keywords that it takes beside ViewOptions.

    Raises TypeError for a keyword that there is not, and for a value that no option can have.
    """
    words: list[str] = []
    config = None
    for name, value in given.items():
        if name not in _NAMES and name not in also:
            raise TypeError(f"{function}() got an unexpected keyword argument '{name}'")
        if value is None or value is False:
            continue
        if name == "ds_config" and isinstance(value, Mapping):
            config = _json(function, value)
        elif name == "ds_config":
            words.append(f"--ds-config={os.path.abspath(os.fspath(value))}")
        else:
            words.extend(_words_of(function, name, value))
    return Options(tuple(words), config)


def _json(function: str, config: Mapping[str, Any]) -> str:
    try:
        return json.dumps(config, allow_nan=False)
    except ValueError as failure:
        raise ValueError(f"{function}(): ds_config has a value that JSON does not have ({failure}); leave it out, or give it as text") from None


def _words_of(function: str, name: str, value: object) -> Iterator[str]:
    option = "--" + name.replace("_", "-")
    if value is True:
        yield option
    elif isinstance(value, Mapping):
        for pattern, replacement in value.items():
            if "=" in replacement:
                raise ValueError(f"{function}(): {name} cannot put '=' into a name: {replacement!r}")
            yield f"{option}={pattern}={replacement}"
    elif isinstance(value, (str, int)):
        yield f"{option}={value}"
    elif isinstance(value, os.PathLike):
        yield f"{option}={os.fspath(value)}"
    elif isinstance(value, Sequence):
        for one in value:
            yield f"{option}={one}"
    elif isinstance(value, SupportsIndex):  # an integer of numpy's
        yield f"{option}={operator.index(value)}"
    else:
        raise TypeError(f"{function}(): {name} cannot be {value!r}")


_OF_READING = ("--ds-config=", "--sub-group-size=", "--accept-mixed", "--rank-values-of=")
_OF_NAMES = ("--strip-prefix=", "--rename=", "--parameters=", "--trainable-only")


def absolute(path: PathLike) -> str:
    """Of a source. Raises InvalidArgument for an empty one, which would be the working directory."""
    text = os.fspath(path)
    if not text:
        raise InvalidArgument("source is empty; give the directory of a checkpoint, or '.'", ErrorCode.INVALID_ARGUMENT, errno.EINVAL)
    return os.path.abspath(text)


def operand(path: PathLike) -> str:
    """`path` as a word of the command line that cannot be taken for an option."""
    text = os.fspath(path)
    return f"./{text}" if text.startswith("-") else text


def for_view(options: Options, view: str) -> Options:
    """Options of the view `view` ("weights" or "states"), as far as others say something of it: names and the like, and
    the dtype of weights."""
    words = [f"--view={view}", *(word for word in options.words if word.startswith((*_OF_READING, *_OF_NAMES)))]
    if view == "weights":
        words.extend(f"--dtype={dtype}" for dtype in _weights_dtype(options))
    return Options(tuple(words), options.config)


def _weights_dtype(options: Options) -> list[str]:
    """The dtype that options of weights name, in whichever way; of `bin`, `source` is fp32 too."""
    found = [word.partition("=")[2] for word in options.words if word.startswith("--dtype=")]
    for word in options.words:
        if word.startswith("--view=weights-"):
            found.extend(part for part in word.split("-")[3:] if part != "bin")
    is_bin = "--container=bin" in options.words or any(word.startswith("--view=weights") and word.endswith("-bin")
                                                       for word in options.words)
    return ["fp32"] if is_bin and found[:1] in ([], ["source"]) else found[:1]


def for_reading(options: Options) -> Options:
    """The options that say how a checkpoint is read, whatever is shown of it."""
    return Options(tuple(word for word in options.words if word.startswith(_OF_READING)), options.config)
