"""Fixtures of the tests that resume with real training frameworks: everything that several tests share is made once a run."""
import os
import pathlib
import shutil
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support"), str(HERE.parent / "oracle")]

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

from mount_directory import mount_directory  # noqa: E402
import package  # noqa: E402
import ranks  # noqa: E402,F401  sets the environment of a CPU run, before any framework is imported


package.make_importable()


def pytest_configure(config):
    config.addinivalue_line("markers", "full: not one of the few cells that every run of the tests shows")


@pytest.fixture(scope="session", autouse=True)
def directory(tmp_path_factory):
    """Holds all that is mounted or written; nothing may be mounted in it at the end."""
    with mount_directory(tmp_path_factory, "frameworks") as root:
        yield root


@pytest.fixture(scope="session")
def once(directory):
    """once(name, make) -> (a directory, what make(directory) returned): made by the first who asks for the name."""
    made = {}

    def get(name, make):
        target = directory / "shared" / name
        if name not in made:
            shutil.rmtree(target, ignore_errors=True)  # of a test that failed half-way
            target.mkdir(parents=True)
            made[name] = make(target)
        return target, made[name]

    return get


@pytest.fixture(scope="session")
def lightning_trained(once):
    """lightning_trained(stage, dtype) -> (the directory of the run's checkpoints, its losses from begin to end)."""
    import lightning_job

    def get(stage, dtype):
        root, reports = once(f"lightning-stage{stage}-{dtype}", lambda root: lightning_job.run(
            lightning_job.Job(lightning_job.A, stage, dtype, str(root), epochs=lightning_job.EPOCHS), root / "log"))
        return root / "ckpt", reports[0].losses

    return get
