"""The benchmark of exports runs, on a checkpoint too small for its numbers to mean anything."""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))

import ranks  # noqa: E402,F401  sets what DeepSpeed reads when it is imported

if os.environ.get("CI") != "true":
    pytest.importorskip("deepspeed")

import bench_export  # noqa: E402


def test_the_benchmark_measures_and_reports(tmp_path, capfd):
    report, memory = tmp_path / "benchmark.md", tmp_path / "memory"
    memory.mkdir()
    arguments = ["--layers=1", "--width=48", "--vocabulary=100", "--repetitions=1", f"--directory={tmp_path}", f"--memory={memory}",
                 f"--report={report}"]
    assert bench_export.main(arguments) == 0
    text = report.read_text()
    for view in bench_export.VIEWS:
        assert text.count(f"| `--view={view}`") == 4, view
    assert text.count("`zero_to_fp32`") == text.count("`ds_to_universal`") == 4
    assert "| stage 3" in capfd.readouterr().out
    assert sorted(tmp_path.iterdir()) == [report, memory]
    assert not list(memory.iterdir())
