"""ckptfs.deepspeed: what is left to DeepSpeed, how a load reads, and that DeepSpeed is afterwards what it was before."""
import contextlib
import logging
import os
import pathlib
import shutil
import tempfile

import pytest

import checks
import gather
import namespaces
import ranks
from recipe import Recipe
import trainer

RECIPES = {stage: Recipe(stage=stage, layers=1) for stage in (2, 3)}
A, N = 3, 2


@pytest.fixture(scope="session")
def trained(once):
    """trained(stage) -> what was saved at A ranks."""

    def get(stage):
        return once(f"hook-stage{stage}", lambda root: trainer.run(
            trainer.Job(RECIPES[stage], A, steps=2, save=str(root)), root / "log"))[0]

    return get


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Where ranks have their temporary directories; at the end of each test none may be left."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    yield
    assert not left_over()


class Words(logging.Handler):
    """What the logger "ckptfs" says in this process."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.lines = []
        logging.getLogger("ckptfs").addHandler(self)
        logging.getLogger("ckptfs").setLevel(logging.DEBUG)

    def emit(self, record):
        self.lines.append(f"{record.levelname}: {record.getMessage()}")


def load(stage, directory, through="process", world_size=N, **arguments):
    """Every rank loads `directory`, and returns where DeepSpeed says that it has loaded from, what ckptfs said, and where a view of
    `directory` was mounted meanwhile (below stage 3)."""

    def work(rank):
        import ckptfs.deepspeed

        words, engine, seen = Words(), trainer.make_engine(RECIPES[stage], world_size), []

        def look(src, dst):
            seen.extend(mounts_of(directory))
            dst.load_state_dict(src)

        with ckptfs.deepspeed.enable(through=through):
            path, _ = engine.load_checkpoint(str(directory), custom_load_fn=look if stage < 3 else None, **arguments)
        assert "load" not in vars(engine.checkpoint_engine)
        return path, words.lines, seen

    return ranks.run_ranks(world_size, work)


def mounts_of(source):
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        fields = [line.split() for line in mounts]
    return {point for shown, point, kind, *_ in fields if kind == "fuse.ckptfs" and shown.startswith(f"{source}/")}


def left_over():
    return [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("ckptfs-")]


def said(answers, level, text):
    return all(any(line.startswith(level) and text in line for line in lines) for _, lines, _ in answers)


def without_fuse():
    """From now on this process finds no /dev/fuse that it could use."""
    namespaces.call(namespaces.libc.unshare, namespaces.CLONE_NEWNS)
    namespaces.call(namespaces.libc.mount, None, b"/", None, namespaces.MS_REC | namespaces.MS_SLAVE, None)
    namespaces.call(namespaces.libc.mount, b"/dev/null", b"/dev/fuse", None, namespaces.MS_BIND, None)


@pytest.mark.parametrize("stage", [2, 3])
def test_a_load_in_process_leaves_nothing_behind(trained, stage):
    source = trained(stage)
    answers = load(stage, source)
    assert {os.path.dirname(path) for path, _, _ in answers} == {gather.tag_of(str(source))}
    assert said(answers, "INFO", "in process; no mount: it was not asked for")
    assert not any(points for _, _, points in answers)


def test_ranks_share_a_mount_where_there_can_be_one(trained):
    answers = load(2, trained(2), "auto")
    assert said(answers, "INFO", "through a mount")
    assert len({point for _, _, points in answers for point in points}) == 1
    assert not mounts_of(trained(2))


def test_where_there_can_be_none_a_load_goes_on_in_process(trained):
    with ranks.beginning_with(without_fuse):
        answers = load(2, trained(2), "auto")
        assert said(answers, "INFO", "in process; no mount: ")
        assert not said(answers, "INFO", "it was not asked for")
        with pytest.raises(ranks.RankError, match="mount failed"):
            load(2, trained(2), "mount")


def test_what_needs_no_help_is_left_to_deepspeed(trained, tmp_path):
    source = trained(2)
    answers = load(2, source, world_size=A)
    assert said(answers, "DEBUG", "left to DeepSpeed")
    # Below stage 3 the weights alone are one file, at every world size.
    answers = load(2, source, load_optimizer_states=False)
    assert not any(lines for _, lines, _ in answers)
    # Nothing there, and nothing that ckptfs knows.
    assert [path for path, _, _ in load(2, tmp_path)] == [None] * N
    (tmp_path / "latest").write_text("tag")
    (tmp_path / "tag").mkdir()
    with pytest.raises(ranks.RankError, match="AssertionError"):
        load(2, tmp_path)


def test_what_cannot_be_shown_is_left_to_deepspeed_with_a_warning(trained, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained(2), copy)
    pathlib.Path(gather.tag_of(str(copy)), "expp_rank_0_mp_rank_00_optim_states.pt").touch()
    answers = load(2, copy, world_size=A)
    assert said(answers, "WARNING", "mixture of experts")
    with pytest.raises(ranks.RankError) as failure:
        load(2, copy)
    assert "Automatic adjustment of ZeRO's optimizer state partitioning" in failure.value.detail
    assert "ckptfs could not show this checkpoint at another world size" in failure.value.detail


def test_stage3_weights_alone_take_a_mount(trained):
    source = trained(3)
    with pytest.raises(ranks.RankError) as failure:
        load(3, source, load_optimizer_states=False)
    assert "load_optimizer_states=False" in failure.value.detail
    assert "ckptfs export --view=weights" in failure.value.detail
    assert said(load(3, source, "auto", load_optimizer_states=False), "INFO", "through a mount")


def test_a_failed_load_is_undone(trained):
    source = trained(2)

    def work(rank):
        import ckptfs.deepspeed

        engine = trainer.make_engine(RECIPES[2], N)

        def fail(src, dst):
            raise KeyError("a model of its own")

        with ckptfs.deepspeed.enable(through="process"):
            with pytest.raises(KeyError, match="a model of its own"):
                engine.load_checkpoint(str(source), custom_load_fn=fail)
            assert "load" not in vars(engine.checkpoint_engine)
            assert engine.load_checkpoint(str(source))[0].startswith(str(source))
            # Another checkpoint engine may read files in its own way.
            type(engine.checkpoint_engine).__name__ = "NebulaCheckpointEngine"
            with pytest.raises(ckptfs.Error, match="NebulaCheckpointEngine"):
                engine.load_checkpoint(str(source))

    ranks.run_ranks(N, work)


def test_a_config_may_hold_what_is_no_json(trained):
    source = trained(2)

    def work(rank):
        import ckptfs.deepspeed

        engine = trainer.make_engine(RECIPES[2], N)
        engine._config._param_dict["zero_optimization"].update(stage3_max_reuse_distance=float("inf"), other=object())
        with ckptfs.deepspeed.enable(through="process"):
            return engine.load_checkpoint(str(source))[0]

    assert all(path.startswith(str(source)) for path in ranks.run_ranks(N, work))


def test_in_a_mount_of_ckptfs_nothing_is_shown_again(trained):
    with checks.mounted(trained(2), N) as mount:
        answers = load(2, mount.path)
    assert not any(lines for _, lines, _ in answers)
    assert all(path.startswith(mount.path) for path, _, _ in answers)


def test_deepspeed_is_what_it_was():
    def work():
        import ckptfs.deepspeed
        from deepspeed.runtime.engine import DeepSpeedEngine

        original = DeepSpeedEngine.load_checkpoint
        with ckptfs.deepspeed.enable():
            replaced = DeepSpeedEngine.load_checkpoint
            assert replaced is not original
            with ckptfs.deepspeed.enable(through="process") as inner:
                assert DeepSpeedEngine.load_checkpoint is replaced
            inner.disable()
            assert DeepSpeedEngine.load_checkpoint is replaced
        assert DeepSpeedEngine.load_checkpoint is original

        # A library that patches as well, and undoes it in another order, loses neither its function nor DeepSpeed's.
        enabled = ckptfs.deepspeed.enable()
        around = DeepSpeedEngine.load_checkpoint

        def theirs(engine, load_dir, tag=None, load_optimizer_states=True, load_module_only=False):
            return "theirs", around(engine, load_dir, tag)

        DeepSpeedEngine.load_checkpoint = theirs
        enabled.disable()
        assert DeepSpeedEngine.load_checkpoint is theirs
        with contextlib.suppress(AttributeError):
            theirs(None, "nowhere", "tag")  # on through the original, which asks the engine
        with ckptfs.deepspeed.enable():
            assert DeepSpeedEngine.load_checkpoint is not theirs
        assert DeepSpeedEngine.load_checkpoint is theirs

        DeepSpeedEngine.load_checkpoint = lambda engine, directory: None
        with pytest.raises(ckptfs.Error, match="does not load as versions 0.14 to 0.19 do"):
            ckptfs.deepspeed.enable()
        with pytest.raises(ValueError, match="through"):
            ckptfs.deepspeed.enable(through="fuse")

    ranks.in_child(work)


def test_a_tag_that_latest_does_not_name(trained, tmp_path):
    directory = tmp_path / "run [a]"  # DeepSpeed would take it for a pattern
    shutil.copytree(trained(3), directory)
    tag = os.path.basename(gather.tag_of(str(directory)))
    (directory / "latest").unlink()
    assert [path for path, _, _ in load(3, directory)] == [None] * N
    answers = load(3, directory, tag=tag)
    assert {os.path.dirname(path) for path, _, _ in answers} == {str(directory / tag)}
