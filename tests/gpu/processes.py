"""Starts the ranks of gpu_job.py as torchrun would, each a process of its own, and collects what they saw."""
import contextlib
from dataclasses import dataclass
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

from records import Job, Report

JOB = pathlib.Path(__file__).resolve().parent / "gpu_job.py"


class JobError(RuntimeError):
    """A rank failed or the job outlived its time; the message ends with the end of that rank's output."""


@dataclass(frozen=True)
class Machine:
    """What the ranks run on."""

    cards: int  # 0: none, CPUs pass for as many cards as there are ranks

    def place(self, world_size):
        """Returns the process group's backend, and how many cards a machine of the job has (see Job.cards)."""
        if self.cards == 0:
            return "gloo", world_size
        # NCCL takes one rank a card.
        return ("nccl", world_size) if world_size <= self.cards else ("gloo", 1)


def run(machine, directory, timeout=400.0, **job):
    """Runs the Job in the new directory `directory`. Returns the ranks' Reports."""
    from torch.distributed import TCPStore

    directory = pathlib.Path(directory)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    backend, cards = machine.place(job["world_size"])
    job = Job(backend=backend, cards=cards, stand_in=machine.cards == 0, **{"started": time.time(), **job})
    job.write(directory / "job.json")
    # The store is the agent's, as under torchrun: its port is chosen by the system, so none can collide.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with contextlib.ExitStack() as started:
        ranks = [started.enter_context(_rank(machine, job, rank, store.port, directory)) for rank in range(job.world_size)]
        _wait(ranks, directory, time.monotonic() + timeout)
    return [Report(**json.loads((directory / f"report-{rank}.json").read_text(encoding="utf-8")))
            for rank in range(job.world_size)]


@contextlib.contextmanager
def _rank(machine, job, rank, port, directory):
    environment = os.environ | _variables(machine, job, rank) | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with open(directory / f"rank-{rank}.log", "wb") as log:
        process = subprocess.Popen([sys.executable, str(JOB), str(directory / "job.json")], cwd=directory, env=environment,
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _variables(machine, job, rank):
    nodes = job.world_size // job.cards
    variables = {
        "RANK": rank, "WORLD_SIZE": job.world_size, "LOCAL_RANK": rank % job.cards, "LOCAL_WORLD_SIZE": job.cards,
        "GROUP_RANK": rank // job.cards, "GROUP_WORLD_SIZE": nodes, "ROLE_RANK": rank, "ROLE_WORLD_SIZE": job.world_size,
        "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": 0, "TORCHELASTIC_MAX_RESTARTS": 0,
        "TORCHELASTIC_RUN_ID": "gpu", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": 1, "PYTHONUNBUFFERED": 1,
    }
    if machine.cards == 0:
        variables |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "", "DS_IGNORE_CUDA_DETECTION": 1}
    else:
        variables |= {"DS_ACCELERATOR": "cuda"}
        if nodes > 1:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(machine.cards)))
            variables["CUDA_VISIBLE_DEVICES"] = visible.split(",")[rank % machine.cards]
    return {name: str(value) for name, value in variables.items()}


def _wait(ranks, directory, deadline):
    while any(process.poll() is None for process in ranks):
        failed = [rank for rank, process in enumerate(ranks) if process.poll() not in (None, 0)]
        if failed or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    for rank, process in enumerate(ranks):
        if process.poll() != 0 and (process.poll() is not None or time.monotonic() > deadline):
            output = (directory / f"rank-{rank}.log").read_text(encoding="utf-8", errors="replace")
            raise JobError(f"rank {rank} ended with {process.poll()}:\n{output[-4000:]}")
