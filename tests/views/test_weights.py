"""Weights through a mount, against zero_to_fp32.py, the safetensors library and the tensors of the checkpoint itself."""
import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from fixtures import DATA, checkpoints, differences, loaded, tag_of
from mounting import mounted

MODEL_PARALLEL = ("tensor_parallel", "described_tensor_parallel", "pipeline")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# zero_to_fp32.py refuses stage 0 and files of BF16_Optimizer.
CONVERTIBLE = checkpoints(*MODEL_PARALLEL, "stage0", "bf16_optimizer")
# Where no rank wrote shared_params, it loses the second name of a tied tensor; the view finds it by its bytes.
TIED_NAMES_THAT_IT_LOSES = {"sequence_mesh_ws4": {"head.weight"}}


def convert(root, output, **options):
    from deepspeed.utils import zero_to_fp32

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        zero_to_fp32.convert_zero_checkpoint_to_state_dict(str(root), str(output), **options)
    return output


def without_lost_names(name, tensors):
    return {key: value for key, value in tensors.items() if key not in TIED_NAMES_THAT_IT_LOSES.get(name, ())}


def source_dtypes(root):
    """Of every name in `module`, as the engine kept it."""
    files = sorted((root / tag_of(root)).glob("*model_states.pt"))
    module = torch.load(files[0], weights_only=False)["module"]
    return {name: tensor.dtype for name, tensor in module.items()}


@pytest.mark.parametrize("name", CONVERTIBLE)
def test_bin_is_what_zero_to_fp32_writes(name, tmp_path):
    root = DATA / name
    with mounted(root) as mount:
        for dtype in DTYPES:
            truth = torch.load(convert(root, tmp_path / dtype, dtype=dtype) / "pytorch_model.bin")
            view = f"{mount}/weights-{dtype}-bin/{tag_of(root)}"
            found = torch.load(f"{view}/pytorch_model.bin")
            assert list(without_lost_names(name, found)) == list(truth)
            assert not differences(without_lost_names(name, found), truth)
            storages = {key: tensor.untyped_storage().data_ptr() for key, tensor in found.items() if tensor.numel()}
            in_truth = {key: value.untyped_storage().data_ptr() for key, value in truth.items()}
            for one in found:
                for other in found:
                    if one != other and {one, other} <= storages.keys() & in_truth.keys():
                        tied = truth[one].data_ptr() == truth[other].data_ptr()
                        assert (storages[one] == storages[other]) == tied, (one, other)
            if dtype == "fp32":
                default = torch.load(f"{mount}/weights-bin/{tag_of(root)}/pytorch_model.bin")
                assert not differences(default, found)


@pytest.mark.parametrize("name", ["stage1_fp16_ws2", "stage2_bf16_ws4", "frozen_tied_ws2", "round_robin_ws3", "stage3_groups_ws3",
                                  "stage3_frozen_tied_ws2", "stage3_sub_groups_ws3"])
def test_shards_are_cut_as_zero_to_fp32_cuts_them(name, tmp_path):
    root = DATA / name
    truth = convert(root, tmp_path / "truth", max_shard_size="0.6KB")
    with mounted(root, None, "--view=weights", "--container=bin", "--max-shard-size=600") as mount:
        view = pathlib.Path(mount, tag_of(root))
        assert sorted(path.name for path in truth.iterdir()) == sorted(path.name for path in view.glob("pytorch_model*"))
        for path in truth.iterdir():
            if path.suffix == ".json":
                assert (view / path.name).read_text() == path.read_text()
            else:
                found, expected = torch.load(view / path.name), torch.load(path)
                assert list(found) == list(expected)
                assert not differences(found, expected)


