"""inspect, verify, check, diff and export as functions, against the program."""
import ctypes
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import ckptfs
import pytest
from ckptfs import _library, _programs, _running, second_reader
from conftest import TAG


def program(*arguments):
    return subprocess.run([_programs.program(), *map(str, arguments)], capture_output=True, text=True, check=False)


def test_inspect_is_the_programs(checkpoint):
    root = checkpoint()
    assert ckptfs.inspect(root) == json.loads(program("inspect", root, "--json").stdout)
    at_three = ckptfs.inspect(root, world_size=3)
    assert at_three == json.loads(program("inspect", root, "--json", "--world-size=3").stdout)
    assert at_three["checkpoint"]["tag"] == TAG and at_three["recut"]["world_size"] == 3
    assert ckptfs.inspect(root, view="weights")["view"]["name"] == "weights"


def test_inspect_says_what_is_wrong(checkpoint, tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        ckptfs.inspect(tmp_path / "absent")
    assert str(raised.value) == program("inspect", tmp_path / "absent").stderr.removeprefix("ckptfs: ").rstrip()
    root = checkpoint()
    (root / TAG / "mp_rank_00_model_states.pt").write_bytes(b"no zip")
    with pytest.raises(ckptfs.Error) as raised:
        ckptfs.inspect(root)
    with pytest.raises(ckptfs.Error) as opened:
        ckptfs.open(root, world_size=4)
    assert (raised.value.code, str(raised.value)) == (opened.value.code, str(opened.value))
    with pytest.raises(ValueError, match="'-1' is negative"):
        ckptfs.inspect(root, world_size=-1)


def test_verify_says_what_it_read(checkpoint):
    root = checkpoint()
    assert ckptfs.verify(root).splitlines()[-1].startswith("OK: ")
    said = ckptfs.verify(root, world_size=3)
    assert "read by libtorch" in said and "shown right at world size 3" in said
    for view in ("weights", "states", "universal"):
        assert f"shown right as {view}" in ckptfs.verify(root, view=view)
    assert ckptfs.verify(root, tag=TAG)
    with pytest.raises(ValueError):
        ckptfs.verify(root, tag="absent")


def test_verify_raises_on_damage(checkpoint, damage):
    root = checkpoint()
    shard = root / TAG / "mp_rank_00_model_states.pt"
    damage(shard)
    with pytest.raises(ckptfs.VerificationError) as raised:
        ckptfs.verify(root)
    assert raised.value.code == ckptfs.ErrorCode.VERIFICATION
    assert "problem:" in raised.value.report and shard.name in str(raised.value)


def test_the_second_reader_finds_what_the_first_did_not(checkpoint, monkeypatch):
    """As if torch found other bytes in one record, none at all, or refused the file."""
    root = checkpoint()
    give = second_reader._give

    def other_bytes(sink, name, offset, record_nbytes, chunk):
        if name == "data/1" and chunk:
            chunk = bytes([chunk[0] ^ 1]) + chunk[1:]
        give(sink, name, offset, record_nbytes, chunk)

    def without_one(sink, name, *rest):
        if name != "data/1":
            give(sink, name, *rest)

    def refuse(*_):
        raise RuntimeError("no such archive\nException raised from somewhere")

    for replacement, expected in ((other_bytes, "libtorch reads other bytes of record"),
                                  (without_one, "libtorch reads "), (refuse, "refused by libtorch: no such archive")):
        with monkeypatch.context() as patch:
            patch.setattr(second_reader, "_give", replacement)
            with pytest.raises(ckptfs.VerificationError, match=expected) as raised:
                ckptfs.verify(root, world_size=3)
            assert "Exception raised" not in str(raised.value)
    assert ckptfs.verify(root, world_size=3)


def test_verify_of_a_view_needs_torch(checkpoint, monkeypatch):
    import importlib.util
    root = checkpoint()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest))
    with pytest.raises(ckptfs.Error, match="pip install torch") as raised:
        ckptfs.verify(root, world_size=3)
    assert raised.type is ckptfs.Error and raised.value.code == ckptfs.ErrorCode.IO
    assert ckptfs.verify(root)


