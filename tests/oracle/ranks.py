"""Runs a function on the ranks of a gloo process group, each forked from this process, which has imported DeepSpeed once."""
import contextlib
import os
import pickle
import selectors
import signal
import sys
import tempfile
import time
import traceback

os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("DS_IGNORE_CUDA_DETECTION", "1")
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TORCHDYNAMO_DISABLE"] = "1"  # Muon would compile its kernels anew in every rank


class RankError(RuntimeError):
    """A rank failed or ran out of time. `failures` maps ranks to the text of what they raised."""

    def __init__(self, failures):
        super().__init__("; ".join(f"rank {rank}: {text.strip().splitlines()[-1]}" for rank, text in failures.items()))
        self.failures = failures

    @property
    def detail(self):
        return "\n".join(f"--- rank {rank}\n{text}" for rank, text in self.failures.items())


_first = []  # what every rank does before anything else


@contextlib.contextmanager
def beginning_with(function):
    """Ranks that are started meanwhile call function() before they meet: to enter a namespace, for example."""
    _first.append(function)
    try:
        yield
    finally:
        _first.remove(function)


def run_ranks(world_size, function, timeout=600.0, log=None, join=None):
    """Returns [function(rank) for each rank], run in `world_size` processes that form a process group.

    What a rank returns must pickle. A rank that raises, dies or outlives `timeout` ends all of them: RankError.
    The ranks' own output goes to the file `log`, or nowhere. `join(rank, world_size, store)`, if given, is how a rank finds
    the others; otherwise they meet at the file `store`.
    """
    # Paid here, inherited by every rank; the second is what the first optimizer of a process imports.
    import deepspeed  # noqa: F401
    import torch._dynamo  # noqa: F401

    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryDirectory(prefix="ckptfs-ranks-") as meeting:
        pipes, pids = {}, {}
        try:
            for rank in range(world_size):
                reading, writing = os.pipe()
                pid = os.fork()
                if pid == 0:
                    os.close(reading)
                    _rank_main(rank, world_size, function, f"{meeting}/store", writing, log, join or _join)
                os.close(writing)
                pipes[rank], pids[rank] = reading, pid
            return _collect(pipes, timeout)
        finally:
            for rank, pid in pids.items():
                os.close(pipes[rank])
                _end(pid)


def in_child(function, timeout=600.0, log=None):
    """Runs function() in a forked process without a process group, for code that leaves traces in the process."""
    return run_ranks(1, lambda rank: function(), timeout, log)[0]


def _rank_main(rank, world_size, function, store, writing, log, join):
    """Never returns: the body of a forked rank."""
    answer = (False, "the rank ended without an answer")
    try:
        sink = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        for begin in _first:
            begin()
        join(rank, world_size, store)
        answer = (True, function(rank))
    except BaseException:
        answer = (False, traceback.format_exc())
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(answer, pipe)
        finally:
            # Whatever went wrong: nobody may listen any more. What the parent has open is the parent's to clean up.
            os._exit(0 if answer[0] else 1)


def _join(rank, world_size, store):
    import logging

    import deepspeed
    import torch
    from deepspeed.accelerator import get_accelerator
    from deepspeed.utils import logger

    logger.setLevel(logging.ERROR)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # DeepSpeed wants these although the meeting point is a file: no port is chosen, so none can collide.
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size),
                      LOCAL_WORLD_SIZE=str(world_size), MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    accelerator = get_accelerator()
    accelerator.is_fp16_supported = lambda: True
    supported = accelerator.supported_dtypes()
    if torch.float16 not in supported:
        accelerator.supported_dtypes = lambda: supported + [torch.float16]
    deepspeed.init_distributed(dist_backend="gloo", verbose=False, init_method=f"file://{store}", rank=rank,
                               world_size=world_size)


def _collect(pipes, timeout):
    deadline = time.monotonic() + timeout
    received = {rank: bytearray() for rank in pipes}
    waiting = selectors.DefaultSelector()
    for rank, pipe in pipes.items():
        waiting.register(pipe, selectors.EVENT_READ, rank)
    answers, failures = {}, {}
    while waiting.get_map() and not failures:
        events = waiting.select(max(0.0, deadline - time.monotonic()))
        if not events:
            failures = {key.data: f"no answer within {timeout:.0f} s" for key in waiting.get_map().values()}
        for key, _ in events:
            chunk = os.read(key.fd, 1 << 20)
            received[key.data] += chunk
            if chunk:
                continue
            waiting.unregister(key.fd)
            done, value = pickle.loads(received[key.data]) if received[key.data] else (False, "the rank was killed")
            (answers if done else failures)[key.data] = value
    if failures:
        raise RankError(failures)
    return [answers[rank] for rank in sorted(answers)]


def _end(pid):
    """Reaps a child, killing it first if it has not ended: its peers are gone, it may wait for them for ever."""
    for _ in range(100):
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
