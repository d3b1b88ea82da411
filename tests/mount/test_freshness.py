"""Sources that change under a mount."""
import errno
import os
import shutil

import pytest

from mount_fixtures import DATA, content_of, wait_until

TAG = "global_step2"
OTHER = DATA / "stage2_bf16_ws4_at_ws3" / TAG
MODEL_STATES = "mp_rank_00_model_states.pt"
OPTIMIZER = "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"


def replace_tag_by_rename(tag):
    for old in tag.glob("*_states.pt"):
        if not (OTHER / old.name).exists():
            old.unlink()
    for new in OTHER.iterdir():
        shutil.copy(new, tag / "incoming")
        os.rename(tag / "incoming", tag / new.name)


def replace_tag_in_place(tag):
    for old in tag.glob("*_states.pt"):
        if not (OTHER / old.name).exists():
            old.unlink()
    for new in OTHER.iterdir():
        (tag / new.name).write_bytes(new.read_bytes())


@pytest.mark.parametrize("replace", [replace_tag_by_rename, replace_tag_in_place])
def test_a_replaced_tag_is_seen_and_open_files_are_stale(source, mounted, replace):
    mount = mounted(source, "--world-size=3")
    path = mount.path / TAG / OPTIMIZER
    before = path.read_bytes()
    inode = path.stat().st_ino
    expected = (OTHER / OPTIMIZER).read_bytes()
    assert before != expected
    descriptor = os.open(path, os.O_RDONLY)
    try:
        replace(source / TAG)
        # At once: either what was opened, or ESTALE. Never a mix.
        with pytest.raises(OSError) as failure:
            os.pread(descriptor, len(before), 0)
        assert failure.value.errno == errno.ESTALE
        wait_until(lambda: path.stat().st_ino != inode, "the new generation")
        assert path.read_bytes() == expected
        for name in os.listdir(OTHER):
            assert (mount.path / TAG / name).read_bytes() == (OTHER / name).read_bytes()
    finally:
        os.close(descriptor)


def test_an_open_file_of_an_unchanged_tag_stays_good(source, mounted):
    """The twin of the above: without a change nothing goes stale."""
    mount = mounted(source, "--world-size=3")
    path = mount.path / TAG / OPTIMIZER
    before = path.read_bytes()
    inode = path.stat().st_ino
    with open(path, "rb", buffering=0) as file:
        # What appears beside it shows that the mount has looked at the source anew.
        (source / "new").touch()
        (source / TAG / "new").touch()
        wait_until(lambda: (mount.path / "new").exists() and (mount.path / TAG / "new").exists(), "the new files")
        assert file.readall() == before
    assert path.read_bytes() == before
    assert path.stat().st_ino == inode


def test_a_changed_file_beside_the_tag_is_seen(source, mounted):
    mount = mounted(source, "--world-size=3")
    path = mount.path / "latest"
    assert path.read_text() == TAG
    inode = path.stat().st_ino
    (source / "latest").write_text("another_tag")
    wait_until(lambda: path.read_text() == "another_tag", "the new content")
    assert path.stat().st_ino != inode
    assert path.stat().st_size == len("another_tag")


def test_new_and_removed_things_are_seen(source, mounted):
    mount = mounted(source, "--world-size=3")
    os.listdir(mount.path)
    assert not (mount.path / "new").exists()
    shutil.copytree(source / TAG, source / "global_step9")
    (source / "new").write_text("new")
    (source / "secret").unlink()
    wait_until(lambda: (mount.path / "new").exists() and not (mount.path / "secret").exists()
               and (mount.path / "global_step9").exists(), "the change")
    assert {"new", "global_step9"} <= set(os.listdir(mount.path))
    assert len(list((mount.path / "global_step9").glob("*optim_states.pt"))) == 3


def test_a_removed_tag_is_gone(source, mounted):
    mount = mounted(source, "--world-size=3")
    path = mount.path / TAG / OPTIMIZER
    size = path.stat().st_size
    with open(path, "rb", buffering=0) as file:
        shutil.rmtree(source / TAG)
        with pytest.raises(OSError) as failure:
            os.pread(file.fileno(), size, 0)
        assert failure.value.errno == errno.ESTALE
    wait_until(lambda: not path.exists() and TAG not in os.listdir(mount.path), "the removal")


def test_a_working_directory_in_a_replaced_tag_leads_to_the_new_one(source, mounted):
    mount = mounted(source, "--world-size=3")
    directory = os.open(mount.path / TAG, os.O_RDONLY | os.O_DIRECTORY)
    try:
        before = os.stat(OPTIMIZER, dir_fd=directory)
        replace_tag_by_rename(source / TAG)
        wait_until(lambda: os.stat(OPTIMIZER, dir_fd=directory).st_ino != before.st_ino, "the new generation")
        with open(os.open(OPTIMIZER, os.O_RDONLY, dir_fd=directory), "rb") as file:
            assert file.read() == (OTHER / OPTIMIZER).read_bytes()
    finally:
        os.close(directory)


def test_a_name_in_an_old_directory_is_stated_anew(source, mounted):
    mount = mounted(source, "--world-size=3")
    directory = os.open(mount.path / TAG, os.O_RDONLY | os.O_DIRECTORY)
    try:
        before = os.stat(MODEL_STATES, dir_fd=directory)
        replace_tag_by_rename(source / TAG)
        wait_until(lambda: os.stat(MODEL_STATES, dir_fd=directory).st_ino != before.st_ino, "the new generation")
        assert os.stat(MODEL_STATES, dir_fd=directory).st_size == (OTHER / MODEL_STATES).stat().st_size
    finally:
        os.close(directory)


def test_an_open_at_once_after_a_save_reads_what_was_saved(source, mounted):
    mount = mounted(source, "--world-size=3")
    path = mount.path / TAG / OPTIMIZER
    assert path.stat().st_size
    replace_tag_by_rename(source / TAG)
    assert path.read_bytes() == (OTHER / OPTIMIZER).read_bytes()


def test_a_tag_that_breaks_gives_errors_and_a_reason(source, mounted):
    shutil.copytree(source / TAG, source / "global_step9")
    broken = source / "global_step9" / OPTIMIZER
    os.truncate(broken, broken.stat().st_size // 2)
    mount = mounted(source, "--world-size=3")
    mount.expect_error("global_step9 cannot be shown as world-size-3")
    assert sorted(os.listdir(mount.path / "global_step9")) == sorted(os.listdir(source / "global_step9"))
    for name in (MODEL_STATES, OPTIMIZER):
        with pytest.raises(OSError) as failure:
            (mount.path / "global_step9" / name).read_bytes()
        assert failure.value.errno == errno.EIO
    assert mount.log_text().count("global_step9 cannot be shown as world-size-3") == 1
    assert (mount.path / "global_step9" / "notes.txt").read_text() == "kept as it is\n"
    assert len((mount.path / TAG / OPTIMIZER).read_bytes()) > 0
    shutil.copy(source / TAG / OPTIMIZER, broken)
    whole = (mount.path / TAG / OPTIMIZER).read_bytes()
    wait_until(lambda: content_of(mount.path / "global_step9" / OPTIMIZER) == whole, "the repaired tag")
