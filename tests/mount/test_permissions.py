"""Under --allow-other nobody reads more in the mount than in SOURCE. Root mounts, and somebody else tries."""
import os
import pathlib
import struct
import subprocess
import tempfile

import pytest
from mount_fixtures import wait_until
from users import require_root

TAG = "global_step2"
NOBODY = 65534
RECUT = "--world-size=3"


def acl(*entries):
    """The bytes of a POSIX ACL: (tag, permissions, id) each."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


# What stat() calls 0640 or 0750, with nothing for the group: its bits are the mask.
CLOSED_FILE = acl((1, 6, 0xFFFFFFFF), (2, 4, 12345), (4, 0, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF))
CLOSED_DIRECTORY = acl((1, 7, 0xFFFFFFFF), (2, 5, 12345), (4, 0, 0xFFFFFFFF), (16, 5, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF))


def as_nobody(*command):
    return subprocess.run([*command], user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True)


def can_read(path):
    return as_nobody("head", "-c1", str(path)).returncode == 0


def can_list(path):
    return as_nobody("ls", str(path)).returncode == 0


@pytest.fixture
def place():
    """A directory that everybody may search, unlike pytest's own."""
    require_root()
    with tempfile.TemporaryDirectory(prefix="ckptfs-permissions-") as directory:
        os.chmod(directory, 0o755)
        yield pathlib.Path(directory)


@pytest.fixture
def run(place, checkpoint):
    """A checkpoint in it that everybody may read."""
    made = place / "run"
    checkpoint().rename(made)
    for directory, _, files in os.walk(made):
        os.chmod(directory, 0o755)
        for name in files:
            os.chmod(os.path.join(directory, name), 0o644)
    return made


@pytest.fixture
def shared(place, mounted):
    """shared(source, *args) -> the mount point of a mount that others are let into."""

    def make(source, *args):
        point = place / f"mount{len(list(place.iterdir()))}"
        return mounted(source, "--allow-other", *args, mount_point=point).path

    return make


def optimizer_files(tag):
    return sorted(tag.glob("*optim_states.pt"))


def test_what_everybody_reads_everybody_reads(run, shared):
    point = shared(run, RECUT)
    for path in [point / "latest", *(point / TAG).iterdir()]:
        assert can_read(path), path
    assert can_list(point / TAG)


def test_one_private_shard_makes_every_file_with_bytes_of_shards_private(run, shared):
    optimizer_files(run / TAG)[2].chmod(0o600)
    point = shared(run, RECUT)
    assert not any(can_read(path) for path in optimizer_files(point / TAG))
    assert {path.stat().st_mode & 0o777 for path in optimizer_files(point / TAG)} == {0o400}
    # No optimizer state is in the model states.
    assert can_read(point / TAG / "mp_rank_00_model_states.pt")
    # The source's own files at its own world size have each its own mode.
    at_source = shared(run, "--world-size=4")
    assert [can_read(path) for path in optimizer_files(at_source / TAG)] == [True, True, False, True]


def test_stage_3_model_states_are_cut_from_all_ranks_as_well(place, checkpoint, shared):
    source = checkpoint("stage3_sub_groups_ws3")
    source = source.rename(place / "stage3")
    tag = next(path.parent for path in source.rglob("*_model_states.pt"))
    os.chmod(source, 0o755)
    sorted(tag.glob("*_model_states.pt"))[1].chmod(0o600)
    point = shared(source, "--world-size=2") / tag.relative_to(source)
    assert not any(can_read(path) for path in point.glob("*_model_states.pt"))
    assert all(can_read(path) for path in point.glob("*_optim_states.pt"))


def test_shards_of_two_owners_belong_to_neither(run, shared):
    for number, path in enumerate(optimizer_files(run / TAG)):
        path.chmod(0o600)
        os.chown(path, NOBODY if number == 0 else 12345, 12345)
    assert can_read(optimizer_files(run / TAG)[0])
    point = shared(run, RECUT)
    assert not any(can_read(path) for path in optimizer_files(point / TAG))


def test_an_acl_denies_in_the_mount_what_it_denies_in_the_source(run, shared):
    def close(path, closed):
        os.chown(path, 0, NOBODY)
        os.setxattr(path, "system.posix_acl_access", closed)
        assert path.stat().st_mode & 0o070, "the mask shows as the group's bits"

    (run / "closed").mkdir()
    (run / "closed" / "file").write_text("x")
    (run / "passed").write_text("x")
    close(run / "closed", CLOSED_DIRECTORY)
    close(run / "passed", CLOSED_FILE)
    close(optimizer_files(run / TAG)[1], CLOSED_FILE)
    point = shared(run, RECUT)
    for root in (run, point):
        assert not can_read(root / "passed")
        assert not can_list(root / "closed")
        assert not can_read(root / "closed" / "file")
        assert (root / "closed" / "file").read_text() == "x"
    assert not any(can_read(path) for path in optimizer_files(point / TAG))
    # A change of the list is seen.
    os.removexattr(run / "passed", "system.posix_acl_access")
    os.chmod(run / "passed", 0o644)
    wait_until(lambda: can_read(point / "passed"), "the file is open to all", 60)


