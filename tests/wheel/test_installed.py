"""The wheel in an environment of its own: the command works, with the libfuse that is there."""
import contextlib
import filecmp
import os
import pathlib
import re
import subprocess

import pytest

import mounting
from conftest import RELEASE, ROOT, SCRIPT, VENV

SAMPLE = ROOT / "mount_scripts/sample"
SHARDS = ROOT / "tests/data/zero/stage1_fp16_ws2"
PROJECT_VERSION = re.search(r"project\(ckptfs VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]


def run(*command, check=True, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def mapped_libfuse(pid):
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    [path] = {line.split(maxsplit=5)[5] for line in maps.splitlines() if "libfuse3" in line}
    return path


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What this machine's own build shows."""
    copy = tmp_path_factory.mktemp("release") / "copy"
    run(RELEASE, "run", SHARDS, "--world-size=3", "--", "sh", "-c", f'cp -r "$CKPTFS_VIEW" {copy}')
    return copy


def assert_same(view, expected):
    names = sorted(str(path.relative_to(expected)) for path in expected.rglob("*") if path.is_file())
    assert len([name for name in names if "optim_states" in name]) == 3
    assert names == sorted(str(path.relative_to(view)) for path in pathlib.Path(view).rglob("*") if path.is_file())
    _, different, missing = filecmp.cmpfiles(view, expected, names, shallow=False)
    assert not different and not missing


def test_nothing_else_is_installed():
    listed = run(VENV / "bin/python", "-m", "pip", "list", "--format=freeze").stdout.split()
    assert {line.split("==")[0] for line in listed} <= {"ckptfs", "pip", "setuptools"}
    assert f"ckptfs=={PROJECT_VERSION}" in listed
    assert "No broken requirements" in run(VENV / "bin/python", "-m", "pip", "check").stdout


def test_nothing_installed_can_be_written_by_others():
    [site] = VENV.glob("lib/python3.*/site-packages")
    files = [path for directory in site.glob("ckptfs*") for path in directory.rglob("*")]
    assert files and not [path for path in files if path.stat().st_mode & 0o022]


def test_the_tree_is_not_imported():
    where = run(VENV / "bin/python", "-c", "import ckptfs; print(ckptfs.__file__)", cwd="/").stdout
    assert where.startswith(str(VENV))


def test_commands_that_mount_nothing():
    assert run(SCRIPT, "--version").stdout.split()[1] == PROJECT_VERSION
    assert "stage" in run(SCRIPT, "inspect", SAMPLE, "--world-size=3").stdout
    run(SCRIPT, "verify", SAMPLE)


def test_mount_with_the_systems_libfuse(expected):
    with mounting.mounted(SHARDS, 3) as view:
        assert_same(view, expected)
        assert mapped_libfuse(view.pid).startswith("/usr/lib/")


def test_run_mounts_for_a_command(tmp_path, expected):
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    copy = tmp_path / "copy"
    run(SCRIPT, "run", SHARDS, "--world-size=3", "--", "sh", "-c", f'cp -r "$CKPTFS_VIEW" {copy}', env=environment)
    assert_same(copy, expected)


def test_export_writes_the_same(tmp_path):
    run(SCRIPT, "export", SHARDS, tmp_path / "copy", "--view=weights")
    assert list((tmp_path / "copy").rglob("*.safetensors"))


def test_verify_of_a_view_says_that_torch_is_missing():
    done = run(SCRIPT, "verify", SAMPLE, "--world-size=3", check=False)
    assert done.returncode != 0 and "pip install torch" in done.stderr


@contextlib.contextmanager
def without_the_systems_libfuse(monkeypatch, tmp_path):
    """One that cannot be loaded, found first."""
    (tmp_path / "libfuse3.so.3").write_bytes(b"")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    yield


@contextlib.contextmanager
def with_an_old_libfuse(monkeypatch, tmp_path):
    """Of Ubuntu 22.04, by its number."""
    (tmp_path / "old.c").write_text("int fuse_version(void) { return 310; }\n")
    run("cc", "-shared", "-fPIC", "-Wl,-soname,libfuse3.so.3", "-o", tmp_path / "libfuse3.so.3", tmp_path / "old.c")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    yield


@pytest.mark.parametrize("place", [without_the_systems_libfuse, with_an_old_libfuse])
def test_mount_with_the_bundled_libfuse(monkeypatch, tmp_path, expected, place):
    with place(monkeypatch, tmp_path), mounting.mounted(SHARDS, 3) as view:
        assert_same(view, expected)
        assert mapped_libfuse(view.pid).endswith("/ckptfs/_native/libfuse3.so.3")


def test_other_pythons():
    """The same file: at least import, mount and read."""
    found = 0
    for python in sorted(pathlib.Path.home().glob(".pyenv/versions/3.1[0-9].*/bin/python")):
        [site] = VENV.glob("lib/python3.*/site-packages")
        program = ("import sys; sys.path.insert(0, sys.argv[1]); import ckptfs, os\n"
                   "with ckptfs.open(sys.argv[2], world_size=3) as tree: names = sorted(tree.listdir())\n"
                   "with ckptfs.mount(sys.argv[2], world_size=3) as path: assert sorted(os.listdir(path)) == names, names\n")
        run(python, "-c", program, site, SHARDS, cwd="/")
        found += 1
    print(found, "other versions of Python")
