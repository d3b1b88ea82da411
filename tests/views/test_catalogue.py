"""DeepSpeed that is pointed at the catalogue itself ends with advice instead of training from scratch."""
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent / "data" / "zero"
sys.path.insert(0, str(DATA))

from make_checkpoints import CHECKPOINTS  # noqa: E402
from mounting import mounted  # noqa: E402
import ranks  # noqa: E402
import trainer  # noqa: E402

ADVICE = "choose world-size-N in this directory"


@pytest.mark.parametrize("name, universal", [("stage1_bf16_ws3", False), ("stage2_bf16_ws4", False), ("stage3_bf16_ws3", False),
                                             ("stage2_bf16_ws4", True)])
def test_deepspeed_at_the_root_says_what_to_choose(name, universal):
    with mounted(DATA / name) as mount:
        with pytest.raises(ranks.RankError) as failure:
            trainer.run(trainer.Job(CHECKPOINTS[name][0], 2, load=str(mount), universal=universal))
    assert "FileNotFoundError" in str(failure.value)
    assert ADVICE in str(failure.value)


def test_every_name_is_found_and_the_usual_ones_are_listed():
    with mounted(DATA / "stage2_bf16_ws4") as mount:
        listed = set(os.listdir(mount))
        assert {"world-size-4", "weights", "weights-fp32", "states", "universal", "latest", ADVICE} <= listed
        for name in ("world-size-3", "dp-size-2", "weights-bf16", "weights-fp32-bin"):
            assert name not in listed
            assert os.path.isdir(f"{mount}/{name}")
        for name in ("world-size-0", "world-size-03", "weights-fp8", "lightning-fp32", "anything"):
            assert not os.path.exists(f"{mount}/{name}")
