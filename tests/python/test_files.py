"""Files of a view do what Python's files do, and what takes a file takes them."""
import array
import concurrent.futures
import io
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
import zipfile

import ckptfs
import numpy
import pytest
from conftest import TAG

MODEL = f"{TAG}/mp_rank_00_model_states.pt"
SHARD = f"{TAG}/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"


@pytest.fixture
def content(tree):
    return tree.read_bytes(SHARD)


@pytest.fixture
def file(tree):
    with tree.open(SHARD, 0) as opened:
        yield opened


def test_positions(file, content):
    assert (file.tell(), file.size, file.seekable(), file.readable(), file.writable()) == (0, len(content), True, True, False)
    assert file.read(10) == content[:10] and file.tell() == 10
    assert file.seek(-4, os.SEEK_END) == len(content) - 4
    assert file.read(10) == content[-4:] and file.read(10) == b"" and file.read() == b""
    assert file.seek(-2, os.SEEK_CUR) == len(content) - 2
    assert file.seek(len(content) + 7) == len(content) + 7 and file.read(1) == b""
    assert file.seek(5) == 5 and file.read(None) == content[5:]
    for offset, whence in ((-1, os.SEEK_SET), (-len(content) - 1, os.SEEK_END), (0, 9)):
        with pytest.raises(ValueError):
            file.seek(offset, whence)
    for offset in (1.0, "1", None):
        with pytest.raises(TypeError):
            file.seek(offset)
        with pytest.raises(TypeError):
            file.readinto_at(bytearray(1), offset)
    assert file.tell() == len(content)


def test_which_files_are_the_views_own(tree):
    """What stands in the place of shards is put together; what passes through, and all of a tag that is cut for this world
    size, is the source's."""
    for path, expected in ((SHARD, True), (MODEL, True), ("latest", False), (f"{TAG}/notes.txt", False)):
        with tree.open(path) as file:
            assert file.raw.is_virtual is expected, path
    with ckptfs.open(tree.source, world_size=4) as same, same.open(SHARD, 0) as file:
        assert not file.is_virtual


