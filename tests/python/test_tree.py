"""A tree is what a mount shows: every entry of it, by each of its methods."""
import os
import pickle
import signal
import stat
import warnings

import ckptfs
import numpy
import pytest
from conftest import TAG

VIEWS = [{"world_size": 3}, {"dp_size": 2}, {"view": "weights"}, {"view": "weights-fp32-bin"}, {"view": "states"},
         {"view": "universal"}, {}]


def words(options):
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]


def everything_below(root, scandir, lstat, stat_of, readlink, read):
    """Path -> what there is to say of it. Links are not followed on the way, but each is looked through once."""
    found = {}
    waiting = [""]
    while waiting:
        directory = waiting.pop()
        for entry in scandir(directory):
            path = os.path.join(directory, entry.name)
            own = lstat(path)
            described = [signature(own)]
            if stat.S_ISLNK(own.st_mode):
                described.append(readlink(path))
                try:
                    described.append(signature(stat_of(path)))
                except OSError as failure:
                    described.append(failure.errno)
            elif stat.S_ISDIR(own.st_mode):
                waiting.append(path)
            else:
                try:
                    described.append(read(path))
                except OSError as failure:
                    described.append(failure.errno)
            assert (entry.is_symlink(), entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)) == (
                stat.S_ISLNK(own.st_mode), stat.S_ISDIR(own.st_mode), stat.S_ISREG(own.st_mode))
            found[path] = described
    return found


def signature(found):
    return (found.st_mode, found.st_ino, found.st_nlink, found.st_uid, found.st_gid, found.st_size, found.st_blocks,
            found.st_mtime_ns, found.st_ctime_ns)


@pytest.mark.parametrize("options", VIEWS, ids=lambda options: "-".join(map(str, options.values())) or "catalogue")
def test_every_entry_is_the_mounts(source, mounted, options):
    mount = mounted(source, *words(options))
    with ckptfs.open(source, **options) as tree:
        shown = everything_below("", tree.scandir, tree.lstat, tree.stat, tree.readlink, tree.read_bytes)
        expected = everything_below(
            "", lambda path: list(os.scandir(mount.path / path)), lambda path: os.lstat(mount.path / path),
            lambda path: os.stat(mount.path / path), lambda path: os.readlink(mount.path / path),
            lambda path: (mount.path / path).read_bytes())
        mount.may_log_errors(".*")  # what cannot be shown cannot be opened in either
        assert len(expected) > 10
        assert shown.keys() == expected.keys()
        assert shown == expected
        for top, directories, others in tree.walk():
            names = [(top, name) for name in directories + others]
            assert all(bool(stat.S_ISDIR(os.stat(mount.path / where / name).st_mode)) == (name in directories)
                       for where, name in names if os.path.exists(mount.path / where / name))
            assert sorted(directories + others) == sorted(os.listdir(mount.path / top))


def test_questions_about_paths(tree):
    assert tree.exists("latest") and tree.isfile("latest") and not tree.isdir("latest")
    assert tree.isdir("") and tree.isdir("/") and tree.isdir(TAG) and tree.isdir(f"/{TAG}/")
    assert not tree.exists("absent") and not tree.exists("latest/below") and not tree.isfile("absent")
    assert tree.islink("last.ckpt") and tree.isdir("last.ckpt") and tree.readlink("last.ckpt") == "nested"
    assert tree.islink("dangling") and not tree.exists("dangling")
    assert not tree.islink("latest") and not tree.islink("absent")
    assert sorted(tree.listdir("last.ckpt")) == sorted(tree.listdir("nested"))
    assert tree.read_bytes("last.ckpt/deep er/f,i\\le") == b"content" * 20000
    assert tree.read_bytes(os.fsdecode(b"nested/latin-\xe4")) == b"a name that is no UTF-8"


def test_entries_follow_links_when_asked(tree):
    entries = {entry.name: entry for entry in tree.scandir()}
    assert entries["last.ckpt"].is_dir() and not entries["last.ckpt"].is_dir(follow_symlinks=False)
    assert entries["shard"].is_file() and entries["shard"].is_symlink()
    assert not entries["dangling"].is_file() and not entries["dangling"].is_dir()
    assert entries["shard"].stat().st_size == tree.stat(f"{TAG}/mp_rank_00_model_states.pt").st_size
    assert stat.S_ISLNK(entries["shard"].stat(follow_symlinks=False).st_mode)
    assert os.fspath(entries[TAG]) == TAG and TAG in repr(entries[TAG])
    below = tree.scandir("nested")[0]
    assert tree.isdir(below) or tree.isfile(below)


def test_what_is_not_there(tree):
    with pytest.raises(FileNotFoundError) as raised:
        tree.stat("absent")
    assert isinstance(raised.value, ckptfs.Error) and raised.value.code == "not_found"
    with pytest.raises(FileNotFoundError):
        tree.open("absent")
    with pytest.raises(FileNotFoundError):
        tree.listdir("absent")
    with pytest.raises(NotADirectoryError):
        tree.listdir("latest")
    with pytest.raises(NotADirectoryError):
        tree.stat("latest/below")
    with pytest.raises(IsADirectoryError):
        tree.open(TAG)
    with pytest.raises(OSError):
        tree.readlink("latest")
    with pytest.raises(ValueError):
        tree.stat("a\0b")


def test_a_handler_of_a_signal_loses_no_name_and_is_heard(source):
    """What it raises in the middle of a listing reaches the caller; a listing that returns has all names."""
    class Alarm(Exception):
        pass

    raised = []

    def handle(*_):
        raised.append(1)
        raise Alarm

    before = signal.signal(signal.SIGALRM, handle)
    try:
        with ckptfs.open(source) as tree:
            path = f"world-size-48/{TAG}"
            expected = tree.listdir(path)
            caught = 0
            for number in range(2000):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.00002 + number % 50 * 0.00001)
                    found = tree.listdir(path)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    assert found == expected
                except Alarm:
                    caught += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert caught == len(raised) > 0 and len(expected) > 48