def read_with_torch(data, fail_at=None):
    """What the second reader makes of a file: its answer, its words, the records, and how much it asked for at once."""
    records, reads = {}, []

    def read(_, offset, address, nbytes):
        reads.append(nbytes)
        if fail_at is not None and offset <= fail_at < offset + nbytes:
            return 1
        ctypes.memmove(address, data[offset:offset + nbytes], nbytes)
        return 0

    def chunk(_, name, offset, record_nbytes, address, nbytes):
        assert len(records.setdefault(name.decode(), bytearray())) == offset and offset + nbytes <= record_nbytes
        records[name.decode()] += ctypes.string_at(address, nbytes)
        return 0

    file = _library.ReaderFile(None, len(data), _library.ReadCallback(read))
    sink = _library.ReaderSink(None, _library.ChunkCallback(chunk))
    words = ctypes.create_string_buffer(100)
    status = second_reader.table().read_all_records(ctypes.pointer(file), ctypes.pointer(sink), ctypes.addressof(words), 100)
    return status, words.value.decode(), records, max(reads, default=0)


@pytest.fixture
def archive():
    """A .pt with a record that is larger than a piece, small ones, and one without bytes."""
    import io
    import torch
    stream = io.BytesIO()
    torch.save({"large": torch.arange(700_001), "small": torch.ones(3), "none": torch.zeros(0)}, stream)
    return stream.getvalue()


@pytest.mark.parametrize("is_old", [False, True])
def test_the_second_reader_reads_every_record(archive, monkeypatch, is_old):
    import io
    import zipfile
    import torch

    class OldReader:
        """What torch 2.0 has."""

        def __init__(self, file):
            self._reader = reader(file)
            self.get_record, self.get_all_records = self._reader.get_record, self._reader.get_all_records

    reader = torch._C.PyTorchFileReader
    if is_old:
        monkeypatch.setattr(torch._C, "PyTorchFileReader", OldReader)
    status, words, records, largest = read_with_torch(archive)
    assert (status, words) == (0, "")
    with zipfile.ZipFile(io.BytesIO(archive)) as expected:
        assert {name: bytes(record) for name, record in records.items()} == {
            name.split("/", 1)[1]: expected.read(name) for name in expected.namelist()}
    assert largest <= second_reader.CHUNK_NBYTES


def test_the_second_reader_says_what_torch_says(archive):
    for damaged in (archive[:-30], archive[:100], b"", b"no archive"):
        status, words, _, _ = read_with_torch(damaged)
        assert status == 1 and words.startswith("PytorchStreamReader failed") and len(words) < 100
    for place in (10, archive.index(b"data/0") + 2_000_000, len(archive) - 10):
        assert read_with_torch(archive, fail_at=place)[0] == 1