@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_the_way_to_a_links_target_counts(run, place, shared, checkpoint, mode):
    closed = place / "closed"
    closed.mkdir()
    checkpoint(name="other").rename(closed / "other")
    for path in [closed / "other", *(closed / "other").rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    closed.chmod(mode)
    shard = optimizer_files(closed / "other" / TAG)[0]
    (run / "link").symlink_to(closed / "other")
    (run / "file").symlink_to(closed / "other" / "latest")
    (run / "shard").symlink_to(shard)
    point = shared(run, RECUT)
    allowed = mode == 0o755
    for root in (run, point):
        assert can_list(root / "link") == allowed
        assert can_read(root / "link" / "latest") == allowed
        assert can_read(root / "file") == allowed
        assert can_read(root / "shard") == allowed
    assert can_read(point / "link" / TAG / shard.name) == allowed
    assert (point / "link" / "latest").read_text() == TAG


@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_the_way_to_a_shard_that_is_a_link_counts(run, place, shared, mode):
    closed = place / "closed"
    closed.mkdir()
    shard = optimizer_files(run / TAG)[1]
    shard.rename(closed / "1")
    shard.symlink_to(closed / "1")
    closed.chmod(mode)
    point = shared(run, RECUT)
    assert {can_read(path) for path in optimizer_files(point / TAG)} == {mode == 0o755}


@pytest.mark.parametrize("what", ["a shard of a tag", "a shard alone"])
def test_a_way_to_a_shard_that_is_closed_later_is_closed_in_the_mount(run, place, shared, what):
    closed = place / "closed"
    closed.mkdir()
    if what == "a shard of a tag":
        shard = optimizer_files(run / TAG)[1]
        shard.rename(closed / "1")
        shard.symlink_to(closed / "1")
        name = pathlib.Path(TAG) / shard.name
    else:
        (run / TAG).rename(closed / TAG)
        name = pathlib.Path("shard")
        (run / name).symlink_to(optimizer_files(closed / TAG)[1])
    path = shared(run, RECUT, *(["--allow-empty"] if what == "a shard alone" else [])) / name
    assert can_read(path)
    for mode, allowed in [(0o700, False), (0o711, True), (0o710, False), (0o755, True)]:
        closed.chmod(mode)
        wait_until(lambda: can_read(path) == allowed, f"mode {mode:o} of the directory above the shard counts", 60)
        assert can_read(run / name) == allowed
        path.stat()


@pytest.mark.parametrize("mode", [0o755, 0o711, 0o700])
@pytest.mark.parametrize("args", [[RECUT], []])
def test_the_way_to_source_counts(run, place, shared, mode, args):
    closed = place / "closed"
    closed.mkdir()
    run.rename(closed / "run")
    point = shared(closed / "run", *args)
    shown = point if args else point / "world-size-3"
    assert can_read(shown / "latest")
    closed.chmod(mode)
    allowed = mode != 0o700
    assert can_read(closed / "run" / "latest") == allowed
    wait_until(lambda: can_read(shown / "latest") == allowed, "the mode of the directory above counts", 60)
    assert (shown / "latest").read_text() == TAG


def test_a_link_in_the_place_of_a_held_directory_leads_nobody_past_closed_ones(run, place, shared):
    closed = place / "closed"
    (closed / "private").mkdir(parents=True)
    (closed / "private" / "secret").write_text("x")
    (closed / "private").chmod(0o755)
    (closed / "private" / "secret").chmod(0o644)
    closed.chmod(0o700)
    (run / "nested").mkdir()
    (run / "nested").chmod(0o755)
    (run / "nested" / "mine").write_text("x")
    (run / "nested" / "mine").chmod(0o644)
    point = shared(run, RECUT)
    script = "cd nested && cat mine && read line; cat secret; ls . && ls"
    with subprocess.Popen(["sh", "-c", script], cwd=point, user=NOBODY, group=NOBODY, extra_groups=[],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as held:
        assert held.stdout.read(1) == "x"
        (run / "nested").rename(run / "gone")
        (run / "nested").symlink_to(closed / "private")
        found, errors = held.communicate("\n", timeout=60)
    assert "secret" not in found and "x" not in found, found
    assert held.returncode != 0, errors


def test_a_mount_for_its_user_alone_needs_no_such_ways(run, place, mounted):
    """Who mounts has gone the way already, with groups that no mode tells."""
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    run.rename(closed / "run")
    mount = mounted(closed / "run", RECUT)
    assert mount.path.stat().st_mode & 0o777 == 0o555
