"""The benchmark by fio runs, on a checkpoint too small for its numbers to mean anything; where fio is missing, it says so."""
import os
import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))

import ranks  # noqa: E402,F401  sets what DeepSpeed reads when it is imported

if os.environ.get("CI") != "true":
    pytest.importorskip("deepspeed")

import bench_fio  # noqa: E402
import peers  # noqa: E402
import reporting  # noqa: E402
import tables  # noqa: E402


@pytest.mark.skipif(not (os.environ.get("CKPTFS_FIO") or shutil.which("fio")), reason="fio is not installed: mount_scripts/install_dependencies.sh --bench")
def test_the_benchmark_measures_and_reports(tmp_path, capfd):
    name = f"fio on {reporting.processors()} processors"
    report = tables.document(tmp_path, name)
    # Shards of more than a mebibyte, which the jobs read at a time.
    arguments = [*tables.TINY, "--width=256", "--vocabulary=2000", "--jobs", "1", "16", "--milliseconds=50", f"--directory={tmp_path}", f"--report={report}"]
    assert bench_fio.main(arguments) == 0
    text = tables.section(report, name)
    assert text in capfd.readouterr().out
    speeds, latencies = (tables.table(text, title) for title in ("times as long as files", "99 % of the requests within"))
    others = ["the view", "mirror_fs", *(peer.name for peer in peers.installed())]
    assert list(speeds) == [f"{job}, {side}" for job in bench_fio.JOBS for side in others]
    assert all(tables.ratio(cell) for cells in speeds.values() for cell in cells)
    assert list(latencies) == [f"{job}, {side}" for job in bench_fio.JOBS for side in ("files", *others)]
    assert list(tmp_path.iterdir()) == [report]


def test_a_ratio_is_how_many_times_as_long_a_side_takes():
    assert bench_fio.compared(2e9, 5e9) == "2.50 (2000 of 5000 MB/s)"


def test_the_job_files_are_those_that_run():
    assert sorted(path.stem for path in (bench_fio.HERE / "fio").iterdir()) == sorted(bench_fio.JOBS)


def test_where_fio_is_missing_it_says_what_to_install(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CKPTFS_FIO", raising=False)
    assert bench_fio.main([f"--directory={tmp_path}"]) == 2
    assert "apt-get install fio" in capfd.readouterr().err
    monkeypatch.setenv("CKPTFS_FIO", "/nowhere/fio")
    assert bench_fio.main([f"--directory={tmp_path}"]) == 2
    assert "/nowhere/fio is no program" in capfd.readouterr().err
