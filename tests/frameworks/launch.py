"""Starts the ranks of a training script as torchrun would: they get its variables, and the framework does the rest."""
import contextlib
import os
import runpy
import sys

import ranks


@contextlib.contextmanager
def agent_store():
    """Yields the port of a store as a torchrun agent would hold it. The system chooses the port, so none can collide."""
    from torch.distributed import TCPStore

    # Nothing else refers to it, so that it ends here and never in a process that was forked meanwhile and lacks its thread.
    held = [TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)]
    try:
        yield held[0].port
    finally:
        held.clear()


def run(world_size, function, timeout=600.0, log=None):
    """Returns [function(rank) for each rank]. RankError when any rank fails."""
    with agent_store() as port:
        try:
            return ranks.run_ranks(world_size, function, timeout, log, lambda *place: _join(port, *place))
        except ranks.RankError as error:
            error.add_note(error.detail)
            raise


def _join(port, rank, world_size, _):
    import torch

    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), GROUP_RANK="0", ROLE_RANK=str(rank), WORLD_SIZE=str(world_size),
        LOCAL_WORLD_SIZE=str(world_size), GROUP_WORLD_SIZE="1", ROLE_WORLD_SIZE=str(world_size), MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port), TORCHELASTIC_USE_AGENT_STORE="True", TORCHELASTIC_RESTART_COUNT="0",
        TORCHELASTIC_MAX_RESTARTS="0", TORCHELASTIC_RUN_ID="tests")
    # Not what captures the output of the tests.
    sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", buffering=1) for number in (1, 2))


def script(path, *arguments):
    """Runs a training script in this process, as its command line would."""
    sys.argv = [str(path), *map(str, arguments)]
    runpy.run_path(sys.argv[0], run_name="__main__")
