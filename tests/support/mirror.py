"""The file system mirror_fs (tests/bench/mirror_fs.cpp), mounted for the length of a `with` block."""
import contextlib
import os
import pathlib
import subprocess
import tempfile
import time

from mounting import ROOT, MountError, is_mounted, unmount

BINARY = pathlib.Path(os.environ.get("CKPTFS_MIRROR_FS", ROOT / "build" / "mirror_fs"))


@contextlib.contextmanager
def mirrored(source, *options):
    """Yields the mount point."""
    with tempfile.TemporaryDirectory(prefix="ckptfs-mirror-") as scratch:
        point = os.path.join(scratch, "mount")
        os.mkdir(point)
        process = subprocess.Popen([str(BINARY), str(source), point, *options])
        try:
            while not is_mounted(point):
                if process.poll() is not None:
                    raise MountError(f"mirror_fs ended with {process.returncode}")
                time.sleep(0.001)
            yield point
        finally:
            complaint = unmount(point)
            process.wait(30)
        if complaint or process.returncode:
            raise MountError(complaint or f"mirror_fs ended with {process.returncode}")
