"""Symbolic links to tags, and to what holds tags, show them at the mount's world size, wherever they lead."""
import errno
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from mount_fixtures import PATIENCE_S, binary, wait_until

TAG = "global_step2"
RANKS = 3


def shards(directory):
    return sorted(path.name for path in directory.iterdir() if path.name.endswith("_states.pt"))


def inspect(source):
    result = subprocess.run([binary(), "inspect", "--json", str(source)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def outside(checkpoint, tmp_path):
    """A run beside SOURCE, with a tag of its own."""
    checkpoint(name="outside")
    return tmp_path / "outside"


def expect_recut(mount, path, tag):
    """`path` in the mount shows the files that a mount of the tag's own directory shows."""
    assert len(shards(path)) == RANKS + 1
    for name in shards(tag):
        assert (path / name).read_bytes() == (tag / name).read_bytes()


def make_relative(link, target):
    link.symlink_to(os.path.relpath(target, link.parent))


def make_absolute(link, target):
    link.symlink_to(target)


def make_chain(link, target):
    first = link.parent / (link.name + "-first")
    first.symlink_to(target)
    link.symlink_to(first.name)


@pytest.mark.parametrize("make_link", [make_relative, make_absolute, make_chain])
@pytest.mark.parametrize("place", ["inside", "outside"])
@pytest.mark.parametrize("what", ["tag", "run"])
def test_a_link_to_a_tag_or_to_what_holds_one_shows_it_recut(source, outside, mounted, make_link, place, what):
    run = source if place == "inside" else outside
    own = mounted(run, f"--world-size={RANKS}").path / TAG
    holder = source if place == "outside" else source / "nested"
    if what == "tag":
        make_link(holder / "last.ckpt.link", run / TAG)
    elif place == "inside":
        (source / "runs").mkdir()
        shutil.copytree(source / TAG, source / "runs" / TAG)
        make_link(holder / "last.ckpt.link", source / "runs")
    else:
        make_link(holder / "last.ckpt.link", run)
    mount = mounted(source, f"--world-size={RANKS}")
    shown = mount.path / holder.relative_to(source) / "last.ckpt.link"
    expect_recut(mount, shown if what == "tag" else shown / TAG, own)
    # Whoever resolves the name stays in the mount.
    assert os.path.realpath(shown).startswith(str(mount.path) + "/")


def test_a_mount_without_a_world_size_follows_links_within_each(source, outside, mounted):
    (source / "last").symlink_to(source / TAG)
    (source / "other").symlink_to(outside / TAG)
    mount = mounted(source)
    for ranks in (2, 3):
        for name in ("last", "other"):
            assert len(shards(mount.path / f"world-size-{ranks}" / name)) == ranks + 1


def test_inspect_and_verify_count_what_is_shown(source, outside, mounted):
    (source / "other").symlink_to(outside)
    (source / "latest").write_text("other/" + TAG)
    found = inspect(source)
    assert {tag["name"] for tag in found["tags"]} == {TAG, "other/" + TAG}
    assert found["checkpoint"]["tag"] == "other/" + TAG
    mount = mounted(source, f"--world-size={RANKS}")
    for tag in found["tags"]:
        assert len(shards(mount.path / tag["name"])) == RANKS + 1
    result = subprocess.run([binary(), "verify", str(source), f"--world-size={RANKS}"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "2 tags whole" in result.stdout


def test_a_link_to_a_shard_shows_the_view_of_it(source, outside, mounted):
    name = next(name for name in shards(source / TAG) if "rank_0" in name)
    last = next(name for name in shards(source / TAG) if f"rank_{RANKS}" in name)
    for run, kind in ((source, "inside"), (outside, "outside")):
        (source / f"{kind}.pt").symlink_to(run / TAG / name)
        (source / f"{kind}-last.pt").symlink_to(run / TAG / last)
    mount = mounted(source, f"--world-size={RANKS}")
    other = mounted(outside, f"--world-size={RANKS}")
    assert (mount.path / "inside.pt").read_bytes() == (mount.path / TAG / name).read_bytes()
    assert (mount.path / "outside.pt").read_bytes() == (other.path / TAG / name).read_bytes()
    for kind in ("inside", "outside"):
        assert not (mount.path / f"{kind}-last.pt").exists(), "at this world size there is no such file"


def test_links_to_other_files_show_them(source, tmp_path, mounted):
    (tmp_path / "notes").write_text("far away")
    (source / "notes").symlink_to(tmp_path / "notes")
    (source / "named").symlink_to(source / "latest")
    (source / "latest").rename(tmp_path / "latest")
    (source / "latest").symlink_to("../latest")
    mount = mounted(source, f"--world-size={RANKS}")
    assert (mount.path / "notes").read_text() == "far away"
    assert (mount.path / "latest").read_text() == TAG
    assert (mount.path / "named").read_text() == TAG


def test_shards_that_are_links_are_recut(source, tmp_path, mounted):
    expected = mounted(source, f"--world-size={RANKS}").path / TAG
    linked = tmp_path / "linked"
    (linked / TAG).mkdir(parents=True)
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for number, name in enumerate(shards(source / TAG)):
        shutil.copy2(source / TAG / name, blobs / str(number))
        target = blobs / str(number)
        (linked / TAG / name).symlink_to(target if number % 2 else os.path.relpath(target, linked / TAG))
    mount = mounted(linked, f"--world-size={RANKS}")
    expect_recut(mount, mount.path / TAG, expected)


def test_links_that_lead_nowhere_lead_nowhere_in_the_mount(source, tmp_path, mounted):
    (source / "absolute").symlink_to(tmp_path / "not there")
    (source / "leaving").symlink_to("../../gone")
    (source / "loop").symlink_to(source / "loop")
    mount = mounted(source, f"--world-size={RANKS}")
    for name in ("absolute", "leaving", "loop"):
        assert os.readlink(mount.path / name).startswith("(unreachable)/")
        assert (mount.path / name).lstat().st_size == len(os.readlink(mount.path / name))
        assert not (mount.path / name).exists()
    # What appears there later is shown by the same rules.
    shutil.copytree(source / TAG, tmp_path / "not there")
    wait_until((mount.path / "absolute").exists, "the link leads somewhere", 60)
    assert len(shards(mount.path / "absolute")) == RANKS + 1


def test_nothing_is_shown_within_itself(source, outside, mounted):
    (source / "self").symlink_to(source)
    (source / "other").symlink_to(outside)
    (outside / "back").symlink_to(source)
    (outside / "self").symlink_to(outside)
    (outside / "up").symlink_to("..")
    mount = mounted(source, f"--world-size={RANKS}")
    assert os.readlink(mount.path / "self") == "."
    assert os.readlink(mount.path / "other" / "back") == ".."
    assert os.readlink(mount.path / "other" / "self") == "."
    found = subprocess.run(["find", mount.path, "-name", TAG, "-type", "d"], capture_output=True, text=True)
    # Once each below SOURCE and `other`, and once each below what lies above both; the walk ends.
    assert len(found.stdout.splitlines()) == 4, found.stdout + found.stderr


def test_the_mount_itself_is_not_entered(source, tmp_path, mounted):
    point = tmp_path / "mount0"
    (source / "view").symlink_to(point)
    (source / "up").symlink_to("..")
    mount = mounted(source, f"--world-size={RANKS}", mount_point=point)
    assert not (mount.path / "view").exists()
    with pytest.raises(OSError):
        os.listdir(mount.path / "up" / "mount0")
    assert "is a mount of ckptfs itself" in mount.log_text()
    names = [tag["name"] for tag in inspect(source)["tags"]]
    assert TAG in names
    assert not [name for name in names if "view" in name or "mount0" in name]


def test_listings_do_not_call_a_shown_directory_a_link(source, outside, mounted):
    (source / "other").symlink_to(outside)
    (source / "inside").symlink_to(source / "nested")
    mount = mounted(source, f"--world-size={RANKS}")
    entries = {entry.name: entry for entry in os.scandir(mount.path)}
    assert entries["other"].is_dir(follow_symlinks=False)
    assert not entries["other"].is_symlink()
    assert entries["inside"].is_symlink() and entries["inside"].is_dir()
    assert os.readlink(mount.path / "inside") == "nested"


def test_a_link_that_is_changed_shows_its_new_target(source, outside, mounted):
    (source / "last").symlink_to(outside / TAG)
    mount = mounted(source, f"--world-size={RANKS}")
    assert "notes.txt" not in os.listdir(mount.path / "last")
    (source / "new").symlink_to(source / TAG)
    os.replace(source / "new", source / "last")
    expected = (mount.path / TAG).stat().st_ino
    wait_until(lambda: (mount.path / "last").stat().st_ino == expected, "the link leads to the tag in SOURCE", 60)
    assert os.readlink(mount.path / "last") == TAG


def abort(mount):
    """Makes whatever waits for the mount fail: a request that waits for itself ends in no other way."""
    mounts = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    device = next(line.split()[2] for line in mounts if line.split()[4] == str(mount.path))
    control = pathlib.Path("/sys/fs/fuse/connections", device.partition(":")[2], "abort")
    if control.exists():
        control.write_text("1")
    else:  # where that file system is not mounted root alone can do it; the mount may stay, as busy
        subprocess.run(["umount", "-f", mount.path], check=False)


def errno_within_limits(mount, action, path):
    """What a program of its own gets for `action` (Python, of `path`), which must not wait for ever: 0 or an errno."""
    program = f"""
import os, sys
path = sys.argv[1]
try:
    {action}
except OSError as failure:
    print(failure.errno)
else:
    print(0)
"""
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        return int(process.communicate(timeout=PATIENCE_S)[0])
    except subprocess.TimeoutExpired:
        abort(mount)
        pytest.fail(f"{action} of {path} does not end")


@pytest.mark.parametrize("ranks", [RANKS, None])
@pytest.mark.parametrize("kind", ["model_states", "optim_states"])
def test_a_shard_that_leads_into_the_mount_itself_breaks_its_tag_alone(source, tmp_path, mounted, ranks, kind):
    point = tmp_path / "mount0"
    root = point if ranks else point / f"world-size-{RANKS}"
    shutil.copytree(source / TAG, source / "linked")
    name = next(name for name in shards(source / "linked") if name.endswith(f"{kind}.pt"))
    (source / "linked" / name).unlink()
    (source / "linked" / name).symlink_to(root / "linked" / name)
    mount = mounted(source, *([f"--world-size={ranks}"] if ranks else []), mount_point=point)
    mount.expect_error("leads into '.*', which is a mount of ckptfs itself")
    assert errno_within_limits(mount, "os.listdir(path)", root / "linked") == 0
    errno_within_limits(mount, "os.stat(path)", root / "linked" / name)
    assert errno_within_limits(mount, "open(path, 'rb')", root / "linked" / name) != 0
    assert len(shards(root / TAG)) == RANKS + 1


@pytest.mark.parametrize("name", ["latest", "notes.txt"])
@pytest.mark.parametrize("make_link", [make_absolute, make_chain])
def test_a_file_that_leads_into_the_mount_itself_leads_nowhere(source, tmp_path, mounted, make_link, name):
    point = tmp_path / "mount0"
    (source / name).unlink(missing_ok=True)
    make_link(source / name, point / name)
    mount = mounted(source, f"--world-size={RANKS}", mount_point=point)
    for action in ("os.stat(path)", "open(path, 'rb')"):
        assert errno_within_limits(mount, action, mount.path / name) == errno.ENOENT
    assert "is a mount of ckptfs itself" in mount.log_text()
    assert len(shards(mount.path / TAG)) == RANKS + 1
