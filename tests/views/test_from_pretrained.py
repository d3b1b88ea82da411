"""Models that the Hugging Face Trainer saved with DeepSpeed, loaded from a mount of the checkpoint."""
import gc
import pathlib

import pytest
import torch
from transformers import AutoModelForCausalLM

import model_job
from model_job import ModelJob
from mounting import mounted


def logits(path, architecture, dtype):
    """Of the model that from_pretrained() makes of `path`. Nothing of it is left afterwards that would keep a mount busy."""
    model, report = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    if dtype == "bf16":
        model.bfloat16()  # DeepSpeed rounds the buffers that no checkpoint has too
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == (architecture == "gpt2")
    with torch.no_grad():
        return model.eval()(input_ids=model_job.inputs()).logits.float()


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("stage, dtype", [(2, "bf16"), (3, "bf16"), (3, "fp32")])
def test_logits_are_those_of_the_engine_that_saved(tmp_path, architecture, stage, dtype):
    source = tmp_path / "source"
    truth = torch.tensor(model_job.run(ModelJob(architecture, stage, dtype, str(source)), tmp_path / "log"))
    torch.set_num_threads(1)
    with mounted(source) as mount:
        for view in ("weights", "weights-bin", f"weights-{dtype}"):
            found = logits(f"{mount}/{view}/checkpoint-2", architecture, dtype)
            gc.collect()
            assert torch.equal(found, truth), view
        if stage == 2 and architecture == "llama":
            # The Trainer saves the gathered weights as well, at this stage. (It clones them, so that ties are lost.)
            own = source / "checkpoint-2" / "model.safetensors"
            assert pathlib.Path(mount, "weights", "checkpoint-2", own.name).read_bytes() == own.read_bytes()
