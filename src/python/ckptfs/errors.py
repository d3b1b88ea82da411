"""What ckptfs raises: an OSError with a sentence for people, a code and an errno for programs."""
from __future__ import annotations

import enum
import errno as numbers

__all__ = ["CheckpointWarning", "Error", "ErrorCode", "VerificationError"]


class ErrorCode(str, enum.Enum):
    """What the caller can do about an error, rather than where it came from: `error.code == "stale"`."""

    INVALID_ARGUMENT = "invalid_argument"
    """Something impossible was asked for: correct the call."""
    NOT_A_CHECKPOINT = "not_a_checkpoint"
    """Nothing here that ckptfs knows: point it elsewhere."""
    INCOMPLETE = "incomplete"
    """Files are missing or cut short: wait for the save, or take another tag."""
    DAMAGED = "damaged"
    """Bytes contradict themselves (zip, pickle, CRC): restore the file."""
    INCONSISTENT = "inconsistent"
    """Files are whole but belong to different saves."""
    UNSUPPORTED = "unsupported"
    """A layout on the closed list of docs/support.md."""
    STALE = "stale"
    """The source changed under an open file: open it again."""
    NOT_FOUND = "not_found"
    """No such file."""
    IO = "io"
    """The operating system said no; `errno` tells what."""
    MOUNT = "mount"
    """A mount cannot be made."""
    VERIFICATION = "verification"
    """`verify` found a difference."""
    INTERNAL = "internal"
    """A bug in ckptfs, or a package that is not whole."""

    def __str__(self) -> str:
        return str(self.value)


# As the C interface numbers them.
_BY_NUMBER = tuple(ErrorCode)


class Error(OSError):
    """Any failure of ckptfs. `str()` is the sentence, `code` an ErrorCode, `errno` what a mount would answer.

    Where the errno has an exception of its own in Python, that one is caught too: a file that is not there is also a
    FileNotFoundError, something impossible also a ValueError.
    """

    code: ErrorCode

    def __init__(self, message: str, code: ErrorCode = ErrorCode.INTERNAL, errno: int = numbers.EIO) -> None:
        super().__init__(errno, message)
        self.code = code

    def __str__(self) -> str:
        return str(self.strerror)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.strerror, self.code, self.errno)


class VerificationError(Error):
    """`verify()` found a problem. `report` is all that it said, tag by tag."""

    report: str

    def __init__(self, message: str, code: ErrorCode = ErrorCode.VERIFICATION, errno: int = numbers.EIO,
                 report: str = "") -> None:
        super().__init__(message, code, errno)
        self.report = report

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.strerror, self.code, self.errno, self.report)


class CheckpointWarning(UserWarning):
    """What is odd about a checkpoint that can be shown all the same."""


class InvalidArgument(Error, ValueError):
    """Something impossible was asked for."""


class NotFound(Error, FileNotFoundError):
    """There is no such file or directory."""


class NotADirectory(Error, NotADirectoryError):
    """A directory was expected."""


class IsADirectory(Error, IsADirectoryError):
    """A file was expected."""


class PermissionDenied(Error, PermissionError):
    """The operating system does not let this user."""


_BY_ERRNO: dict[int, type[Error]] = {
    numbers.ENOENT: NotFound,
    numbers.ENOTDIR: NotADirectory,
    numbers.EISDIR: IsADirectory,
    numbers.EACCES: PermissionDenied,
    numbers.EPERM: PermissionDenied,
}


def numbered(code: int) -> ErrorCode:
    """The code that has this number in the C interface."""
    return _BY_NUMBER[code] if 0 <= code < len(_BY_NUMBER) else ErrorCode.INTERNAL


def error_of(code: ErrorCode, errno: int, message: str) -> Error:
    """The exception that says the same."""
    kind = InvalidArgument if code == ErrorCode.INVALID_ARGUMENT else _BY_ERRNO.get(errno, Error)
    if kind is NotFound and code == ErrorCode.IO:  # something else than the file that was asked for
        kind = Error
    return kind(message, code, numbers.EINVAL if kind is InvalidArgument else errno)
