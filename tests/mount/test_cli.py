"""The command line end to end: exit codes, one sentence on standard error, nothing mounted on bad input."""
import pathlib
import struct
import subprocess
import zipfile

import pytest

from mount_fixtures import binary, mounts_below, require_fuse, unmount

TAG = "global_step2"
CASE = "stage1_bf16_ws3"
RANK_1 = "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
MODEL_STATES = "mp_rank_00_model_states.pt"


def ckptfs(*arguments, cwd=None):
    return subprocess.run([binary(), *map(str, arguments)], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, check=False)


def assert_refused(result, code, says, directory):
    assert result.returncode == code, result
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("ckptfs: ")
    assert says in lines[0]
    assert not mounts_below(directory)


def flip_byte(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def other_step(tag):
    """Every `step` of rank 1, which is a tensor of one float32 2.0, becomes 7.0."""
    path = tag / RANK_1
    data = bytearray(path.read_bytes())
    changed = 0
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.file_size == 4 and archive.read(entry) == struct.pack("<f", 2):
                name_length, extra_length = struct.unpack_from("<HH", data, entry.header_offset + 26)
                start = entry.header_offset + 30 + name_length + extra_length
                data[start:start + 4] = struct.pack("<f", 7)
                changed += 1
    assert changed
    path.write_bytes(data)


def remove(tag, pattern):
    doomed = list(tag.glob(pattern))
    assert doomed
    for path in doomed:
        path.unlink()


def other_world_size(tag):
    source = pathlib.Path(__file__).resolve().parents[1] / "data" / "zero" / f"{CASE}_at_ws2"
    (tag / MODEL_STATES).write_bytes((source / TAG / MODEL_STATES).read_bytes())


def empty_source(tag):
    remove(tag, "*.pt")
    (tag.parent / "latest").unlink()
    tag.rmdir()


BAD = {
    "missing rank": (lambda tag: (tag / RANK_1).unlink(), 4, "rank 1 is missing"),
    "truncated rank": (lambda tag: (tag / RANK_1).write_bytes((tag / RANK_1).read_bytes()[:3000]), 4, RANK_1),
    "empty rank": (lambda tag: (tag / RANK_1).write_bytes(b""), 4, RANK_1),
    "corrupt zip": (lambda tag: flip_byte(tag / RANK_1, -150), 4, RANK_1),
    "corrupt pickle": (lambda tag: flip_byte(tag / RANK_1, 200), 4, RANK_1),
    "other step": (other_step, 4, "step 7"),
    "other world size": (other_world_size, 4, "dp_world_size 2"),
    "weights only": (lambda tag: remove(tag, "*optim_states.pt"), 4, "weights only"),
    "empty tag": (lambda tag: remove(tag, "*.pt"), 4, "holds no ZeRO files"),
    "empty source": (empty_source, 3, "it is empty"),
    "model states of one rank": (lambda tag: (tag / MODEL_STATES).rename(tag / f"zero_pp_rank_0_{MODEL_STATES}"), 4, "the model states of rank 1 are missing"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_sentence_and_no_mount(checkpoint, tmp_path, kind):
    breaks, code, says = BAD[kind]
    source = checkpoint(CASE)
    breaks(source / TAG)
    (tmp_path / "mnt").mkdir()
    for foreground in ([], ["-f"]):
        result = ckptfs(source, tmp_path / "mnt", "--world-size=2", *foreground)
        assert_refused(result, code, says, tmp_path)
        assert str(source) in result.stderr


@pytest.mark.parametrize("world_size", ["0", "-1", "abc", "1e3", "1048577", "99999999999999999999"])
def test_bad_world_sizes(checkpoint, tmp_path, world_size):
    (tmp_path / "mnt").mkdir()
    result = ckptfs(checkpoint(CASE), tmp_path / "mnt", f"--world-size={world_size}")
    assert_refused(result, 2, "1 to 1,048,576", tmp_path)


def test_bad_mount_points(checkpoint, tmp_path):
    source = checkpoint(CASE)
    (source / "inside").mkdir()
    assert_refused(ckptfs(source, source / "inside"), 2, "inside", tmp_path)
    assert_refused(ckptfs(source, tmp_path), 2, "contains", tmp_path)
    assert_refused(ckptfs(source, tmp_path / "absent"), 6, "does not exist", tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert_refused(ckptfs(source, tmp_path / "full"), 6, "empty", tmp_path)


def test_nothing_at_source(tmp_path):
    (tmp_path / "mnt").mkdir()
    assert_refused(ckptfs(tmp_path / "absent", tmp_path / "mnt"), 3, "absent", tmp_path)


def test_the_shell_gets_its_prompt_when_the_mount_answers(checkpoint, tmp_path):
    require_fuse()
    checkpoint(CASE)
    (tmp_path / "mnt").mkdir()
    result = ckptfs("source", "mnt", "-o", "rw,_netdev,world_size=2,log-file=log", cwd=tmp_path)
    try:
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
        names = sorted(path.name for path in (tmp_path / "mnt" / TAG).iterdir())
        assert names == [RANK_1.replace("_1_", "_0_"), RANK_1, MODEL_STATES]
        assert "mounted" in (tmp_path / "log").read_text()
    finally:
        unmount(tmp_path / "mnt")


def test_a_broken_tag_beside_a_whole_one_is_a_warning(checkpoint, tmp_path):
    require_fuse()
    source = checkpoint(CASE)
    (source / TAG).rename(source / "older")
    (source / TAG).mkdir()
    (source / TAG / MODEL_STATES).write_bytes((source / "older" / MODEL_STATES).read_bytes())
    (tmp_path / "mnt").mkdir()
    result = ckptfs(source, tmp_path / "mnt", "--world-size=2", f"--log-file={tmp_path}/log")
    try:
        assert result.returncode == 0
        assert result.stderr.startswith("ckptfs: warning: ")
        assert "weights only" in result.stderr
        assert (tmp_path / "mnt" / "older" / RANK_1).read_bytes()
        with pytest.raises(OSError, match="Input/output error"):
            (tmp_path / "mnt" / TAG / MODEL_STATES).read_bytes()
    finally:
        unmount(tmp_path / "mnt")


def test_verify_reads_the_view_through_libtorch(checkpoint):
    result = ckptfs("verify", checkpoint(CASE), "--world-size=2")
    assert result.returncode == 0, result
    assert "read by libtorch" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("OK: ")
    assert result.stderr == ""


def test_verify_finds_a_changed_byte(checkpoint):
    source = checkpoint(CASE)
    with zipfile.ZipFile(source / TAG / RANK_1) as archive:
        largest = max((entry for entry in archive.infolist() if "/data/" in entry.filename),
                      key=lambda entry: entry.file_size)
    flip_byte(source / TAG / RANK_1, largest.header_offset + 300)
    result = ckptfs("verify", source)
    assert result.returncode == 1, result
    assert "CRC-32" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_inspect_is_chosen_by_the_first_argument(checkpoint, tmp_path):
    assert ckptfs("inspect", checkpoint(CASE)).stdout.startswith("source ")
    result = ckptfs("./inspect", "mnt", cwd=tmp_path)
    assert_refused(result, 3, "inspect", tmp_path)


def test_a_mistyped_command_is_guessed(checkpoint, tmp_path):
    root = checkpoint(CASE)
    result = ckptfs("inspct", root, cwd=tmp_path)  # mounts what is not there on the checkpoint
    assert result.returncode == 3, result
    assert result.stderr.rstrip().endswith("(did you mean the command `ckptfs inspect`?)")
    (tmp_path / "inspct").mkdir()
    (tmp_path / "mnt").mkdir()
    result = ckptfs("inspct", "mnt", cwd=tmp_path)  # is there, but nothing is in it
    assert result.returncode == 3, result
    assert "did you mean" not in result.stderr
    result = ckptfs(tmp_path / "exprot", root)
    assert result.returncode == 3 and "did you mean" not in result.stderr


def test_a_source_that_begins_with_a_dash(checkpoint, tmp_path):
    require_fuse()
    checkpoint(CASE).rename(tmp_path / "--json")
    inspected = ckptfs("inspect", "--", "--json", cwd=tmp_path)
    assert inspected.returncode == 0 and not inspected.stdout.startswith("{"), inspected
    assert ckptfs("verify", "--world-size=3", "--", "--json", cwd=tmp_path).returncode == 0
    listed = ckptfs("run", "--world-size=3", "--", "--json", "--", "sh", "-c", 'ls "$CKPTFS_VIEW"', cwd=tmp_path)
    assert listed.returncode == 0 and "latest" in listed.stdout.split(), listed
    assert sorted(listed.stdout.split()) == sorted(ckptfs("ls", "--world-size=3", "--", "--json", cwd=tmp_path).stdout.split())
