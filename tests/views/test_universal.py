"""The universal view in the mount: what ds_to_universal leaves, file by file, and what DeepSpeed loads from it."""
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent / "data" / "zero"
sys.path.insert(0, str(DATA))

import graph  # noqa: E402
from make_checkpoints import CHECKPOINTS  # noqa: E402
from mounting import MountError, mounted  # noqa: E402
import trainer  # noqa: E402
import universal  # noqa: E402

EQUAL = ["stage1_bf16_ws3", "stage1_fp16_ws2", "stage2_bf16_ws4", "stage2_fp16_ws3", "stage2_fp32_ws2", "bf16_optimizer_ws3",
         "alignment_ws3", "offload_ws3", "frozen_tied_ws2", "overflow_ws3", "client_state_ws2", "tiny_group_ws5", "stage3_ws2",
         "stage3_bf16_ws3", "stage3_fp16_ws2", "stage3_fp32_ws4", "stage3_groups_ws3", "stage3_sub_groups_ws3",
         "stage3_frozen_tied_ws2", "stage3_tiny_parameter_ws3", "stage3_offload_ws3", "stage3_zero_init_ws3", "stage3_hpz_ws4",
         "pipeline_stage1_ws4", "described_tensor_parallel_stage1_ws4", "described_tensor_parallel_stage3_ws4", "amsgrad_ws2",
         "zero_steps_ws2", "round_robin_ws3"]

# docs/architecture.md, "Universal checkpoints": the files that hold more than the converter's, and nothing else.
MORE = {
    "amsgrad_ws2": "max_exp_avg_sq.pt",  # a state that the converter drops
}
OTHER = {
    "stage2_fp32_ws2": "head.weight/fp32.pt",  # the converter saves the flat buffer behind a second name
    "described_tensor_parallel_stage1_ws4": "head.weight/fp32.pt",
    "zero_steps_ws2": "fp32.pt",  # masters, where the converter widens 16-bit weights
    "round_robin_ws3": ".pt",  # the converter takes elements of other parameters
}


def files_below(root):
    return {os.path.relpath(os.path.join(directory, name), root)
            for directory, _, names in os.walk(root) for name in names}


def shown_tag(mount):
    with open(f"{mount}/latest_universal", encoding="ascii") as pointer:
        return f"{mount}/{pointer.read()}"


@pytest.mark.parametrize("name", EQUAL)
def test_it_is_what_the_converter_leaves(name, tmp_path):
    universal.convert(DATA / name, tmp_path / "converted")
    tag = (DATA / name / "latest").read_text()
    converted = tmp_path / "converted" / tag
    with mounted(DATA / name, None, "--view=universal") as mount:
        assert (pathlib.Path(mount) / "latest").read_text() == tag
        shown = shown_tag(mount)
        assert shown == f"{mount}/{tag}_universal"
        theirs, ours = files_below(converted), files_below(shown)
        assert not theirs - ours
        assert all(path.endswith(MORE.get(name, " nothing")) for path in ours - theirs), ours - theirs
        differing = {path: found for path in sorted(theirs) if (found := graph.compare(f"{converted}/{path}", f"{shown}/{path}"))}
        assert all(path.endswith(OTHER.get(name, " nothing")) for path in differing), differing
        assert bool(differing) == (name in OTHER)
        assert "zero/optimizer_state.pt" not in differing


def test_a_second_name_has_the_values_of_the_tensor_alone(tmp_path):
    """Where the converter saves the flat buffer of a group, the view saves the tensor."""
    import torch

    name = "stage2_fp32_ws2"
    universal.convert(DATA / name, tmp_path / "converted")
    with mounted(DATA / name, None, "--view=universal") as mount:
        path = "zero/head.weight/fp32.pt"
        found = torch.load(f"{shown_tag(mount)}/{path}")["param"]
        expected = torch.load(tmp_path / "converted" / (DATA / name / "latest").read_text() / path)["param"]
        assert torch.equal(found, expected)
        assert found.untyped_storage().nbytes() < expected.untyped_storage().nbytes()


def resumed(recipe, world_size, root, saved):
    reports = trainer.run(trainer.Job(recipe, world_size, load=str(root), universal=True, steps=2, save_loaded=str(saved)))
    return [(report.losses, report.learning_rates, report.global_steps, report.weights) for report in reports]


@pytest.mark.parametrize("name, world_size, changes", [
    ("stage2_bf16_ws4", 2, {}),
    ("stage2_bf16_ws4", 3, {}),
    ("stage1_fp16_ws2", 3, {}),
    ("stage3_bf16_ws3", 2, {}),
    ("stage3_bf16_ws3", 4, {}),
    ("described_tensor_parallel_stage1_ws4", 2, {"tensor_parallel": 1}),
    ("described_tensor_parallel_stage1_ws4", 4, {"tensor_parallel": 4}),
    ("described_tensor_parallel_stage1_ws4", 2, {}),
])
def test_deepspeed_loads_it(name, world_size, changes, tmp_path):
    """At other world sizes and tensor-parallel degrees, and goes on as from the converter's files."""
    recipe = CHECKPOINTS[name][0].but(**changes)
    universal.convert(DATA / name, tmp_path / "converted")
    truth = resumed(recipe, world_size, tmp_path / "converted", tmp_path / "truth")
    with mounted(DATA / name, None, "--view=universal") as mount:
        assert resumed(recipe, world_size, mount, tmp_path / "saved") == truth
    assert truth[0][2] == CHECKPOINTS[name][0].steps + 2


@pytest.mark.parametrize("name", ["round_robin_ws3", "zero_steps_ws2"])
def test_what_the_converter_breaks_has_the_source_values(name):
    """Every parameter's master is that of the source, gathered without the view."""
    import gather
    import torch

    found = gather.gather(gather.tag_of(DATA / name))
    assert found.masters
    with mounted(DATA / name, None, "--view=universal") as mount:
        for parameter, tensor in found.masters.items():
            shown = torch.load(f"{shown_tag(mount)}/zero/{parameter}/fp32.pt")["param"]
            assert torch.equal(shown.flatten(), tensor.flatten()), parameter


def test_a_checkpoint_that_cannot_be_converted_is_refused_by_name():
    with pytest.raises(MountError, match="universal_checkpoint_info"):
        with mounted(DATA / "tensor_parallel_stage1_ws4", None, "--view=universal"):
            pass