def test_stat_has_what_os_stat_has(tree, source):
    found, own = tree.stat("secret"), os.stat(source / "secret")
    assert isinstance(found, os.stat_result)
    for name in ("st_nlink", "st_uid", "st_gid", "st_size", "st_mtime", "st_mtime_ns", "st_ctime_ns"):
        assert getattr(found, name) == getattr(own, name)
    assert found.st_mode == own.st_mode & ~0o222
    assert found[stat.ST_MTIME] == int(own.st_mtime)


def test_saying_what_is_wrong_with_a_source(tmp_path, checkpoint):
    with pytest.raises(FileNotFoundError):
        ckptfs.open(tmp_path / "absent", world_size=2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ckptfs.Error) as raised:
        ckptfs.open(tmp_path / "empty", world_size=2)
    assert raised.value.code == ckptfs.ErrorCode.NOT_A_CHECKPOINT
    with pytest.warns(ckptfs.CheckpointWarning, match="is not a DeepSpeed checkpoint"):
        ckptfs.open(tmp_path / "empty", world_size=2, allow_empty=True).close()
    with pytest.raises(ValueError) as raised:
        ckptfs.open(checkpoint(), world_size=0)
    assert raised.value.code == "invalid_argument"
    with pytest.raises(ValueError):
        ckptfs.open(checkpoint(name="other"), view="nonsense")
    with pytest.raises(ValueError, match="source is empty"):
        ckptfs.open("", world_size=2)
    for given in ({"source": f"{tmp_path}/empty\0more"}, {"source": checkpoint(name="third"), "tag": "a\0b"}):
        with pytest.raises(ValueError, match="null byte"):
            ckptfs.open(**given, view="weights")
    with pytest.raises(ValueError, match="ds_config has a value that JSON does not have"):
        ckptfs.open(tmp_path, world_size=2, ds_config={"zero_optimization": {"sub_group_size": float("inf")}})
    with pytest.raises(TypeError, match="unexpected keyword argument 'worldsize'"):
        ckptfs.open(tmp_path, worldsize=3)
    with pytest.raises(TypeError, match="dtype cannot be"):
        ckptfs.open(tmp_path, dtype=object())


def test_a_broken_tag_is_said_so(checkpoint):
    root = checkpoint()
    shard = next((root / TAG).glob("*optim_states.pt"))
    shard.unlink()
    with pytest.raises(ckptfs.Error) as raised:
        ckptfs.open(root, world_size=3)
    assert raised.value.code == ckptfs.ErrorCode.INCOMPLETE and "the optimizer file of rank" in str(raised.value)


def test_warnings_are_pythons(checkpoint):
    root = checkpoint()
    os.rename(root / TAG, root / "whole")
    (root / "latest").write_text("broken")
    (root / "broken").mkdir()
    (root / "broken" / "mp_rank_00_model_states.pt").write_bytes(b"no zip")
    with pytest.warns(ckptfs.CheckpointWarning, match="broken") as caught:
        tree = ckptfs.open(root, world_size=3)
    assert caught[0].filename == __file__
    with tree, warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody is told twice
        pickle.loads(pickle.dumps(tree)).close()
        assert tree.exists("whole") and tree.tensor("embedding.weight", tag="whole").shape
        with pytest.raises(ckptfs.Error) as raised:
            tree.open("broken/mp_rank_00_model_states.pt")
        assert raised.value.errno == 5


def test_a_closed_tree(tree):
    file = tree.open("latest")
    tree.close()
    tree.close()
    assert tree.closed and "(closed)" in repr(tree)
    assert file.read() == TAG.encode()
    for use in (lambda: tree.stat(""), lambda: tree.listdir(), lambda: tree.open("latest"), tree.__enter__,
                lambda: tree.tensor("x")):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_options_are_the_programs(checkpoint, tmp_path):
    root = checkpoint()
    with ckptfs.open(root, view="weights", strip_prefix=["blocks."], rename={"^pos": "com"}, max_shard_size=300,
                     dtype="bf16", trainable_only=True) as tree:
        assert len([name for name in tree.listdir() if name.endswith(".safetensors")]) > 1
        names = tree.tensors()
        assert "comition" in names and "0.up.weight" in names and "position" not in names
    config = tmp_path / "config.json"
    config.write_text("{}")
    for given in (config, str(config), {}, {"zero_optimization": {"stage": 2}}):
        with ckptfs.open(root, world_size=2, ds_config=given) as tree:
            assert tree.isdir(TAG)
    assert not list(tmp_path.glob("ckptfs-*.json"))
    with pytest.raises(ckptfs.Error):
        ckptfs.open(root, world_size=2, ds_config=tmp_path / "absent.json")
    assert ckptfs.open(root, world_size=2).source == str(root)
    with ckptfs.open(root, world_size=numpy.int64(3)) as tree:
        assert tree.options.words == ("--world-size=3",)


def test_a_save_is_seen_by_the_next_open(checkpoint):
    import shutil
    root, other = checkpoint(), checkpoint("stage2_bf16_ws4_at_ws3", "other")
    with ckptfs.open(root, world_size=2) as tree:
        before = tree.listdir()
        shutil.copytree(other / TAG, root / "another")
        import time
        end = time.monotonic() + 60
        while "another" not in tree.listdir() and time.monotonic() < end:
            time.sleep(0.05)
        assert sorted(tree.listdir()) == sorted([*before, "another"])
        assert len([name for name in tree.listdir("another") if "optim" in name]) == 2
