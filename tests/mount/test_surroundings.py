"""What surrounds the mount: leases on files of SOURCE, a working directory that is gone, few descriptors."""
import concurrent.futures
import contextlib
import fcntl
import multiprocessing
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import tempfile

import pytest

from mount_fixtures import binary, mounts_below, require_fuse, unmount, wait_until
from runs import Guest
from users import require_root

TAG = "global_step2"
OPTIMIZER = "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
ENOUGH_DESCRIPTORS = 64


def hold_lease(path, ready, broken):
    """Until somebody else wants the file, as a file server does for its clients."""
    descriptor = os.open(path, os.O_RDWR)

    def give_back(*_):
        broken.value += 1
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    signal.signal(signal.SIGIO, give_back)
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    ready.set()
    while True:
        signal.pause()


@contextlib.contextmanager
def leased(path):
    """Yields the number of times that the lease was asked back."""
    context = multiprocessing.get_context("fork")
    ready, broken = context.Event(), context.Value("i", 0)
    holder = context.Process(target=hold_lease, args=(path, ready, broken))
    holder.start()
    try:
        wait_until(lambda: ready.is_set() or not holder.is_alive(), "the lease is taken")
        assert holder.is_alive(), "no lease is to be had here"
        yield broken
    finally:
        holder.kill()
        holder.join()


@pytest.mark.parametrize("name", ["rng_state_0.pth", f"{TAG}/{OPTIMIZER}"])
def test_a_leased_file_is_waited_for(source, mounted, tmp_path, name):
    shutil.copytree(source, tmp_path / "twin", symlinks=True)
    expected = mounted(tmp_path / "twin", "--world-size=3").path.joinpath(name).read_bytes()
    with leased(source / name) as broken:
        mount = mounted(source, "--world-size=3")
        assert (mount.path / name).read_bytes() == expected
        assert broken.value >= 1


def in_a_directory_that_is_gone(tmp_path, *arguments):
    gone = tmp_path / "gone"
    gone.mkdir()
    return subprocess.run(["sh", "-c", 'cd "$1" && rmdir "$1" && shift && exec "$@"', "sh", gone, binary(),
                           *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


def test_a_working_directory_that_is_gone_is_not_needed(source, tmp_path):
    for arguments in (["--version"], ["inspect", source], ["run", source, "--world-size=3", "--", "ls", f"{{}}/{TAG}"]):
        done = in_a_directory_that_is_gone(tmp_path, *arguments)
        assert done.returncode == 0, done
    (tmp_path / "view").mkdir()
    done = in_a_directory_that_is_gone(tmp_path, source, tmp_path / "view", "--world-size=3")
    assert done.returncode == 0, done
    assert (tmp_path / "view" / TAG / OPTIMIZER).exists()
    unmount(tmp_path / "view")


def test_a_path_relative_to_a_directory_that_is_gone_is_named(source, tmp_path):
    for arguments in (["inspect", "ckpt"], ["ckpt", tmp_path], [source, "view"], ["run", "ckpt", "--", "true"]):
        done = in_a_directory_that_is_gone(tmp_path, *arguments)
        assert done.returncode == 2, done
        assert "is relative to a working directory that is gone" in done.stderr
    assert not mounts_below(tmp_path)


def with_descriptors(count, *arguments):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))

    return subprocess.run([binary(), *map(str, arguments)], preexec_fn=limit, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("count", [9, 10, 11, 12, ENOUGH_DESCRIPTORS - 1])
def test_too_few_descriptors_are_refused(source, tmp_path, count):
    (tmp_path / "view").mkdir()
    for arguments in ([source, tmp_path / "view", "--world-size=3"], ["inspect", source]):
        done = with_descriptors(count, *arguments)
        assert done.returncode == 7, done
        assert f"may have {count} files open, and needs {ENOUGH_DESCRIPTORS}: raise the limit" in done.stderr
    assert not mounts_below(tmp_path)


def test_enough_descriptors_are_enough_for_many_readers(source, tmp_path):
    view = tmp_path / "view"
    view.mkdir()
    done = with_descriptors(ENOUGH_DESCRIPTORS, source, view)
    assert done.returncode == 0, done
    try:
        paths = [path for size in range(1, 9) for path in sorted((view / f"world-size-{size}" / TAG).glob("*.pt"))]
        expected = [path.read_bytes() for path in paths]
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            for found in [pool.submit(lambda: [path.read_bytes() for path in paths]) for _ in range(24)]:
                assert found.result() == expected
    finally:
        unmount(view)


def test_a_user_without_a_name_is_told_so(source):
    require_root()
    require_fuse()
    with tempfile.TemporaryDirectory(prefix="ckptfs-nameless-") as directory:
        place = pathlib.Path(directory)
        place.chmod(0o755)
        shutil.copytree(source, place / "run", symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", place / "run"], check=True)
        (place / "view").mkdir()
        nameless = Guest(place, 29999)
        try:
            os.chown(place / "view", nameless.uid, nameless.gid)
            done = subprocess.run([*nameless.prefix, nameless.program, place / "run", place / "view", "--world-size=3"],
                                  env=nameless.environment, capture_output=True, text=True, timeout=60, check=False)
        finally:
            nameless.end()
    assert done.returncode == 6, done
    assert "user 29999 is in no user database, where fusermount3 looks for a name" in done.stderr


def test_a_root_that_is_no_mount_point_is_told_of(source, tmp_path):
    """As in a chroot, where mounts cannot be kept to one command."""
    require_root()
    require_fuse()
    root = tmp_path / "root"
    for name in ("usr", "bin", "lib", "lib64", "etc", "dev", "proc", "run", "tmp"):
        (root / name).mkdir(parents=True)
    (root / "ckptfs").touch()
    script = ('cd "$1" && mount --bind "$2" ckptfs && for name in usr bin lib lib64 etc dev proc tmp; do mount --rbind /$name $name || exit 9; done; '
              'exec chroot . /ckptfs run "$3" --in-place --world-size=3 -- true')
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", root, binary(), source], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 6, done
    assert "'/' is no mount point here, as in a chroot" in done.stderr
