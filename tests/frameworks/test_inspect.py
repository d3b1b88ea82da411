"""`ckptfs inspect` on what frameworks wrote: which checkpoints there are, and what does not follow a change of world size."""
import json
import subprocess

from mounting import BINARY
import transformers_job

A = 3


def inspect(source, world_size):
    done = subprocess.run([BINARY, "inspect", source, "--json", f"--world-size={world_size}"], capture_output=True, text=True,
                          check=True)
    return json.loads(done.stdout)


def has_warning(result, *parts):
    return any(all(part in warning for part in parts) for warning in result["warnings"])


def test_lightning(lightning_trained):
    source, _ = lightning_trained(2, "bf16")
    result = inspect(source, A - 1)
    steps = {tag["name"]: tag["global_step"] for tag in result["tags"]}
    assert len(steps) > 1
    assert all(name == f"{name.split('/')[0]}/checkpoint" and f"step={step}.ckpt" in name for name, step in steps.items())
    newest = [tag["name"] for tag in result["tags"] if tag["newest"]]
    assert newest == [max(steps, key=steps.get)]
    assert has_warning(result, "Lightning's loops")
    assert has_warning(result, "ModelCheckpoint", ".ckpt'")
    assert inspect(source, A)["warnings"] == []


def test_transformers(once):
    source, _ = once("inspect-transformers", lambda root: transformers_job.run(
        transformers_job.Job(A, 2, str(root), 2, dtype="bf16"), root / "log"))
    grown = inspect(source, A + 1)
    assert [tag["name"] for tag in grown["tags"] if tag["newest"]] == ["checkpoint-2/global_step2"]
    assert has_warning(grown, "checkpoint-2/rng_state_3.pth", "keep")
    assert has_warning(inspect(source, A - 1), "checkpoint-2/rng_state_2.pth", "not read")
    assert has_warning(inspect(source, 1), "rng_state.pth")
    assert inspect(source, A)["warnings"] == []
