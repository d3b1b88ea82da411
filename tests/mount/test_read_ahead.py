"""Files that are read in order: ahead of their reader where the daemon reads them, by the kernel itself where they are SOURCE's own."""
import contextlib
import json
import mmap
import os
import pathlib
import re

import pytest
from kernel_passthrough import is_stacked, kernel_can_pass_through

TAG = "global_step2"
MIB = 1 << 20
SIZE = 24 * MIB + 12345


@pytest.fixture
def large(source):
    """A file that is passed on, of bytes that tell where they are."""
    path = source / "large.bin"
    path.write_bytes(b"".join(number.to_bytes(8, "little") for number in range(SIZE // 8 + 1))[:SIZE])
    return path


def daemon(mount, file, field):
    text = pathlib.Path(f"/proc/{mount.process.pid}/{file}").read_text()
    return int(re.search(rf"^{field}:\s*(\d+)", text, re.M).group(1))


def read_in_order(path, size):
    with open(path, "rb", buffering=0) as file:
        return b"".join(iter(lambda: file.read(size), b""))


@pytest.mark.parametrize("io", ["cached", "direct"])
@pytest.mark.parametrize("memory", ["0", "3MiB", "64MiB"])
def test_every_byte_is_the_sources(large, mounted, io, memory):
    mount = mounted(large.parent, "--world-size=3", f"--io={io}", f"--read-ahead-memory={memory}")
    whole = large.read_bytes()
    for size in (100_001, MIB, 5 * MIB):
        assert read_in_order(mount.path / large.name, size) == whole
    for offset in range(0, SIZE, 7 * MIB):
        with open(mount.path / large.name, "rb") as file:
            file.seek(offset)
            assert file.read(3 * MIB) == whole[offset:offset + 3 * MIB]


def bytes_asked_for(mount):
    """Of the daemon, by the kernel."""
    return json.loads((mount.path / ".ckptfs" / "status.json").read_text())["bytes"]["read"]


def bytes_read_by(mount):
    """By read(2) and its like, of the daemon."""
    return daemon(mount, "io", "rchar")


def test_where_nothing_is_read_ahead_bytes_are_handed_over_and_pass_through_no_memory(large, mounted):
    mount = mounted(large.parent, "--world-size=3", "--io=direct", "--read-ahead-memory=0")
    whole, before = large.read_bytes(), bytes_read_by(mount)
    assert read_in_order(mount.path / large.name, 5 * MIB) == whole
    assert bytes_read_by(mount) - before < SIZE / 8
    # What is small is copied, and what lies anywhere begins anywhere.
    with open(mount.path / large.name, "rb", buffering=0) as file:
        for offset, size in ((1, MIB), (4097, 3 * MIB), (SIZE - MIB - 7, 2 * MIB), (12345, 100), (SIZE - 1, 10)):
            assert os.pread(file.fileno(), size, offset) == whole[offset:offset + size]


@pytest.mark.parametrize("memory", ["--read-ahead-memory=0", "--read-ahead-memory=64MiB"])
def test_a_file_that_changes_while_it_is_read_ahead_is_stale(large, mounted, memory):
    mount = mounted(large.parent, "--world-size=3", "--io=direct", memory)
    was_stale = False
    # Whatever was on its way when the file changed is told by close, too.
    with contextlib.suppress(OSError), open(mount.path / large.name, "rb", buffering=0) as file:
        for _ in range(3):
            assert len(file.read(MIB)) == MIB
        with open(large, "r+b") as written:
            written.write(b"changed")
        with pytest.raises(OSError, match="Stale file handle"):
            while file.read(MIB):
                pass
        was_stale = True
    assert was_stale


@pytest.mark.parametrize("io", ["auto", "direct"])
def test_what_is_sources_own_the_kernel_reads_by_itself(large, mounted, io):
    source = large.parent
    mount = mounted(source, "--world-size=4", f"--io={io}")
    passes_through = io == "auto" and kernel_can_pass_through() and not is_stacked(source)
    before = bytes_asked_for(mount)
    for path in [large, *sorted((source / TAG).glob("*_states.pt"))]:
        shown = mount.path / path.relative_to(source)
        assert shown.read_bytes() == path.read_bytes()
        with open(shown, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert mapped[:] == path.read_bytes()
    assert (bytes_asked_for(mount) - before < SIZE) == passes_through
    mount.close()
    assert ("the kernel itself read" in mount.log_text()) == passes_through


def test_who_has_a_file_of_sources_open_keeps_it_when_another_takes_its_name(large, mounted):
    mount = mounted(large.parent, "--world-size=4")
    old = large.read_bytes()
    with open(mount.path / large.name, "rb") as file:
        other = large.with_suffix(".new")
        other.write_bytes(b"new")
        os.replace(other, large)
        assert file.read() == old
    with open(mount.path / large.name, "rb") as file:
        assert file.read() == b"new"


def test_a_view_that_is_no_file_of_sources_goes_through_the_daemon(source, mounted):
    mount = mounted(source, "--world-size=3")
    before = daemon(mount, "io", "wchar")
    total = sum(len(path.read_bytes()) for path in (mount.path / TAG).glob("*optim_states.pt"))
    assert daemon(mount, "io", "wchar") - before > total
