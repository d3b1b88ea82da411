"""An elastic job of torchrun, mount_scripts/recipes/train_elastic.py: nodes leave and join, and the workers resume and save in place."""
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import time

import psutil
import pytest

import launch
from mount_fixtures import mounts_below
from mounting import BINARY

RECIPE = pathlib.Path(__file__).resolve().parents[2] / "mount_scripts" / "recipes" / "train_elastic.py"
STEP_SECONDS = 0.4  # long beside a save, so that nodes are killed between saves
LAST_STEP = 10_000  # never reached: the test ends the job


class Node:
    """An agent with its workers, in a session of its own. The agents of a job meet at `port`."""

    def __init__(self, workers, log, port, *arguments):
        self.log = log
        # The waits are those of a test: a node that is gone is missed after 3 s, not after 15.
        command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=1:2", f"--nproc-per-node={workers}",
                   "--max-restarts=10", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=job",
                   "--rdzv-conf=is_host=false,last_call_timeout=3,keep_alive_interval=1,keep_alive_max_attempt=3",
                   "--local-addr=127.0.0.1", "--no-python", BINARY, "run", "--in-place", arguments[0], "--world-size=auto", "--",
                   sys.executable, RECIPE, *arguments]
        with open(log, "ab") as sink:
            self.process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True,
                env=os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "TMPDIR": str(log.parent),
                                  "XDG_RUNTIME_DIR": str(log.parent / "runtime")})

    def kill(self):
        """The agent and its workers at once, as when a machine goes down. The workers lead sessions of their own."""
        with contextlib.suppress(psutil.NoSuchProcess):
            agent = psutil.Process(self.process.pid)
            for process in (agent, *agent.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.wait()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.full)])
def test_nodes_leave_and_join(tmp_path, workers):
    source = tmp_path / "run"
    (tmp_path / "runtime").mkdir(mode=0o700)
    nodes = []
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(launch.agent_store())
        # A node takes its daemon along, which leaves a mount that nobody serves.
        stack.callback(lambda: [subprocess.run(["fusermount3", "-uz", point], check=True) for point in mounts_below(tmp_path)])
        stack.callback(lambda: [node.kill() for node in nodes])

        def start():
            log = tmp_path / f"node{len(nodes)}"
            nodes.append(Node(workers, log, port, source, LAST_STEP, STEP_SECONDS))

        start()
        start()
        whole, half = 2 * workers, workers
        first = wait_for_saves(tmp_path, whole, begin=0)
        nodes[1].kill()
        second = wait_for_saves(tmp_path, half, begin=first)
        start()
        wait_for_saves(tmp_path, whole, begin=second)


def wait_for_saves(directory, world_size, begin):
    """Until a run of `world_size` ranks that begins at step `begin` or later has saved; returns its last save's step."""
    end = time.monotonic() + 600
    while True:
        text = "".join(path.read_text() for path in directory.glob("node*"))
        events = [(int(step), word) for word, step in re.findall(rf"(begins|saved) at step (\d+) of {world_size} ranks", text)]
        starts = [step for step, word in events if word == "begins" and step >= begin]
        saves = [step for step, word in events if word == "saved" and starts and step > min(starts)]
        if saves:
            return max(saves)
        assert time.monotonic() < end, text
        time.sleep(0.02)
