"""Saves that run under a mount: whatever is read whole is of one save."""
import collections
import errno
import multiprocessing
import os
import shutil
import time

import pytest

from live_saver import WRITERS, Saver, saves_in
from mount_fixtures import wait_until

TAG = "global_step2"
FILES = [f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt" for rank in range(3)]
# What tells two saves apart by their values would refuse most of these mixtures too.
WITHOUT_LOOKING_AT_VALUES = ["--world-size=3", "--accept-mixed"]
ENOUGH_SAVES = 5
PATIENCE_S = 120


def read_while_saving(mount, saver, seen):
    """How often which saves were found together in one file that was read whole."""
    found = collections.Counter()
    end = time.monotonic() + PATIENCE_S
    while len(found) <= ENOUGH_SAVES:
        assert time.monotonic() < end, f"read: {found}"
        assert saver.is_alive()
        for name in FILES:
            try:
                numbers = tuple(saves_in((mount.path / TAG / name).read_bytes()))
            except OSError as failure:
                assert failure.errno in (errno.EIO, errno.ESTALE, errno.ENOENT), failure
                continue
            found[numbers] += 1
            seen.value = max(numbers)
    return found


@pytest.mark.parametrize("kind", WRITERS)
def test_no_file_mixes_two_saves_of_the_same_step(source, mounted, kind):
    saver = Saver(source / TAG, WRITERS[kind], pause_s=0.15)
    saver.save()
    mount = mounted(source, *WITHOUT_LOOKING_AT_VALUES)
    mount.may_log_errors("cannot be shown as world-size-3")
    assert {frozenset(saves_in((mount.path / TAG / name).read_bytes())) for name in FILES} == {frozenset({1})}
    over = multiprocessing.Event()
    seen = multiprocessing.Value("i", saver.number)
    process = multiprocessing.get_context("fork").Process(target=saver.run, args=(over.is_set, seen))
    process.start()
    try:
        found = read_while_saving(mount, process, seen)
    finally:
        over.set()
        process.join()
    mixed = {numbers: count for numbers, count in found.items() if len(numbers) != 1}
    assert not mixed, f"{mixed} of {sum(found.values())} files"


def test_a_save_that_replaced_only_some_files_is_refused_until_it_is_complete(source, mounted):
    saver = Saver(source / TAG, WRITERS["rename"])
    saver.save()
    mount = mounted(source, *WITHOUT_LOOKING_AT_VALUES)
    mount.expect_error("global_step2 cannot be shown as world-size-3: 1 of its 5 files, .* wait for the running save")
    mount.may_log_errors("global_step2 cannot be shown as world-size-3: ")  # in between, and while it is being read
    path = mount.path / TAG / FILES[0]
    assert saves_in(path.read_bytes()) == {1}
    first, *others = saver.templates
    saver.write(first, saver.content(first, 2))

    def is_refused():
        try:
            path.read_bytes()
        except OSError as failure:
            return failure.errno == errno.EIO
        return False

    wait_until(is_refused, "the new file is noticed")
    for other in others:
        saver.write(other, saver.content(other, 2))

    def shows_the_save():
        try:
            return saves_in(path.read_bytes()) == {2}
        except OSError:
            return False

    wait_until(shows_the_save, "the complete save is shown")


def test_a_backup_by_hard_links_does_not_disturb_who_reads(source, mounted, tmp_path):
    mount = mounted(source, "--world-size=3")
    path = mount.path / TAG / FILES[0]
    expected = path.read_bytes()
    before = os.stat(source / TAG / FILES[0])
    with open(path, "rb", buffering=0) as file:
        assert file.read(100) == expected[:100]
        shutil.copytree(source, tmp_path / "backup", copy_function=os.link, symlinks=True)
        for shard in (source / TAG).glob("*_states.pt"):
            shard.chmod(0o640)
        assert os.stat(source / TAG / FILES[0]).st_ctime_ns != before.st_ctime_ns
        assert os.fstat(file.fileno()).st_size == len(expected)
        assert os.pread(file.fileno(), len(expected), 0) == expected
    assert path.read_bytes() == expected
    assert path.stat().st_mode & 0o777 == 0o440


def test_a_copy_of_a_shard_in_its_place_is_no_save(source, mounted):
    """As tools do that give files hard links in common, or break them: the same bytes, size and mtime in another inode."""
    mount = mounted(source, "--world-size=3")
    mount.may_log_errors("Stale file handle|changed")
    path = mount.path / TAG / FILES[0]
    expected = path.read_bytes()
    shard = sorted((source / TAG).glob("*_states.pt"))[1]
    before = shard.stat()
    shutil.copy2(shard, source / "copy")
    (source / "copy").rename(shard)
    assert shard.stat().st_ino != before.st_ino
    shown_before = path.stat().st_ino

    def is_shown_anew():
        try:
            return path.stat().st_ino != shown_before
        except OSError as failure:
            assert failure.errno == errno.ESTALE, failure
            return False

    wait_until(is_shown_anew, "the tag is read again")
    assert path.read_bytes() == expected


def test_a_hard_link_is_one_file_with_two_links(source, mounted):
    os.link(source / "latest", source / "latest.bak")
    mount = mounted(source, "--world-size=3")
    one, other = (os.stat(mount.path / name) for name in ("latest", "latest.bak"))
    assert (one.st_nlink, one.st_ino) == (2, other.st_ino)
    assert os.stat(mount.path / "secret").st_nlink == 1
