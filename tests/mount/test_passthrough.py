"""What is not a shard comes through the kernel as it is in the source."""
import os
import socket
import stat
import subprocess

import pytest

TAG = "global_step2"


def tree(root):
    """Every path below `root` outside the tag, relative."""
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = os.path.relpath(os.path.join(directory, name), root)
            if TAG not in path or path.endswith("notes.txt"):
                yield path


def test_names_and_contents_are_the_sources(source, mounted):
    mount = mounted(source, "--world-size=3")
    expected = sorted(tree(source))
    assert len(expected) > 8
    assert sorted(tree(mount.path)) == expected
    for path in expected:
        ours, theirs = mount.path / path, source / path
        if ours.is_symlink():
            assert os.readlink(ours) == os.readlink(theirs)
        elif ours.is_file():
            assert ours.read_bytes() == theirs.read_bytes()


def test_attributes_are_the_sources_less_the_write_bits(source, mounted):
    mount = mounted(source, "--world-size=3")
    for path in [*tree(source), ".", TAG]:
        ours, theirs = os.lstat(mount.path / path), os.lstat(source / path)
        assert stat.S_IFMT(ours.st_mode) == stat.S_IFMT(theirs.st_mode), path
        if stat.S_ISLNK(ours.st_mode):
            assert ours.st_mode == theirs.st_mode
        else:
            assert stat.S_IMODE(ours.st_mode) == stat.S_IMODE(theirs.st_mode) & ~0o222, path
        for field in ("st_size", "st_uid", "st_gid", "st_mtime_ns", "st_ctime_ns", "st_blocks"):
            assert getattr(ours, field) == getattr(theirs, field), (path, field)
        assert ours.st_nlink == (2 if stat.S_ISDIR(ours.st_mode) else 1), path


def test_shards_have_owner_times_and_mode_of_the_source(source, mounted):
    shards = list((source / TAG).glob("*_states.pt"))
    for shard in shards:
        shard.chmod(0o640)
    mount = mounted(source, "--world-size=3")
    newest = max(shard.stat().st_mtime_ns for shard in shards)
    ours = list((mount.path / TAG).glob("*_states.pt"))
    assert len(ours) == 4
    for shard in ours:
        found = shard.stat()
        assert stat.S_IMODE(found.st_mode) == 0o440
        assert found.st_nlink == 1
        assert found.st_mtime_ns <= newest
        assert found.st_blocks == -(-found.st_size // 512)
    assert max(shard.stat().st_mtime_ns for shard in ours) == newest


def test_inodes_are_unique_and_survive_a_remount(source, mounted):
    def inodes(mount):
        paths = [mount.path] + sorted(mount.path.rglob("*"))
        return {str(path.relative_to(mount.path)): path.lstat().st_ino for path in paths}

    first = mounted(source, "--world-size=3")
    before = inodes(first)
    assert len(set(before.values())) == len(before)
    second = mounted(source, "--world-size=3")
    assert inodes(second) == before


def test_copying_and_archiving(source, mounted, tmp_path):
    mount = mounted(source, "--world-size=3")
    subprocess.run(["cp", "-r", mount.path, tmp_path / "copy"], check=True)
    subprocess.run(["diff", "-r", "--no-dereference", mount.path, tmp_path / "copy"], check=True)
    subprocess.run(["tar", "-C", mount.path, "-cf", tmp_path / "all.tar", "."], check=True)
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-C", tmp_path / "unpacked", "-xf", tmp_path / "all.tar"], check=True)
    subprocess.run(["diff", "-r", "--no-dereference", mount.path, tmp_path / "unpacked"], check=True)


def test_find_and_du(source, mounted):
    mount = mounted(source, "--world-size=3")
    found = subprocess.run(["find", mount.path, "-type", "f"], check=True, capture_output=True, text=True).stdout
    files = [path for path in mount.path.rglob("*") if path.is_file() and not path.is_symlink()
             and not any(parent.is_symlink() for parent in path.relative_to(mount.path).parents)]
    assert len(found.splitlines()) == len(files)
    size = subprocess.run(["du", "-sb", "--apparent-size", mount.path], check=True, capture_output=True, text=True).stdout
    directories = [mount.path] + [path for path in mount.path.rglob("*") if path.is_dir() and not path.is_symlink()]
    links = [path for path in mount.path.rglob("*") if path.is_symlink()]
    total = sum(path.lstat().st_size for path in files)
    # Since coreutils 9.2 `du --apparent-size` leaves directories and links out.
    assert int(size.split()[0]) in (total, total + sum(path.lstat().st_size for path in directories + links))


def test_statfs_is_the_sources(source, mounted):
    mount = mounted(source, "--world-size=3")
    ours, theirs = os.statvfs(mount.path), os.statvfs(source)
    assert (ours.f_blocks, ours.f_files, ours.f_namemax) == (theirs.f_blocks, theirs.f_files, theirs.f_namemax)
    assert ours.f_flag & os.ST_RDONLY


def test_a_fifo_is_not_the_sources(source, mounted):
    os.mkfifo(source / "fifo")
    mount = mounted(source, "--world-size=3")
    assert "fifo" in os.listdir(mount.path)
    writer = os.open(source / "fifo", os.O_RDWR)  # which does not wait, and would be heard by a reader of the source's
    reader = os.open(mount.path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.write(writer, b"for readers of the source")
        assert os.read(reader, 100) == b""
    finally:
        os.close(writer)
        os.close(reader)


def test_a_socket_is_shown_but_not_opened(source, mounted):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(source / "s"))
        mount = mounted(source, "--world-size=3")
        assert stat.S_ISSOCK((mount.path / "s").stat().st_mode)
        with pytest.raises(OSError, match="No such device or address"):
            os.open(mount.path / "s", os.O_RDONLY)


def test_a_mount_without_a_world_size_shows_all_of_them(source, mounted):
    mount = mounted(source)
    fixed = mounted(source, "--world-size=3")
    names = os.listdir(mount.path / "world-size-3" / TAG)
    assert names and sorted(names) == sorted(os.listdir(fixed.path / TAG))
    for path in (mount.path / "world-size-3" / TAG).iterdir():
        assert path.read_bytes() == (fixed.path / TAG / path.name).read_bytes()
    assert len(list((mount.path / "world-size-8" / TAG).glob("*optim_states.pt"))) == 8
    views = {name for name in os.listdir(mount.path) if (mount.path / name / TAG).is_dir()}
    assert "world-size-4" in views and "world-size-8" not in views
    for name in ("world-size-0", "world-size-04", "world-size-1048577", TAG):
        assert not (mount.path / name).exists()


def test_extended_attributes_are_absent(source, mounted):
    mount = mounted(source, "--world-size=3")
    assert os.listxattr(mount.path / "latest") == []
    try:
        os.getxattr(mount.path / "latest", "user.anything")
        raise AssertionError("an attribute that is not there was found")
    except OSError as failure:
        assert os.strerror(failure.errno) == "No data available"
