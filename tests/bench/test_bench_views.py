"""The benchmark of views runs, on a checkpoint too small for its numbers to mean anything."""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))

import ranks  # noqa: E402,F401  sets what DeepSpeed reads when it is imported

if os.environ.get("CI") != "true":
    pytest.importorskip("deepspeed")

import bench_scale  # noqa: E402
import bench_views  # noqa: E402
import large_stage3  # noqa: E402


def test_the_benchmark_measures_and_reports(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(bench_scale, "SOURCE_RANKS", 6)
    monkeypatch.setattr(large_stage3, "LLAMA_70B", large_stage3.Model(layers=1, width=64, hidden=128, key_value=16, vocabulary=100))
    report = tmp_path / "benchmark.md"
    arguments = ["--layers=1", "--width=48", "--vocabulary=100", "--repetitions=1", f"--directory={tmp_path}", f"--report={report}"]
    assert bench_views.main(arguments) == 0
    text = report.read_text()
    for view in bench_views.VIEWS:
        assert text.count(f"| `--view={view}`") >= 2, view
    assert text.count("`zero_to_fp32`") == text.count("`ds_to_universal`") == 2
    assert "| 70 billion parameters" in text
    assert "| stage 3" in capfd.readouterr().out
    assert list(tmp_path.iterdir()) == [report]
