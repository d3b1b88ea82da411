"""docs/schemas: what --json prints of real checkpoints is what they say, and nothing that they do not know."""
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from jsonschema import Draft202012Validator

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("CKPTFS_BINARY", REPOSITORY / "build" / "ckptfs"))
DATA = REPOSITORY / "tests" / "data" / "zero"
SCHEMAS = REPOSITORY / "docs" / "schemas"
CHECKPOINTS = sorted(path.parent.name for path in DATA.glob("*/latest") if "_at_ws" not in path.parent.name and path.parent.name != "universal")


def schema(name):
    return json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))


def output(name, *arguments, statuses=(0,)):
    done = subprocess.run([BINARY, name, *map(str, arguments), "--json"], capture_output=True, text=True, check=False)
    assert done.returncode in statuses, done.stderr
    value = json.loads(done.stdout)
    Draft202012Validator(schema(name)).validate(value)
    assert value["schema_version"] == 1
    return value


def help_of(*command):
    return subprocess.run([BINARY, *command, "--help"], capture_output=True, text=True, check=True).stdout


def kinds():
    """The commands that take --json."""
    commands = set(re.findall(r"^  ckptfs ([a-z]+)", help_of(), re.MULTILINE)) | {"cat"}
    return {name for name in commands if "--json" in help_of(name)}


def test_there_is_one_for_each_command_and_each_is_one():
    found = kinds()
    assert {"inspect", "verify", "check", "diff", "list", "status"} <= found
    assert {path.stem for path in SCHEMAS.glob("*.json")} == found
    for name in found:
        Draft202012Validator.check_schema(schema(name))
        assert schema(name)["title"] == f"ckptfs {name} --json"


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_checkpoint(name, tmp_path):
    source = DATA / name
    output("inspect", source, "--params", "--dp-size=3")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"bf16": {"enabled": True}, "train_batch_size": 6, "zero_optimization": {"stage": 2}}))
    output("check", source, "--dp-size=3", f"--ds-config={config}", statuses=(0, 1))


def test_what_is_rare(tmp_path):
    source = DATA / "stage1_bf16_ws3"
    for name in ("stage0_ws2", "pipeline_stage1_ws4", "stage3_frozen_tied_ws2"):
        output("inspect", DATA / name)
        output("verify", DATA / name)
        output("diff", source, DATA / name, statuses=(0, 1, 5) if name.startswith("pipeline") else (1,))
    assert isinstance(output("list")["mounts"], list)  # tests/mount/test_operators.py has some to list, and a status
    assert output("inspect", source, "--view=weights")["view"]["files"]
    assert output("verify", source, "--view=weights")["tags"][0]["view"]["tensors"] > 0
    found = output("diff", source, DATA / "stage2_bf16_ws4", statuses=(1,))
    assert found["tensors"] and found["values"]
    broken = tmp_path / "broken"
    shutil.copytree(source, broken)
    next(broken.glob("*/*_optim_states.pt")).unlink()
    done = subprocess.run([BINARY, "inspect", broken, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    Draft202012Validator(schema("inspect")).validate(json.loads(done.stdout))
    verified = output("verify", broken, statuses=(1,))
    assert verified["right"] is False and verified["tags"][0]["problems"]


def test_a_key_that_no_schema_knows_is_found():
    value = output("diff", DATA / "stage1_bf16_ws3", DATA / "stage1_bf16_ws3")
    validator = Draft202012Validator(schema("diff"))
    assert not validator.is_valid({**value, "more": 1})
    assert not validator.is_valid({key: value[key] for key in value if key != "notes"})
    assert not validator.is_valid({**value, "schema_version": 2})
