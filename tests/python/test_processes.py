"""Trees in other processes: forked ones, and those that get them pickled."""
import concurrent.futures
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading

import ckptfs
import pytest
from conftest import TAG

SHARD = f"{TAG}/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"


def in_fork(body):
    """The bytes that `body` returns in a forked process; an exception there is its text."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            answer = body()
        except BaseException as failure:
            answer = f"{type(failure).__name__}: {failure}".encode()
        with os.fdopen(writing, "wb") as stream:
            stream.write(answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        answer = stream.read()
    assert os.waitpid(process, 0)[1] == 0
    return answer


def test_a_tree_works_after_a_fork(tree):
    expected = tree.read_bytes(SHARD)
    assert in_fork(lambda: tree.read_bytes(SHARD)) == expected
    assert in_fork(lambda: in_fork(lambda: tree.read_bytes(SHARD))) == expected
    assert tree.read_bytes(SHARD) == expected


def test_a_tree_works_after_a_fork_in_the_middle_of_reads(tree):
    """Whatever locks other threads hold at that moment."""
    expected = tree.read_bytes(SHARD)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            tree.read_bytes(SHARD)
            tree.listdir(TAG)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            assert in_fork(lambda: tree.read_bytes(SHARD)) == expected
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_file_says_that_it_was_forked(tree):
    with tree.open(SHARD, 0) as file:
        assert in_fork(lambda: file.read()).startswith(b"ValueError") and b"open it here again" in in_fork(file.read)
        assert file.read(2) == b"PK"
    assert in_fork(lambda: b"closed" if not file.close() else b"") == b"closed"


def test_closing_in_a_fork_leaves_the_parents(tree):
    assert in_fork(lambda: tree.close() or b"done") == b"done"
    assert tree.read_bytes("latest") == TAG.encode()


def read_shard(tree):
    return tree.read_bytes(SHARD)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_get_a_tree(tree, method):
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        assert set(pool.map(read_shard, [tree] * 4)) == {tree.read_bytes(SHARD)}


def test_a_pickled_tree_is_what_it_was_opened_with(source, tmp_path, monkeypatch):
    monkeypatch.chdir(source.parent)
    with ckptfs.open("source", world_size=2, ds_config={"zero_optimization": {"stage": 2}}) as tree:
        monkeypatch.chdir("/")
        copy = pickle.loads(pickle.dumps(tree))
        assert copy.source == tree.source == str(source) and copy.options == tree.options
        assert copy.read_bytes(SHARD) == tree.read_bytes(SHARD)
        copy.close()
    with pytest.raises(ValueError, match="closed"):
        pickle.dumps(tree)


class Shards:
    """A dataset that keeps a tree, as torch's DataLoader takes it."""

    def __init__(self, tree):
        self.tree = tree

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return len(self.tree.read_bytes(SHARD)), os.getpid()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_dataloader_workers(tree, method):
    from torch.utils.data import DataLoader
    loader = DataLoader(Shards(tree), batch_size=None, num_workers=2, multiprocessing_context=method)
    found = list(loader)
    assert {int(size) for size, _ in found} == {tree.stat(SHARD).st_size}
    assert os.getpid() not in {int(pid) for _, pid in found}


def test_errors_can_be_pickled():
    from ckptfs import errors
    for error in (ckptfs.Error("what", ckptfs.ErrorCode.STALE, 116), errors.NotFound("gone", ckptfs.ErrorCode.NOT_FOUND, 2),
                  ckptfs.VerificationError("bad", report="all of it")):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error) and vars(copy) == vars(error)
        assert (str(copy), copy.errno, copy.strerror) == (str(error), error.errno, error.strerror)


@pytest.mark.parametrize("work", ["tree.listdir('world-size-48/global_step2')", "tree.read_bytes('weights/model.safetensors')",
                                  "ckptfs.open(sys.argv[1], world_size=2)", "ckptfs.verify(sys.argv[1], world_size=48)"])
def test_daemon_threads_are_no_problem_at_exit(source, work):
    """They are stopped wherever they are, and some are in the library then."""
    program = ("import ckptfs, sys, threading, time\n"
               "tree = ckptfs.open(sys.argv[1])\n"
               "begun = [threading.Event() for _ in range(3)]\n"
               "def work(event):\n"
               "    while True:\n"
               "        event.set()\n"
               f"        {work}\n"
               "for event in begun: threading.Thread(target=work, args=(event,), daemon=True).start()\n"
               "for event in begun: event.wait()\n"
               "time.sleep(float(sys.argv[2]))\n")
    for pause in ("0.1", "0.103", "0.11"):
        done = subprocess.run([sys.executable, "-c", program, source, pause], capture_output=True, text=True, check=False,
                              timeout=60)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_tree_that_is_left_open_is_no_problem_at_exit(source):
    program = ("import ckptfs, sys\n"
               "tree = ckptfs.open(sys.argv[1], world_size=2)\n"
               "file = tree.open('latest'); print(file.read())\n")
    done = subprocess.run([sys.executable, "-X", "dev", "-c", program, source], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"b'{TAG}'\n") and "Traceback" not in done.stderr
