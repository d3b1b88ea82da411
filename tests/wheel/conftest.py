"""The wheel in dist/, installed with nothing beside it.

CKPTFS_WHEEL_VENV names the environment that it is installed in; step_wheel in tests/steps.sh makes that.
"""
import os
import pathlib
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = pathlib.Path(os.environ.get("CKPTFS_WHEEL_VENV", ROOT / "build/wheel/clean"))
SCRIPT = VENV / "bin/ckptfs"
# Of this machine's compiler and libraries: what the wheel shows must be the same.
RELEASE = pathlib.Path(os.environ.get("CKPTFS_BINARY", ROOT / "build/ckptfs"))
os.environ["CKPTFS_BINARY"] = str(SCRIPT)
sys.path.insert(0, str(ROOT / "tests/support"))


@pytest.fixture(scope="session")
def wheel_path():
    [path] = (ROOT / "dist").glob("ckptfs-*.whl")
    return path


@pytest.fixture(scope="session")
def wheel(wheel_path):
    with zipfile.ZipFile(wheel_path) as archive:
        yield archive


@pytest.fixture(scope="session")
def native(wheel, tmp_path_factory):
    """The directory of the programs and libraries, as they are in the wheel."""
    directory = tmp_path_factory.mktemp("unpacked")
    wheel.extractall(directory)
    return directory / "ckptfs/_native"
