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
import stat
import subprocess
import tempfile

import pytest

from mount_fixtures import binary, mounts_below, require_fuse, unmount, wait_until
from runs import Guest, run_as, shell
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


@pytest.mark.parametrize("user", [0, 65534])  # nobody, whom fusermount3 finds by name
def test_a_root_that_is_no_mount_point_is_told_of(source, user):
    """As in a chroot, where mounts cannot be kept to one command, and users get no namespaces."""
    require_root()
    require_fuse()
    with tempfile.TemporaryDirectory(prefix="ckptfs-chroot-") as directory:
        place = pathlib.Path(directory)
        place.chmod(0o755)
        for name in ("usr", "bin", "lib", "lib64", "etc", "dev", "proc", "run", "tmp"):
            (place / "root" / name).mkdir(parents=True)
        (place / "root/ckptfs").touch()
        shutil.copytree(source, place / "source", symlinks=True)
        for path in [place / "source", *(place / "source").rglob("*")]:
            os.chown(path, user, user, follow_symlinks=False)
        os.mknod(place / "fuse", 0o666 | stat.S_IFCHR, os.stat("/dev/fuse").st_rdev)
        (place / "fuse").chmod(0o666)
        script = ('cd "$1/root" && mount --bind "$2" ckptfs && for name in usr bin lib lib64 etc dev proc tmp; do mount --rbind /$name $name || exit 9; done; '
                  'mount --bind "$1/fuse" dev/fuse || exit 9; '
                  'exec chroot --userspec="$3:$3" . /ckptfs run "$1/source" --in-place --world-size=3 -- true')
        done = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", place, binary(), str(user)], capture_output=True, text=True,
                              timeout=60, check=False, env={**os.environ, "XDG_RUNTIME_DIR": ""})
    assert done.returncode == 6, done
    assert "'/' is no mount point here, as in a chroot" in done.stderr
    assert done.stderr.endswith("use a container instead of chroot(1); or run ckptfs as root\n" if user else "or use a container\n"), done


@pytest.fixture
def run_of_a_user():
    yield from run_as("user")


CURE = "; let root make it the kernel's table of mounts: ln -sf /proc/self/mounts /etc/mtab"


def test_a_user_is_told_what_keeps_mounts_from_being_unmounted(run_of_a_user):
    """Without /etc/mtab, as in a bare container, fusermount3 mounts for users, but does not unmount."""
    run = run_of_a_user
    as_root = ("nsenter", f"--mount=/proc/{run.user.holder.pid}/ns/mnt", "--", "sh", "-c")
    etc, point = run.home.parent / "etc", run.home / "point"
    subprocess.run([*as_root, f"cp -a /etc {etc} && rm -f {etc}/mtab && mount --bind {etc} /etc"], check=True)
    result = run("sh", "-c", "exit 3", options=["--world-size=3"])
    [view] = run.views()
    why = f"'{view}' cannot be unmounted: fusermount3 failed: fusermount3: failed to open /etc/mtab: No such file or directory{CURE}"
    assert (result.returncode, result.stderr) == (3, f"ckptfs: warning: {why}\n"), result
    assert " stale " in run.program(run.user.program, "list").stdout
    result = run.program(run.user.program, "umount", view)
    assert (result.returncode, result.stderr) == (6, f"ckptfs: {why}\n")

    log = run.home / "log"
    script = f'mkdir {point} && "$0" {run.source} {point} --world-size=3 --log-file={log} && kill $(cut -d " " -f 1 {point}/.ckptfs/daemon)'
    assert run.program(*shell(script), run.user.program).returncode == 0
    wait_until(lambda: "is no longer served on" in log.read_text(), "the daemon's end")
    assert f"the mount is still there: {why.replace(view, str(point))}; clear it with: ckptfs umount '{point}'" in log.read_text()
    assert "unmounted" not in log.read_text().replace("cannot be unmounted", "")

    subprocess.run([*as_root, "ln -sf /proc/self/mounts /etc/mtab"], check=True)
    assert run.program(run.user.program, "umount", point).returncode == 0
    result = run("sh", "-c", "exit 3", options=["--world-size=3"])  # which clears what the one before has left
    assert (result.returncode, result.stderr) == (3, ""), result
    wait_until(run.is_clean, "nothing is left")
