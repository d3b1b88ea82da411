"""`ckptfs run` in tests of the mount: started by root or by a user, and what it may leave behind."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import tempfile

import pytest

from mount_fixtures import DATA, binary, require_fuse, wait_until
from users import require_root

__all__ = ["ORDINARY", "WAIT_FOR_A_FILE", "Runs", "Somebody", "processes_naming", "run_as", "shell", "started"]

WAIT_FOR_A_FILE = "while [ ! -e {} ]; do sleep 0.02; done"
VARIABLES_OF_JOBS = ("WORLD_SIZE", "SLURM_NTASKS", "SLURM_NNODES", "CUDA_VISIBLE_DEVICES")
ORDINARY = 1234  # a user who is known in the namespace of a Guest alone


def shell(text):
    return ("sh", "-c", text)


def started(path):
    wait_until(path.exists, f"{path} is there")


def processes_naming(text):
    """Process ids of any ckptfs whose command line has `text`."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[0].endswith(b"/ckptfs") and any(text.encode() in word for word in words):
                    found.append(int(entry.name))
    return found


class Somebody:
    """Who starts commands: `prefix` goes before them, `program` is ckptfs for that user."""

    uid = os.geteuid()
    gid = os.getegid()
    prefix = ()
    environment = {}
    mounts_file = "/proc/self/mounts"

    def __init__(self):
        self.program = binary()

    def mounts(self, directory):
        """Mount points of ckptfs at or below `directory`, as this user sees them."""
        found = []
        for line in pathlib.Path(self.mounts_file).read_text().splitlines():
            _, point, kind = line.split()[:3]
            point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point)
            if kind == "fuse.ckptfs" and (point + "/").startswith(str(directory) + "/"):
                found.append(point)
        return found


class Guest(Somebody):
    """Somebody in a mount namespace of this test, whose mounts are shared, as systemd makes them. There, /dev/fuse is open
    to users, as udev makes it, and fusermount3 finds a name for ORDINARY."""

    # root's own may lead to places that only root may search
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin"}

    def __init__(self, place, uid):
        super().__init__()
        self.uid = self.gid = uid
        device = place / "fuse"
        os.mknod(device, 0o666 | stat.S_IFCHR, os.stat("/dev/fuse").st_rdev)
        device.chmod(0o666)
        self.program = str(place / "bin" / "ckptfs")
        (place / "bin").mkdir()
        pathlib.Path(self.program).touch(0o755)
        users = place / "passwd"
        users.write_text(pathlib.Path("/etc/passwd").read_text() + f"trainer:x:{ORDINARY}:{ORDINARY}::/:/bin/sh\n")
        users.chmod(0o644)
        binds = [(device, "/dev/fuse"), (users, "/etc/passwd"), (binary(), self.program)]
        script = "".join(f"mount --bind '{what}' '{where}' && " for what, where in binds) + \
            "mount --make-rshared / && echo ready && exec sleep infinity"
        self.holder = subprocess.Popen(["unshare", "--mount", "--propagation", "slave", "sh", "-c", script],
                                       stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "ready\n"
        self.mounts_file = f"/proc/{self.holder.pid}/mounts"
        self.prefix = ("nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "--", "setpriv", f"--reuid={uid}",
                       f"--regid={uid}", "--clear-groups", "--")

    def end(self):
        self.holder.kill()
        self.holder.communicate()


@contextlib.contextmanager
def user_of_the_tests(who, place):
    """`who`: "root", "root among shared mounts" or "user". `place`: a directory that everybody may search."""
    if who == "root":
        yield Somebody()
        return
    user = Guest(place, ORDINARY if who == "user" else 0)
    try:
        yield user
    finally:
        user.end()


class Runs:
    """Starts `ckptfs run` with a runtime directory of its own."""

    def __init__(self, source, runtime, user=None):
        require_fuse()
        self.source = source
        self.runtime = runtime
        self.user = user or Somebody()
        self.environment = {name: value for name, value in os.environ.items() if name not in VARIABLES_OF_JOBS}
        self.environment["XDG_RUNTIME_DIR"] = str(runtime)
        self.environment.update(self.user.environment)
        self.started = []

    def start_program(self, *words, environment=(), cwd=None, **more):
        """Any command, as the user."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        words = [*self.user.prefix, *(["env", "--chdir", str(cwd)] if cwd else []), *map(str, words)]
        self.started.append(subprocess.Popen(words, env={**self.environment, **dict(environment)}, text=True, **pipes))
        return self.started[-1]

    def start(self, *command, options=(), source=None, **more):
        return self.start_program(self.user.program, "run", source or self.source, *options, "--", *command, **more)

    def finish(self, process, input=None):
        out, error = process.communicate(input, timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)

    def program(self, *words, **more):
        return self.finish(self.start_program(*words, **more))

    def __call__(self, *command, input=None, **more):
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        return self.finish(self.start(*command, stdin=stdin, **more), input)

    def daemons(self):
        """The processes that serve a mount, as far as they are this object's."""
        return [process for process in processes_naming(str(self.source))
                if process not in [started.pid for started in self.started]]

    def is_clean(self):
        return not list(self.runtime.iterdir()) and not self.views() and not processes_naming(str(self.source))

    def views(self):
        return self.user.mounts(self.runtime)

    def end(self):
        for process in self.started:
            if process.poll() is None:
                command = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                for left in [process.pid, *map(int, command)]:  # which would go on, and keep the pipes open
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(left, signal.SIGKILL)
            process.communicate()


def run_as(who):
    """For a fixture: Runs over a checkpoint of 4 ranks that is the user's own, in a directory of the user's, `home`."""
    require_root()
    with tempfile.TemporaryDirectory(prefix="ckptfs-in-place-") as directory:
        place = pathlib.Path(directory)
        place.chmod(0o755)
        with user_of_the_tests(who, place) as user:
            source, runtime = place / "home" / "run", place / "runtime"
            shutil.copytree(DATA / "stage2_bf16_ws4", source)
            runtime.mkdir(mode=0o700)
            for path in [source.parent, *source.parent.rglob("*"), runtime]:
                os.chown(path, user.uid, user.gid)
            runs = Runs(source, runtime, user)
            runs.home = source.parent
            yield runs
            runs.end()
            wait_until(lambda: not user.mounts(place) and not processes_naming(str(place)), "nothing is left")
            assert not list(runtime.iterdir())