@pytest.mark.parametrize("name", checkpoints(*MODEL_PARALLEL))
def test_safetensors_files_are_the_library_s_own(name, tmp_path):
    """Byte for byte what save_file makes of the same tensors; those are the bin's, less the second of tied names."""
    root = DATA / name
    own = source_dtypes(root)
    with mounted(root) as mount:
        fp32 = torch.load(f"{mount}/weights-fp32-bin/{tag_of(root)}/pytorch_model.bin")
        kept = loaded(f"{mount}/weights/{tag_of(root)}/model.safetensors")
        assert {key: tensor.dtype for key, tensor in kept.items()} == {key: own[key] for key in kept}
        for dtype in (*DTYPES, None):
            path = f"{mount}/weights{f'-{dtype}' if dtype else ''}/{tag_of(root)}/model.safetensors"
            found = loaded(path)
            assert found.keys() == kept.keys()
            owners = {fp32[key].data_ptr() for key in found}
            assert all(tensor.data_ptr() in owners or not tensor.numel() for tensor in fp32.values())
            if dtype:
                expected = {key: fp32[key].to(DTYPES[dtype]) if fp32[key].is_floating_point() else fp32[key] for key in kept}
                assert not differences(found, expected)
            save_file(found, tmp_path / "again", {"format": "pt"})
            assert (tmp_path / "again").read_bytes() == pathlib.Path(path).read_bytes()


@pytest.mark.parametrize("name", ["stage2_bf16_ws4", "stage1_fp16_ws2", "frozen_tied_ws2", "stage0_ws2", "bf16_optimizer_ws3"])
def test_weights_of_stages_0_to_2_are_those_of_module(name):
    root = DATA / name
    module = torch.load(next((root / tag_of(root)).glob("mp_rank_00_model_states.pt")), weights_only=False)["module"]
    with mounted(root) as mount:
        found = loaded(f"{mount}/weights/{tag_of(root)}/model.safetensors")
    assert not differences(found, {key: module[key] for key in found})
    pointers = {module[key].data_ptr() for key in found}
    assert all(tensor.data_ptr() in pointers for tensor in module.values() if tensor.numel())


@pytest.mark.parametrize("stage", [1, 3])
def test_tensor_parallel_slices_are_joined_as_ds_to_universal_joins_them(stage, tmp_path):
    root = DATA / f"described_tensor_parallel_stage{stage}_ws4"
    subprocess.run([sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--input_folder", root / tag_of(root),
                    "--output_folder", tmp_path / "universal", "--inject_missing_state", "--num_extract_workers=1",
                    "--num_merge_workers=1"], check=True, capture_output=True)
    with mounted(root) as mount:
        found = {"fp32": loaded(f"{mount}/weights-fp32/{tag_of(root)}/model.safetensors"),
                 "exp_avg": loaded(f"{mount}/states/{tag_of(root)}/exp_avg.safetensors")}
    for state, tensors in found.items():
        truth = {path.parent.name: torch.load(path, weights_only=False)["param"]
                 for path in (tmp_path / "universal" / "zero").glob(f"*/{state}.pt")}
        truth.pop("head.weight", None)  # tied to the embedding
        parameters = {name: tensor for name, tensor in tensors.items() if name in truth}
        assert len(truth) == 8
        assert not differences(parameters, truth)


READER = """
import sys
from safetensors import safe_open
for _ in range(20):
    with safe_open(sys.argv[1], "pt") as file:
        for name in file.keys():
            rows = file.get_slice(name)
            shape = rows.get_shape()
            whole = file.get_tensor(name)
            if shape:
                for row in range(shape[0]):
                    assert rows[row:row + 1].equal(whole[row:row + 1]), name
                assert rows[:, -1:].equal(whole[:, -1:]) if len(shape) > 1 else True
print("ok")
"""


@pytest.mark.parametrize("name", ["stage2_bf16_ws4", "stage3_bf16_ws3"])
def test_slices_are_read_while_others_read_another_dtype(name):
    """As inference servers do: each rank opens the file and takes its slices."""
    root = DATA / name
    with mounted(root) as mount:
        readers = [subprocess.Popen([sys.executable, "-c", READER, f"{mount}/{view}/{tag_of(root)}/model.safetensors"],
                                    stdout=subprocess.PIPE, text=True)
                   for view in ("weights", "weights-fp32", "weights-fp16", "weights-fp32")]
        for reader in readers:
            assert reader.communicate(timeout=120)[0] == "ok\n"
            assert reader.returncode == 0


