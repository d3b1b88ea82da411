"""Mounts for those who may not: a privileged program with as little in it as can be, and an unprivileged ckptfs.

    python3 -m ckptfs.mounter offer SOCKET DIRECTORY [--allow-other]
    python3 -m ckptfs.mounter take SOCKET NAME [--writable] -- ckptfs SOURCE {} -f --world-size=8

`offer` is for root (CAP_SYS_ADMIN), one on a machine. It listens at SOCKET, and mounts on DIRECTORY/NAME for each process
that asks: for the user and group of that process alone, unless `--allow-other` lets all users in, each with the rights that
he has in the source. It hands the descriptor of /dev/fuse over, and unmounts when the process that has asked is gone.

`take` needs no rights, and no /dev/fuse. It asks for a mount, and becomes COMMAND, in whose arguments `{}` is the mount point
that names the descriptor. COMMAND must stay in the foreground (`-f`): when it ends, the mount does.

Standard library only.
"""
from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import pathlib
import re
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator, Sequence

__all__ = ["main"]

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MNT_DETACH, _UMOUNT_NOFOLLOW = 1, 2, 4, 2, 8  # linux/mount.h
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_UCRED = "iII"  # struct ucred of unix(7)
_MAX_REQUEST_NBYTES = 8192
_PATIENCE_S = 5.0  # until a request is there, which `take` sends at once
_LIBC = ctypes.CDLL(None, use_errno=True)
_PLACEHOLDER = "{}"


class Refused(Exception):
    """What the other side is told, in a sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns its exit status; of `take`, only where there is no COMMAND to become."""
    parser = argparse.ArgumentParser(prog="ckptfs.mounter", description="Mounts for processes that may not mount.")
    commands = parser.add_subparsers(dest="what", required=True)
    offer = commands.add_parser("offer", help="mount for whoever asks, as root")
    offer.add_argument("socket", metavar="SOCKET", help="where to listen; made, and replaced if it is there")
    offer.add_argument("directory", metavar="DIRECTORY", type=pathlib.Path, 
                       help="where mount points are made, and nothing else is: what a killed program left there goes; made if need be")
    offer.add_argument("--allow-other", action="store_true", help="let all users into the mounts")
    take = commands.add_parser("take", help="ask for a mount and become COMMAND, which serves it")
    take.add_argument("socket", metavar="SOCKET", help="where `offer` listens")
    take.add_argument("name", metavar="NAME", help="of the mount point, in the DIRECTORY of `offer`")
    take.add_argument("--writable", action="store_true", help="what COMMAND serves can be written (ckptfs --writable)")
    take.add_argument("command", metavar="COMMAND", nargs="+", help="after `--`; {} is the mount point")
    given = parser.parse_args(arguments)
    try:
        if given.what == "offer":
            _offer(given.socket, given.directory, given.allow_other)
            return 0
        return _take(given.socket, given.name, given.writable, given.command)
    except (OSError, Refused) as failure:
        print(f"ckptfs.mounter: {failure}", file=sys.stderr)
        return 6


# The side that may mount.


def _offer(address: str, directory: pathlib.Path, allow_other: bool) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    _clear(directory)
    ends = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: ends.set())
    with contextlib.suppress(FileNotFoundError):
        os.unlink(address)
    pathlib.Path(address).parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(address)
        os.chmod(address, 0o666)  # whoever can reach it may ask: a mount is for its asker alone
        listening.listen()
        threading.Thread(target=_accept, args=(listening, directory, allow_other), daemon=True).start()
        _say(f"offers mounts on {directory} at {address}")
        while not ends.wait(3600):
            pass
        os.unlink(address)
    _clear(directory)


def _accept(listening: socket.socket, directory: pathlib.Path, allow_other: bool) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:  # closed at the end
            return
        threading.Thread(target=_serve, args=(connection, directory, allow_other), daemon=True).start()


def _serve(connection: socket.socket, directory: pathlib.Path, allow_other: bool) -> None:
    """One asker, from the request to the end of its process."""
    with connection:
        _, user, group = struct.unpack(_UCRED, connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_UCRED)))
        try:
            connection.settimeout(_PATIENCE_S)
            request = _parsed(connection.recv(_MAX_REQUEST_NBYTES))
            connection.settimeout(None)
            with _mounted(directory / request["name"], request, user, group, allow_other) as device:
                try:
                    socket.send_fds(connection, [b"ok"], [device])
                finally:
                    os.close(device)  # while somebody had it open, a daemon that dies would not be missed
                _say(f"mounted {directory / request['name']} for user {user}")
                connection.recv(1)  # nothing comes but the end
        except (Refused, OSError) as failure:
            _say(f"user {user}: {failure}")
            with contextlib.suppress(OSError):
                connection.send(str(failure).encode())
            return
    _say(f"unmounted {directory / request['name']}")


