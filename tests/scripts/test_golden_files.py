"""Golden files that a program makes within a second are what it makes today."""
import pathlib
import subprocess
import sys

import pytest

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"


def test_hjson_is_what_the_installed_hjson_reads(tmp_path):
    pytest.importorskip("hjson")  # comes with DeepSpeed
    subprocess.run([sys.executable, DATA / "hjson/make_cases.py", tmp_path / "cases.json"], check=True)
    assert (tmp_path / "cases.json").read_bytes() == (DATA / "hjson/cases.json").read_bytes()
