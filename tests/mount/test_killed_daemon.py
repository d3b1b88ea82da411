"""kill -9 of the daemon while a trainer saves and removes through it: SOURCE holds what a trainer that was killed would have left."""
import contextlib
import errno
import mmap
import os
import random
import shutil

import pytest
from killed_trainer import is_optimizer, rounds, SAVED_AT_4, WRITABLE
from mount_fixtures import wait_until


def test_killed_while_a_trainer_saves_and_removes(mounted, tmp_path):
    rounds(mounted, tmp_path, 12, random.randrange(2**32))


@pytest.mark.parametrize("removed", range(5))
def test_a_removal_cut_short_leaves_the_whole_role_or_none(mounted, tmp_path, removed):
    """`removed` of the names that the mount shows are gone when the daemon dies."""
    source = tmp_path / "source"
    shutil.copytree(SAVED_AT_4, source / "tag")
    mount = mounted(source, *WRITABLE)
    names = sorted(os.listdir(mount.path / "tag"))
    assert len(names) == 4 and len(os.listdir(source / "tag")) == 5
    for name in names[:removed]:
        os.unlink(mount.path / "tag" / name)
    assert sorted(os.listdir(mount.path / "tag")) == names[removed:]
    mount.kill()
    mount.close()
    gone = set() if removed < 3 else {name for name in os.listdir(SAVED_AT_4) if is_optimizer(name)}
    gone |= set(names[:removed]) - {name for name in names if is_optimizer(name)}
    assert set(os.listdir(source / "tag")) == set(os.listdir(SAVED_AT_4)) - gone
    again = mounted(source, *WRITABLE, "--allow-empty")
    if removed < 3:
        assert sorted(os.listdir(again.path / "tag")) == names, "what was not removed is there again"
    shutil.rmtree(again.path / "tag")
    assert not (source / "tag").exists()


def test_what_is_synced_stays(mounted, tmp_path):
    """Also what is written through a mapping."""
    source = tmp_path / "source"
    source.mkdir()
    mount = mounted(source, *WRITABLE)
    handle = os.open(mount.path / "file", os.O_RDWR | os.O_CREAT)
    try:
        assert os.write(handle, b"x" * 100000) == 100000
        with mmap.mmap(handle, 100000) as mapped:
            mapped[50000:50006] = b"mapped"
        os.fsync(handle)
        mount.kill()
    finally:
        with contextlib.suppress(OSError):  # nobody is there to hear of it
            os.close(handle)
    assert (source / "file").read_bytes() == b"x" * 50000 + b"mapped" + b"x" * 49994


def test_a_dead_mount_says_so(mounted, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    mount = mounted(source, *WRITABLE)
    (mount.path / "file").write_text("kept")
    mount.kill()
    for attempt in (lambda: (mount.path / "file").read_text(), lambda: (mount.path / "other").write_text("lost"), lambda: os.listdir(mount.path)):
        with pytest.raises(OSError) as failure:
            attempt()
        assert failure.value.errno == errno.ENOTCONN
    assert os.listdir(source) == ["file"]
    mount.close()
    wait_until(lambda: not os.listdir(mount.path), "the mount point is an empty directory again")
