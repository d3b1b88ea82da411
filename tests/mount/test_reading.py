"""Bytes through the kernel: any window, any way, from many processes at once."""
import mmap
import multiprocessing
import os
import platform
import random
import subprocess
import zipfile

import pytest

TAG = "global_step2"


def shards(mount):
    return sorted((mount.path / TAG).glob("*_states.pt"))


def read_windows(path, whole, seed, failures):
    generator = random.Random(seed)
    descriptor = os.open(path, os.O_RDONLY)
    for _ in range(150):
        offset = generator.randrange(len(whole) + 100)
        length = generator.choice([1, 7, 64, 4096, 65536, 300000])
        if os.pread(descriptor, length, offset) != whole[offset:offset + length]:
            failures.put((str(path), seed, offset, length))
    os.close(descriptor)


@pytest.mark.parametrize("io", ["auto", "cached", "direct"])
def test_windows_from_several_processes_equal_the_whole(source, mounted, io):
    mount = mounted(source, "--world-size=3", f"--io={io}")
    paths = shards(mount)
    assert len(paths) == 4
    failures = multiprocessing.Queue()
    readers = [multiprocessing.Process(target=read_windows, args=(path, path.read_bytes(), seed, failures))
               for path in paths + [mount.path / "rng_state_0.pth"] for seed in (1, 2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
        assert reader.exitcode == 0
    assert failures.empty(), failures.get()


@pytest.mark.parametrize("io", ["auto", "cached", "direct"])
def test_the_world_size_of_the_source_passes_the_original_bytes(source, mounted, io):
    mount = mounted(source, "--world-size=4", f"--io={io}")
    assert sorted(os.listdir(mount.path / TAG)) == sorted(os.listdir(source / TAG))
    for path in shards(mount):
        assert path.read_bytes() == (source / TAG / path.name).read_bytes()


@pytest.mark.parametrize("io", ["auto", "cached"])
@pytest.mark.parametrize("flags", [mmap.MAP_SHARED, mmap.MAP_PRIVATE])
def test_mappings(source, mounted, io, flags):
    mount = mounted(source, "--world-size=3", f"--io={io}")
    for path in shards(mount) + [mount.path / "rng_state_0.pth"]:
        with open(path, "rb") as file:
            whole = file.read()
            with mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ) as mapping:
                assert mapping[:] == whole


def test_private_mappings_may_be_written(source, mounted):
    mount = mounted(source, "--world-size=3")
    path = shards(mount)[0]
    with open(path, "rb") as file:
        whole = file.read()
        with mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as mapping:
            mapping[0:4] = b"mine"
            assert mapping[0:4] == b"mine"
    assert path.read_bytes() == whole


def test_writable_shared_mappings_are_refused(source, mounted):
    mount = mounted(source, "--world-size=3")
    with open(shards(mount)[0], "rb") as file, pytest.raises(PermissionError):
        mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)


def test_the_end_of_a_file_is_where_its_size_says(source, mounted):
    mount = mounted(source, "--world-size=3")
    for path in shards(mount):
        size = path.stat().st_size
        with open(path, "rb", buffering=0) as file:
            assert len(file.readall()) == size
            assert os.pread(file.fileno(), 100, size) == b""
            assert len(os.pread(file.fileno(), 100, size - 1)) == 1


def test_directories_can_be_opened_and_listed_twice(source, mounted):
    mount = mounted(source, "--world-size=1000")
    expected = sorted(os.listdir(mount.path / TAG))
    assert len(expected) == 1000 + 1 + 1  # optimizer files, model states, notes.txt
    descriptor = os.open(mount.path / TAG, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(2):
            assert sorted(os.listdir(descriptor)) == expected
    finally:
        os.close(descriptor)


def cached_pages(path):
    found = subprocess.run(["fincore", "--noheadings", "--output", "PAGES", path], check=True, capture_output=True)
    return int(found.stdout)


def test_what_one_rank_reads_once_stays_out_of_the_page_cache(source, mounted):
    """Only where the kernel allows shared mappings of such files (6.6); else all is cached."""
    release = tuple(int(number) for number in platform.release().split(".")[:2])
    for io, model_states_cached, optimizer_cached in (("auto", True, release < (6, 6)), ("cached", True, True),
                                                      ("direct", False, False)):
        mount = mounted(source, "--world-size=3", f"--io={io}")
        for path in shards(mount):
            path.read_bytes()
            expected = model_states_cached if "model_states" in path.name else optimizer_cached
            assert (cached_pages(path) > 0) == expected, (io, path.name)


def test_what_zipfile_says_of_a_crc_that_nobody_has_computed(source, mounted):
    """As README.md tells: of re-cut records, never of those that are the source's own."""
    recut, same = mounted(source, "--world-size=3"), mounted(source, "--world-size=4")
    shard = "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"
    with zipfile.ZipFile(recut.path / TAG / shard) as archive:
        complaint = archive.testzip()
        assert complaint is not None and "/data/" in complaint
        assert archive.getinfo(complaint).CRC == 0
    with zipfile.ZipFile(same.path / TAG / shard) as archive:
        assert archive.testzip() is None
