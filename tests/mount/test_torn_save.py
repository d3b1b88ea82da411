"""Files of two saves in one directory, each of them whole: none of them is shown."""
import errno
import os
import pickletools
import shutil
import struct
import subprocess
import zipfile

import pytest

from mount_fixtures import binary, wait_until

TAG = "global_step2"


def rewrite(path, change):
    """The .pt file with `change` applied to its pickle's bytes."""
    with zipfile.ZipFile(path) as archive:
        records = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in records:
            archive.writestr(zipfile.ZipInfo(name), change(data) if name.endswith("/data.pkl") else data)


def after_key(pickle, key, opcode):
    """Offsets of `opcode` where it follows the string `key` (and its memo slot)."""
    found, after = [], False
    for code, argument, position in pickletools.genops(pickle):
        if after and code.name == opcode:
            found.append(position)
        after = code.name == "BINUNICODE" and argument == key or after and code.name in ("BINPUT", "LONG_BINPUT")
    return found


def other_learning_rate(pickle):
    places = after_key(pickle, "lr", "BINFLOAT")
    assert places
    changed = bytearray(pickle)
    for place in places:
        changed[place + 1:place + 9] = struct.pack(">d", 0.125)
    return bytes(changed)


def later(pickle, key):
    places = after_key(pickle, key, "BININT1")
    assert places
    changed = bytearray(pickle)
    for place in places:
        changed[place + 1] += 1
    return bytes(changed)


CASES = {
    # SGD counts no steps: the rate of its schedule tells.
    "sgd": ("sgd_ws2", "rank_1_mp_rank_00_optim_states", other_learning_rate, "--world-size=3", r"\.lr is 0\.125"),
    "stage3": ("stage3_fp16_ws2", "rank_1_mp_rank_00_model_states", lambda p: later(p, "global_samples")
               if after_key(p, "global_samples", "BININT1") else later(p, "last_batch_iteration"), "--world-size=3",
               "last_batch_iteration|global_samples"),
    "tensor_parallel": ("tensor_parallel_stage2_ws4", "mp_rank_01_optim_states", other_learning_rate, "--world-size=2",
                        r"\.lr is 0\.125"),
    "pipeline": ("pipeline_stage1_ws4", "mp_rank_01_model_states", lambda p: later(p, "last_batch_iteration"),
                 "--world-size=2", "last_batch_iteration is 2"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_torn_tag_is_not_served(checkpoint, mounted, name):
    case, part, change, world_size, reason = CASES[name]
    source = checkpoint(case)
    torn = source / "global_step9"
    shutil.copytree(source / TAG, torn)
    changed = [path for path in torn.iterdir() if part in path.name]
    assert changed
    for path in changed:
        rewrite(path, change)
    mount = mounted(source, world_size)
    mount.expect_error("global_step9 cannot be shown as world-size-")
    for path in torn.glob("*_states.pt"):
        with pytest.raises(OSError) as failure:
            (mount.path / "global_step9" / path.name).read_bytes()
        assert failure.value.errno == errno.EIO
    assert any(path.stat().st_size > 0 and path.read_bytes() for path in (mount.path / TAG).glob("*_states.pt"))
    for command in ("inspect", "verify"):
        (source / "latest").write_text("global_step9")
        told = subprocess.run([binary(), command, str(source)], capture_output=True, text=True, check=False)
        assert "files of two saves" in " ".join((told.stdout + told.stderr).split())
    # Every file of one save again: served.
    for path in torn.iterdir():
        shutil.copy(source / TAG / path.name, path)
    wait_until(lambda: readable(mount.path / "global_step9"), "the mended tag is shown")


def readable(tag):
    try:
        return all((tag / name).read_bytes() for name in os.listdir(tag) if name.endswith("_states.pt"))
    except OSError as failure:
        assert failure.errno in (errno.EIO, errno.ENOENT, errno.ESTALE), failure
        return False


def test_a_layer_that_is_replaced_makes_a_new_generation(checkpoint, mounted):
    source = checkpoint("pipeline_stage1_ws4")
    layer = source / TAG / "layer_02-model_states.pt"
    whole = layer.read_bytes()
    mount = mounted(source, "--world-size=2")
    optimizer = mount.path / TAG / "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"
    before = optimizer.stat().st_ino
    assert (mount.path / TAG / layer.name).read_bytes() == whole
    mount.expect_error("cannot be shown as world-size-2: .*layer_02-model_states.pt")
    os.truncate(layer, len(whole) // 2)
    with pytest.raises(OSError) as failure:
        optimizer.read_bytes()
    assert failure.value.errno in (errno.EIO, errno.ESTALE)
    layer.write_bytes(whole)
    # A tag of which only some files are new is taken for a save that is still running.
    for path in (source / TAG).iterdir():
        path.write_bytes(path.read_bytes())
    wait_until(lambda: readable(mount.path / TAG), "the mended tag is shown")
    assert optimizer.stat().st_ino != before


def test_values_of_a_rank_are_refused_and_given_from_one_on_request(checkpoint, mounted, tmp_path):
    source = checkpoint("stage2_fp16_ws3")
    for rank in range(3):
        # As an optimizer that no config knows: its learning rate under another name.
        path = source / TAG / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
        rewrite(path, lambda pickle, rank=rank: renamed(pickle, rank))
    point = tmp_path / "refused"
    point.mkdir()
    refused = subprocess.run([binary(), str(source), str(point), "--world-size=2", "-f"], capture_output=True,
                             text=True, check=False)
    assert refused.returncode == 5, refused.stderr
    assert "param_groups[0].d0 is 0.5" in refused.stderr and "--rank-values-of=R" in refused.stderr
    mount = mounted(source, "--world-size=2", "--rank-values-of=1")
    assert "every rank is given those of rank 1" in mount.log_text()
    for rank in range(2):
        with zipfile.ZipFile(mount.path / TAG / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt") as archive:
            pickle = next(archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl"))
        places = after_key(pickle, "d0", "BINFLOAT")
        assert {struct.unpack(">d", pickle[place + 1:place + 9])[0] for place in places} == {1.5}


def renamed(pickle, rank):
    changed = bytearray(pickle)
    places = after_key(pickle, "lr", "BINFLOAT")
    assert places
    for place in places:
        changed[place + 1:place + 9] = struct.pack(">d", rank + 0.5)
    return bytes(changed).replace(b"X\x02\x00\x00\x00lr", b"X\x02\x00\x00\x00d0")
