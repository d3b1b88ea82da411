"""mount_scripts/quickstart.sh from end to end, and what it says when it cannot go on."""
import os
import pathlib
import re
import subprocess

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SAMPLE = REPOSITORY / "mount_scripts/sample"


def quickstart(tmp_path, *arguments):
    return subprocess.run([REPOSITORY / "mount_scripts/quickstart.sh", *map(str, arguments)],
                          env={**os.environ, "TMPDIR": str(tmp_path)}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)


def mounts_below(path):
    mounts = pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    return [line.split()[1] for line in mounts if line.split()[1].startswith(f"{path}/")]


@pytest.fixture
def directory(tmp_path):
    """Where the script puts its mounts; whatever a failed test leaves there is unmounted."""
    yield tmp_path
    for mount in mounts_below(tmp_path):
        subprocess.run(["fusermount3", "-u", mount], check=True)


def test_shows_the_sample_and_says_how_to_unmount(directory):
    done = quickstart(directory)
    assert done.returncode == 0, done.stdout + done.stderr
    [view] = mounts_below(directory)
    assert [str(path) for path in directory.iterdir()] == [view], "nothing but the mount is left behind"

    tag = (SAMPLE / "latest").read_text(encoding="ascii").strip()
    shards = sorted(name for name in os.listdir(pathlib.Path(view) / tag) if "optim_states" in name)
    assert len(shards) == 3
    assert len([name for name in os.listdir(SAMPLE / tag) if "optim_states" in name]) == 4
    for name in shards:
        assert name in done.stdout, "the tree is printed"

    [command] = re.findall(r"^Unmount it with +(.*)$", done.stdout, re.MULTILINE)
    subprocess.run(command, shell=True, check=True)
    assert not mounts_below(directory)
    assert not list(directory.iterdir())


def test_can_be_run_again_with_another_world_size(directory):
    for world_size in (2, 5):
        done = quickstart(directory, SAMPLE, world_size)
        assert done.returncode == 0, done.stdout + done.stderr
    shown = {len(list(pathlib.Path(view).glob("*/*optim_states.pt"))) for view in mounts_below(directory)}
    assert shown == {2, 5}


def test_unmounts_all_that_it_left(directory):
    for world_size in (2, 5):
        done = quickstart(directory, SAMPLE, world_size)
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(mounts_below(directory)) == 2
    for _ in range(2):  # the second finds nothing to do
        done = quickstart(directory, "--unmount")
        assert done.returncode == 0, done.stdout + done.stderr
        assert not mounts_below(directory)
        assert not list(directory.iterdir())


def test_says_what_it_could_not_unmount(directory):
    done = quickstart(directory)
    assert done.returncode == 0, done.stdout + done.stderr
    [view] = mounts_below(directory)
    with open(next(pathlib.Path(view).glob("*/*optim_states.pt")), "rb"):
        done = quickstart(directory, "--unmount")
        assert done.returncode != 0
        assert view in done.stderr
    assert quickstart(directory, "--unmount").returncode == 0


@pytest.mark.parametrize("arguments, message", [
    (("/nonexistent",), "'/nonexistent' is not a directory"),
    ((SAMPLE, "zero"), "'zero' is not a world size"),
    ((SAMPLE, "0"), "'0' is not a world size"),
    ((SAMPLE, "3", "4"), "usage:"),
    (("--unmount", "3"), "usage:"),
    (("--with-verify", SAMPLE, "3", "4"), "usage:"),
    (("--other",), "usage:"),
])
def test_refuses_a_wrong_call_in_one_line(directory, arguments, message):
    done = quickstart(directory, *arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(directory.iterdir())


def test_leaves_nothing_behind_when_there_is_no_checkpoint(directory, tmp_path_factory):
    done = quickstart(directory, tmp_path_factory.mktemp("empty"))
    assert done.returncode != 0
    assert "ckptfs:" in done.stderr
    assert not list(directory.iterdir())
