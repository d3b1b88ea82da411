"""Files of two saves in one tag, each of them whole: refused, warned of, or accepted, on the terminal, in the log and in the mount."""
import errno
import os
import pathlib
import re
import struct
import subprocess
import time
import zipfile
import zlib

import pytest

from mount_fixtures import binary, mounts_below, require_fuse, unmount

TAG = "global_step2"
RANK_1 = "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
MODEL_STATES = "mp_rank_00_model_states.pt"
WEIGHTS = "the weights are not the fp32 masters, rounded, on "
STEP = "the optimizer files are at step 2, but global_steps - skipped_steps of "
REFUSED = "--accept-mixed serves them"


def change(path, edit):
    """Rewrites records in place, with true CRCs: `edit(name, bytes)` returns as many bytes."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entries = [(entry, archive.read(entry)) for entry in archive.infolist()]
        directory = archive.start_dir
    changed = 0
    for entry, old in entries:
        new = edit(entry.filename.split("/", 1)[1], old)
        assert len(new) == len(old)
        name_length, extra_length = struct.unpack_from("<HH", data, directory + 28)
        comment_length = struct.unpack_from("<H", data, directory + 32)[0]
        assert bytes(data[directory + 46:directory + 46 + name_length]).decode() == entry.filename
        if new != old:
            changed += 1
            start = entry.header_offset + 30 + sum(struct.unpack_from("<HH", data, entry.header_offset + 26))
            data[start:start + len(new)] = new
            crc = struct.pack("<I", zlib.crc32(new))
            assert data[start + len(new):start + len(new) + 4] == b"PK\7\x08"
            data[start + len(new) + 4:start + len(new) + 8] = crc
            data[directory + 16:directory + 20] = crc
        directory += 46 + name_length + extra_length + comment_length
    assert changed, path
    path.write_bytes(data)


def a_step_later(name, old):
    if name == "data.pkl":
        return re.sub(rb"(global_steps(?:q.|r....)K)\x02", lambda match: match[1] + b"\x03", old, flags=re.DOTALL)
    return old


def other_weights(name, old):
    """The highest bit of each bfloat16's fraction."""
    return bytes(byte ^ (0x40 * (at % 2 == 0)) for at, byte in enumerate(old)) if name.startswith("data/") else old


def other_masters(name, old):
    """The same of fp32, but for what is a scalar."""
    changes = name.startswith("data/") and len(old) > 4
    return bytes(byte ^ (0x40 * (at % 4 == 2)) for at, byte in enumerate(old)) if changes else old


def later_model_states(tag):
    for path in tag.glob("*mp_rank_00_model_states.pt"):
        change(path, lambda name, old: other_weights(name, a_step_later(name, old)))


