"""Two writable mounts of one SOURCE, as two nodes have them: what is done in one is seen in the other."""
import contextlib
import itertools
import multiprocessing
import os
import shutil
import time

import pytest
from mount_fixtures import content_of, DATA, wait_until

SAVED_AT_4 = DATA / "stage2_bf16_ws4" / "global_step2"
SAVED_AT_3 = DATA / "stage2_bf16_ws4_at_ws3" / "global_step2"
SOON_S = 5  # twice the second for which the kernel may believe what it knows, and the time of a busy machine
ROUNDS = 100
IO = ["auto", "cached", "direct"]


@pytest.fixture
def source(tmp_path):
    directory = tmp_path / "source"
    directory.mkdir()
    return directory


@pytest.fixture
def nodes(source, mounted):
    """nodes(*options) -> the paths of two mounts."""

    def make(*options, world_size=4):
        return [mounted(source, f"--world-size={world_size}", "--writable", *options).path for _ in range(2)]

    return make


def together(*functions):
    """Calls each in a process of its own, all at once; returns what they return."""
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(len(functions)), context.Queue()

    def work(number, function):
        barrier.wait()
        try:
            queue.put((number, function()))
        except BaseException as failure:
            queue.put((number, failure))

    processes = [context.Process(target=work, args=one) for one in enumerate(functions)]
    for process in processes:
        process.start()
    answers = dict(queue.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    failures = [answer for answer in answers.values() if isinstance(answer, BaseException)]
    assert not failures, failures
    return [answers[number] for number in range(len(functions))]


def test_what_is_made_is_found_at_once(nodes):
    one, other = nodes()
    for number in range(20):
        for here, there in ((one, other), (other, one)):
            name = f"{number}-{here.name}"
            assert not (there / name).exists()  # what is absent is not remembered
            (here / name).mkdir()
            assert (there / name).is_dir()
            assert not (there / name / "file").exists()
            (here / name / "file").write_text(name)
            assert (there / name / "file").read_text() == name
            assert not os.path.lexists(there / f"{name}.link")
            os.symlink(name, here / f"{name}.link")
            assert os.readlink(there / f"{name}.link") == name
            assert not (there / f"{name}.moved").exists()
            os.rename(here / name, here / f"{name}.moved")
            assert (there / f"{name}.moved" / "file").read_text() == name
            with pytest.raises(FileExistsError):
                (there / f"{name}.moved").mkdir()


@pytest.mark.parametrize("io", IO)
def test_an_open_finds_what_was_written(nodes, io):
    """Also where the other node has just read it: rank 0 writes `latest`, and after a barrier everybody reads it."""
    one, other = nodes(f"--io={io}")
    for number in (1, 2, 3, 9, 10, 11, 99, 100, 7):
        for write in (lambda path, text: path.write_text(text), replace):
            for here, there in ((one, other), (other, one)):
                text = f"global_step{number} of {here.name} {write.__name__ == 'replace'}"
                write(here / "latest", text)
                assert (there / "latest").read_text() == text
                assert (here / "latest").read_text() == text


def replace(path, text):
    path.with_name("incoming").write_text(text)
    os.replace(path.with_name("incoming"), path)


def test_a_file_that_is_open_sees_what_the_other_node_writes(nodes):
    one, other = nodes()
    (one / "log").write_text("first\n")
    with open(other / "log", "rb", buffering=0) as file:
        assert file.read() == b"first\n"
        with open(one / "log", "ab") as log:
            log.write(b"second\n")
        wait_until(lambda: os.pread(file.fileno(), 100, 0) == b"first\nsecond\n", "the rest of the file", SOON_S)
        with open(one / "log", "r+b") as log:
            log.write(b"FIRST")
        wait_until(lambda: os.pread(file.fileno(), 100, 0) == b"FIRST\nsecond\n", "the changed part", SOON_S)


def test_what_is_removed_is_gone_soon(nodes, source):
    one, other = nodes()
    (one / "directory").mkdir()
    for name in ("directory/file", "file"):
        (one / name).write_text("x")
        assert (other / name).read_text() == "x"
    (one / "file").unlink()
    shutil.rmtree(one / "directory")
    wait_until(lambda: not (other / "file").exists() and not (other / "directory").exists(), "the removal", SOON_S)
    assert os.listdir(other) == os.listdir(source) == []
    # And what takes its place is something else.
    (one / "file").mkdir()
    (one / "directory").write_text("y")
    wait_until(lambda: (other / "file").is_dir() and (other / "directory").is_file(), "the other kind", SOON_S)


def test_attributes_are_those_of_the_other_node_soon(nodes):
    one, other = nodes()
    (one / "file").write_text("x")
    os.stat(other / "file")
    os.chmod(one / "file", 0o600)
    os.utime(one / "file", (10**9, 10**9))
    os.truncate(one / "file", 12345)
    os.link(one / "file", one / "link")

    def is_seen():
        found = os.stat(other / "file")
        return (found.st_mode & 0o777, found.st_mtime_ns > 10**18, found.st_size, found.st_nlink) == (0o600, True, 12345, 2)

    wait_until(is_seen, "mode, time, size and links", SOON_S)


def test_everybody_makes_the_same_directories(nodes, source):
    """As every rank does: makedirs(exist_ok=True), then a file of its own in it."""

    def work(root, rank):
        for number in range(ROUNDS):
            place = root / f"run{number % 7}" / f"checkpoint-{number}" / "global_step"
            os.makedirs(place, exist_ok=True)
            (place / f"rank{rank}").write_text(str(rank))

    one, other = nodes()
    together(*(lambda root=root, rank=rank: work(root, rank) for rank, root in enumerate([one, one, other, other])))
    for number in range(ROUNDS):
        place = source / f"run{number % 7}" / f"checkpoint-{number}" / "global_step"
        assert {path.name: path.read_text() for path in place.iterdir()} == {f"rank{rank}": str(rank) for rank in range(4)}


def test_one_alone_makes_a_file_that_must_be_new(nodes, source):
    def work(root):
        won = set()
        for number in range(ROUNDS):
            with contextlib.suppress(FileExistsError), open(root / f"lock{number}", "x"):
                won.add(number)
        return won

    found = together(*(lambda root=root: work(root) for root in nodes() * 2))
    assert sum(map(len, found)) == ROUNDS and set.union(*found) == set(range(ROUNDS))
    assert len(os.listdir(source)) == ROUNDS


@pytest.mark.parametrize("io", IO)
@pytest.mark.parametrize("mode", ["ab", "a+b"])
def test_two_who_append_overwrite_nothing(nodes, source, io, mode):
    def work(root, rank):
        with open(root / "log", mode, buffering=0) as log:
            for number in range(ROUNDS):
                log.write(b"rank %d, line %d\n" % (rank, number))

    together(*(lambda root=root, rank=rank: work(root, rank) for rank, root in enumerate(nodes(f"--io={io}") * 2)))
    lines = (source / "log").read_bytes().splitlines()
    assert sorted(lines) == sorted(b"rank %d, line %d" % place for place in itertools.product(range(4), range(ROUNDS)))
    for rank in range(4):
        own = [line for line in lines if line.startswith(b"rank %d," % rank)]
        assert own == [b"rank %d, line %d" % (rank, number) for number in range(ROUNDS)]


def save(places, saved, tag):
    """Each node writes the files of its own ranks; the first the model states, and `latest` when all are there."""
    files = sorted(saved.glob("*_states.pt"))
    together(*(lambda number=number, root=root: write_part(root, tag, files[number::len(places)]) for number, root in enumerate(places)))
    (places[0] / "latest").write_text(tag)


def write_part(root, tag, files):
    os.makedirs(root / tag, exist_ok=True)
    for file in files:
        shutil.copyfile(file, root / tag / file.name)


def states(tag):
    """Bytes, or the errno of what came instead, of all shards that are listed."""
    return {name: content_of(tag / name) for name in os.listdir(tag) if name.endswith("_states.pt")}


@pytest.fixture
def cut_for_3(mounted, tmp_path):
    """What a mount at 3 shows of the tag that was saved at 4."""
    shutil.copytree(SAVED_AT_4, tmp_path / "saved" / "tag")
    found = states(mounted(tmp_path / "saved", "--world-size=3").path / "tag")
    assert len(found) == 4 and found != states(SAVED_AT_4)
    return found


def test_each_node_saves_its_part(nodes, source, cut_for_3):
    places = nodes(world_size=4)
    for number in range(3):
        save(places, SAVED_AT_4, f"global_step{number}")
        for root in [*places, source]:
            assert states(root / f"global_step{number}") == states(SAVED_AT_4)
            assert (root / "latest").read_text() == f"global_step{number}"
    at_3 = nodes(world_size=3)
    for root in at_3:
        assert states(root / "global_step1") == cut_for_3


def test_a_tag_that_both_nodes_save_is_seen_as_it_is_until_it_is_whole(nodes, source, cut_for_3):
    """At another world size than the save's: the files under their own names, until the tag is at rest."""
    one, other = nodes(world_size=3)
    files = sorted(SAVED_AT_4.glob("*_states.pt"))
    for place, file in zip(itertools.cycle([one, other]), files):
        write_part(place, "tag", [file])
        assert content_of(place / "tag" / file.name) == file.read_bytes()
    for root in (one, other):
        wait_until(lambda: states(root / "tag") == cut_for_3, "the tag is shown as cut for 3", 30)
    # The next save of the same name, at the world size of the job: both see its files, and not a view.
    save([one, other], SAVED_AT_3, "tag")
    for root in (one, other):
        wait_until(lambda: {name: data for name, data in states(root / "tag").items() if "rank_3" not in name} == states(SAVED_AT_3), "the new save", 30)
    for file in SAVED_AT_3.iterdir():
        assert (source / "tag" / file.name).read_bytes() == file.read_bytes()


def test_a_tag_that_one_node_removes_is_gone_for_the_other(nodes, source, cut_for_3):
    shutil.copytree(SAVED_AT_4, source / "old")
    shutil.copytree(SAVED_AT_4, source / "kept")
    one, other = nodes(world_size=3)
    assert states(one / "old") == states(other / "old") == cut_for_3
    shutil.rmtree(one / "old")
    assert sorted(os.listdir(source)) == ["kept"]
    wait_until(lambda: not (other / "old").exists(), "the removal", SOON_S)
    # Both remove the same one, as two ranks that rotate would: somebody's answer is that it is gone.
    together(*(lambda root=root: shutil.rmtree(root / "kept", ignore_errors=True) for root in (one, other)))
    end = time.monotonic() + SOON_S
    while (source / "kept").exists() and time.monotonic() < end:
        shutil.rmtree(one / "kept", ignore_errors=True)
    assert os.listdir(source) == []
