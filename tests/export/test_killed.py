"""Exports that are killed, stopped or run out of room, and those that go on with what they left."""
import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import time

import pytest

from exporting import POLLING_S, Export, Summary, expect_equal, export, refused, tree
from mount_fixtures import wait_until
from users import require_root

KILLS = 10


def digest(root):
    return {path: (status.st_mode, status.st_size, status.st_mtime_ns, (pathlib.Path(root) / path).read_bytes()
                   if pathlib.Path(root, path).is_file() else None) for path, status in tree(root).items()}


def written_nbytes(root):
    """What is allocated below `root`, of which files may be renamed meanwhile."""
    nbytes = 0
    for directory, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                nbytes += os.lstat(os.path.join(directory, name)).st_blocks * 512
    return nbytes


def test_a_killed_export_is_finished_by_a_second_run(large, mounted, target):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    generator = random.Random(seed)
    export(large, target, "--world-size=6")
    expect_equal(target, mounted(large, "--world-size=6").path)
    truth = digest(target)
    whole = written_nbytes(target)
    killed = 0
    for number in range(KILLS):
        again = target.with_name(f"killed{number}")
        running = Export(large, again, "--world-size=6")
        running.wait_until_begun()
        share = generator.random()
        while written_nbytes(running.partial) < share * whole and running.process.poll() is None:
            time.sleep(POLLING_S)
        running.process.kill()
        running.end()
        if running.process.returncode == -signal.SIGKILL and not again.exists():
            killed += 1
        if not again.exists():
            export(large, again, "--world-size=6")
        assert digest(again) == truth, (seed, number)
        assert not running.partial.exists() or again.exists()
        shutil.rmtree(again)
        shutil.rmtree(running.partial, ignore_errors=True)
    assert killed >= KILLS // 2


def test_what_is_finished_is_not_read_again(large, target):
    running = Export(large, target, "--world-size=6", "--jobs=1")
    journal = running.partial / ".ckptfs-export.journal"
    with running.stopped_as_it_begins():
        pass
    # What is written waits for a second before it is brought to disk: that second passes while the process stands still.
    wait_until(lambda: any(path.stat().st_blocks for path in running.partial.rglob("*.pt")) or target.exists(), "a file is there")
    running.process.send_signal(signal.SIGINT)
    code, out, error = running.end()
    assert code == -signal.SIGINT, error
    assert not target.exists()
    assert f"interrupted: what is done is in '{running.partial}'" in error
    finished = len(journal.read_text().splitlines())
    second = export(large, target, "--world-size=6")
    assert (second.earlier > 0) == (finished > 0)
    assert second.read + second.copied + second.holes + second.earlier == second.total


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(large, target, ending):
    running = Export(large, target, "--world-size=6")
    with running.stopped_as_it_begins():
        running.process.send_signal(ending)
    code, out, error = running.end()
    assert code == -ending
    assert "give the same command again to go on, or remove that directory" in error
    assert out == "" and not target.exists() and running.partial.exists()
    export(large, target, "--world-size=6")


@pytest.fixture
def small_disk(tmp_path):
    """small_disk(megabytes) -> the root of an ext4 of that size."""
    require_root()
    if not os.path.exists("/dev/loop-control"):
        assert os.environ.get("CI") != "true", "there are no loop devices"
        pytest.skip("this kernel has no loop devices")
    made = []

    def make(megabytes):
        image, root = tmp_path / "image", tmp_path / "disk"
        root.mkdir()
        with open(image, "wb") as file:
            file.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, root], check=True)
        made.append(root)
        return root

    yield make
    for root in made:
        subprocess.run(["umount", root], check=True)


def fill(path):
    """Takes what is left of a disk but a little."""
    free = os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(free - (40 << 20), 1 << 20))