def test_check(checkpoint, tmp_path):
    root = checkpoint()
    config = {"train_micro_batch_size_per_gpu": 1, "bf16": {"enabled": True}, "zero_optimization": {"stage": 2}}
    answer = ckptfs.check(root, 3, config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert answer == ckptfs.check(root, 3, tmp_path / "config.json")
    assert answer == json.loads(program("check", root, "--json", "--world-size=3", f"--ds-config={tmp_path}/config.json").stdout)
    other = ckptfs.check(root, 3, {**config, "zero_optimization": {"stage": 3}})
    assert other["agrees"] is False and any(found["kind"] == "conflict" for found in other["findings"])
    with pytest.raises(FileNotFoundError):
        ckptfs.check(tmp_path / "absent", 3, config)


def test_diff(checkpoint):
    root = checkpoint()
    same = ckptfs.diff(root, root)
    assert same["same"] is True and same["tensors"] == []
    assert same == json.loads(program("diff", root, root, "--json").stdout)
    other = shutil.copytree(root, root.with_name("other"))
    shard = next((other / TAG).glob("*_rank_0_*optim_states.pt"))
    written = bytearray(shard.read_bytes())
    for number in range(len(written) // 2, len(written) // 2 + 4):
        written[number] ^= 1  # somewhere in a state
    shard.write_bytes(written)
    found = ckptfs.diff(root, other)
    assert found["same"] is False and found["tensors"] and found == json.loads(program("diff", root, other, "--json").stdout)
    assert ckptfs.diff(root, other, view="weights")["names_compared"] > 0
    with pytest.raises(FileNotFoundError):
        ckptfs.diff(root, root / "absent")


def test_export_writes_what_the_tree_shows(checkpoint, tmp_path):
    root = checkpoint()
    assert ckptfs.export(root, tmp_path / "copy", world_size=3, verify=True, jobs=2, memory="64MiB") is None
    with ckptfs.open(root, world_size=3) as tree:
        assert sorted(os.listdir(tmp_path / "copy")) == sorted(tree.listdir())
        assert sorted(os.listdir(tmp_path / "copy" / TAG)) == sorted(tree.listdir(TAG))
    lines = []
    ckptfs.export(root, tmp_path / "weights", view="weights", progress=lines.append)
    assert lines and (tmp_path / "weights" / "model.safetensors").exists()
    with pytest.raises(ckptfs.Error):
        ckptfs.export(root, tmp_path / "weights", world_size=2)


def test_export_prints_only_when_asked(checkpoint, tmp_path, capfd):
    root = checkpoint()
    ckptfs.export(root, tmp_path / "quiet", world_size=3)
    assert capfd.readouterr() == ("", "")
    ckptfs.export(root, tmp_path / "loud", world_size=3, progress=True)
    assert capfd.readouterr().err


def test_an_exception_of_progress_stops_the_export(checkpoint, tmp_path):
    class Enough(Exception):
        pass

    def stop(_):
        raise Enough

    with pytest.raises(Enough):
        ckptfs.export(checkpoint(), tmp_path / "copy", world_size=3, progress=stop)


class Slow:
    """A library whose command lasts until it is interrupted."""

    def command(self, words, streams, reader):
        while not streams.interrupted(None):
            time.sleep(0.01)
        return 7, None


def test_keyboard_interrupt_stops_a_command(monkeypatch):
    monkeypatch.setattr(_library, "library", Slow)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        _running.run(["export"])
    timer.join()


def test_what_a_handler_of_a_signal_raises_stops_a_command(monkeypatch):
    """Such as sys.exit() for a SIGTERM: nothing goes on behind the caller's back."""
    def leave(*_):
        sys.exit(3)

    before = signal.signal(signal.SIGTERM, leave)
    monkeypatch.setattr(_library, "library", Slow)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    try:
        with pytest.raises(SystemExit):
            _running.run(["export"])
    finally:
        signal.signal(signal.SIGTERM, before)
    timer.join()
    assert not [thread for thread in threading.enumerate() if thread.name == "ckptfs-command"]


def test_a_path_is_no_option(sample, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.rename(sample, "--json")
    assert ckptfs.inspect("--json")["checkpoint"]["world_size"] == 4
    assert "global_step3" in ckptfs.verify("--json")
    assert ckptfs.check("--json", 4, {"bf16": {"enabled": True}, "zero_optimization": {"stage": 2}})["findings"] is not None
    ckptfs.export("--json", "-copy", world_size=6)
    assert os.path.isdir("-copy/global_step3")


def test_warnings_of_commands_are_pythons():
    done = _running.Done(None, "", "ckptfs: warning: odd\nckptfs: warning: odder\n")
    with pytest.warns(ckptfs.CheckpointWarning) as caught:
        done.expect_success()
    assert [str(each.message) for each in caught] == ["odd", "odder"]
