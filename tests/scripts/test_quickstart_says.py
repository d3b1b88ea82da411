"""What mount_scripts/quickstart.sh says before and while it works, on a machine where packages, cmake and torch are what the test wants.

apt-get, dpkg-query and cmake are stand-ins on PATH; ckptfs is the one that was built for the other tests.
"""
import os
import pathlib
import shutil
import subprocess

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("CKPTFS_BINARY", REPOSITORY / "build" / "ckptfs"))

DPKG_QUERY = """#!/bin/sh
for package; do :; done
grep -qx "$package" "$MISSING" && exit 1
echo installed
"""
APT_GET = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in *--assume-no*) [ -z "$SPACE" ] || echo "After this operation, $SPACE of additional disk space will be used."; exit 1 ;; esac
case "$*" in *" install "*) : > "$MISSING" ;; esac
"""
CMAKE = """#!/bin/sh
case "$1" in
    --version) echo "cmake version 3.30.0" ;;
    -S) echo "-- configured" ;;
    --build) for step in 1 2 3 4 5 6 7 8; do echo "[$step/8] Building $step"; done; exit "${FAILS:-0}" ;;
esac
"""


@pytest.fixture
def machine(tmp_path):
    """A copy of the scripts beside a build that has nothing in it yet, and the stand-ins."""
    repository, tools = tmp_path / "repository", tmp_path / "tools"
    repository.mkdir()
    tools.mkdir()
    shutil.copytree(REPOSITORY / "mount_scripts", repository / "mount_scripts")
    for name, text in (("dpkg-query", DPKG_QUERY), ("apt-get", APT_GET), ("cmake", CMAKE), ("python3", "#!/bin/sh\nexit 1\n"),
                       *((name, "#!/bin/sh\nexit 0\n") for name in ("g++", "ninja", "ccache"))):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (tmp_path / "missing").touch()
    (tmp_path / "views").mkdir()
    return Machine(tmp_path)


class Machine:
    def __init__(self, path):
        self.path, self.build = path, path / "repository" / "build"

    def lacks(self, *packages):
        (self.path / "missing").write_text("".join(f"{name}\n" for name in packages))

    def has_built(self, *modules):
        self.build.mkdir()
        (self.build / "ckptfs").symlink_to(BINARY)
        for name in modules:
            (self.build / name).touch()

    def calls(self):
        log = self.path / "calls"
        return log.read_text().splitlines() if log.exists() else []

    def run(self, *arguments, **variables):
        environment = {**os.environ, "PATH": f"{self.path / 'tools'}:{os.environ['PATH']}", "TMPDIR": str(self.path / "views"),
                       "MISSING": str(self.path / "missing"), "CALLS": str(self.path / "calls"), "SPACE": "", **variables}
        done = subprocess.run([self.path / "repository" / "mount_scripts" / "quickstart.sh", *map(str, arguments)], env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        subprocess.run([self.path / "repository" / "mount_scripts" / "quickstart.sh", "--unmount"], env=environment, check=True)
        return done


def test_what_will_be_done_is_said_before_anything_is(machine):
    machine.has_built("ckptfs_torch.so")
    machine.lacks("libfuse3-dev", "fuse3")
    done = machine.run(SPACE="123 MB")
    assert done.returncode == 0, done.stdout + done.stderr
    plan, rest = done.stdout.split("== Dependencies")
    assert "installs  fuse3 libfuse3-dev\n" in plan
    assert ": 123 MB; a minute or two\n" in plan
    assert "builds    what has changed since the last build" in plan
    assert f"mounts    {machine.path}/repository/mount_scripts/sample at world size 3, read-only" in plan
    assert "Installing: fuse3 libfuse3-dev" in rest
    assert [line for line in machine.calls() if "libtorch" in line] == []


def test_how_long_a_first_build_takes_is_said(machine):
    done = machine.run(FAILS="1")
    assert "installs  nothing: all that the build needs is there" in done.stdout
    cores = len(os.sched_getaffinity(0))
    assert f"about {(310 // cores + 59) // 60} min on this machine's {cores} processors" in done.stdout


def test_space_that_apt_does_not_know_is_estimated(machine):
    machine.has_built()
    machine.lacks("fuse3", "libtorch-dev")
    assert "about 500 MB where no compiler is there;" in machine.run().stdout
    machine.lacks("fuse3", "libtorch-dev")
    assert "about 500 MB where no compiler is there, and 1.3 GB for libtorch;" in machine.run("--with-verify").stdout


def test_libtorch_is_installed_when_it_is_asked_for_and_not_there(machine):
    machine.has_built()
    machine.lacks("libtorch-dev")
    assert machine.run().returncode == 0
    assert machine.calls() == []
    done = machine.run("--with-verify")
    assert "installs  libtorch-dev\n" in done.stdout
    assert [line for line in machine.calls() if " install libtorch-dev" in line and "--assume-no" not in line] != []
    (machine.path / "calls").unlink()
    machine.lacks("libtorch-dev")
    (machine.path / "tools" / "python3").write_text("#!/bin/sh\nexit 0\n")  # it has torch
    assert machine.run("--with-verify").returncode == 0
    assert machine.calls() == []


def test_what_verify_lacks_without_torch_is_said(machine):
    machine.has_built()
    lacks = "Without torch, which is not there: `ckptfs verify` checks checkpoints, but cannot have their views read a second time"
    done = machine.run()
    assert lacks in done.stdout and "quickstart.sh --with-verify" in done.stdout
    (machine.build / "ckptfs_torch.so").touch()
    assert lacks not in machine.run().stdout


def test_the_build_shows_how_far_it_is(machine):
    machine.has_built()
    done = machine.run()
    built = done.stdout.split("== Build in ")[1].split("== ")[0]
    assert [line.strip() for line in built.splitlines() if line.strip().endswith("%")] == ["12 %", "25 %", "50 %", "62 %", "87 %", "100 %"]
    assert "Building" not in done.stdout


def test_a_build_that_fails_shows_what_it_printed(machine):
    done = machine.run(FAILS="1")
    assert done.returncode == 1
    assert "[8/8] Building 8" in done.stderr
    assert "the build failed; its output is above" in done.stderr
    assert not list((machine.path / "views").iterdir())
