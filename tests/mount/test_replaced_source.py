"""SOURCE itself removed, made again, replaced; tags removed from it."""
import errno
import os
import shutil

import pytest

from mount_fixtures import DATA, wait_until

TAG = "global_step2"
OTHER = DATA / "stage2_bf16_ws4_at_ws3"
OPTIMIZER = "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"


def errno_of(call):
    try:
        call()
    except OSError as failure:
        return failure.errno
    return 0


def expect_errors(mount, name="source"):
    wait_until(lambda: errno_of(lambda: os.listdir(mount.path)) == errno.ESTALE, "an error")
    assert errno_of(lambda: os.stat(mount.path / "latest")) == errno.ESTALE
    mount.expect_error(f"{name}' is gone: there is no directory of that name")


@pytest.mark.parametrize("world_size", ["--world-size=3", None])
def test_a_source_that_is_removed_and_made_again_is_followed(source, mounted, world_size):
    mount = mounted(source, *[world_size] if world_size else [])
    tag = mount.path / ("" if world_size else "world-size-3") / TAG
    before = (tag / OPTIMIZER).read_bytes()
    shutil.rmtree(source)
    if world_size:
        expect_errors(mount)
    else:
        mount.expect_error("source' is gone: there is no directory of that name")
        wait_until(lambda: errno_of(lambda: os.listdir(mount.path / "world-size-3")) == errno.ESTALE, "an error")
    shutil.copytree(OTHER, source)
    wait_until(lambda: errno_of(lambda: (tag / OPTIMIZER).read_bytes()) == 0, "what was saved anew")
    assert (tag / OPTIMIZER).read_bytes() == (OTHER / TAG / OPTIMIZER).read_bytes() != before


def test_a_source_that_is_replaced_by_a_rename_is_followed(source, mounted, tmp_path):
    mount = mounted(source, "--world-size=3")
    assert (mount.path / "latest").exists()
    shutil.copytree(OTHER, tmp_path / "next")
    os.rename(source, tmp_path / "before")
    os.rename(tmp_path / "next", source)
    expected = (OTHER / TAG / OPTIMIZER).read_bytes()
    wait_until(lambda: errno_of(lambda: (mount.path / TAG / OPTIMIZER).read_bytes()) == 0
               and (mount.path / TAG / OPTIMIZER).read_bytes() == expected, "what is there now")
    wait_until(lambda: not (mount.path / "secret").exists(), "what is gone is not shown")
    assert os.statvfs(mount.path).f_blocks == os.statvfs(source).f_blocks


def test_a_source_that_is_a_link_is_followed_to_another_directory(source, mounted, tmp_path):
    current = tmp_path / "current"
    current.symlink_to(source)
    mount = mounted(current, "--world-size=3")
    assert (mount.path / "secret").exists()
    current.unlink()
    current.symlink_to(OTHER)
    expected = (OTHER / TAG / OPTIMIZER).read_bytes()
    wait_until(lambda: errno_of(lambda: (mount.path / TAG / OPTIMIZER).read_bytes()) == 0
               and (mount.path / TAG / OPTIMIZER).read_bytes() == expected, "what is there now")
    wait_until(lambda: not (mount.path / "secret").exists(), "what is gone is not shown")


def test_a_source_that_becomes_a_link_to_itself_is_an_error(source, mounted, tmp_path):
    current = tmp_path / "current"
    current.symlink_to(source)
    mount = mounted(current, "--world-size=3")
    assert TAG in os.listdir(mount.path)
    current.unlink()
    current.symlink_to(current)
    expect_errors(mount, "current")


def test_a_source_that_is_gone_is_an_error_and_never_an_empty_directory(source, mounted, tmp_path):
    mount = mounted(source, "--world-size=3")
    assert TAG in os.listdir(mount.path)
    os.rename(source, tmp_path / "elsewhere")
    listings = []

    def fails():
        try:
            listings.append(os.listdir(mount.path))
        except OSError as failure:
            return failure.errno == errno.ESTALE
        return False

    wait_until(fails, "an error")
    assert all(TAG in names for names in listings)
    expect_errors(mount)
    source.write_text("no directory")
    assert errno_of(lambda: os.listdir(mount.path)) == errno.ESTALE
    source.unlink()
    source.symlink_to(source)
    assert errno_of(lambda: os.listdir(mount.path)) == errno.ESTALE, "a link that leads to itself"
    source.unlink()
    os.rename(tmp_path / "elsewhere", source)
    wait_until(lambda: errno_of(lambda: os.listdir(mount.path)) == 0, "it is back")
    assert TAG in os.listdir(mount.path)


def open_files(mount):
    """What the daemon's descriptors lead to."""
    found = []
    for entry in os.scandir(f"/proc/{mount.process.pid}/fd"):
        try:
            found.append(os.readlink(entry.path))
        except FileNotFoundError:
            pass
    return found


def deleted_files(mount):
    return [path for path in open_files(mount) if path.endswith("(deleted)")]


def test_removed_tags_do_not_keep_their_disk(source, mounted):
    """As rotation removes them: the tag that the mount began with, one that was read, and one that was replaced."""
    for name in ("global_step3", "global_step4"):
        shutil.copytree(source / TAG, source / name)
    mount = mounted(source, "--world-size=3")
    held = open(mount.path / "global_step4" / OPTIMIZER, "rb", buffering=0)
    with held:
        for name in (TAG, "global_step3", "global_step4"):
            assert (mount.path / name / OPTIMIZER).read_bytes()
        assert [path for path in open_files(mount) if path.endswith(".pt")], "files are kept open for a while"
        shutil.rmtree(source / "global_step3")
        shutil.rmtree(source / TAG)
        for shard in (source / "global_step4").glob("*_states.pt"):
            shutil.copy(shard, source / "incoming")
            os.rename(source / "incoming", shard)
        # Nothing below the mount is looked at meanwhile.
        wait_until(lambda: not deleted_files(mount), "descriptors of removed files are closed")
    wait_until(lambda: not [path for path in open_files(mount) if path.endswith(".pt")], "an idle mount holds no files")
    assert len((mount.path / "global_step4" / OPTIMIZER).read_bytes()) > 0
