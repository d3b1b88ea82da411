"""Starts the ranks of a training script as torchrun would: they get its variables, and the framework does the rest."""
import os
import runpy
import sys

import ranks


def run(world_size, function, timeout=240.0, log=None):
    """Returns [function(rank) for each rank]. RankError when any rank fails."""
    from torch.distributed import TCPStore

    # The store is the agent's, as under torchrun: its port is chosen by the system, so none can collide.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def join(rank, world_size, _):
        import torch

        torch.set_num_threads(1)
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), GROUP_RANK="0", ROLE_RANK=str(rank), WORLD_SIZE=str(world_size),
            LOCAL_WORLD_SIZE=str(world_size), GROUP_WORLD_SIZE="1", ROLE_WORLD_SIZE=str(world_size),
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(store.port), TORCHELASTIC_USE_AGENT_STORE="True",
            TORCHELASTIC_RESTART_COUNT="0", TORCHELASTIC_MAX_RESTARTS="0", TORCHELASTIC_RUN_ID="tests")
        # Not what captures the output of the tests.
        sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", buffering=1) for number in (1, 2))

    try:
        return ranks.run_ranks(world_size, function, timeout, log, join)
    except ranks.RankError as error:
        error.add_note(error.detail)
        raise


def script(path, *arguments):
    """Runs a training script in this process, as its command line would."""
    sys.argv = [str(path), *map(str, arguments)]
    runpy.run_path(sys.argv[0], run_name="__main__")
