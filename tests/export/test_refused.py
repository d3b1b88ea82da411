"""Places that no export can have, and what a user is told."""
import os
import pathlib
import pty
import re
import shlex
import shutil
import subprocess
import tempfile
import termios
import time

import pytest

from exporting import Export, export, refused, without_warnings
from mount_fixtures import binary
from users import require_root


@pytest.fixture
def source(checkpoint):
    return checkpoint("stage2_bf16_ws4")


def test_the_view_has_to_be_named(source, target):
    assert "an export takes one view" in refused(source, target)
    assert not target.exists()


def test_numbers_that_are_none(source, target):
    assert "--jobs is '0'" in refused(source, target, "--world-size=2", "--jobs=0")
    assert "--memory is '64KiB', which is too little for 2 threads" in refused(source, target, "--world-size=2", "--jobs=2",
                                                                               "--memory=64KiB")
    assert "has no tag 'step7'" in refused(source, target, "--world-size=2", "--tag=step7")
    assert "says nothing of the view 'lightning'" in refused(source, target, "--view=lightning", "--tag=x")


def test_what_is_there_is_not_replaced(source, target):
    target.mkdir()
    (target / "file").write_text("mine")
    assert "is there already, and is no empty directory" in refused(source, target, "--world-size=2")
    assert (target / "file").read_text() == "mine"
    (target / "file").unlink()
    export(source, target, "--world-size=2")
    assert "is there already" in refused(source, target, "--world-size=2")


def test_a_file_in_its_place(source, target):
    target.write_text("mine")
    assert "is there already" in refused(source, target, "--world-size=2")


def test_no_part_of_itself(source, tmp_path):
    (tmp_path / "link").symlink_to(source)
    for destination in (source / "out", source / "global_step2" / "out", tmp_path / "link" / "out"):
        assert "lies in SOURCE" in refused(source, destination, "--world-size=2")
    for destination in (source, tmp_path, tmp_path / "link"):
        assert "holds SOURCE" in refused(source, destination, "--world-size=2")
    assert not (source / "out.partial").exists()


def test_a_mount_point_cannot_be_replaced(source, mounted, tmp_path):
    require_root()
    point = tmp_path / "point"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", point], check=True)
    try:
        assert "is a mount point" in refused(source, point, "--world-size=2")
        export(source, point / "inside", "--world-size=2")
    finally:
        subprocess.run(["umount", point], check=True)


def test_a_second_place_of_a_directory_is_a_mount_point_too(source, tmp_path):
    require_root()
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    subprocess.run(["mount", "--bind", first, second], check=True)
    try:
        assert "is a mount point" in refused(source, second, "--world-size=2")
        assert not (tmp_path / "second.partial").exists()
    finally:
        subprocess.run(["umount", second], check=True)


def test_a_name_that_leaves_no_room(source, tmp_path):
    assert "has too long a name" in refused(source, tmp_path / ("n" * 248), "--world-size=2")
    export(source, tmp_path / ("n" * 247), "--world-size=2")


def test_what_another_user_has_put_where_everybody_may(source):
    require_root()
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o1777)
        trap = pathlib.Path(place, "exported.partial")
        trap.mkdir(mode=0o777)
        os.chown(trap, 1234, 1234)
        assert "belongs to another user: remove that directory" in refused(source, f"{place}/exported", "--world-size=2")
        assert not os.listdir(trap)
        os.chown(trap, 0, 0)
        export(source, f"{place}/exported", "--world-size=2")


def test_a_directory_that_is_not_ones_own(source):
    require_root()
    with tempfile.TemporaryDirectory() as place:  # whose parents everybody may search
        os.chmod(place, 0o755)
        copy, program = pathlib.Path(place, "source"), pathlib.Path(place, "ckptfs")
        shutil.copytree(source, copy)
        shutil.copy(binary(), program)
        error = refused(copy, f"{place}/exported", "--world-size=2", code=7, program=program,
                        prefix=["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "--"])
        assert f"'{place}/exported.partial' cannot be made: Permission denied" in error


def test_a_broken_tag_is_an_error_before_the_first_byte(source, target):
    shutil.copytree(source / "global_step2", source / "global_step1")
    shard = next((source / "global_step1").glob("*optim_states.pt"))
    shard.write_bytes(shard.read_bytes()[:-100])
    error = refused(source, target, "--world-size=2", code=4)
    assert "has no zip end record" in error and "nothing has been written: --tag=NAME" in error
    assert not target.with_name(target.name + ".partial").exists()
    export(source, target, "--world-size=2", "--tag=global_step2")


def said_on(terminal):
    """All that is written to it, until nobody can any more."""
    text = b""
    while True:
        try:
            some = os.read(terminal, 65536)
        except OSError:
            break
        if not some:
            break
        text += some
    os.close(terminal)
    return text.decode().replace("\r\n", "\n")


def test_progress_is_one_line_on_a_terminal(large, target):
    terminal, its_end = pty.openpty()
    running = Export(large, target, "--world-size=6", stderr=its_end)
    os.close(its_end)
    with running.stopped_as_it_begins():
        time.sleep(0.4)
    said = said_on(terminal)
    assert running.process.wait() == 0
    assert re.search(r"\r\x1b\[K[\d.]+ .?B of 2.* MB \(\d+ %\)", said) or "waiting for the disk" in said, said
    assert said.split("\n")[-1].startswith("\r") and said.endswith("\r\x1b[K")


@pytest.mark.parametrize("columns", [20, 200])
def test_progress_fits_into_its_line(large, target, columns):
    terminal, its_end = pty.openpty()
    termios.tcsetwinsize(its_end, (24, columns))
    running = Export(large, target, "--world-size=6", stderr=its_end)
    os.close(its_end)
    with running.stopped_as_it_begins():
        time.sleep(0.4)
    parts = said_on(terminal).split("\r\x1b[K")
    assert running.process.wait() == 0
    longest = max(len(part.split("\n")[-1]) for part in parts)
    assert longest == 19 if columns == 20 else 19 < longest < 200, parts


def test_a_limit_on_the_size_of_files_is_a_sentence(source, target):
    error = refused(source, target, "--world-size=2", code=7, prefix=["prlimit", "--fsize=7000", "--"])
    assert "File too large; raise the limit on the size of files (ulimit -f)" in error


def test_a_standard_output_that_is_closed_is_an_error(source):
    command = shlex.join([binary(), "cat", str(source), "latest", "--world-size=2"])
    closed = subprocess.run(f"exec {command} >&-", shell=True, stderr=subprocess.PIPE, text=True, check=False)
    assert (closed.returncode, "standard output cannot be written" in closed.stderr) == (7, True), closed.stderr


def test_progress_is_a_line_now_and_then_elsewhere(large, target):
    running = Export(large, target, "--world-size=6")
    with running.stopped_as_it_begins():
        time.sleep(10.2)
    code, _, error = running.end()
    assert code == 0
    lines = without_warnings(error)
    assert lines and all(re.fullmatch(r"ckptfs: .* of 2.* MB \(\d+ %\).*|ckptfs: .* waiting for the disk", line) for line in lines), error
    assert "\r" not in error


def test_quiet_says_nothing_meanwhile(large, target):
    running = Export(large, target, "--world-size=6", "--quiet")
    with running.stopped_as_it_begins():
        time.sleep(10.2)
    code, out, error = running.end()
    assert (code, without_warnings(error)) == (0, [])
    assert len(out.splitlines()) == 1
