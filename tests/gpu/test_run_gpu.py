"""The proof on GPUs runs, on a tiny model and CPUs that pass for GPUs, and what it compares with would find a fault."""
import json
import os
import pathlib
import sys
from types import SimpleNamespace

import pytest

HERE = pathlib.Path(__file__).resolve().parent
DOCS = HERE.parents[1] / "docs"
sys.path[:0] = [str(HERE), str(HERE.parent / "support"), str(HERE.parent / "oracle")]

if os.environ.get("CI") != "true":
    pytest.importorskip("lightning")

import torch  # noqa: E402

import gpu_report  # noqa: E402
import live_state  # noqa: E402
from records import Run  # noqa: E402
import run_gpu  # noqa: E402


def test_the_proof_holds_and_reports(tmp_path, capfd):
    report, results = tmp_path / "gpu.md", tmp_path / "gpu.json"
    arguments = ["--cpu-tiny", "--stages", "3", "--world-sizes", "2", f"--directory={tmp_path}", f"--report={report}", f"--results={results}"]
    assert run_gpu.main(arguments) == 0
    (stage,) = json.loads(results.read_text())["stages"]
    (mounted,) = stage["from_mount"]
    assert mounted["differences"] == mounted["uncovered"] == []
    assert mounted["compared"] == 4 * stage["parameters"]  # weights, masters and two states
    assert (stage["steps"], mounted["steps"]) == ([1, 2, 3, 4, 5, 6], [5, 6])
    # DeepSpeed 0.19.8 loads a universal checkpoint of stage 3 with the first group's options in every group: the comparison sees it.
    assert stage["universal"]["differences"] == [f"rank {rank}: group 1: weight_decay 0.0 became 0.1" for rank in (0, 1)]
    assert "weight_decay 0.0 became 0.1" in report.read_text()
    assert report.with_suffix(".svg").read_text().count("<circle") == 3
    assert "| 3 | mount | 2 |" in capfd.readouterr().out
    assert sorted(tmp_path.iterdir()) == [results, report, report.with_suffix(".svg")]


def test_the_document_is_what_the_recorded_runs_left(tmp_path):
    runs = [Run.read(HERE / "recorded" / f"{name}.json") for name in ("one-gpu", "two-gpus", "wheel")]
    assert [run.problems() for run in runs] == [[], [], []]
    gpu_report.write(tmp_path / "gpu.md", runs)
    for name in ("gpu.md", "gpu.svg"):
        assert (tmp_path / name).read_text() == (DOCS / name).read_text()


def test_a_loss_that_is_off_is_a_problem():
    run = Run.read(HERE / "recorded" / "one-gpu.json")
    run.stages[0].from_mount[1].losses[2] *= 1.002
    assert [problem.partition(" is ")[0] for problem in run.problems()] == ["stage 2, resumed at 8: the loss of step 11"]


@pytest.fixture
def engine():
    """The second rank's of two: half of one parameter of 6 elements."""
    weight, master = torch.nn.Parameter(torch.arange(6.0).bfloat16()), torch.arange(3.0, 6.0)
    place = SimpleNamespace(start=0, numel=3)
    weight._hp_mapping = SimpleNamespace(hp_fragment_address=place, lp_fragment_address=SimpleNamespace(start=3, numel=3))
    inner = SimpleNamespace(param_groups=[{"params": [master], "lr": 0.1}],
                            state={master: {"step": 4, "exp_avg": torch.ones(3), "exp_avg_sq": torch.zeros(3)}})
    optimizer = SimpleNamespace(bit16_groups=[[weight]], single_partition_of_fp32_groups=[master], optimizer=inner)
    return SimpleNamespace(module=SimpleNamespace(named_parameters=lambda: [("w", weight)]), optimizer=optimizer)


@pytest.fixture
def truth():
    return {"masters": {"w": torch.arange(6.0)}, "scalars": [{"options": {"lr": 0.1}, "step": 4}],
            "states": {("w", "exp_avg"): torch.ones(6), ("w", "exp_avg_sq"): torch.zeros(6)}}


def test_equal_state_is_equal(engine, truth):
    compared, differences = live_state.compare(engine, 2, truth)
    assert differences == []
    assert compared == [("weight", "w", 0, 6), ("master", "w", 3, 3), ("exp_avg", "w", 3, 3), ("exp_avg_sq", "w", 3, 3)]


def test_the_sign_of_a_zero_is_a_difference(engine, truth):
    truth["states"]["w", "exp_avg_sq"][5] = -0.0
    assert live_state.compare(engine, 2, truth)[1] == ["exp_avg_sq of w"]


def test_masters_weights_and_options_are_compared(engine, truth):
    truth["masters"]["w"][4] = 7
    truth["scalars"][0] = {"options": {"lr": 0.2}, "step": 5}
    assert live_state.compare(engine, 2, truth)[1] == ["weight of w", "master of w", "group 0: lr 0.2 became 0.1",
                                                       "group 0: step of the buffers 5 became 4"]


def test_what_no_rank_compares_is_named():
    of_both = [[(kind, "w", start, 3) for kind in ("master", "exp_avg", "exp_avg_sq")] + [("weight", "w", 0, 6)] for start in (0, 3)]
    assert live_state.uncovered(of_both, {"w": 6}) == []
    assert live_state.uncovered(of_both[1:], {"w": 6})[0] == "master of w: [(3, 6)] of 6 elements"
    assert len(live_state.uncovered(of_both, {"w": 7})) == 4
