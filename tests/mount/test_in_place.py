"""A mount over SOURCE itself: the same path, and nothing that waits for itself."""
import os
import pathlib
import subprocess
import time

import pytest
from mount_fixtures import binary, wait_until

TAG = "global_step2"
RECUT = ("--world-size=3", "--writable")
HOUSEKEEPING_S = 2


def run(*command, timeout=30):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=timeout)


@pytest.fixture
def over(source, mounted):
    return mounted(source, *RECUT, mount_point=source)


def test_the_view_stands_where_the_source_is(source, over):
    shards = sorted((source / TAG).glob("*_optim_states.pt"))
    assert len(shards) == 3
    assert all(shard.read_bytes()[:2] == b"PK" for shard in shards)
    assert (source / "rng_state_0.pth").read_bytes() == bytes(range(256)) * 1000
    (source / "new").mkdir()
    (source / "new" / "f").write_bytes(b"x" * 100000)
    os.rename(source / "new", source / "renamed")
    (source / "empty").unlink()
    over.close()
    assert len(list((source / TAG).glob("*_optim_states.pt"))) == 4
    assert (source / "renamed" / "f").read_bytes() == b"x" * 100000
    assert not (source / "empty").exists()


def test_it_is_served_while_it_is_tidied_up(source, over):
    """The daemon looks after SOURCE every two seconds: by the descriptor that it holds, not by the covered path."""
    end = time.monotonic() + 2 * HOUSEKEEPING_S + 1
    while time.monotonic() < end:
        result = run("ls", "-lR", source)
        assert result.returncode == 0, result.stderr
        assert run("cat", source / TAG / "notes.txt").stdout == "kept as it is\n"
        time.sleep(0.2)


def test_links_lead_where_they_lead_on_that_path(source, mounted):
    """Followed by whoever asks, through the mount; never by the daemon, which would ask itself."""
    (source / "absolute").symlink_to(source / "nested")
    (source / "through the parent").symlink_to(f"../{source.name}/nested")
    (source / "outside").symlink_to("/etc/hostname")
    (source / "itself").symlink_to(source)
    mounted(source, *RECUT, mount_point=source)
    for name in ("absolute", "through the parent", "outside", "itself"):
        assert run("stat", source / name).returncode == 0
    assert os.readlink(source / "absolute") == str(source / "nested")
    assert os.readlink(source / "through the parent") == f"../{source.name}/nested"
    for name in ("absolute", "through the parent", "itself/nested"):
        result = run("cat", source / name / "deep er" / "f,i\\le")
        assert result.stdout == "content" * 20000, result.stderr
    written = run("sh", "-c", 'echo changed > "$1/absolute/deep er/new"', "sh", source)
    assert written.returncode == 0, written.stderr
    assert (source / "nested" / "deep er" / "new").read_text() == "changed\n"


def test_who_was_there_before_stays_below(source, mounted):
    before = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    mount = mounted(source, *RECUT, mount_point=source)
    (source / "made above").write_text("x")
    assert os.stat("made above", dir_fd=before).st_dev != (source / "made above").stat().st_dev
    below = os.open(TAG, os.O_RDONLY, dir_fd=before)
    assert len([name for name in os.listdir(below) if "optim" in name]) == 4
    os.close(below)
    file = os.open("made below", os.O_CREAT | os.O_WRONLY, dir_fd=before)
    os.write(file, b"y")
    os.close(file)
    os.close(before)
    assert (source / "made below").read_text() == "y"
    mount.close()


def test_a_second_mount_is_refused(source, over, tmp_path):
    assert over.path == source
    for command in ((source, source, *RECUT), (source, source, "--world-size=2")):
        result = run(binary(), *command, "-f")
        assert result.returncode not in (0, 70)
        assert "ckptfs umount" in result.stderr, result.stderr
    assert (source / TAG / "notes.txt").read_text() == "kept as it is\n"


def test_without_writable_the_source_is_no_mount_point(source):
    result = run(binary(), source, source, "--world-size=3", "-f")
    assert result.returncode == 2
    assert "choose a directory outside it" in result.stderr


def test_by_another_name_it_is_the_same_directory(source, mounted, tmp_path):
    other = tmp_path / "other name"
    other.symlink_to(source)
    mount = mounted(other, *RECUT, mount_point=source)
    (other / "f").write_text("through the link")
    assert (source / "f").read_text() == "through the link"
    mount.close()
    assert (source / "f").read_text() == "through the link"


def test_it_ends_while_somebody_is_in_it(source, over):
    """The program in it keeps its directory; new ones find SOURCE."""
    program = subprocess.Popen(["sleep", "60"], cwd=source / "nested")
    try:
        over.process.terminate()
        over.wait()
        wait_until(lambda: len(list((source / TAG).glob("*_optim_states.pt"))) == 4, "SOURCE is there again")
        assert (source / "last.ckpt").is_dir()
    finally:
        program.kill()
        program.wait()


def test_a_killed_daemon_leaves_the_source_as_it_is(source, over):
    (source / "f").write_text("written")
    with open(source / "synced", "wb") as file:
        file.write(b"synced")
        file.flush()
        os.fsync(file.fileno())
    over.kill()
    with pytest.raises(OSError):
        os.listdir(source)
    over.close()
    assert (source / "f").read_text() == "written"
    assert pathlib.Path(source / "synced").read_bytes() == b"synced"
