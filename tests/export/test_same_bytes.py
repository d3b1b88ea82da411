"""What an export leaves is what a mount shows, with the checksums that a mount leaves out."""
import os
import pathlib
import re
import shutil
import zipfile

import pytest
import torch

from exporting import Export, expect_equal, export, tree, unknown_checksums
from mount_fixtures import DATA
from peak_memory import peak_memory

VIEWS = {
    "stage2_bf16_ws4": ["world-size-1", "world-size-3", "world-size-4", "world-size-8", "weights", "weights-fp32-bin", "weights-fp16",
                        "states", "universal"],
    "stage3_sub_groups_ws3": ["world-size-2", "world-size-5", "weights", "universal"],
    "stage1_fp16_ws2": ["dp-size-3", "weights-bin", "states"],
    "described_tensor_parallel_stage1_ws4": ["world-size-2", "world-size-6", "weights", "universal"],
    "pipeline_stage1_ws4": ["world-size-2", "world-size-6", "weights", "universal"],
    "stage3_zero_init_ws3": ["world-size-1", "weights-fp32"],
}


def dress(root):
    """Puts around a checkpoint what trainers do."""
    tag = root / (root / "latest").read_text().strip()
    (tag / "notes.txt").write_text("kept as it is\n")
    (root / "rng_state_0.pth").write_bytes(bytes(range(256)) * 1000)
    (root / "zero_to_fp32.py").chmod(0o744) if (root / "zero_to_fp32.py").exists() else None
    (root / "secret").write_text("x")
    (root / "secret").chmod(0o600)
    (root / "empty").touch()
    (root / "nested" / "deep er" / "er").mkdir(parents=True)
    (root / "nested" / "deep er" / "f,i\\l\u00e4").write_bytes(b"content" * 20000)
    (root / "last.ckpt").symlink_to("nested")
    (root / "nested" / "back").symlink_to("../latest")
    (root / "dangling").symlink_to("nowhere")
    shutil.copytree(tag, root / "global_step1", symlinks=True)
    os.utime(root / "nested" / "deep er", ns=(10**9, 1_234_567_890_123_456_789))
    return root


@pytest.mark.parametrize("case, view", [(case, view) for case, views in VIEWS.items() for view in views])
def test_an_export_is_what_a_mount_shows(checkpoint, mounted, target, case, view):
    source = dress(checkpoint(case))
    summary = export(source, target, f"--view={view}", "--verify")
    mount = mounted(source, f"--view={view}")
    expect_equal(target, mount.path)
    assert summary.files == sum(path.is_file() and not path.is_symlink() for path in target.rglob("*"))


def test_lightnings_file(tmp_path, mounted, target):
    source = tmp_path / "run.ckpt"
    shutil.copytree(DATA / "stage2_bf16_ws4" / "global_step2", source / "checkpoint")
    export(source, target, "--view=lightning")
    expect_equal(target, mounted(source, "--view=lightning").path)
    assert os.listdir(target) == ["run.ckpt"]


def test_what_is_written_loads_as_what_is_shown(checkpoint, mounted, target):
    source = checkpoint("stage2_bf16_ws4")
    export(source, target, "--world-size=3")
    mount = mounted(source, "--world-size=3")
    names = [path.relative_to(target) for path in target.rglob("*_states.pt")]
    assert len(names) == 4
    for name in names:
        assert unknown_checksums(mount.path / name) or "model_states" in name.name, "the twin: zipfile would refuse the mount's"
        expect_same_object(torch.load(target / name, weights_only=False), torch.load(mount.path / name, weights_only=False))


