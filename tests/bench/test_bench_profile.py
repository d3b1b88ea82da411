"""The profile of readers is made, on a checkpoint too small for its numbers to mean anything."""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))

import ranks  # noqa: E402,F401  sets what DeepSpeed reads when it is imported

if os.environ.get("CI") != "true":
    pytest.importorskip("deepspeed")

import bench_profile  # noqa: E402
import reporting  # noqa: E402
import tables  # noqa: E402

CASES = ["raw, files", "raw, the view", "raw, mirror_fs that reads nothing", "torch.load, files", "torch.load, the view"]


def test_the_benchmark_measures_and_reports(tmp_path, capfd):
    name = f"profile of {reporting.processors()} processors"
    report = tables.document(tmp_path, name)
    arguments = [*tables.TINY, "--width=256", "--readers", "1", "2", f"--directory={tmp_path}", f"--report={report}"]
    assert bench_profile.main(arguments) == 0
    text = tables.section(report, name)
    assert text in capfd.readouterr().out
    for readers in ("1 reader", "2 readers"):
        rows = tables.table(text, f"{readers}, for each GB")
        assert list(rows) == CASES
        for label, (ratio, elapsed, *_, waits) in rows.items():
            assert float(ratio) > 0 and int(elapsed.removesuffix(" ms")) > 0
            assert (waits == "") == label.endswith("files"), "there is no daemon"
        assert rows["raw, files"][0] == rows["torch.load, files"][0] == "1.00"
        if "No table of samples: " not in text:
            sampled = tables.table(text, f"{readers}: of the time that it takes, one processor is at")
            assert list(sampled) == [f"{case}: {side}" for case in CASES for side in ("reader", "daemon") if side == "reader" or "files" not in case]
    assert list(tmp_path.iterdir()) == [report]


def test_without_perf_it_says_so(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(bench_profile, "find_perf", lambda scratch: (None, "perf is elsewhere"))
    assert bench_profile.main([*tables.TINY, f"--directory={tmp_path}"]) == 0
    assert "No table of samples: perf is elsewhere." in capfd.readouterr().out


def test_perf_that_cannot_record_is_not_used(monkeypatch, tmp_path):
    program = tmp_path / "perf"
    program.write_text("#!/bin/sh\necho may not >&2\nexit 255\n")
    program.chmod(0o755)
    monkeypatch.setenv("CKPTFS_PERF", str(program))
    assert bench_profile.find_perf(tmp_path) == (None, "perf cannot record here: may not")
    monkeypatch.delenv("CKPTFS_PERF")
    monkeypatch.setenv("PATH", "/nowhere")
    found, why = bench_profile.find_perf(tmp_path)
    assert found is None and "CKPTFS_PERF" in why


def test_samples_are_counted_by_process_and_kind():
    report = "# Samples: 10\n 5 ; 7:python3 ;[k] _copy_to_iter\n 1 ; 8:python3 ;[k] _copy_to_iter\n 3 ; 9:ckptfs ;[k] fuse_dev_do_read\n 1 ; 9:ckptfs ;[.] main\n 2 ; 10:ckptfs ;[k] schedule\n"
    counted = bench_profile.Samples(None, [7, 8], 9, "").counted(report)
    assert counted == {("reader", "copying"): 6, ("daemon", "FUSE"): 3, ("daemon", bench_profile.PROGRAM): 1, ("daemon", "waiting and waking"): 2}