def test_a_disk_that_fills_up_leaves_nothing_and_can_be_gone_on_with(large, mounted, small_disk):
    disk = small_disk(700)
    target = disk / "exported"
    running = Export(large, target, "--world-size=6")
    with running.stopped_as_it_begins():
        fill(disk / "filler")
    code, _, error = running.end()
    assert code == 7, error
    assert "No space left on device; make room, and give the same command again" in error
    assert not target.exists()
    assert refused(large, target, "--world-size=6", code=7).startswith("ckptfs: the export takes ")
    (disk / "filler").unlink()
    export(large, target, "--world-size=6")
    expect_equal(target, mounted(large, "--world-size=6").path)


def test_a_disk_that_is_too_small_is_known_before_the_first_byte(large, small_disk):
    disk = small_disk(64)
    error = refused(large, disk / "exported", "--world-size=6", code=7)
    assert re.search(r"the export takes [\d.]+ MB more, and where '.*' lies [\d.]+ MB are free: make room", error)
    assert sorted(os.listdir(disk)) == ["lost+found"]


def test_two_at_once(large, target):
    running = Export(large, target, "--world-size=6")
    with running.stopped_as_it_begins():
        error = refused(large, target, "--world-size=6", code=7)
        assert f"another process is exporting to '{target}'" in error
    code, out, error = running.end()
    assert code == 0, error
    Summary(out)


def test_many_at_once_leave_one_and_nothing_else(checkpoint, target):
    source = checkpoint("stage2_bf16_ws4")
    for _ in range(25):
        running = [Export(source, target, "--world-size=2") for _ in range(4)]
        ended = [one.end() for one in running]
        assert any(code == 0 for code, _, _ in ended), ended
        for code, _, error in ended:
            assert code == 0 or "another" in error or "is there already" in error, ended
        assert not running[0].partial.exists(), ended
        shutil.rmtree(target)


def test_a_source_that_changes_meanwhile(large, target, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(large, source)
    running = Export(source, target, "--world-size=6")
    shard = next(source.rglob("*rank_3*optim_states.pt"))
    with running.stopped_as_it_begins():
        with open(shard, "r+b") as file:
            file.seek(100_000)
            file.write(b"other bytes")
    code, _, error = running.end()
    assert code == 4, error
    assert not target.exists()
    error = refused(source, target, "--world-size=6")
    assert re.search(r"unfinished export '.*exported.partial' was begun before '.*' changed: remove that directory", error)
    shutil.rmtree(running.partial)
    export(source, target, "--world-size=6")


def test_a_config_from_a_pipe_is_the_one_that_was_read(large, target, tmp_path):
    text, other = '{"zero_optimization": {"stage": 2}}', '{"zero_optimization": {"stage": 2 }}'

    @contextlib.contextmanager
    def piped(config):
        end, its_end = os.pipe()
        os.write(its_end, config.encode())
        os.close(its_end)
        yield f"--ds-config=/dev/fd/{end}", end
        os.close(end)

    with piped(text) as (option, end):
        running = Export(large, target, "--world-size=6", option, pass_fds=[end])
        with running.stopped_as_it_begins():
            running.process.kill()
        running.end()
    with piped(other) as (option, end):
        error = refused(large, target, "--world-size=6", option, pass_fds=[end])
    assert re.search(r"was begun with --ds-config=FILE of 35 bytes, .*, and this is with --ds-config=FILE of 36 bytes", error), error
    (tmp_path / "config.json").write_text(text)
    export(large, target, "--world-size=6", f"--ds-config={tmp_path}/config.json")


def test_another_request_does_not_go_on_with_it(large, target):
    running = Export(large, target, "--world-size=6")
    with running.stopped_as_it_begins():
        running.process.kill()
    running.end()
    assert "was begun with --view=world-size-6, and this is with --view=world-size-5" in refused(large, target, "--world-size=5")
    assert "this is with --tag=global_step2" in refused(large, target, "--world-size=6", "--tag=global_step2")
    export(large, target, "--view=world-size-6", "--jobs=1", "--memory=1MiB")  # which says the same, and how, not what
