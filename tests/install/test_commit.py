"""cmake/CkptfsCommit.cmake: the commit in `ckptfs --version`, in a project of one other file."""
import os
import pathlib
import subprocess

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PROJECT = f"""cmake_minimum_required(VERSION 3.25)
project(small LANGUAGES CXX)
set(CMAKE_CXX_STANDARD 20)
add_library(ckptfs_cli STATIC other.cpp)
set_target_properties(ckptfs_cli PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
target_include_directories(ckptfs_cli PUBLIC {REPOSITORY}/src)
include({REPOSITORY}/cmake/CkptfsCommit.cmake)
add_executable(says says.cpp)
target_link_libraries(says PRIVATE ckptfs_cli)
"""
# Neither the variables of a hook nor the settings of a user.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b",
    "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}


def run(*command):
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, f"{command}: {done.stdout}"
    return done.stdout


def git(where, *arguments):
    return run("git", "-C", where, *arguments).strip()


def commit(where, text):
    (where / "README").write_text(text)
    git(where, "add", ".")
    git(where, "commit", "-q", "-m", text)
    return git(where, "rev-parse", "HEAD")


def build(project):
    """-> (what ninja said, the commit that the program names)."""
    binary = project.parent / f"{project.name}-build"
    if not binary.exists():
        run("cmake", "-G", "Ninja", "-S", project, "-B", binary)
    said = run("cmake", "--build", binary)
    return said, run(binary / "says").strip()


@pytest.fixture
def project(tmp_path):
    where = tmp_path / "project"
    where.mkdir()
    (where / "CMakeLists.txt").write_text(PROJECT)
    (where / "other.cpp").write_text("int other() { return 0; }\n")
    (where / "says.cpp").write_text('#include <cstdio>\n#include "cli/commit.h"\nint main() { std::puts(ckptfs::cli::commit.data()); }\n')
    return where


def test_without_a_repository_there_is_none(project):
    assert build(project)[1] == ""


def test_that_of_a_repository_around_is_not_ours(project):
    """An sdist that is unpacked in somebody's checkout."""
    git(project.parent, "init", "-q")
    commit(project.parent, "theirs")
    assert build(project)[1] == ""


def test_a_repository_without_a_commit_has_none(project):
    git(project, "init", "-q")
    assert build(project)[1] == ""


@pytest.mark.parametrize("logged", ["true", "false"])
def test_one_file_follows_head(project, logged):
    git(project, "init", "-q")
    git(project, "config", "core.logAllRefUpdates", logged)
    first = commit(project, "first")
    assert build(project)[1] == first[:12]
    assert "no work to do" in build(project)[0]
    if logged == "false":  # as a branch moves, HEAD itself does not: but a checkout is seen
        git(project, "checkout", "-q", "--detach")
    second = commit(project, "second")
    said, named = build(project)
    assert named == second[:12] != first[:12]
    assert "commit.cpp" in said and "Unity" not in said and "says.cpp" not in said
    assert "no work to do" in build(project)[0]


def test_a_worktree_has_its_own(project, tmp_path):
    git(project, "init", "-q")
    first = commit(project, "first")
    git(project, "worktree", "add", "-q", tmp_path / "other", "-b", "other")
    second = commit(tmp_path / "other", "second")
    assert build(tmp_path / "other")[1] == second[:12]
    assert build(project)[1] == first[:12]
    third = commit(tmp_path / "other", "third")
    assert build(tmp_path / "other")[1] == third[:12]
    assert "no work to do" in build(project)[0]