def test_every_window_is_the_files(file, content):
    for size in (1, 7, 512, 4096, len(content), len(content) + 1):
        for offset in range(0, len(content) + 1, max(size, len(content) // 37)):
            buffer = bytearray(size)
            count = file.readinto_at(buffer, offset)
            assert count == min(size, len(content) - offset)
            assert buffer[:count] == content[offset:offset + size] and not any(buffer[count:])
    assert file.tell() == 0


@pytest.mark.parametrize("make", [
    bytearray, lambda size: memoryview(bytearray(size)), lambda size: array.array("B", bytes(size)),
    lambda size: array.array("d", bytes(size)), lambda size: numpy.zeros(size, numpy.uint8),
    lambda size: numpy.zeros((2, size // 8), numpy.float32), lambda size: numpy.zeros(size // 16, numpy.complex128),
    lambda size: memoryview(bytearray(size)).cast("B", (4, size // 4)),
])
def test_readinto_takes_what_can_be_written(file, content, make):
    buffer = make(1024)
    assert file.readinto(buffer) == 1024
    assert bytes(memoryview(buffer).cast("B") if memoryview(buffer).ndim == 1 else buffer.tobytes()) == content[:1024]
    assert file.tell() == 1024


@pytest.mark.parametrize("read", ["tree.read_bytes('empty')", "tree.open('empty').read()", "tree.open('empty', 0).read(1 << 27)"])
def test_a_file_is_in_memory_once(source, read):
    os.truncate(source / "empty", 1 << 27)
    program = ("import ckptfs, resource, sys\n"
               "tree = ckptfs.open(sys.argv[1], world_size=3)\n"
               "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
               f"assert len({read}) == 1 << 27\n"
               "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n")
    done = subprocess.run([sys.executable, "-c", program, source], capture_output=True, text=True, check=True)
    assert int(done.stdout) << 10 < 1.25 * (1 << 27)


def test_readinto_torch(tree, file, content):
    import torch
    tensor = torch.zeros(256, dtype=torch.float32)
    assert file.readinto(tensor.numpy()) == 1024
    assert tensor.numpy().tobytes() == content[:1024]


@pytest.mark.parametrize("buffer", [b"1234", memoryview(b"1234"), b"", "text", 5, numpy.zeros((8, 8))[:, ::2]])
def test_readinto_refuses_the_rest(file, buffer):
    with pytest.raises((TypeError, ValueError, BufferError)) as raised:
        file.readinto(buffer)
    assert raised.type is TypeError or not isinstance(buffer, (bytes, memoryview))
    assert file.tell() == 0


def test_a_buffer_is_free_after_a_failed_read(source, tree):
    with tree.open(SHARD, 0) as file:
        for shard in (source / TAG).glob("*optim*"):
            shard.write_bytes(b"another save")
        buffer = bytearray(file.size)
        with pytest.raises(ckptfs.Error) as kept:  # with its traceback
            file.readinto(buffer)
        buffer.extend(b"more")
        assert file.tell() == 0 and kept.value.code == "stale"


def test_a_changed_source_is_stale(source, tree):
    with tree.open(MODEL) as file:
        file.read(1)
        shutil.copyfile(source / MODEL, source / "copy")
        os.replace(source / "copy", source / MODEL)
        with pytest.raises(ckptfs.Error) as raised:
            file.seek(0, os.SEEK_END)
            file.seek(0)
            file.read()
        assert raised.value.code == ckptfs.ErrorCode.STALE and raised.value.errno == 116


def test_there_is_no_descriptor(tree, file):
    for opened in (file, tree.open(SHARD)):
        with pytest.raises(io.UnsupportedOperation):
            opened.fileno()
        with pytest.raises(io.UnsupportedOperation):
            opened.write(b"x")
        with pytest.raises(io.UnsupportedOperation):
            opened.truncate(0)
        assert not opened.isatty()


def test_a_closed_file(tree, file):
    file.close()
    file.close()
    assert file.closed and "(closed)" in repr(file)
    for use in (file.read, file.tell, lambda: file.seek(0), lambda: file.readinto(bytearray(1)), file.readall):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_buffered_files(tree, content):
    with tree.open(SHARD) as file:
        assert isinstance(file, io.BufferedReader) and isinstance(file.raw, ckptfs.ViewFile)
        assert (file.name, file.mode, file.size) == (SHARD, "rb", len(content))
        assert file.peek(4)[:4] == content[:4]
        assert file.read() == content
    with tree.open(SHARD, 16) as file:
        assert b"".join(iter(lambda: file.read(5), b"")) == content
    with tree.open("latest") as file:
        assert io.TextIOWrapper(file).read() == TAG


def test_copies(tree, content, tmp_path):
    with tree.open(SHARD) as file, open(tmp_path / "copy", "wb") as target:
        shutil.copyfileobj(file, target)
    assert (tmp_path / "copy").read_bytes() == content


def test_zipfile(tree):
    with tree.open(MODEL) as file, zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        assert archive.read(name).startswith(b"\x80")


def test_pickle(source, tree):
    (source / "pickled").write_bytes(pickle.dumps({"a": list(range(10000))}))
    for buffering in (-1, 0):
        with tree.open("pickled", buffering) as file:
            assert pickle.load(file) == {"a": list(range(10000))}


def test_torch_load(tree):
    import torch
    for buffering in (-1, 0):
        with tree.open(MODEL, buffering) as file:
            reader = torch._C.PyTorchFileReader(file)
            assert len(reader.get_record("data.pkl")) > 100


def test_files_cannot_be_pickled(tree, file):
    for opened in (file, tree.open(SHARD)):
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(opened)


def test_threads_read_one_file(file, content):
    def read(number):
        offset = number * 97 % len(content)
        buffer = bytearray(301)
        count = file.readinto_at(buffer, offset)
        return bytes(buffer[:count]) == content[offset:offset + 301]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(2000)))


def test_threads_open_and_close_while_others_read(tree, content):
    stop = threading.Event()
    wrong = []

    def work():
        while not stop.is_set():
            with tree.open(SHARD) as file:
                if file.read() != content:
                    wrong.append(1)
            tree.stat(MODEL), tree.listdir(TAG)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        tree.open(MODEL).close()
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_reads_give_up_the_lock_of_the_interpreter(source):
    """While one thread is in a read, another gets on, though the interpreter would not take the lock from the first."""
    os.truncate(source / "empty", 1 << 26)
    steps = 0
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        with ckptfs.open(source, world_size=3) as tree, tree.open("empty", 0) as file:
            buffer = numpy.empty(file.size, numpy.uint8)
            progress = attempts = 0

            def read():
                nonlocal progress, attempts
                while not progress and attempts < 20:
                    before = steps
                    file.readinto_at(buffer, 0)
                    progress = steps - before
                    attempts += 1

            reader = threading.Thread(target=read)
            reader.start()
            while reader.is_alive():
                steps += 1
                time.sleep(0)
            reader.join()
    finally:
        sys.setswitchinterval(interval)
    assert progress > 0


def test_closing_a_tree_under_its_readers(source, content):
    trees = [ckptfs.open(source, world_size=3) for _ in range(4)]

    def read(tree):
        try:
            while True:
                assert tree.read_bytes(SHARD) == content
        except ValueError as closed:
            return str(closed)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        running = [pool.submit(read, tree) for tree in trees]
        for tree in trees:
            tree.read_bytes(MODEL)
            tree.close()
        assert all("closed" in each.result() for each in running)
