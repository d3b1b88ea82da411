"""What is read in process (libckptfs.so, `ckptfs ls`, `ckptfs cat`) is what a mount shows: names, attributes, bytes, errors."""
import datetime
import errno
import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import time

import pytest
from c_interface import Attributes, Tree
from mount_fixtures import binary

TAG = "global_step2"
LIBRARY = pathlib.Path(binary()).parent / "libckptfs.so"


@pytest.fixture
def varied(source, tmp_path):
    """Links out of SOURCE and into tags, a file with two names, a tag that is not whole, and one in a trainer's directory."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "far").write_text("away")
    (source / "out").symlink_to(elsewhere)
    (source / "nested/shard").symlink_to(f"../{TAG}/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt")
    (source / "newest").symlink_to(TAG)
    os.link(source / "secret", source / "nested/same")
    shutil.copytree(source / TAG, source / "broken")
    os.truncate(next((source / "broken").glob("*zero_pp_rank_1_*")), 1000)
    shutil.copytree(source / TAG, source / "epoch=1.ckpt/checkpoint")
    return source


def attributes_in(mount, path):
    found = os.lstat(mount / path)
    return Attributes(found.st_ino, found.st_mode, found.st_nlink, found.st_uid, found.st_gid, found.st_size,
                      found.st_blocks, found.st_mtime_ns, found.st_ctime_ns)


def outcome(read):
    """What a call returns, or the errno of what it raises."""
    try:
        return read()
    except OSError as failure:
        return failure.errno


def paths_in(directory):
    """As Tree.walk() has them."""
    for entry in sorted(os.scandir(directory), key=lambda found: os.fsencode(found.name)):
        yield entry.path
        if entry.is_dir(follow_symlinks=False):
            yield from paths_in(entry.path)


@pytest.mark.parametrize("options", [("--world-size=3",), ("--world-size=4",), ("--view=weights",), ("--view=universal",),
                                     ("--view=lightning",), ("--view=states",), ()], ids=lambda words: "".join(words) or "all")
def test_a_tree_is_the_mount(varied, mounted, options):
    mount = mounted(varied, *options)
    mount.may_log_errors("cannot be shown as")
    with Tree(LIBRARY, varied, *options) as tree:
        found = list(tree.walk())
        assert found == [os.path.relpath(path, mount.path) for path in paths_in(mount.path)]
        assert len(found) > 20
        opened = 0
        for path in ["", *found]:
            expected = attributes_in(mount.path, path)
            assert tree.attributes(path) == expected, path
            if stat.S_ISLNK(expected.mode):
                assert tree.read_link(path) == os.readlink(mount.path / path)
            elif stat.S_ISREG(expected.mode):
                content = outcome(lambda: (mount.path / path).read_bytes())
                assert outcome(lambda: tree.read(path)) == content, path
                opened += isinstance(content, bytes)
        assert opened > 5


def listed(*words):
    done = subprocess.run([binary(), "ls", *words], capture_output=True, text=True, check=True)
    assert "error" not in done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("options", [("--world-size=3",), ("--view=universal",), ()], ids=lambda words: "".join(words) or "all")
def test_ls_lists_the_mount(varied, mounted, options):
    mount = mounted(varied, *options)
    root = mount.path
    # First: the catalogue learns of views from the tags that somebody looks into.
    assert listed(varied, *options) == sorted(os.listdir(root), key=os.fsencode)
    expected = [os.path.relpath(path, root) for path in paths_in(root)]
    assert listed(varied, "-R", *options) == expected
    lines = listed(varied, "-lR", *options)
    assert len(lines) == len(expected)
    for line, path in zip(lines, expected):
        found = os.lstat(root / path)
        text = f"{path} -> {os.readlink(root / path)}" if stat.S_ISLNK(found.st_mode) else path
        when = datetime.datetime.fromtimestamp(int(found.st_mtime), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert re.fullmatch(f"{re.escape(stat.filemode(found.st_mode))} +{found.st_size} {when} {re.escape(text)}", line)
    first = next(path for path in expected if (root / path).is_dir() and not (root / path).is_symlink())
    assert listed(varied, first, *options) == sorted(os.listdir(root / first), key=os.fsencode)


def test_cat_prints_the_bytes_of_the_mount(varied, mounted):
    mount = mounted(varied, "--world-size=3")
    for path in (f"{TAG}/bf16_zero_pp_rank_2_mp_rank_00_optim_states.pt", "rng_state_0.pth", "newest/notes.txt", "empty",
                 "nested/deep er/f,i\\le"):
        done = subprocess.run([binary(), "cat", varied, path, "--world-size=3"], capture_output=True, check=True)
        assert done.stdout == (mount.path / path).read_bytes()


def test_cat_says_what_it_does_not_print(varied):
    def refused(path, *options):
        done = subprocess.run([binary(), "cat", varied, path, *options], capture_output=True, text=True, check=False)
        assert done.stdout == "" and done.stderr.count("\n") == 1
        return done.returncode, done.stderr

    code, said = refused(TAG, "--world-size=3")
    assert code == 2 and f"/{TAG}' cannot be opened: it is a directory" in said
    code, said = refused("nowhere", "--world-size=3")
    assert code == 2 and "/nowhere' cannot be opened: No such file or directory" in said
    code, said = refused("../secret", "--world-size=3")
    assert code == 2 and "without '..'" in said
    code, said = refused("dangling", "--world-size=3")
    assert code == 2


def test_of_a_broken_tag_the_reason_is_said(varied):
    name = "mp_rank_00_model_states.pt"
    assert f"broken/{name}" in listed(varied, "-R", "--world-size=3")
    done = subprocess.run([binary(), "cat", varied, f"broken/{name}", "--world-size=3"], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 4 and done.stdout == ""
    assert "broken cannot be shown as world-size-3" in done.stderr and "zero_pp_rank_1_" in done.stderr
    with Tree(LIBRARY, varied, "--world-size=3") as tree, pytest.raises(OSError) as failure:
        tree.read(f"broken/{name}")
    assert failure.value.errno == errno.EIO and "zero_pp_rank_1_" in failure.value.strerror


def test_a_reader_that_has_enough_ends_cat_without_a_word(varied):
    with open(varied / "large", "wb") as large:
        large.truncate(64 << 20)
    process = subprocess.Popen([binary(), "cat", varied, "large", "--world-size=3"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    assert process.stdout.read(10) == bytes(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == -signal.SIGPIPE


def test_a_new_generation_is_seen(varied):
    path = f"{TAG}/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"
    with Tree(LIBRARY, varied, "--world-size=3") as tree:
        before = tree.attributes(path)
        time.sleep(0.02)  # the clock of the file system's times ticks that slowly
        for shard in (varied / TAG).glob("*.pt"):
            shard.write_bytes(shard.read_bytes())
        assert len(tree.read(path)) == before.size
        assert tree.attributes(path).inode != before.inode
        shutil.rmtree(varied / TAG)
        with pytest.raises(OSError) as failure:
            tree.read(path)
        assert failure.value.errno in (errno.ENOENT, errno.ESTALE, errno.EIO)


def test_nothing_is_written_to_the_streams_of_the_process(varied, capfd):
    """But what it returns: a program's own output is its own."""
    (varied / "into_itself").symlink_to("/proc/self/fd")
    with Tree(LIBRARY, varied, "--world-size=3") as tree:
        for path in tree.walk():
            outcome(lambda path=path: tree.read(path))
    assert capfd.readouterr() == ("", "")
