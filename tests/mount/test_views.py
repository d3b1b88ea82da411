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


def opened_with_error(path):
    with pytest.raises(OSError) as failure:
        path.open("rb").read()
    return failure.value.errno == errno.EIO


def broken_copy(source, name, lost):
    shutil.copytree(source / TAG, source / name)
    for path in (source / name).glob(lost):
        os.truncate(path, 1000)


@pytest.mark.parametrize("view, shown", [("states", "broken/fp32.safetensors"),
                                         ("universal", "broken_universal/zero/optimizer_state.pt")])
def test_of_a_broken_tag_what_a_view_would_show_is_listed_and_is_an_error(source, mounted, view, shown):
    broken_copy(source, "broken", "*zero_pp_rank_1_mp_rank_00_optim_states.pt")
    mount = mounted(source, f"--view={view}")
    found = [path for path in (mount.path / shown.split("/", maxsplit=1)[0]).rglob("*")
             if path.is_file() and path.name != "notes.txt"]
    assert found == [mount.path / shown]
    assert opened_with_error(mount.path / shown)
    mount.expect_error(f"broken cannot be shown as {view}: .*zero_pp_rank_1_")


def test_weights_need_no_optimizer(source, mounted):
    broken_copy(source, "broken", "*optim_states.pt")
    broken_copy(source, "lost", "*_states.pt")
    mount = mounted(source, "--view=weights")
    whole = tensors_of(mount.path / TAG / "model.safetensors")
    saved = tensors_of(mount.path / "broken" / "model.safetensors")
    assert whole.keys() == saved.keys() and all(torch.equal(tensor, saved[name]) for name, tensor in whole.items())
    assert opened_with_error(mount.path / "lost" / "model.safetensors")
    mount.expect_error("lost cannot be shown as weights: ")


def test_lightning_s_file_stands_for_its_directory_and_a_broken_one_is_an_error(source, mounted):
    for name in ("epoch=0.ckpt", "epoch=1.ckpt"):
        (source / name).mkdir()
    broken_copy(source, "epoch=0.ckpt/checkpoint", "nothing")
    broken_copy(source, "epoch=1.ckpt/checkpoint", "*zero_pp_rank_1_mp_rank_00_optim_states.pt")
    (source / "newest.ckpt").symlink_to("epoch=0.ckpt")
    mount = mounted(source, "--view=lightning")
    assert "state_dict" in torch.load(mount.path / "newest.ckpt", weights_only=False)
    assert (mount.path / "epoch=1.ckpt").is_file()
    assert opened_with_error(mount.path / "epoch=1.ckpt")
    mount.expect_error("epoch=1.ckpt/checkpoint cannot be shown as lightning: .*zero_pp_rank_1_")
