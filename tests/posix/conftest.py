"""Tests of a writable mount as a file system: what SOURCE answers, the mount answers."""
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]


def pytest_configure(config):
    config.addinivalue_line("markers", "full: takes long, and shows in depth what a shorter test shows")
