"""Random operations on a file of a writable mount, in every way in which the kernel is told to keep its data: none differs from a model in
memory, and SOURCE holds the same at the end. CKPTFS_FSX_SEED sets the seed that a failure has printed."""
import os
import pathlib
import re
import subprocess
import sys

import fsx
import places
import pytest

FSX = pathlib.Path(fsx.__file__)
OPERATIONS = 5000
OPERATIONS_FULL = 100_000
WAYS = ["auto", "cached", "direct"]


def run(directory, source, operations):
    command = [sys.executable, FSX, directory, f"--source={source}", f"--operations={operations}"]
    if "CKPTFS_FSX_SEED" in os.environ:
        command.append(f"--seed={os.environ['CKPTFS_FSX_SEED']}")
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    return set(re.search("not supported: (.*)", done.stdout)[1].split(", "))


@pytest.fixture(scope="module")
def not_supported():
    """What the file system of SOURCE cannot do."""
    with places.directory() as scratch:
        return run(scratch, scratch, OPERATIONS)


def check(way, operations, not_supported):
    with places.directory() as scratch:
        with places.mounted(scratch, f"--io={way}") as mount:
            assert run(mount.path, mount.source, operations) == not_supported


@pytest.mark.parametrize("way", WAYS)
def test_random_operations(way, not_supported):
    check(way, OPERATIONS, not_supported)


@pytest.mark.full
@pytest.mark.parametrize("way", WAYS)
def test_many_random_operations(way, not_supported):
    check(way, OPERATIONS_FULL, not_supported)


def test_a_planted_fault_is_found(tmp_path, capsys, monkeypatch):
    """A write that loses its last byte now and then."""
    write = fsx.File.pwrite

    def lossy(file, handle, data, offset):
        write(file, handle, data, offset)
        if offset % 8 == 7 and data[-1]:
            os.pwrite(handle, b"\0", offset + len(data) - 1)

    monkeypatch.setattr(fsx.File, "pwrite", lossy)
    assert fsx.main([str(tmp_path), "--seed=1"]) == 1
    told = capsys.readouterr().out
    assert "DIFFERENCE" in told and "--seed=1" in told
    assert len(told.splitlines()) > 10, "the operations before it"
