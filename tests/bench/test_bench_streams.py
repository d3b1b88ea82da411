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
import peers  # noqa: E402
import readings  # noqa: E402
import reporting  # noqa: E402
import tables  # noqa: E402

ROWS = ("raw, cut anew", "cp, --read-ahead-memory=0", "torch.load, SOURCE's own shards", "load_file, safetensors", "safe_open, safetensors", "raw, mirror_fs",
        "raw, mirror_fs that reads nothing")


def test_the_benchmark_measures_and_reports(tmp_path, capfd):
    name = f"{reporting.processors()} processors"
    report = tables.document(tmp_path, name)
    arguments = [*tables.TINY, "--readers", "1", "8", "--delays", "1", f"--directory={tmp_path}", f"--report={report}"]
    assert bench_streams.main(arguments) == 0
    text = tables.section(report, name)
    assert text in capfd.readouterr().out
    rows = tables.table(text, "view / files, in time")
    for label in (*ROWS, *(f"{way}, {peer.name}" for peer in peers.installed() for way in ("raw", "torch.load"))):
        one, eight = rows[label]
        tables.ratio(one)
        if "own" in label:
            assert eight == "", "there are shards for 4 readers"
        else:
            tables.ratio(eight)
    peaks = tables.table(text, "peak memory of the daemon")
    assert list(peaks) == list(rows)
    assert all(int(cell.removesuffix(" MB")) > 0 for label, cells in peaks.items() for cell, read in zip(cells, rows[label]) if read)
    delayed = tables.table(text, "storage that answers late")["1 ms"]
    assert float(delayed[-1]) > 0
    for peer in peers.PEERS:
        assert (peer.left_out() in text) == (peer not in peers.installed())
    assert list(tmp_path.iterdir()) == [report]


def test_a_ratio_is_how_many_times_as_long_the_view_takes():
    found = readings.Compared(view=3.0, files=1.5, nbytes=6e9, peak=10**6)
    assert str(found) == "2.00 (2.0 of 4.0 GB/s)"


def test_a_peer_that_is_not_installed_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CKPTFS_BINDFS", raising=False)
    assert any("bindfs" in sentence and "CKPTFS_BINDFS" in sentence for sentence in peers.missing())
    program = tmp_path / "elsewhere"
    program.touch(0o755)
    monkeypatch.setenv("CKPTFS_BINDFS", str(program))
    assert str(program) in [peer.program() for peer in peers.installed()]
    monkeypatch.setenv("CKPTFS_BINDFS", f"{program}-missing")
    with pytest.raises(FileNotFoundError, match="CKPTFS_BINDFS names"):
        peers.installed()
