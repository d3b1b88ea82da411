"""tests/mount/test_killed_daemon.py, many times."""
import random

import killed_trainer
from mount_fixtures import mounted  # noqa: F401  a fixture
import pytest


@pytest.mark.full
def test_killed_while_a_trainer_saves_and_removes(mounted, tmp_path):  # noqa: F811
    killed_trainer.rounds(mounted, tmp_path, 150, random.randrange(2**32))