def expect_same_object(a, b):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            expect_same_object(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for one, other in zip(a, b):
            expect_same_object(one, other)
    elif hasattr(a, "__dict__"):
        expect_same_object(vars(a), vars(b))
    else:
        assert a == b or a != a


def test_a_source_that_is_a_mount_itself(checkpoint, mounted, target):
    shown = mounted(checkpoint("stage2_bf16_ws4"), "--world-size=3").path
    assert any(unknown_checksums(path) for path in shown.rglob("*_states.pt")), "the twin: zipfile would refuse the mount's"
    export(shown, target, "--world-size=3", "--verify")
    expect_equal(target, shown)


def test_a_wrong_byte_is_one_that_testzip_finds(checkpoint, target):
    """The twin: the checksums are of the bytes that are there."""
    export(checkpoint("stage2_bf16_ws4"), target, "--world-size=3")
    path = next(target.rglob("*optim_states.pt"))
    with zipfile.ZipFile(path) as archive:
        record = max(archive.infolist(), key=lambda one: one.file_size)
    with open(path, "r+b") as file:
        file.seek(record.header_offset + record.file_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() == record.filename


def bytes_read_by(mount):
    return int(re.search(r"^rchar: (\d+)", pathlib.Path(f"/proc/{mount.process.pid}/io").read_text(), re.MULTILINE).group(1))


@pytest.mark.parametrize("view", ["world-size-3", "world-size-6", "weights"])
def test_what_a_mount_hands_over_is_what_it_reads(large, mounted, target, view):
    """Pieces of many MB, which begin anywhere: an export reads them, and so does a mount that reads ahead."""
    export(large, target, f"--view={view}")
    mount = mounted(large, f"--view={view}", "--io=direct", "--read-ahead-memory=0")
    before = bytes_read_by(mount)
    expect_equal(target, mount.path)
    shown = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    assert shown > 50_000_000 and bytes_read_by(mount) - before < shown / 2, "the rest was handed over"


def test_one_tag_of_several(checkpoint, mounted, target):
    source = dress(checkpoint("stage2_bf16_ws4"))
    (source / "best").symlink_to("global_step1")
    (source / "newest").symlink_to("global_step2")
    export(source, target, "--world-size=2", "--tag=global_step1")
    assert (target / "latest").read_text() == "global_step1"
    shown = tree(mounted(source, "--world-size=2").path)
    left_out = {path for path in shown if path.startswith("global_step2")} | {"newest"}
    assert set(tree(target)) == set(shown) - left_out
    # A save into another tag, meanwhile or between two runs, changes nothing about this one.
    shutil.copytree(source / "global_step2", source / "global_step3")
    (source / "latest").write_text("global_step3")
    again = target.with_name("again")
    export(source, again, "--world-size=2", "--tag=global_step1")
    assert set(tree(again)) == set(tree(target))
    assert (again / "latest").read_bytes() == (target / "latest").read_bytes()


def test_one_tag_with_what_stands_beside_it(checkpoint, target):
    source = dress(checkpoint("stage2_bf16_ws4"))
    export(source, target, "--view=universal", "--tag=global_step1")
    names = set(os.listdir(target))
    assert {"global_step1", "global_step1_universal", "latest_universal"} <= names
    assert not {"global_step2", "global_step2_universal"} & names
    assert (target / "latest_universal").read_text() == "global_step1_universal"


def test_the_weights_beside_the_tags_are_the_named_tags(checkpoint, target):
    source = dress(checkpoint("stage2_bf16_ws4"))
    export(source, target, "--view=weights", "--tag=global_step1")
    assert (target / "model.safetensors").read_bytes() == (target / "global_step1" / "model.safetensors").read_bytes()
    assert not (target / "global_step2").exists()


def test_directories_without_the_tag_have_no_weights(checkpoint, target):
    source = checkpoint("stage2_bf16_ws4")
    shutil.copytree(source / "global_step2", source / "other" / "epoch1")
    (source / "other" / "latest").write_text("epoch1")
    (source / "other" / "notes").write_text("x")
    running = Export(source, target, "--view=weights", "--tag=global_step2")
    code, _, error = running.end()
    assert code == 0, error
    assert "current tag" not in error
    assert os.listdir(target / "other") == ["notes"]
    assert (target / "model.safetensors").exists()


def test_whole_files_are_copied_by_the_system(large, target):
    recut = export(large, target.with_name("recut"), "--world-size=2")
    assert recut.read > 0.5 * recut.total
    passed = export(large, target.with_name("passed"), "--world-size=4")
    assert passed.copied > 0.99 * passed.total


def test_holes_stay_holes(checkpoint, target):
    source = checkpoint("stage2_bf16_ws4")
    with open(source / "sparse", "wb") as file:
        file.seek(50_000_000)
        file.write(b"x")
        file.truncate(100_000_000)
    summary = export(source, target, "--world-size=3")
    found = (target / "sparse").stat()
    assert found.st_size == 100_000_000
    assert found.st_blocks * 512 < 1_000_000
    assert summary.holes > 99_000_000
    assert (target / "sparse").read_bytes() == (source / "sparse").read_bytes()


def test_memory_stays_in_the_budget(large, target):
    process = Export(large, target, "--world-size=3", "--jobs=4", "--memory=4MiB").process
    assert peak_memory(process) < 40 << 20  # the program itself, and what it holds of the checkpoint
    assert process.returncode == 0, process.communicate()
    process.communicate()


def test_special_files_are_left_out_and_named(checkpoint, target):
    source = checkpoint("stage2_bf16_ws4")
    os.mkfifo(source / "fifo")
    code, _, error = Export(source, target, "--world-size=3").end()
    assert code == 0
    assert "fifo" in error and "is left out" in error
    assert not (target / "fifo").exists()
