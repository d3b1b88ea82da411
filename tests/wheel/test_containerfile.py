"""mount_scripts/Containerfile, as far as it can be run without a registry of images: its steps, on this machine."""
import json
import pathlib
import re
import subprocess
import sys

import pytest

from conftest import ROOT

TEXT = (ROOT / "mount_scripts" / "Containerfile").read_text(encoding="utf-8")


def instructions():
    """(name, the rest) of each."""
    lines = "\n".join(line for line in TEXT.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in lines.splitlines() if line.strip()]


def those(name):
    return [rest for found, rest in instructions() if found == name]


def test_it_is_made_of_what_it_should():
    assert [name for name, _ in instructions()] == ["ARG", "FROM", "RUN", "COPY", "RUN", "ENTRYPOINT", "CMD"]
    assert json.loads(those("ENTRYPOINT")[0]) == ["ckptfs"]
    assert json.loads(those("CMD")[0]) == ["--help"]
    assert "docker build -t ckptfs -f mount_scripts/Containerfile dist" in TEXT


def test_it_copies_the_wheel_and_nothing_else(wheel_path):
    [copied] = those("COPY")
    pattern, _ = copied.split()
    assert list(wheel_path.parent.glob(pattern)) == [wheel_path]


def test_the_packages_that_it_installs_are_there():
    [command] = re.findall(r"apt-get install (.*?) &&", those("RUN")[0])
    done = subprocess.run(["apt-get", "--simulate", "install", *command.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "fuse3" in command


def test_the_wheel_is_installed_by_its_command(wheel_path, tmp_path):
    """In an environment of Python's with nothing in it, which the base image is one of."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "image"], check=True)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / wheel_path.name).symlink_to(wheel_path)
    command = those("RUN")[1].replace("/tmp/wheels", str(tmp_path / "wheels"))
    done = subprocess.run(["sh", "-e", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path,
                          env={"PATH": f"{tmp_path}/image/bin:/usr/bin:/bin", "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("ckptfs ")
    [entry] = json.loads(those("ENTRYPOINT")[0])
    [argument] = json.loads(those("CMD")[0])
    shown = subprocess.run([tmp_path / "image" / "bin" / entry, argument], capture_output=True, text=True, check=True)
    assert "Usage: ckptfs SOURCE MOUNTPOINT" in shown.stdout


@pytest.mark.parametrize("words", [["offer", "--help"], ["take", "--help"]], ids=" ".join)
def test_the_mounter_is_in_it(words):
    python = pathlib.Path(ROOT / "build/wheel/clean/bin/python3")
    done = subprocess.run([python, "-m", "ckptfs.mounter", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "SOCKET" in done.stdout
