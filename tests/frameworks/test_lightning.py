"""Lightning's Trainer with DeepSpeedStrategy: fit(ckpt_path=...) goes on at another world size as if it were its own, from a mount or
from the checkpoint itself through the hook."""
from dataclasses import replace
import itertools
import math
import os

import pytest

import checks
import gather
import lightning_job
from lightning_job import A, EPOCHS, SAVED, Job
from ways import WAYS

NEXT = "epoch=2-step=6.ckpt"
TOLERANCE = {"bf16": 2e-2, "fp32": 1e-4}


def cell(stage, dtype, world_size, way="mount"):
    marks = [] if (stage, dtype, world_size) == (2, "bf16", 2) else pytest.mark.full
    return pytest.param(stage, dtype, world_size, way, marks=marks, id=f"stage{stage}-{dtype}-{A}to{world_size}-{way}")


CELLS = [cell(*of) for of in itertools.product((1, 2, 3), ("bf16", "fp32"), (2, 4, 1, 3))]
CELLS += [cell(*of, "hook") for of in ((2, "bf16", 2), (3, "bf16", 4), (1, "fp32", 1))]


@pytest.mark.parametrize("stage, dtype, world_size, way", CELLS)
def test_fit_goes_on(lightning_trained, tmp_path, stage, dtype, world_size, way):
    source, uninterrupted = lightning_trained(stage, dtype)
    loaded, plain, log = tmp_path / "loaded", tmp_path / "plain", tmp_path / "log"
    with WAYS[way](source, world_size) as view:
        resume = f"{view.load}/{SAVED}"
        job = Job(world_size, stage, dtype, str(tmp_path), EPOCHS, resume, str(loaded))
        reports = lightning_job.run(job, log)
        lightning_job.resume_plainly(replace(job, save_loaded=str(plain)), log)
        expected = client_state(f"{view.files}/{NEXT}")
        assert client_state(resume)["hyper_parameters"] == {"stage": stage, "dtype": dtype, "micro_batch": 24 // A,
                                                            "learning_rate": 1e-2}
    # Every rank's shard: what Lightning has loaded is what DeepSpeed alone loads from the same directory.
    checks.expect_same_objects(plain, loaded)
    checks.expect_same_parameters(source / SAVED, loaded)
    for report in reports:
        state = report.at_start
        assert (state["global_step"], state["engine_steps"], state["epoch"]) == (4, 4, 2)
        assert state["seen"] == [1, 2, 3, 4]
        assert state["scheduler"]["last_epoch"] == 4
        assert state["learning_rates"] == [lightning_job.warm_up(4) * 1e-2] * 2
        assert state["best_model_path"] == str(source / SAVED)
        assert len(report.losses) == 4
        for found, truth in zip(report.losses, uninterrupted[4:], strict=True):
            assert math.isclose(found, truth, rel_tol=TOLERANCE[dtype])
    # What the callbacks, the loops and the schedulers have become is what they became in the run left at A.
    assert without_paths(client_state(tmp_path / "ckpt" / NEXT)) == without_paths(expected)


def client_state(directory):
    """What Lightning itself put into a checkpoint; stage 3 has it in every rank's file, equal in all."""
    directory = str(directory)
    tag = gather.tag_of(directory)
    name = next(name for name in ("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_model_states.pt")
                if os.path.exists(f"{tag}/{name}"))
    state = gather.load(f"{tag}/{name}")
    kept = ("epoch", "global_step", "pytorch-lightning_version", "loops", "callbacks", "lr_schedulers", "hparams_name",
            "hyper_parameters", "global_steps", "global_samples", "lr_scheduler")
    return {key: state[key] for key in kept}


def without_paths(state):
    """Less what names where the checkpoints lie, and the micro batch, which follows the world size."""
    keeper = next(key for key in state["callbacks"] if key.startswith("ModelCheckpoint"))
    paths = ("dirpath", "best_model_path", "last_model_path", "kth_best_model_path", "best_k_models")
    kept = {key: value for key, value in state["callbacks"][keeper].items() if key not in paths}
    hyper_parameters = {key: value for key, value in state["hyper_parameters"].items() if key != "micro_batch"}
    return gather.plain(state | {"callbacks": state["callbacks"] | {keeper: kept}, "hyper_parameters": hyper_parameters})
