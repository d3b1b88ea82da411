"""Directories as trainers write them as SOURCE: tags at any depth, seen when they appear, change and go."""
import errno
import os
import shutil
import subprocess

import pytest

from mount_fixtures import DATA, binary, content_of, unmount, wait_until

TAG = "global_step2"
SAVED = DATA / "stage2_bf16_ws4" / TAG
REPLACEMENT = DATA / "stage2_bf16_ws4_at_ws3" / TAG
MODEL_STATES = "mp_rank_00_model_states.pt"
OPTIMIZER = "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
LAYOUTS = {
    "Lightning": "epoch=1-step=8.ckpt/checkpoint",
    "Lightning, a metric with a slash": "logs/version_0/checkpoints/epoch=1-val/loss=0.25.ckpt/checkpoint",
    "Hugging Face": "checkpoint-500/global_step500",
    "accelerate": "checkpoints/checkpoint_0/pytorch_model",
    "DeepSpeed": TAG,
}


def save(tag, source=SAVED):
    """As a save: the tag, then `latest` beside it."""
    shutil.copytree(source, tag)
    (tag.parent / "latest").write_text(tag.name)


def shards(directory):
    return sum("optim_states" in name for name in os.listdir(directory))


def error_of(path):
    with pytest.raises(OSError) as failure:
        path.read_bytes()
    return failure.value.errno


@pytest.fixture
def root(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    return directory


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_shown_from_every_directory_on_the_way(root, mounted, layout):
    place = LAYOUTS[layout]
    save(root / place)
    (root / place).parent.joinpath("trainer_state.json").write_text("{}")
    steps = place.split("/")
    views = set()
    for depth in range(len(steps) + 1):
        source, rest = root.joinpath(*steps[:depth]), "/".join(steps[depth:])
        mount = mounted(source, "--world-size=3")
        assert shards(mount.path / rest) == 3
        views.add((mount.path / rest / OPTIMIZER).read_bytes())
        if rest:
            assert ((mount.path / rest).parent / "latest").read_text() == steps[-1]
            assert sorted(os.listdir((mount.path / rest).parent)) == sorted(os.listdir((root / place).parent))
    assert len(views) == 1
    assert views.pop() != (root / place / OPTIMIZER).read_bytes()


def test_what_appears_deep_down_is_seen(root, mounted):
    save(root / "checkpoint-1" / "global_step1")
    mount = mounted(root)
    at_3, at_2 = mount.path / "world-size-3", mount.path / "world-size-2"
    assert os.listdir(at_3) == os.listdir(at_2) == ["checkpoint-1"]
    save(root / "checkpoint-2" / "global_step2")
    wait_until(lambda: (at_3 / "checkpoint-2" / "global_step2").exists() and (at_2 / "checkpoint-2").exists(),
               "the new checkpoint")
    assert shards(at_3 / "checkpoint-2" / "global_step2") == 3
    assert shards(at_2 / "checkpoint-2" / "global_step2") == 2
    shutil.rmtree(root / "checkpoint-1")  # as save_total_limit does
    wait_until(lambda: os.listdir(at_3) == ["checkpoint-2"], "the removal")
    assert not (at_2 / "checkpoint-1" / "global_step1").exists()


def test_latest_is_followed(root, mounted):
    save(root / "one")
    mount = mounted(root, "--world-size=3")
    latest = mount.path / "latest"
    assert latest.read_text() == "one"
    save(root / "two")
    wait_until(lambda: latest.read_text() == "two", "the new latest")
    assert shards(mount.path / "two") == 3
    os.replace(shutil.copy(root / "latest", root / "incoming"), root / "latest")
    (root / "latest").write_text("one")
    wait_until(lambda: latest.read_text() == "one", "the old latest")
    (root / "latest").unlink()
    wait_until(lambda: not latest.exists(), "no latest")


@pytest.mark.parametrize("name", [MODEL_STATES, OPTIMIZER])
def test_a_file_that_is_open_during_a_save_in_place_never_mixes(root, mounted, name):
    tag = root / "checkpoint-1" / "global_step1"
    save(tag)
    mount = mounted(root, "--world-size=3")
    path = mount.path / "checkpoint-1" / "global_step1" / name
    before = path.read_bytes()
    with open(path, "rb", buffering=0) as file:
        for old in tag.glob("*_rank_3_*"):
            old.unlink()
        for new in REPLACEMENT.iterdir():
            (tag / new.name).write_bytes(new.read_bytes())
        try:
            assert os.pread(file.fileno(), len(before), 0) == before  # what the page cache holds of it
        except OSError as failure:
            assert failure.errno == errno.ESTALE
    wait_until(lambda: content_of(path) == (REPLACEMENT / name).read_bytes(), "the new generation")


def test_a_save_that_goes_on_is_an_error_until_it_is_whole(root, mounted):
    save(root / "one")
    mount = mounted(root, "--world-size=3")
    mount.expect_error("two cannot be shown as world-size-3")
    tag = root / "two"
    tag.mkdir()
    shutil.copy(SAVED / MODEL_STATES, tag)
    (root / "latest").write_text("two")  # rank 0 writes it before the others are done
    wait_until(lambda: (mount.path / "two" / MODEL_STATES).exists(), "the first file")
    assert error_of(mount.path / "two" / MODEL_STATES) == errno.EIO
    assert shards(mount.path / "one") == 3
    for file in SAVED.glob("*optim_states*"):
        shutil.copy(file, tag)
    wait_until(lambda: shards(mount.path / "two") == 3, "the whole tag")
    assert (mount.path / "two" / OPTIMIZER).read_bytes() == (mount.path / "one" / OPTIMIZER).read_bytes()


def test_an_empty_directory_may_be_mounted_before_the_first_save(root, tmp_path):
    point = tmp_path / "view"
    point.mkdir()
    refused = subprocess.run([binary(), root, point], capture_output=True, text=True, check=False)
    assert refused.returncode == 3
    subprocess.run([binary(), root, point, "--allow-empty", f"--log-file={tmp_path}/log"], capture_output=True, check=True)
    try:
        save(root / "checkpoint-1" / "global_step1")
        wait_until(lambda: (point / "world-size-3" / "checkpoint-1" / "global_step1").exists(), "the first save")
        assert shards(point / "world-size-3" / "checkpoint-1" / "global_step1") == 3
    finally:
        unmount(point)


def test_a_tag_that_the_world_size_does_not_fit_says_so_and_others_work(root, mounted):
    """Of two model-parallel ranks: 3 ranks are no multiple."""
    parallel = DATA / "tensor_parallel_stage2_ws4"
    shutil.copytree(parallel / (parallel / "latest").read_text(), root / "parallel")
    refused = subprocess.run([binary(), "run", root, "--world-size=3", "--", "true"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "model-parallel" in refused.stderr
    shutil.copytree(SAVED, root / "plain")
    (root / "latest").write_text("parallel")
    mount = mounted(root, "--world-size=3")
    mount.expect_error("parallel cannot be shown as world-size-3: .*model-parallel")
    assert sorted(os.listdir(mount.path / "parallel")) == sorted(os.listdir(root / "parallel"))
    for file in (mount.path / "parallel").glob("*.pt"):
        assert error_of(file) == errno.EIO
    assert mount.log_text().count("parallel cannot be shown as world-size-3") == 1
    assert shards(mount.path / "plain") == 3
    assert (mount.path / "plain" / OPTIMIZER).read_bytes()
    four = mounted(root, "--world-size=4")
    assert shards(four.path / "parallel") == 4  # two of each model-parallel rank
    assert shards(four.path / "plain") == 4
