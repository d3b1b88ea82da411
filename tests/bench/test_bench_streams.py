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

import bench_streams  # noqa: E402


def test_the_benchmark_measures_and_reports(tmp_path, capfd):
    mark = f"{bench_streams.processors()} processors"
    report = tmp_path / "performance.md"
    report.write_text(f"before\n<!-- {mark} -->\nold\n<!-- end of {mark} -->\nafter\n", encoding="utf-8")
    arguments = ["--layers=1", "--width=48", "--vocabulary=100", "--repetitions=1", "--readers", "1", "8", "--delays", "1",
                 f"--directory={tmp_path}", f"--report={report}"]
    assert bench_streams.main(arguments) == 0
    text = report.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    for row in ("| raw, cut anew | ", "| torch.load, SOURCE's own shards | ", "| raw, mirror_fs that reads nothing | ", "| 1 ms | "):
        assert row in text
    assert text.split(f"<!-- {mark} -->\n")[1].split("\n<!-- end")[0] in capfd.readouterr().out
    assert list(tmp_path.iterdir()) == [report]
