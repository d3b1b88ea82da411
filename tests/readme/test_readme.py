"""The commands of README.md, run as a reader would run them.

A fenced block marked `sh` is run: all such blocks, top to bottom, are one session, in an empty directory that stands for
the reader's home. Its first line that is a comment may say otherwise:

    # not run: REASON     the block is shown only (it would train a model, or install packages from elsewhere)

Blocks marked `text` (output, file trees) and `python`, and blocks without a mark, are shown only. Before the first block:
`ckptfs` is on PATH, the repository lies at ./ckptfs (a link) and ./ckpt is a copy of the sample checkpoint. After the
last one no mount may be left.
"""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
NOT_RUN = "# not run:"


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
    return [(number, content) for mark, number, content in blocks(README.read_text(encoding="utf-8"))
            if mark == "sh" and not content.startswith(NOT_RUN)]


@pytest.fixture
def home(tmp_path):
    (tmp_path / "ckptfs").symlink_to(REPOSITORY)
    shutil.copytree(REPOSITORY / "mount_scripts/sample", tmp_path / "ckpt")
    yield tmp_path
    for line in pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        if line.split()[1].startswith(f"{tmp_path}/"):
            subprocess.run(["fusermount3", "-u", line.split()[1]], check=True)


def test_every_command_works(home):
    session = "".join(f"echo '>> README.md:{number}'\n{content}" for number, content in commands())
    assert session, "README.md has no block marked sh"
    binary = pathlib.Path(os.environ.get("CKPTFS_BINARY", REPOSITORY / "build/ckptfs"))
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home), "PATH": f"{binary.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", session], cwd=home, env=environment,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    mounts = pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8")
    assert f" {home}/" not in mounts, "a mount is left after the last command"


def test_reasons_are_given_for_what_is_not_run():
    for mark, number, content in blocks(README.read_text(encoding="utf-8")):
        if mark == "sh" and content.startswith(NOT_RUN):
            assert len(content.splitlines()[0]) > len(NOT_RUN) + 5, f"README.md:{number}"


def test_blocks_are_told_apart():
    text = "a\n```sh\nls\n```\n~~~text\n```sh\n~~~\n````\nplain\n```\n````\n"
    assert blocks(text) == [("sh", 3, "ls\n"), ("text", 6, "```sh\n"), ("", 9, "plain\n```\n")]
