"""Puts files out of the page cache, and says how much of them is in it."""
import ctypes
import errno
import mmap
import os

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
LIBC.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
NO_MAP = ctypes.c_void_p(-1).value
MOST_LEFT = 0.01


def drop(paths):
    """Takes files out of the page cache; those that stay there, as in memory they do, are an error."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # a page that is not on the disk yet stays
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    left = sum(map(resident, paths))
    if left > MOST_LEFT * sum(map(os.path.getsize, paths)):
        raise OSError(errno.EBUSY, f"{left / 1e6:.0f} MB stay in the page cache; files that are read from a disk have to be on one, "
                      "and in use by nobody", os.path.dirname(paths[0]))


def resident(path):
    """Bytes of a file that are in the page cache."""
    nbytes = os.path.getsize(path)
    if not nbytes:
        return 0
    descriptor = os.open(path, os.O_RDONLY)
    try:
        address = LIBC.mmap(None, nbytes, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
        if address == NO_MAP:
            raise OSError(ctypes.get_errno(), "mmap", path)
    finally:
        os.close(descriptor)
    pages = (ctypes.c_ubyte * -(-nbytes // mmap.PAGESIZE))()
    failed = LIBC.mincore(address, nbytes, pages)
    number = ctypes.get_errno()
    LIBC.munmap(address, nbytes)
    if failed:
        raise OSError(number, "mincore", path)
    return sum(page & 1 for page in pages) * mmap.PAGESIZE


def drop_everything():
    """All that the kernel keeps of file systems, names and inodes too: root alone may."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3\n")