def ckptfs(*arguments):
    return subprocess.run([binary(), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, check=False, env={**os.environ, "COLUMNS": "10000"})  # each sentence in one line


def new_directory(parent):
    point = parent / "refused"
    point.mkdir()
    return point


@pytest.fixture
def bf16(checkpoint):
    return checkpoint("stage1_bf16_ws3")


@pytest.fixture
def torn(bf16):
    """A job that was killed between model states and optimizer files."""
    later_model_states(bf16 / TAG)
    return bf16


def test_both_signs_are_refused_everywhere(torn, tmp_path):
    for arguments in (["inspect", torn], ["verify", torn], [torn, new_directory(tmp_path), "--world-size=2"]):
        result = ckptfs(*arguments)
        assert result.returncode in (1, 4), result
        for sign in (STEP + MODEL_STATES + " is 3", WEIGHTS + "ranks 0-2 (", REFUSED):
            assert sign in result.stderr, result
    assert not mounts_below(tmp_path)


def test_a_whole_tag_beside_it_is_served_and_it_is_not(torn, tmp_path, mounted):
    whole = torn / "global_step1"
    whole.mkdir()
    for path in (pathlib.Path(__file__).parents[1] / "data" / "zero" / "stage1_bf16_ws3" / TAG).iterdir():
        (whole / path.name).write_bytes(path.read_bytes())
    (torn / "latest").write_text("global_step1")
    mount = mounted(torn, "--world-size=2")
    mount.expect_error(re.escape(STEP))
    assert (mount.path / "global_step1" / MODEL_STATES).read_bytes()
    with pytest.raises(OSError) as failure:
        (mount.path / TAG / MODEL_STATES).read_bytes()
    assert failure.value.errno == errno.EIO


def mount_and_leave(source, point, *options):
    """What a mount in the background says to whoever waits for the prompt; and what its log holds."""
    require_fuse()
    point.mkdir()
    log = point.with_suffix(".log")
    result = ckptfs(source, point, "--world-size=2", f"--log-file={log}", *options)
    assert result.returncode == 0, result
    try:
        assert sorted(name for name in os.listdir(point / TAG) if "optim" in name)
    finally:
        unmount(point)
    return result.stderr, log.read_text()


def test_what_is_accepted_is_served_with_a_warning(torn, tmp_path):
    for text in mount_and_leave(torn, tmp_path / "mount", "--accept-mixed"):
        assert "accepted because of --accept-mixed: " + STEP in text
    verified = ckptfs("verify", torn, "--accept-mixed", "--world-size=2")
    assert verified.returncode == 0, verified
    assert "warning: " in verified.stdout and STEP in verified.stdout
    assert "accepted because of --accept-mixed" in ckptfs("inspect", torn, "--accept-mixed").stdout


@pytest.mark.parametrize("sign, edit", [(STEP + MODEL_STATES, a_step_later), (WEIGHTS + "ranks 0-2", other_weights)])
def test_one_sign_on_all_ranks_is_a_warning(bf16, tmp_path, sign, edit):
    change(bf16 / TAG / MODEL_STATES, edit)
    for text in mount_and_leave(bf16, tmp_path / "mount"):
        assert sign in text and "expected where the training" in text and REFUSED not in text
    for command in ("inspect", "verify"):
        result = ckptfs(command, bf16, "--world-size=2")
        assert result.returncode == 0, result
        assert sign in result.stdout


def test_a_rank_of_another_save_of_the_same_step_is_refused(bf16, tmp_path):
    change(bf16 / TAG / RANK_1, other_masters)
    result = ckptfs(bf16, new_directory(tmp_path), "--world-size=2")
    assert result.returncode == 4, result
    assert WEIGHTS + "rank 1, while they are on ranks 0, 2 (" in result.stderr and REFUSED in result.stderr


def one_element(name, old):
    """The highest bit of the fraction of one bfloat16."""
    return bytes([old[0] ^ 0x40]) + old[1:] if name == "data/0" else old


def test_a_clamp_of_one_element_is_a_warning_for_every_command(bf16, tmp_path):
    change(bf16 / TAG / MODEL_STATES, one_element)
    verified = ckptfs("verify", bf16, "--world-size=2")
    assert verified.returncode == 0, verified
    assert re.search(re.escape(WEIGHTS) + r"rank \d \(1 of \d+ compared elements differ; parameters '[^']+'\): expected", verified.stdout)
    assert ckptfs("inspect", bf16).returncode == 0
    for text in mount_and_leave(bf16, tmp_path / "mount"):
        assert REFUSED not in text


def a_step_ahead(name, old):
    """What an optimizer counts in a tensor."""
    two, three = struct.pack("<f", 2), struct.pack("<f", 3)
    return three if name.startswith("data/") and old == two else old


def test_stage_3_that_began_under_an_old_version_is_served_whatever_the_times_say(checkpoint, tmp_path):
    source = checkpoint("stage3_bf16_ws3")
    now = time.time()
    for path in (source / TAG).iterdir():
        is_optimizer = path.name.endswith("optim_states.pt")
        if is_optimizer:
            change(path, a_step_ahead)
        then = now - 60 * is_optimizer
        os.utime(path, (then, then))
    for text in mount_and_leave(source, tmp_path / "mount"):
        assert "the optimizer files are at step 3" in text and "began under a DeepSpeed before 0.14" in text


@pytest.mark.parametrize("newer", [True, False])
def test_stage_3_is_refused_by_step_and_times(checkpoint, tmp_path, newer):
    source = checkpoint("stage3_bf16_ws3")
    now = time.time()
    for path in (source / TAG).iterdir():
        later = path.name.endswith("model_states.pt")
        if later:
            change(path, a_step_later)
        then = now + (later == newer) * 60
        os.utime(path, (then, then))
    if not newer:
        for text in mount_and_leave(source, tmp_path / "mount"):
            assert STEP in text and "expected where the training" in text
        return
    result = ckptfs(source, new_directory(tmp_path), "--world-size=2")
    assert result.returncode == 4, result
    assert STEP in result.stderr and "the model states are newer than every optimizer file" in result.stderr
    for text in mount_and_leave(source, tmp_path / "mount", "--accept-mixed"):
        assert "accepted because of --accept-mixed" in text


def test_a_whole_tag_is_not_spoken_of(bf16, tmp_path):
    stderr, log = mount_and_leave(bf16, tmp_path / "mount")
    assert stderr == ""
    assert "warn" not in log
