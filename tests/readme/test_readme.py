"""The commands of README.md, run as a reader would run them.

A fenced block marked `sh` or `python` is run: all such blocks, top to bottom, are one session, in a directory that holds nothing but a
fresh copy of the repository, `ckptfs/`, without a build. Its first line that is a comment may say otherwise:

    # not run: REASON     the block is shown only

Blocks marked `text` (output, file trees), and blocks without a mark, are shown only. What the session must not
lean on is taken away: no `ckptfs` is on PATH, and `make`, which no dependency brings, fails under each of its names. The Python
environment that the session makes sees torch and the frameworks, which it installs; `torchrun` lets CPUs pass for GPUs (`cpus/`). After the last command no mount may be left.

A wheel that the step `wheel` has built of the same sources is in the copy, since building it takes minutes: the script finds it there.
"""
import collections
import os
import pathlib
import re
import shutil
import signal
import site
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import compiler_cache  # noqa: E402

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
NOT_RUN = "# not run:"
PATIENCE_S = 800  # for what takes a minute or two where everything is built


def blocks(text):
    """(mark, first line's number, content) of each fenced block."""
    found = []
    fence = None
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r"^ {0,3}(`{3,}|~{3,})\s*([\w+-]*)", line)
        if fence is None and match:
            fence = match[1]
            found.append((match[2], number + 1, []))
        elif fence is not None and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            fence = None
        elif fence is not None:
            found[-1][2].append(line)
    assert fence is None, "a fenced block is never closed"
    return [(mark, number, "\n".join(lines) + "\n") for mark, number, lines in found]


def commands():
    return [(number, content if mark == "sh" else f"python3 - <<'PYTHON'\n{content}PYTHON\n")
            for mark, number, content in blocks(README.read_text(encoding="utf-8"))
            if mark in ("sh", "python") and not content.startswith(NOT_RUN)]


@pytest.fixture
def home(tmp_path):
    copy_repository(tmp_path / "ckptfs")
    yield tmp_path
    for line in pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        if line.split()[1].startswith(f"{tmp_path}/"):
            subprocess.run(["fusermount3", "-u", line.split()[1]], check=True)


def copy_repository(where):
    """What a clone would hold, changes that are not committed yet included."""
    listing = subprocess.run(["git", "-c", f"safe.directory={REPOSITORY}", "-C", REPOSITORY, "ls-files", "-z", "--cached",
                              "--others", "--exclude-standard"], capture_output=True, check=True).stdout
    for name in listing.decode().rstrip("\0").split("\0"):
        if (REPOSITORY / name).is_file():
            (where / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, where / name)
    for path in [*(REPOSITORY / "dist").glob("ckptfs-*"), REPOSITORY / "build/wheel/built-from"]:
        if path.is_file():
            copy = where / path.relative_to(REPOSITORY)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)


# What is installed goes to the environment that the session makes, which sees the packages of the tests' environment. Its own setuptools are older than torch
# asks for, which the other environment's are not.
PYTHON = """#!/bin/sh -e
[ "$*" = "-m venv env" ] || exec {python} "$@"
{python} -m venv env
cd env/lib/python3.*/site-packages
rm -rf setuptools*
cp {packages} tests.pth
"""


def environment_of_a_bare_machine(home, tools):
    """As set by the test command, but for what it has built and what a Debian without build-essential lacks."""
    tools.mkdir()
    packages = tools.parent / "tests.pth"
    packages.write_text("".join(f"{directory}\n" for directory in site.getsitepackages()), encoding="utf-8")
    for name in ("make", "gmake", "smake"):  # the names that CMake looks for
        (tools / name).write_text(f"#!/bin/sh\necho '{name}: not found' >&2\nexit 127\n", encoding="ascii")
    (tools / "python3").write_text(PYTHON.format(python=sys.executable, packages=packages), encoding="utf-8")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    path = [part for part in os.environ["PATH"].split(":") if not pathlib.Path(part, "ckptfs").exists()]
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home), "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1",
                   "PATH": ":".join([str(tools), str(REPOSITORY / "tests/readme/cpus"), *path])}
    environment.pop("VIRTUAL_ENV", None)  # where none is active before the session makes one
    # The same files were compiled for the other tests, in another directory.
    return environment | compiler_cache.environment_of(home / "ckptfs")


def run_session(session, home, environment):
    """A shell's exit status and output; one that hangs is ended with all that it has started, and what it has said till then is told."""
    with subprocess.Popen(["bash", "-e", "-o", "pipefail", "-c", session], cwd=home, env=environment, text=True, errors="replace",
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as shell:
        try:
            output, _ = shell.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGTERM)  # `ckptfs run` ends what it runs, and unmounts
            try:
                output, _ = shell.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(shell.pid, signal.SIGKILL)
                output, _ = shell.communicate()
            pytest.fail(f"it has not ended after {PATIENCE_S} s:\n{output}")
    return shell.returncode, output


def test_a_session_that_hangs_is_ended_with_what_it_has_said(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PATIENCE_S", 1)
    with pytest.raises(pytest.fail.Exception, match=r"after 1 s:\nbefore$"):
        run_session("echo before; sleep 1000 & wait; echo after", tmp_path, os.environ)


def test_every_command_works(home, tmp_path_factory):
    session = "".join(f"echo '>> README.md:{number}'\n{content}" for number, content in commands())
    assert session, "README.md has no block marked sh"
    environment = environment_of_a_bare_machine(home, tmp_path_factory.mktemp("bare") / "bin")
    status, output = run_session(session, home, environment)
    assert status == 0, output
    assert (home / "env/bin/ckptfs").exists(), "it was installed elsewhere"
    # Each framework has gone on at another world size, from where it was.
    reached = collections.Counter(re.findall(r"^at step (\d+) of (\d+) ranks$", output, re.MULTILINE))
    assert reached == {("8", "2"): 1, ("16", "3"): 1, ("4", "2"): 2, ("8", "3"): 2}, output
    mounts = pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8")
    assert f" {home}/" not in mounts, "a mount is left after the last command"
    assert "GTest" not in (home / "ckptfs/build/CMakeCache.txt").read_text(encoding="utf-8"), "a user's build looked for GTest"


def test_only_the_test_command_is_not_run():
    reasons = [content for mark, _, content in blocks(README.read_text(encoding="utf-8"))
               if mark == "sh" and content.startswith(NOT_RUN)]
    assert reasons == ["# not run: it is the test command itself\n./ckptfs/tests/run.sh\n"]


def test_what_is_mounted_can_be_a_link():
    """`ckpt` is "a copy, or a link to yours": fusermount3 unmounts nothing that a link leads to."""
    assert not [content for _, content in commands() if re.search(r"^\s*fusermount3 ", content, re.MULTILINE)]


def test_blocks_are_told_apart():
    text = "a\n```sh\nls\n```\n~~~text\n```sh\n~~~\n````\nplain\n```\n````\n"
    assert blocks(text) == [("sh", 3, "ls\n"), ("text", 6, "```sh\n"), ("", 9, "plain\n```\n")]


def anchors(path):
    """Those that GitHub gives the headings of a document."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"#+ (.*)", line):
            words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            found.append(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return found


@pytest.mark.parametrize("path", [README, REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))], ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]+))?\)", path.read_text(encoding="utf-8")):
        led_to = path.parent / target if target else path
        assert led_to.exists(), target
        assert not anchor or anchor in anchors(led_to), f"{target}#{anchor}"
