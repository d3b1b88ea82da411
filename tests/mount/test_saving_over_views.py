"""A save over a tag that is shown re-cut, while somebody reads it: who has a file open gets its bytes, or ESTALE."""
import errno
import mmap
import os
import threading

import pytest

TAG = "global_step2"
RECUT = ("--world-size=3", "--writable")


@pytest.fixture
def mount(source, mounted, io_mode):
    return mounted(source, *RECUT, f"--io={io_mode}")


def shards(mount):
    return sorted((mount.path / TAG).glob("*_optim_states.pt"))


def pieces(file, size, nbytes=4096):
    """The bytes of an open file from its end to its start, piece by piece; an errno in the place of what fails."""
    found = {}
    for offset in reversed(range(0, size, nbytes)):
        try:
            found[offset] = os.pread(file, nbytes, offset)
        except OSError as failure:
            found[offset] = failure.errno
    return found


def assert_never_a_mix(found, whole):
    assert found
    for offset, piece in found.items():
        assert piece in (errno.ESTALE, whole[offset:offset + 4096]), offset


def test_the_writer_never_sees_that_the_name_changes_its_meaning(mount, source):
    name = shards(mount)[1].name
    with open(mount.path / TAG / name, "wb") as file:
        file.write(b"the new save")
    assert (source / TAG / name).read_bytes() == b"the new save"
    assert (mount.path / TAG / name).read_bytes() == b"the new save"
    # The tag is being written: what SOURCE has, under SOURCE's own names.
    assert sorted(os.listdir(mount.path / TAG)) == sorted(os.listdir(source / TAG))
    for shard in shards(mount):
        assert shard.read_bytes() == (source / TAG / shard.name).read_bytes()


def test_a_reader_of_what_is_truncated_has_it_whole_or_is_told(mount):
    first, second = shards(mount)[:2]
    whole = {path: path.read_bytes() for path in (first, second)}
    files = {path: os.open(path, os.O_RDONLY) for path in whole}
    assert os.pread(files[first], 100, 0) == whole[first][:100]
    with open(first, "wb") as file:
        file.write(b"new")
        for path, descriptor in files.items():
            assert_never_a_mix(pieces(descriptor, len(whole[path])), whole[path])
    for path, descriptor in files.items():
        assert_never_a_mix(pieces(descriptor, len(whole[path])), whole[path])
        assert os.fstat(descriptor).st_size in (len(whole[path]), 0)
        os.close(descriptor)
    assert first.read_bytes() == b"new"


def test_a_mapping_of_what_is_truncated_keeps_its_pages(mount):
    path = shards(mount)[0]
    whole = path.read_bytes()
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as mapped:
        assert mapped[:4096] == whole[:4096]
        path.write_bytes(b"new")
        assert mapped[:4096] == whole[:4096]
    assert path.read_bytes() == b"new"


def test_a_view_has_no_place_for_single_bytes(mount, source):
    path = shards(mount)[0]
    before, theirs = path.read_bytes(), {name: (source / TAG / name).read_bytes() for name in os.listdir(source / TAG)}
    with pytest.raises(OSError) as failure:
        os.open(path, os.O_RDWR)
    assert failure.value.errno == errno.EROFS
    with pytest.raises(OSError) as failure:
        os.truncate(path, 100)
    assert failure.value.errno == errno.EROFS
    assert path.read_bytes() == before
    for name, content in theirs.items():
        assert (source / TAG / name).read_bytes() == content


def test_readers_and_a_save_at_once(mount, source):
    """Until the end of the save nobody sees bytes that are neither the view's nor the save's of that name."""
    names = [path.name for path in shards(mount)]
    views = {name: (mount.path / TAG / name).read_bytes() for name in names}
    theirs = {path.name: path.read_bytes() for path in (source / TAG).glob("*_optim_states.pt")}
    saved = {name: os.urandom(300000) for name in names}
    done = threading.Event()
    wrong = []

    def read():
        while not done.is_set():
            for name in names:
                try:
                    file = os.open(mount.path / TAG / name, os.O_RDONLY)
                except OSError as failure:
                    if failure.errno not in (errno.ESTALE, errno.ENOENT):
                        wrong.append((name, failure))
                    continue
                for offset, piece in pieces(file, 300000, 100000).items():
                    end = offset + 100000
                    # A save writes from the start on: so far it has a part of it.
                    if piece not in (errno.ESTALE, views[name][offset:end], theirs.get(name, b"")[offset:end]) and not (
                            isinstance(piece, bytes) and saved[name][offset:end].startswith(piece)):
                        wrong.append((name, offset, piece if isinstance(piece, int) else piece[:16]))
                os.close(file)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for name in names:
            with open(mount.path / TAG / name, "wb") as file:
                for at in range(0, 300000, 50000):
                    file.write(saved[name][at:at + 50000])
                    file.flush()
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert not wrong, wrong[:5]
    for name in names:
        assert (source / TAG / name).read_bytes() == (mount.path / TAG / name).read_bytes() == saved[name]
