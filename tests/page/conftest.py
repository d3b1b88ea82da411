"""What the tests of pages share."""
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "support"), str(HERE.parent / "oracle")]

import browser as chromium  # noqa: E402


@pytest.fixture(scope="session")
def ckptfs():
    """The program under test."""
    return os.environ.get("CKPTFS_BINARY", str(ROOT / "build" / "ckptfs"))


@pytest.fixture(scope="session")
def draw(ckptfs, tmp_path_factory):
    """Draws a checkpoint at a world size: the paths of the page and of the SVG."""
    directory = tmp_path_factory.mktemp("pages")

    def make(source, world_size):
        name = f"{pathlib.Path(source).name}-{world_size}"
        page, svg = directory / f"{name}.html", directory / f"{name}.svg"
        subprocess.run([ckptfs, "inspect", str(source), f"--world-size={world_size}", f"--html={page}", f"--svg={svg}"], check=True, stdout=subprocess.DEVNULL)
        return page, svg

    return make


@pytest.fixture(scope="session")
def browser():
    if os.environ.get("CI") != "true" and shutil.which(chromium.PROGRAM) is None:
        pytest.skip(f"{chromium.PROGRAM} is not installed")
    with chromium.browser() as started:
        yield started


@pytest.fixture
def open_page(browser):
    """Opens a page; whatever it complains of fails the test."""
    pages = []

    def open_one(path, width=1280, dark=False):
        page = chromium.Page(browser, path, width, dark=dark)
        pages.append(page)
        return page

    yield open_one
    for page in pages:
        complaints = page.complaints()
        page.close()
        assert complaints == []
