"""Mounts with a descriptor of /dev/fuse, as a privileged program does it for a ckptfs that it starts."""
import contextlib
import ctypes
import os
import subprocess

MS_RDONLY, MS_NOSUID, MS_NODEV, MNT_DETACH = 1, 2, 4, 2
LIBC = ctypes.CDLL(None, use_errno=True)


def mount_with(descriptor, point, *options, owner=0, flags=MS_RDONLY | MS_NOSUID | MS_NODEV, name="/shown"):
    """mount(2) of the file system that whoever reads `descriptor`, which is /dev/fuse, serves. `owner`: its user and group."""
    data = ",".join([f"fd={descriptor}", "rootmode=40000", f"user_id={owner}", f"group_id={owner}", *options])
    if LIBC.mount(name.encode(), os.fsencode(point), b"fuse.ckptfs", flags, data.encode()) != 0:
        raise OSError(ctypes.get_errno(), f"mount on {point}: {os.strerror(ctypes.get_errno())}")


def unmount(point, flags=0):
    """umount2(2) alone: umount(8) looks into the mount first, for ever where nobody answers for it."""
    if LIBC.umount2(os.fsencode(point), flags) != 0:
        raise OSError(ctypes.get_errno(), f"umount of {point}: {os.strerror(ctypes.get_errno())}")


@contextlib.contextmanager
def unmounted_later(point):
    """Yields `point`, a new directory; what is mounted on it then goes at the end, served or not."""
    os.mkdir(point)
    try:
        yield point
    finally:
        with contextlib.suppress(OSError):  # until nothing is mounted there
            while True:
                unmount(point, MNT_DETACH)


@contextlib.contextmanager
def fuse_device(flags=os.O_RDWR):
    descriptor = os.open("/dev/fuse", flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def start(command, descriptor, number=None, user=None, **more):
    """Popen of `command`, in which "{}" is the mount point that names `descriptor`, which the program inherits.

    `number`: the one that it has there, instead of its own. `user`: whose id the program runs with.
    """
    words = [str(word).replace("{}", f"/dev/fd/{descriptor if number is None else number}") for word in command]
    if number not in (None, descriptor):
        words = ["bash", "-c", f'exec {number}<&{descriptor} {descriptor}<&-; exec "$@"', "bash", *words]
    identity = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    return subprocess.Popen(words, pass_fds=(descriptor,), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **identity, **more)
