"""The benchmark runs, on a checkpoint too small for its numbers to mean anything."""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))

import ranks  # noqa: E402,F401  sets what DeepSpeed reads when it is imported

if os.environ.get("CI") != "true":
    pytest.importorskip("deepspeed")

import bench_resume  # noqa: E402
import bench_scale  # noqa: E402
import large_stage3  # noqa: E402


def test_the_benchmark_measures_and_reports(tmp_path, capfd, monkeypatch):
    scale = {"model": large_stage3.Model(layers=1, width=64, hidden=128, key_value=16, vocabulary=100), "source_ranks": 6}
    measure = bench_scale.measure
    monkeypatch.setattr(bench_scale, "measure", lambda directory: measure(directory, world_sizes=(8, 2), **scale))
    report = tmp_path / "benchmark.md"
    arguments = ["--layers=1", "--width=48", "--vocabulary=100", "--repetitions=1", f"--directory={tmp_path}", f"--report={report}"]
    assert bench_resume.main(arguments) == 0
    text = report.read_text()
    assert "| stage 2" in text and "| stage 3" in text
    assert "| files | 17 | 5 |" in text
    assert "peak memory of the daemon" in text
    assert "ds_to_universal / mount" in capfd.readouterr().out
    assert list(tmp_path.iterdir()) == [report]
