"""Single tensors, against what Python readers see in the checkpoint (tests/data/zero/contents.json)."""
import builtins
import json
import math
import shutil
import tracemalloc

import ckptfs
import numpy
import pytest
import safetensors.torch
import torch
from mount_fixtures import DATA

CONTENTS = {name: ranks[0] for name, ranks in json.loads((DATA / "contents.json").read_text()).items()
            if len(ranks) == 1 and "_at_ws" not in name and not name.startswith(("stage0", "old/"))}
TAG = "global_step2"


def described(tensor):
    result = 0xCBF29CE484222325
    flat = tensor.detach().contiguous().flatten()
    for byte in flat.view(torch.uint8).numpy().tobytes() if math.prod(flat.shape) else b"":
        result = (result ^ byte) * 0x100000001B3 % 2**64
    return [str(tensor.dtype).removeprefix("torch."), list(tensor.shape), f"{result:016x}"]


def test_there_are_checkpoints():
    assert len(CONTENTS) > 25


@pytest.mark.parametrize("name", sorted(CONTENTS))
def test_every_tensor_of_a_checkpoint(name):
    content = CONTENTS[name]
    is_rounded = name.startswith("stage3")  # which keeps the dtype of weights, and no bytes
    with ckptfs.open(DATA / name) as tree:
        for parameter, expected in content["weights"].items():
            found = described(tree.tensor(parameter))
            assert found[0] == expected[0] if is_rounded else found == expected
        for parameter, expected in [*content["frozen"].items(), *content["buffers"].items()]:
            assert described(tree.tensor(parameter)) == expected
        for state, tensors in [("fp32", content["masters"]), *content["states"].items()]:
            wanted = {name: expected for name, expected in tensors.items() if name not in content["tied"]}
            infos = tree.tensors(state=state)
            for parameter, expected in wanted.items():
                assert described(tree.tensor(parameter, state=state)) == expected
                assert infos[parameter].shape == tuple(expected[1])


@pytest.fixture
def root(checkpoint):
    return checkpoint("stage2_bf16_ws4")


@pytest.mark.parametrize("options", [
    {}, {"world_size": 3}, {"view": "weights"}, {"view": "weights-bin"}, {"view": "states"}, {"view": "universal"},
    {"view": "weights", "max_shard_size": "1KB"}, {"view": "weights", "container": "bin", "dtype": "source"}])
def test_a_tree_of_any_view_has_the_tensors(root, options):
    with ckptfs.open(root, **options) as tree:
        is_bin = "bin" in options.values() or options.get("view") == "weights-bin"
        tensor = tree.tensor("embedding.weight")
        assert tensor.dtype == (torch.float32 if is_bin else torch.bfloat16)
        assert tree.tensor("embedding.weight", state="exp_avg").shape == tensor.shape
        assert set(tree.tensors()) > {"embedding.weight", "position"}


@pytest.mark.parametrize("dtype, expected", [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16),
                                             ("source", torch.bfloat16)])
def test_dtypes(root, dtype, expected):
    tensor = ckptfs.tensor(root, "embedding.weight", dtype=dtype)
    assert tensor.dtype == expected
    with ckptfs.open(root, view=f"weights-{dtype}" if dtype != "source" else "weights") as tree:
        assert torch.equal(tree.tensor("embedding.weight"), tensor)
        whole = safetensors.torch.load(tree.read_bytes("model.safetensors"))
        assert whole.keys() == tree.tensors().keys()
        for name, info in tree.tensors().items():
            assert torch.equal(whole[name], tree.tensor(name))
            assert info.shape == tuple(whole[name].shape) and info.nbytes == whole[name].nbytes


def test_numpy_is_the_same(root):
    with ckptfs.open(root) as tree:
        array = tree.tensor("embedding.weight", state="fp32", framework="numpy")
        assert isinstance(array, numpy.ndarray) and array.flags.writeable and array.flags.owndata
        assert torch.equal(torch.from_numpy(array), tree.tensor("embedding.weight", state="fp32", framework="torch"))
        half = tree.tensor("embedding.weight", framework="numpy")
        assert half.dtype.name == "bfloat16" and half.tobytes() == tree.tensor("embedding.weight").view(
            torch.uint8).numpy().tobytes()


