"""What a reader is told where pages change on their way to it, which takes a writer in place at the right fraction of a millisecond."""
import concurrent.futures
import contextlib
import errno
import os
import subprocess
import time

import pytest

from mount_fixtures import content_of, wait_until

KIB, MIB = 1 << 10, 1 << 20
# A daemon that takes its time between the two looks at a file, while the file $CKPTFS_TEST_SLOW is there.
SLOW = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

ssize_t splice(int from, off64_t *offset, int to, off64_t *to_offset, size_t nbytes, unsigned flags) {
    ssize_t (*real)(int, off64_t *, int, off64_t *, size_t, unsigned) = dlsym(RTLD_NEXT, "splice");
    if (offset == NULL && access(getenv("CKPTFS_TEST_SLOW"), F_OK) == 0)
        sleep(2);
    return real(from, offset, to, to_offset, nbytes, flags);
}
"""


@pytest.fixture
def file_of_slow_mount(source, mounted, tmp_path, monkeypatch):
    """(SOURCE's file, the same in a mount that is slow while the third is there)."""
    library, slow = tmp_path / "slow.so", tmp_path / "is-slow"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", library, "-ldl"], input=SLOW, text=True, check=True)
    path = source / "large.bin"
    path.write_bytes(b"old " * (2 * MIB))
    with monkeypatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(library))
        patch.setenv("CKPTFS_TEST_SLOW", str(slow))
        mount = mounted(source, "--world-size=3", "--io=direct", "--read-ahead-memory=0")
    return path, mount.path / path.name, slow


def changed_on_the_way(path, slow, read):
    """What `read` returns, before which, and after the look at it, all of the file has become other bytes of the same number."""
    slow.touch()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        time.sleep(0.5)
        with open(path, "r+b") as file:
            file.write(b"new " * (2 * MIB))
        slow.unlink()
        return reading.result()


def close(descriptor):
    """The errno."""
    try:
        os.close(descriptor)
    except OSError as failure:
        return failure.errno
    return 0


def test_whoever_closes_is_told(file_of_slow_mount):
    path, shown, slow = file_of_slow_mount
    descriptors = [os.open(shown, os.O_RDONLY) for _ in range(3)]
    assert close(descriptors.pop()) == 0
    got = changed_on_the_way(path, slow, lambda: os.pread(descriptors[0], 800 * KIB, 4 * MIB))
    assert got == b"new " * (200 * KIB), "otherwise this shows nothing"
    with pytest.raises(OSError, match="Stale"):
        os.pread(descriptors[0], 800 * KIB, 0)
    assert [close(descriptor) for descriptor in descriptors] == [errno.ESTALE, errno.ESTALE]
    wait_until(lambda: content_of(shown) == path.read_bytes(), "what is there now is read by whoever opens it")


def test_whoever_takes_it_from_the_page_cache_is_told_too(file_of_slow_mount, tmp_path):
    """sendfile(2) goes through that. What is in use while the daemon has it emptied stays for the moment."""
    path, shown, slow = file_of_slow_mount
    first, second, third = (os.open(shown, os.O_RDONLY) for _ in range(3))
    with open(tmp_path / "taken", "wb") as taken:
        changed_on_the_way(path, slow, lambda: os.sendfile(taken.fileno(), first, 4 * MIB, 800 * KIB))
        with contextlib.suppress(OSError):
            os.sendfile(taken.fileno(), second, 4 * MIB, 800 * KIB)
    assert (close(first), close(second)) == (errno.ESTALE, errno.ESTALE)
    with open(tmp_path / "taken", "wb") as taken, pytest.raises(OSError, match="Stale|Input/output"):
        os.sendfile(taken.fileno(), third, 4 * MIB, 800 * KIB)
    assert close(third) == errno.ESTALE
