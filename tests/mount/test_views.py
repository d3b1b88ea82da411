"""Views by their names, and the catalogue of them at the root of a mount that was asked for none."""
import errno
import os
import shutil
import subprocess
import time

import pytest
import safetensors
import torch
from mount_fixtures import binary

TAG = "global_step2"
ADVICE = "choose world-size-N in this directory"


def files_of(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def test_a_world_size_is_a_view_like_others(source, mounted):
    by_size = mounted(source, "--world-size=3")
    expected = files_of(by_size.path / TAG)
    assert len(expected) >= 4
    assert files_of(mounted(source, "--view=world-size-3").path / TAG) == expected
    assert files_of(mounted(source, "-o", "view=dp-size-3").path / TAG) == expected
    assert files_of(mounted(source).path / "world-size-3" / TAG) == expected


def test_the_catalogue_lists_views_and_finds_every_name(source, mounted):
    root = mounted(source).path
    assert {"world-size-4", "weights", "weights-fp32"} <= set(os.listdir(root))
    assert len(list((root / "world-size-48" / TAG).glob("*optim_states.pt"))) == 48
    for absent in ("world-size-0", "weights-fp8", "nothing"):
        assert not (root / absent).exists()


@pytest.mark.parametrize("latest", ["latest", "latest_universal"])
def test_whoever_loads_from_the_root_is_told_what_to_choose(source, mounted, latest):
    root = mounted(source).path
    tag = (root / latest).read_text()
    assert tag == ADVICE
    for directory in (tag, "pytorch_model"):
        assert (root / directory).is_dir()
        names = os.listdir(root / directory)
        assert {"mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_model_states.pt"} <= set(names)
        for name in names:
            with pytest.raises(FileNotFoundError) as failure:
                (root / directory / name).open("rb")
            assert directory in str(failure.value)


def test_what_is_no_view_is_refused_before_mounting(source, tmp_path):
    for options, said in ((["--view=weight"], "no view 'weight'"), (["--view=weights", "--world-size=3"], "--view"),
                          (["--world-size=3", "--trainable-only"], "--trainable-only says nothing")):
        ended = subprocess.run([binary(), source, tmp_path / "mount", *options], capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert said in ended.stderr


def tensors_of(path):
    with safetensors.safe_open(path, "pt") as file:
        return {name: file.get_tensor(name).clone() for name in file.keys()}  # a copy: the file must not stay mapped


def test_weights_stand_in_the_tag_and_beside_it(source, mounted):
    (source / "model.safetensors").write_bytes(b"a file that loaders would take instead")
    mount = mounted(source, "--view=weights")
    assert "model.safetensors" in os.listdir(mount.path)
    assert not list((mount.path / TAG).glob("*_states.pt"))
    beside, inside = tensors_of(mount.path / "model.safetensors"), tensors_of(mount.path / TAG / "model.safetensors")
    assert beside and all(torch.equal(tensor, inside[name]) for name, tensor in beside.items())
    states = torch.load(source / TAG / "mp_rank_00_model_states.pt", weights_only=False)["module"]
    assert {"head.weight"} >= set(states) - set(beside), "of tied names one is stored"
    assert all(torch.equal(tensor, states[name]) for name, tensor in beside.items())
    assert (mount.path / TAG / "notes.txt").read_text() == "kept as it is\n"
    fp32 = tensors_of(mounted(source, "--view=weights", "--dtype=fp32").path / "model.safetensors")
    kept = {name: str(tensor.dtype) for name, tensor in fp32.items() if tensor.dtype != torch.float32}
    assert set(kept) == {name for name, tensor in beside.items() if not tensor.is_floating_point()}, kept


def test_weights_beside_a_broken_tag_are_an_error_never_an_older_tags(source, mounted):
    later = source / "global_step9"
    shutil.copytree(source / TAG, later)
    (later / "mp_rank_00_model_states.pt").write_bytes(b"broken")
    mount = mounted(source, "--view=weights")
    assert (mount.path / "model.safetensors").read_bytes()
    (source / "latest").write_text("global_step9")
    time.sleep(1.1)
    assert "model.safetensors" in os.listdir(mount.path)
    with pytest.raises(OSError) as failure:
        (mount.path / "model.safetensors").read_bytes()
    assert failure.value.errno == errno.EIO
    assert (mount.path / TAG / "model.safetensors").read_bytes()
    mount.expect_error("global_step9 cannot be shown as weights")
