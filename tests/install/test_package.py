"""The installed tree: what is in it, that it works where it lies, and that a program can be built against it."""
import gzip
import os
import pathlib
import re
import subprocess

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("CKPTFS_BUILD", REPOSITORY / "build"))
SAMPLE = REPOSITORY / "tests/data/zero/stage1_fp16_ws2"
EXPECTED = REPOSITORY / "tests/data/zero/stage1_fp16_ws2_at_ws3/global_step2"


def run(*command, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    done = subprocess.run([str(part) for part in command], text=True, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def prefix(tmp_path_factory):
    where = tmp_path_factory.mktemp("install") / "prefix"
    run("cmake", "--install", BUILD, "--prefix", where)
    return where


def test_headers_are_the_public_ones_and_the_version(prefix):
    installed = {path.name for path in (prefix / "include/ckptfs").iterdir()}
    assert installed == {path.name for path in (REPOSITORY / "include/ckptfs").iterdir()} | {"version.h"}


def test_schemas_are_installed(prefix):
    installed = {path.name: path.read_bytes() for path in (prefix / "share/doc/ckptfs/schemas").iterdir()}
    assert installed == {path.name: path.read_bytes() for path in (REPOSITORY / "docs/schemas").iterdir()}


def test_program_and_module_work_where_they_are_installed(prefix):
    version = run(prefix / "bin/ckptfs", "--version")
    assert version.split()[1] == project_version()
    # verify opens every file through libtorch: the module is found and finds libtorch.
    run(prefix / "bin/ckptfs", "verify", SAMPLE, "--world-size=3")


def test_what_belongs_beside_the_program_is_there(prefix):
    """Pages and completion say what the installed program says; the helper of mount(8) is that program; the unit names it."""
    program = prefix / "bin/ckptfs"
    for page, path in (("ckptfs", "share/man/man1/ckptfs.1.gz"), ("mount.ckptfs", "share/man/man8/mount.ckptfs.8.gz")):
        text = gzip.decompress((prefix / path).read_bytes()).decode()
        printed = run(program, "help", f"--manual={page}")
        assert text.splitlines()[2:] == printed.splitlines()[2:] and text.splitlines()[1].startswith(".TH ")
    assert (prefix / "share/bash-completion/completions/ckptfs").read_text() == run(program, "help", "--completion=bash")
    assert (prefix / "share/zsh/vendor-completions/_ckptfs").read_text() == run(program, "help", "--completion=zsh")
    assert (prefix / "sbin/mount.ckptfs").is_symlink()
    assert run(prefix / "sbin/mount.ckptfs", "--help").startswith("Mounts a checkpoint for mount(8)")
    assert "/bin/ckptfs --foreground" in (prefix / "lib/systemd/system/ckptfs@.service").read_text()
    assert (prefix / "share/ckptfs/systemd/mnt-run.mount").exists()
    for script in ("prolog", "epilog"):
        assert os.access(prefix / "share/ckptfs/slurm" / script, os.X_OK)


def test_tree_can_be_moved(prefix, tmp_path):
    moved = tmp_path / "elsewhere"
    run("cp", "-a", prefix, moved)
    run(moved / "bin/ckptfs", "verify", SAMPLE, "--world-size=3")


def test_verify_says_what_is_wrong_without_the_module(prefix, tmp_path):
    lonely = tmp_path / "bin/ckptfs"
    lonely.parent.mkdir()
    run("cp", prefix / "bin/ckptfs", lonely)
    done = subprocess.run([lonely, "verify", SAMPLE, "--world-size=3"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "'ckptfs_torch.so' is not in" in done.stderr
    assert "libtorch-dev" in done.stderr and "-DTorch_ROOT=DIR" in done.stderr


def test_torch_is_not_needed_to_build(tmp_path):
    """Nothing but the module is left out, and CMake says so."""
    configure = ("cmake", "-G", "Ninja", "-S", REPOSITORY, "-B")
    without = run(*configure, tmp_path / "without", "-DCMAKE_DISABLE_FIND_PACKAGE_Torch=ON", stderr=subprocess.STDOUT)
    assert "the module ckptfs_torch is not built" in without
    with_torch = run(*configure, tmp_path / "with", stderr=subprocess.STDOUT)
    assert "is not built" not in with_torch
    left_out = targets(tmp_path / "with") - targets(tmp_path / "without")
    assert left_out == {"ckptfs_torch_module"}


def test_a_torch_that_is_named_must_be_there(tmp_path):
    done = subprocess.run(["cmake", "-G", "Ninja", "-S", REPOSITORY, "-B", tmp_path / "build", f"-DTorch_ROOT={tmp_path}"],
                          capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"Torch_ROOT is {tmp_path}" in " ".join(done.stderr.split())  # CMake breaks lines


def test_what_was_installed_can_be_removed(tmp_path):
    """And nothing else, wherever it lies."""
    prefix = tmp_path / "ckptfs"
    kept = {prefix / "include/ckptfs/mine.h", prefix / "bin/other"}
    for file in kept:
        file.parent.mkdir(parents=True)
        file.touch()
    run("cmake", "--install", BUILD, "--prefix", prefix)
    assert {prefix / "bin/ckptfs", prefix / "lib/ckptfs/ckptfs_torch.so"} <= set(prefix.rglob("*"))
    uninstall = ("cmake", "--build", BUILD, "--target", "uninstall")
    assert "Removing" in run(*uninstall)
    assert {path for path in prefix.rglob("*") if not path.is_dir()} == kept
    assert not [own for own in ("lib/ckptfs", "share/ckptfs", "share/doc/ckptfs") if (prefix / own).exists()]
    assert "Not there" in run(*uninstall), "twice does no harm"


def test_directories_that_were_made_go_and_those_of_others_stay(tmp_path):
    prefix = tmp_path / "prefix"
    others = {prefix / "share", prefix / "share/man", prefix / "share/man/man1", prefix / "sbin"}
    for directory in sorted(others):
        directory.mkdir(parents=True)
    install, uninstall = ("cmake", "--install", BUILD, "--prefix", prefix), ("cmake", "--build", BUILD, "--target", "uninstall")
    run(*install)
    run(*install)  # which finds all directories there
    (prefix / "bin/other").touch()
    run(*uninstall)
    assert set(prefix.rglob("*")) == others | {prefix / "bin", prefix / "bin/other"}
    fresh = tmp_path / "fresh"
    run("cmake", "--install", BUILD, "--prefix", fresh)
    assert (fresh / "share/man/man1/ckptfs.1.gz").exists()
    run(*uninstall)
    assert not fresh.exists() and prefix.exists()


def targets(build):
    lines = run("cmake", "--build", build, "--target", "help").splitlines()
    return {line.split(":")[0] for line in lines if line.startswith("ckptfs") and line.endswith(": phony")}


def test_a_program_builds_against_it(prefix, tmp_path):
    consumer = REPOSITORY / "tests/install/consumer"
    run("cmake", "-G", "Ninja", "-S", consumer, "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", tmp_path)
    lines = run(tmp_path / "consumer", SAMPLE, "global_step2", 3).splitlines()
    names = sorted(line.split()[0] for line in lines)
    assert names == sorted(path.name for path in EXPECTED.iterdir())


def test_the_shared_library_needs_no_fuse_and_shows_its_functions_alone(prefix):
    library = next(prefix.glob("**/libckptfs.so"))
    needed = {line.split("[")[1].rstrip("]") for line in run("readelf", "-d", library).splitlines() if "(NEEDED)" in line}
    program = {line.split("[")[1].rstrip("]") for line in run("readelf", "-d", prefix / "bin/ckptfs").splitlines()
               if "(NEEDED)" in line}
    assert any(name.startswith("libfuse3") for name in program), "the name that is looked for is right"
    assert not any("fuse" in name or "torch" in name or "c10" in name for name in needed)
    exported = {line.split()[-1] for line in run("nm", "-D", "--defined-only", library).splitlines()}
    header = (prefix / "include/ckptfs/ckptfs.h").read_text(encoding="utf-8")
    declared = set(re.findall(r"^[a-z][\w *]*[ *](ckptfs_\w+)\(", header, re.MULTILINE))
    assert exported == declared
    assert "ckptfs_command" in declared and len(declared) >= 14


def test_a_program_in_c99_reads_a_view(prefix, tmp_path):
    directory = next(prefix.glob("**/libckptfs.so")).parent
    run("cc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-I", prefix / "include", "-o", tmp_path / "reader",
        REPOSITORY / "tests/install/consumer/reader.c", "-L", directory, "-lckptfs", f"-Wl,-rpath,{directory}")
    lines = run(tmp_path / "reader", SAMPLE, "global_step2", "--world-size=3").splitlines()
    found = {line.split()[0]: line.split()[1:] for line in lines}
    assert set(found) == {path.name for path in EXPECTED.iterdir()}
    for path in EXPECTED.iterdir():
        assert found[path.name] == [str(path.stat().st_size), "virtual"]
    done = subprocess.run([tmp_path / "reader", SAMPLE, "nowhere", "--world-size=3"], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 1
    assert "nowhere' cannot be listed: No such file or directory" in done.stderr


def project_version():
    for line in (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("project(ckptfs VERSION "):
            return line.split()[2]
    raise AssertionError("CMakeLists.txt names no version")
