"""Lightning's ways to read a checkpoint for its weights alone: what works natively works on the mount, what fails fails alike."""
import pytest

import lightning_job
from lightning_job import A, SAVED, Job
from mounting import mounted
import ranks


@pytest.mark.full
@pytest.mark.parametrize("what", ["validate", "test", "predict"])
@pytest.mark.parametrize("stage", [1, 2])
def test_evaluation(lightning_trained, tmp_path, stage, what):
    """Below stage 3 Lightning evaluates at any world size by itself: the mount must give the very same results."""
    source, _ = lightning_trained(stage, "bf16")
    job = dict(world_size=2, stage=stage, dtype="bf16", root=str(tmp_path), what=what)
    native = lightning_job.run(Job(**job, resume=str(source / SAVED)), tmp_path / "log")
    with mounted(source, 2) as mount:
        found = lightning_job.run(Job(**job, resume=f"{mount}/{SAVED}"), tmp_path / "log")
    assert [report.result for report in found] == [report.result for report in native]
    assert found[0].result != lightning_job.run(Job(**job), tmp_path / "log")[0].result, "nothing was loaded"


@pytest.mark.full
def test_evaluation_at_stage_3_fails_as_it_does_natively(lightning_trained, tmp_path):
    """At every world size, that of the save included."""
    source, _ = lightning_trained(3, "bf16")
    native = failure(Job(A, 3, "bf16", str(tmp_path), what="validate", resume=str(source / SAVED)))
    assert "_restore_from_bit16_weights" in native
    for world_size in (A, 2):
        with mounted(source, world_size) as mount:
            assert failure(Job(world_size, 3, "bf16", str(tmp_path), what="validate", resume=f"{mount}/{SAVED}")) == native


def failure(job):
    with pytest.raises(ranks.RankError) as caught:
        lightning_job.run(job)
    return next(iter(caught.value.failures.values())).strip().splitlines()[-1]


def test_load_from_checkpoint_refuses_the_directory_as_it_does_natively(lightning_trained):
    source, _ = lightning_trained(2, "bf16")

    def refusal(root):
        with pytest.raises(IsADirectoryError) as caught:
            lightning_job.Module.load_from_checkpoint(f"{root}/{SAVED}", weights_only=False)
        return str(caught.value).replace(str(root), "<root>")

    with mounted(source, 2) as mount:
        assert refusal(mount) == refusal(source)
