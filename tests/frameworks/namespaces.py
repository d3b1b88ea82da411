"""Mount namespaces in which the ranks of a twin run live: one saves through ckptfs in place, the other loads from a
read-only view of the same directory, at the same absolute path, and saves directly."""
import contextlib
import ctypes
import functools
import os
import subprocess
import tempfile
import time

from mounting import BINARY, SUSPICIOUS, mounted

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000
MNT_DETACH = 2
SHOWN_AFTER_S = 3  # a read-only view shows what was saved two seconds ago


def call(function, *arguments):
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function.__name__}{arguments}: {os.strerror(number)}")


@contextlib.contextmanager
def run_in_place(directory, world_size):
    """Yields what a rank does to be where COMMAND of `ckptfs run --in-place` is. Nothing may be left when COMMAND ends."""
    with _log() as log, _held([BINARY, "run", "--in-place", directory, f"--world-size={world_size}", f"--log-file={log}", "--",
                               "sh", "-c", "echo $$; exec cat"]) as enter:
        yield enter


@contextlib.contextmanager
def mounted_over_itself(directory, world_size):
    """The same by hand: `ckptfs DIR DIR --writable` in a mount namespace of its own."""
    os.makedirs(directory, exist_ok=True)
    script = '"$0" "$1" "$1" --writable "--world-size=$2" "--log-file=$3"; echo $$; cat; umount "$1"'
    with _log() as log, _held(["unshare", "--mount", "--propagation=slave", "sh", "-ec", script, BINARY, directory, world_size,
                               log]) as enter:
        yield enter


@contextlib.contextmanager
def _log():
    """Yields a path for the log of a daemon, which may hold no error."""
    with tempfile.NamedTemporaryFile(prefix="ckptfs-log-") as log:
        yield log.name
        text = log.read().decode()
    assert " mounted " in text and not SUSPICIOUS.search(text), text


@contextlib.contextmanager
def _held(command):
    """`command` prints the id of a process in a namespace, and holds it until its standard input ends."""
    with tempfile.TemporaryDirectory(prefix="ckptfs-run-") as runtime:
        holder = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, env=os.environ | {"XDG_RUNTIME_DIR": runtime})
        try:
            number = holder.stdout.readline().strip()
            if number:
                yield functools.partial(_enter, int(number))
        finally:
            _, errors = holder.communicate(timeout=60)
        assert holder.returncode == 0 and not SUSPICIOUS.search(errors), errors
        assert number, f"{command} has not started its command"
        assert os.listdir(runtime) == []


def _enter(process):
    """The mount namespace of `process` becomes this one's."""
    working_directory = os.getcwd()
    namespace = os.open(f"/proc/{process}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    call(libc.setns, namespace, CLONE_NEWNS)
    os.close(namespace)
    os.chdir(working_directory)


@contextlib.contextmanager
def directly(directory, world_size):
    """Yields what a rank of the twin does first: wherever DeepSpeed loads, and only there, `directory` shows the view."""
    os.makedirs(directory, exist_ok=True)
    with mounted(directory, world_size, "--allow-empty") as view:
        yield functools.partial(_load_from_view, str(directory), view.path)


def _load_from_view(directory, view):
    from deepspeed import DeepSpeedEngine

    call(libc.unshare, CLONE_NEWNS)
    call(libc.mount, None, b"/", None, MS_REC | MS_SLAVE, None)
    load, save = DeepSpeedEngine.load_checkpoint, DeepSpeedEngine.save_checkpoint
    saved = []

    @functools.wraps(load)
    def load_checkpoint(*arguments, **options):
        if saved:
            time.sleep(SHOWN_AFTER_S)
        call(libc.mount, view.encode(), directory.encode(), None, MS_BIND, None)
        try:
            return load(*arguments, **options)
        finally:
            call(libc.umount2, directory.encode(), MNT_DETACH)

    @functools.wraps(save)
    def save_checkpoint(*arguments, **options):
        saved.append(True)
        return save(*arguments, **options)

    DeepSpeedEngine.load_checkpoint, DeepSpeedEngine.save_checkpoint = load_checkpoint, save_checkpoint