def test_a_checkpoint_without_its_optimizer_still_shows_its_weights(tmp_path):
    source, root = DATA / "stage2_bf16_ws4", tmp_path / "source"
    shutil.copytree(source, root)
    tag = tag_of(source)
    with mounted(source) as mount:
        truth = loaded(f"{mount}/weights/{tag}/model.safetensors")
    for damage in (lambda path: path.write_bytes(path.read_bytes()[:-100]), lambda path: path.unlink()):
        damage(root / tag / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt")
        with mounted(root, None, "--view=weights", may_log_errors=True) as mount:
            for directory in (mount, f"{mount}/{tag}"):
                assert not differences(loaded(f"{directory}/model.safetensors"), truth)
        with mounted(root, None, "--allow-empty", may_log_errors=True) as mount:
            assert not differences(loaded(f"{mount}/weights/{tag}/model.safetensors"), truth)
            with pytest.raises(OSError, match="Input/output error"):
                pathlib.Path(mount, "states", tag, "fp32.safetensors").read_bytes()


def test_options_choose_and_rename_tensors():
    root = DATA / "frozen_tied_ws2"
    tag = tag_of(root)
    with mounted(root) as mount:
        whole = loaded(f"{mount}/weights/{tag}/model.safetensors")
    with mounted(root, None, "--view=weights", "--parameters=weight$", "--trainable-only", "--strip-prefix=blocks.",
                 r"--rename=^(\d+)\.=layer.$1.") as mount:
        part = loaded(f"{mount}/{tag}/model.safetensors")
    frozen = torch.load(root / tag / "mp_rank_00_model_states.pt", weights_only=False)["frozen_param_shapes"]
    expected = {re.sub(r"^blocks\.(\d+)\.", r"layer.\1.", name): tensor for name, tensor in whole.items()
                if name.endswith("weight") and name not in frozen}
    assert 0 < len(expected) < len(whole)
    assert not differences(part, expected)


def test_a_holder_shows_the_files_of_its_current_tag(tmp_path):
    source = DATA / "stage2_bf16_ws4"
    root = tmp_path / "source"
    shutil.copytree(source, root)
    (root / "config.json").write_text("{}")
    (root / "model-00001-of-00002.safetensors").write_text("somebody's")
    (root / "pytorch_model.bin").write_text("somebody's")
    tag = tag_of(source)
    with mounted(root) as mount:
        view = pathlib.Path(mount, "weights")
        assert (view / "model.safetensors").read_bytes() == (view / tag / "model.safetensors").read_bytes()
        assert (view / "config.json").read_text() == "{}"
        assert not {"model-00001-of-00002.safetensors", "pytorch_model.bin"} & set(os.listdir(view))
        assert not [entry for entry in os.listdir(view / tag) if entry.endswith(".pt")]


def test_states_have_a_file_each(tmp_path):
    for name in ("stage2_bf16_ws4", "stage3_groups_ws3", "momentum_ws2"):
        root = DATA / name
        truth = convert(root, tmp_path / name)
        masters = torch.load(truth / "pytorch_model.bin")
        with mounted(root) as mount:
            states = pathlib.Path(mount, "states", tag_of(root))
            files = sorted(path.name for path in states.glob("*.safetensors"))
            moments = {"momentum_buffer"} if name.startswith("momentum") else {"exp_avg", "exp_avg_sq"}
            assert files == sorted(f"{state}.safetensors" for state in moments | {"fp32"})
            fp32 = loaded(states / "fp32.safetensors")
            assert not differences(fp32, {key: masters[key] for key in fp32})
            optimizer = torch.load(sorted((root / tag_of(root)).glob("*optim_states.pt"))[0], weights_only=False)
            inner = optimizer["optimizer_state_dict"]
            groups = (inner.get("base_optimizer_state") or inner["optimizer_state_dict"])["param_groups"]
            for file in files:
                with safe_open(states / file, "pt") as tensors:
                    metadata = tensors.metadata()
                    assert set(tensors.keys()) == set(fp32)
                assert [float(metadata[f"param_groups[{index}].lr"]) for index in range(len(groups))] == \
                    [group["lr"] for group in groups]
                listed = [json.loads(metadata[f"param_groups[{index}].params"]) for index in range(len(groups))]
                assert sorted(sum(listed, [])) == sorted(fp32)