def without(monkeypatch, *absent):
    """As where these packages are not installed."""
    import importlib.util
    find, load = importlib.util.find_spec, builtins.__import__

    def is_absent(name):
        return name.partition(".")[0] in absent

    def refuse(name, *arguments):
        if is_absent(name):
            raise ImportError(f"No module named {name!r}")
        return load(name, *arguments)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if is_absent(name) else find(name, *rest))
    monkeypatch.setattr(importlib, "import_module", lambda name, *rest, real=importlib.import_module: refuse(name) if is_absent(
        name) else real(name, *rest))
    monkeypatch.setattr(builtins, "__import__", refuse)


def test_without_torch_it_is_numpy(root, monkeypatch):
    expected = ckptfs.tensor(root, "embedding.weight", dtype="fp32", framework="numpy")
    without(monkeypatch, "torch")
    found = ckptfs.tensor(root, "embedding.weight", dtype="fp32")
    assert isinstance(found, numpy.ndarray) and (found == expected).all()


def test_bf16_without_torch_says_what_it_takes(root, monkeypatch):
    without(monkeypatch, "torch", "ml_dtypes")
    with pytest.raises(ValueError, match="framework is 'jax'; it is one of 'torch', 'numpy'"):
        ckptfs.tensor(root, "embedding.weight", framework="jax")
    with pytest.raises(ValueError, match="pip install ml_dtypes"):
        ckptfs.tensor(root, "embedding.weight")
    without(monkeypatch, "torch", "ml_dtypes", "numpy")
    with pytest.raises(ckptfs.Error, match="torch or numpy"):
        ckptfs.tensor(root, "embedding.weight")


def test_names_and_tags(root, checkpoint):
    shutil.copytree(checkpoint("stage2_bf16_ws4_at_ws3", "other") / TAG, root / "deeper" / "another")
    with ckptfs.open(root) as tree:
        with pytest.raises(FileNotFoundError, match="no.such"):
            tree.tensor("no.such")
        with pytest.raises(FileNotFoundError):
            tree.tensor("embedding.weight", state="nonsense")
        with pytest.raises(FileNotFoundError):
            tree.tensor("embedding.weight", tag="absent")
        current = tree.tensor("embedding.weight")
        assert torch.equal(tree.tensor("embedding.weight", tag=TAG), current)
        assert tree.tensor("embedding.weight", tag="deeper/another").shape == current.shape
    for source in (root / TAG, root / "deeper"):  # a tag itself, and a directory above one
        assert ckptfs.tensor(source, "embedding.weight").shape == current.shape
        assert ckptfs.tensor(source, "embedding.weight", state="exp_avg").shape == current.shape
    renamed = ckptfs.tensor(root, "embed", rename={"embedding.weight": "embed"})
    assert torch.equal(renamed, current)
    assert torch.equal(ckptfs.tensor(root, "embedding.weight", tag=TAG), current)


def test_a_save_is_seen(root):
    with ckptfs.open(root) as tree:
        tree.tensors()
        shutil.copytree(root / TAG, root / "next")
        for file in (root / "next").iterdir():
            file.touch()
        (root / "latest").write_text("next")
        import time
        time.sleep(2.5)
        assert tree.tensors().keys() and tree.tensor("embedding.weight").shape


def test_there_is_one_copy(root, tmp_path):
    """Nothing as large as the tensor is allocated beside it: its bytes are read to where they stay."""
    with ckptfs.open(root) as tree:
        tree.tensor("embedding.weight", state="fp32", framework="numpy")
        tracemalloc.start()
        array = tree.tensor("embedding.weight", state="fp32", framework="numpy")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < array.nbytes + 20_000
