"""The file system mirror_fs (tests/bench/mirror_fs.cpp), mounted for the length of a `with` block."""
import os
import pathlib

from mounting import ROOT
import peers

BINARY = pathlib.Path(os.environ.get("CKPTFS_MIRROR_FS", ROOT / "build" / "mirror_fs"))


def mirrored(source, *options):
    """Yields a Mount without a log."""
    return peers.serving("mirror_fs", [str(BINARY), str(source), *options])
