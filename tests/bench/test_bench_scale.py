"""The benchmark of many ranks runs, at numbers of ranks too small for its numbers to mean anything."""
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
import large_checkpoint  # noqa: E402
import large_stage3  # noqa: E402
import mounting  # noqa: E402
import tables  # noqa: E402

MODEL = large_checkpoint.Model(layers=2, width=64, hidden=128, key_value=32, vocabulary=100)


def test_the_benchmark_measures_and_reports(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(large_stage3, "LLAMA_70B", MODEL)
    report = tables.document(tmp_path, "scale")
    assert bench_scale.main(["--ranks", "3", "5", "--at", "2", "7", f"--directory={tmp_path}", f"--report={report}", "--check"]) == 0
    text = tables.section(report, "scale")
    assert text in capfd.readouterr().out and "Not as expected" not in text
    rows = [[cell.strip() for cell in line[1:-1].split(" | ")] for line in text.splitlines() if line.startswith("| ")]
    assert rows[0] == bench_scale.HEAD and all(len(row) == len(bench_scale.HEAD) for row in rows)
    assert [row[:4] for row in rows[2:]] == [[stage, saved, shown, str(1 + int(shown) * (2 if stage == "3" else 1) + (stage == "2"))]
                                             for stage in ("2", "3") for saved in ("3", "5") for shown in ("2", "7")]
    for row in rows[2:]:
        assert all(float(cell.split()[0]) >= 0 for cell in row[4:]), row
        assert float(row[5]) > 0 and float(row[7]) > 0, row  # the ratios
        assert int(row[9].split()[0]) <= int(row[10].split()[0])
    assert list(tmp_path.iterdir()) == [report]


def test_mounts_of_many_ranks_that_are_slow_or_large_are_named():
    def measured(mount, peak):
        return [bench_scale.Measured(8, 9, mount, 0.1, 0.1, peak, 10**9)]

    assert bench_scale.many_ranks_missed(3, bench_scale.MANY_RANKS, measured(9.9, 499_000_000)) == []
    slow, large = bench_scale.many_ranks_missed(3, bench_scale.MANY_RANKS, measured(10.1, 501_000_000))
    assert "10.10 s" in slow and "501 MB" in large
    assert bench_scale.many_ranks_missed(3, 1000, measured(10.1, 501_000_000)) == []


@pytest.mark.parametrize("ranks_of_source", [3, 2 * large_checkpoint.RANKS_OF_A_WRITER + 1])
def test_a_sparse_checkpoint_of_stage_2_is_one_at_any_number_of_ranks(tmp_path, ranks_of_source):
    large_checkpoint.make_sparse(str(tmp_path / "source"), MODEL, ranks_of_source)
    assert len(list((tmp_path / "source").glob("*/*_optim_states.pt"))) == ranks_of_source
    with mounting.mounted(tmp_path / "source", 2) as mount:
        assert os.stat(large_checkpoint.optimizer_file(mount.path, 1)).st_size > 0
