"""The benchmark of warm and cold files runs, on a checkpoint too small for its numbers to mean anything."""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))

import ranks  # noqa: E402,F401  sets what DeepSpeed reads when it is imported

if os.environ.get("CI") != "true":
    pytest.importorskip("deepspeed")

import bench_cold  # noqa: E402
import page_cache  # noqa: E402
import reporting  # noqa: E402
import tables  # noqa: E402

MIB = 1 << 20


def on_a_disk(directory):
    """Whether a file there can leave the page cache."""
    path = directory / "probe"
    path.write_bytes(bytes(MIB))
    try:
        page_cache.drop([str(path)])
    except OSError:
        return False
    finally:
        path.unlink()
    return True


def test_the_benchmark_measures_and_reports(tmp_path, capfd):
    if not on_a_disk(tmp_path):
        pytest.skip("temporary files lie in memory")
    name = f"cold on {reporting.processors()} processors"
    report = tables.document(tmp_path, name)
    arguments = [*tables.TINY, "--readers", "1", "2", f"--directory={tmp_path}", f"--report={report}"]
    assert bench_cold.main(arguments) == 0
    text = tables.section(report, name)
    assert text in capfd.readouterr().out
    rows = tables.table(text, "view / files, in time")
    assert list(rows) == ["raw, 1 reader", "raw, 2 readers", "torch.load, 1 reader", "torch.load, 2 readers"]
    assert all(tables.ratio(cell) for cells in rows.values() for cell in cells)
    (mounts,) = tables.table(text, "seconds").values()
    assert len(mounts) == 2 and all(float(cell.split()[0]) > 0 for cell in mounts)
    assert list(tmp_path.iterdir()) == [report]


def test_a_file_is_in_the_page_cache_until_it_is_dropped(tmp_path):
    if not on_a_disk(tmp_path):
        pytest.skip("temporary files lie in memory")
    path = tmp_path / "file"
    path.write_bytes(bytes(4 * MIB))
    assert page_cache.resident(path) == 4 * MIB
    page_cache.drop([str(path)])
    assert page_cache.resident(path) == 0
    path.read_bytes()
    assert page_cache.resident(path) == 4 * MIB


def test_files_that_stay_in_memory_are_an_error(tmp_path):
    path = "/dev/shm/ckptfs-bench-cold-test"
    with open(path, "wb") as file:
        file.write(bytes(MIB))
    try:
        with pytest.raises(OSError, match="stay in the page cache"):
            page_cache.drop([path])
    finally:
        os.unlink(path)
