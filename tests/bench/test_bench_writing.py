"""The benchmark of saves runs, on a checkpoint too small for its numbers to mean anything."""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))

import ranks  # noqa: E402,F401  sets what DeepSpeed reads when it is imported

if os.environ.get("CI") != "true":
    pytest.importorskip("deepspeed")

import bench_writing  # noqa: E402


def test_the_benchmark_measures_and_reports(tmp_path, capfd):
    report = tmp_path / "benchmark.md"
    arguments = ["--layers=1", "--width=48", "--vocabulary=100", "--repetitions=1", f"--directory={tmp_path}", f"--memory={tmp_path}", f"--report={report}"]
    assert bench_writing.main(arguments) == 0
    text = report.read_text()
    for way in bench_writing.WAYS:
        assert text.count(f"| {way} |") == 2, way  # on disk and in memory
    assert "4 ranks, fsync" in text and "1 rank, fsync" in text
    assert "| mount |" in capfd.readouterr().out
    assert list(tmp_path.iterdir()) == [report]
