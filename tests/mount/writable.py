"""What tests of writable mounts share."""
import pathlib

import pytest

PLAIN = "--world-size=2"  # of a source without tags: nothing is re-cut


class Place:
    """A source without tags, and a mount of it that can be written."""

    def __init__(self, source, mount):
        self.source = pathlib.Path(source)
        self.mount = mount
        self.path = mount.path

    def both(self, name):
        return self.path / name, self.source / name


def errno_of(call, *args, **kwargs):
    with pytest.raises(OSError) as failure:
        call(*args, **kwargs)
    return failure.value.errno