def _parsed(message: bytes) -> dict[str, str]:
    try:
        request = json.loads(message)
    except (ValueError, RecursionError):
        raise Refused("this is not a request of `ckptfs.mounter take`") from None
    if not isinstance(request, dict) or not all(isinstance(request.get(key), str) for key in ("name", "source", "mode")):
        raise Refused("this is not a request of `ckptfs.mounter take`")
    try:
        os.fsencode(request["source"])
    except UnicodeError:
        raise Refused("this is not a request of `ckptfs.mounter take`") from None
    if not _NAME.fullmatch(request["name"]):
        raise Refused(f"'{request['name']!a}' is no name for a mount point: up to 100 letters, digits, '_', '-' and '.', which is not the first")
    return request


@contextlib.contextmanager
def _mounted(point: pathlib.Path, request: dict[str, str], user: int, group: int, allow_other: bool) -> Iterator[int]:
    """Yields a descriptor, the caller's to close, whose file system is mounted on `point` until the end."""
    try:
        point.mkdir(mode=0o755)
    except FileExistsError:
        raise Refused(f"'{point}' is there already: another process has that name") from None
    try:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        try:
            options = [f"fd={device},rootmode=40000,user_id={user},group_id={group},default_permissions"]
            options += ["allow_other"] if allow_other else []
            flags = _MS_NOSUID | _MS_NODEV | (0 if request["mode"] == "writable" else _MS_RDONLY)
            _mount(request["source"], point, flags, ",".join(options))
        except BaseException:
            os.close(device)
            raise
        try:
            yield device
        finally:
            _unmount(point)
    finally:
        with contextlib.suppress(FileNotFoundError):  # at the end of this program
            point.rmdir()


def _mount(source: str, point: pathlib.Path, flags: int, options: str) -> None:
    if _LIBC.mount(os.fsencode(source), os.fsencode(point), b"fuse.ckptfs", ctypes.c_ulong(flags), options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)}: mounting on '{point}' takes CAP_SYS_ADMIN and /dev/fuse")


def _unmount(point: pathlib.Path) -> bool:
    """By the system call alone: whoever looks into a mount that nobody serves waits."""
    return bool(_LIBC.umount2(os.fsencode(point), _MNT_DETACH | _UMOUNT_NOFOLLOW) == 0)


def _clear(directory: pathlib.Path) -> None:
    """Of what was mounted on names in `directory`, by this process or by one that was killed, nothing is left. What others have
    mounted there stays."""
    for name in os.listdir(directory):
        if _NAME.fullmatch(name):
            point = directory / name
            while _is_ours(point) and _unmount(point):
                pass
            with contextlib.suppress(OSError):
                point.rmdir()


def _is_ours(point: pathlib.Path) -> bool:
    """Whether what is mounted on `point` is a ckptfs. The list is asked: whoever looks into a mount that nobody serves waits."""
    wanted = os.fsencode(os.path.join(os.path.realpath(point.parent), point.name))
    kinds = []
    for line in pathlib.Path("/proc/self/mountinfo").read_bytes().splitlines():
        fields = line.split(b" ")
        if re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), fields[4]) == wanted:
            kinds.append(fields[fields.index(b"-", 6) + 1])
    return kinds[-1:] == [b"fuse.ckptfs"]


def _say(text: str) -> None:
    print(f"ckptfs.mounter: {text}", file=sys.stderr, flush=True)


# The side that may not.


def _take(address: str, name: str, writable: bool, command: list[str]) -> int:
    if not any(_PLACEHOLDER in word for word in command):
        raise Refused(f"COMMAND does not say where its mount point goes: put {_PLACEHOLDER} in its arguments")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(address)
    except OSError as failure:
        raise OSError(failure.errno, f"{os.strerror(failure.errno or 0)}: nobody offers mounts at '{address}'") from None
    words = {"name": name, "source": command[1] if len(command) > 1 else command[0], "mode": "writable" if writable else "read-only"}
    connection.send(json.dumps(words).encode())
    answer, descriptors, _, _ = socket.recv_fds(connection, _MAX_REQUEST_NBYTES, 1)
    if answer != b"ok" or not descriptors:
        raise Refused(answer.decode("utf-8", "replace") or "the process that offers mounts has ended")
    # Both live as long as COMMAND does.
    os.set_inheritable(connection.detach(), True)
    os.set_inheritable(descriptors[0], True)
    command = [word.replace(_PLACEHOLDER, f"/dev/fd/{descriptors[0]}") for word in command]
    os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main())
