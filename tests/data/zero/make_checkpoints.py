#!/usr/bin/env python3
"""Makes the small real checkpoints beside this file, their twins that DeepSpeed re-saved at another world size, and the sample.

  make_checkpoints.py [--only PATTERN] [--recut COMMAND]

A twin NAME_at_wsN is what DeepSpeed itself writes at N ranks after it loaded NAME re-cut for N. By default the re-cut is a
mount of ckptfs; COMMAND, called with SOURCE TARGET N, can be anything else. What DeepSpeed writes is then held against the
source, parameter by parameter, and where DeepSpeed's own universal checkpoint can carry the run, against its re-save too.
"""
import argparse
import dataclasses
import fnmatch
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT / "tests" / "oracle"), str(ROOT / "tests" / "support")]

import torch  # noqa: E402

import gather  # noqa: E402
import graph  # noqa: E402
import trainer  # noqa: E402
import universal  # noqa: E402
from recipe import SAMPLE, Recipe  # noqa: E402

SMALL = Recipe(width=7, vocabulary=11, layers=1)
THIRD = SMALL.but(stage=3)
DESCRIBED = SMALL.but(tensor_parallel=2, describes_cut=True, dtype="fp32")
CLIENT_STATE = {"epoch": 3, "note": "kept", "seen": torch.arange(5), "nested": {"rate": 0.5, "none": None}}

# name -> (recipe, world size, twins, whether the universal checkpoint can carry it)
CHECKPOINTS = {
    "stage1_bf16_ws3": (SMALL.but(stage=1), 3, (2, 4), True),
    "stage1_fp16_ws2": (SMALL.but(stage=1, dtype="fp16", groups=1), 2, (3,), True),
    "stage2_bf16_ws4": (SMALL.but(groups=3), 4, (1, 3), True),
    "stage2_fp16_ws3": (SMALL.but(dtype="fp16"), 3, (2, 4, 8), True),
    "stage2_fp32_ws2": (SMALL.but(dtype="fp32"), 2, (3,), True),
    "bf16_optimizer_ws3": (SMALL.but(stage=1, bf16_optimizer=True), 3, (2, 4), True),
    "elastic_ws3": (SMALL.but(elastic=True, optimizer="fused_adam"), 3, (2,), False),
    "round_robin_ws3": (SMALL.but(round_robin=True), 3, (2, 4), False),
    "alignment_ws3": (SMALL.but(alignment=True), 3, (2, 4), True),
    "round_robin_alignment_ws3": (SMALL.but(round_robin=True, alignment=True, dtype="fp32"), 3, (2,), False),
    "muon_ws3": (SMALL.but(optimizer="muon"), 3, (2, 4), False),
    "offload_ws3": (SMALL.but(optimizer="cpu_adam", offload=True), 3, (2,), True),
    "frozen_tied_ws2": (SMALL.but(frozen=True, drift=True), 2, (3,), False),
    "zero_steps_ws2": (SMALL.but(steps=0), 2, (3,), False),
    "overflow_ws3": (SMALL.but(dtype="fp16", overflow=True, steps=5), 3, (2,), True),
    "amsgrad_ws2": (SMALL.but(optimizer="amsgrad"), 2, (3,), False),
    "sgd_ws2": (SMALL.but(optimizer="sgd"), 2, (3,), False),
    "momentum_ws2": (SMALL.but(optimizer="sgd_momentum", stage=1, dtype="fp32"), 2, (3,), False),
    "client_state_ws2": (SMALL, 2, (3,), True),
    "tiny_group_ws5": (Recipe(width=3, vocabulary=5, layers=0), 5, (2,), True),
    "stage0_ws2": (SMALL.but(stage=0), 2, (), False),
    "stage3_ws2": (THIRD, 2, (3,), False),
    "stage3_bf16_ws3": (THIRD.but(groups=1), 3, (2, 4), True),
    "stage3_fp16_ws2": (THIRD.but(dtype="fp16", groups=1), 2, (3,), True),
    "stage3_fp32_ws4": (THIRD.but(dtype="fp32", groups=1), 4, (1,), True),
    "stage3_groups_ws3": (THIRD.but(groups=3), 3, (2, 4), False),
    "stage3_sub_groups_ws3": (THIRD.but(sub_group_size=20), 3, (2, 4), False),
    "stage3_frozen_tied_ws2": (THIRD.but(frozen=True, drift=True), 2, (3,), False),
    "stage3_tiny_parameter_ws3": (THIRD.but(tiny=True, persistence=0), 3, (2, 5), False),
    "stage3_offload_ws3": (THIRD.but(groups=1, optimizer="cpu_adam", offload=True, offload_parameters=True), 3, (2,), True),
    "stage3_zero_init_ws3": (THIRD.but(zero_init=True, sub_group_size=60), 3, (2,), False),
    "stage3_zero_steps_ws2": (THIRD.but(steps=0), 2, (3,), False),
    "stage3_hpz_ws4": (THIRD.but(groups=1, hpz=2), 4, (2,), True),
    "stage3_momentum_ws2": (THIRD.but(optimizer="sgd_momentum", dtype="fp32", sub_group_size=60), 2, (3,), False),
    "tensor_parallel_stage1_ws4": (SMALL.but(stage=1, tensor_parallel=2), 4, (2, 6), False),
    "tensor_parallel_stage2_ws4": (SMALL.but(tensor_parallel=2), 4, (2, 6), False),
    "tensor_parallel_stage3_ws4": (THIRD.but(tensor_parallel=2), 4, (2, 6), False),
    "described_tensor_parallel_stage1_ws4": (DESCRIBED.but(stage=1), 4, (), False),
    "described_tensor_parallel_stage3_ws4": (DESCRIBED.but(stage=3), 4, (), False),
    "sequence_mesh_ws4": (SMALL.but(sequence_mesh=2), 4, (), False),
    "pipeline_stage1_ws4": (SMALL.but(stage=1, pipeline=2, layers=2), 4, (2, 6), False),
}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", default="*", metavar="PATTERN", help="a shell pattern of names; 'sample' is the sample")
    arguments.add_argument("--recut", metavar="COMMAND", help="a program called with SOURCE TARGET N")
    options = arguments.parse_args()
    for name, (recipe, world_size, twins, carried) in CHECKPOINTS.items():
        if fnmatch.fnmatch(name, options.only):
            make(name, recipe, world_size, twins, carried, options.recut)
    if fnmatch.fnmatch("universal", options.only):
        make_universal()
    if fnmatch.fnmatch("sample", options.only):
        save(ROOT / "mount_scripts" / "sample", trainer.Job(SAMPLE, 4, steps=SAMPLE.steps))
    return 0


def make(name, recipe, world_size, twins, carried, recut_command):
    client_state = CLIENT_STATE if name.startswith("client_state") else {}
    source = HERE / name
    save(source, trainer.Job(recipe, world_size, steps=recipe.steps, client_state=client_state))
    for target in twins:
        with tempfile.TemporaryDirectory(prefix="ckptfs-data-") as scratch:
            recut = f"{scratch}/recut"
            make_recut(source, recut, target, recut_command)
            twin = HERE / f"{name}_at_ws{target}"
            save(twin, trainer.Job(recipe, target, load=recut, client_state=client_state))
            check(name, source, twin)
            if carried:
                through = universal.resume(recipe, source, target, f"{scratch}/universal", client_state=client_state)
                check_against_universal(name, twin, through)
        print(f"{twin.name}: holds every parameter and state of {name}" +
              (", and is what the universal checkpoint gives" if carried else ""), flush=True)


def save(target, job):
    """Runs the job, which saves into `target` without the helper scripts that DeepSpeed adds."""
    shutil.rmtree(target, ignore_errors=True)
    trainer.run(dataclasses.replace(job, save=str(target)))
    for script in target.glob("zero_to_*.py"):
        script.unlink()


def make_recut(source, target, world_size, command):
    if command:
        subprocess.run([command, str(source), target, str(world_size)], check=True)
        return
    from mounting import mounted

    with mounted(source, world_size) as mountpoint:
        shutil.copytree(mountpoint, target)


def check(name, source, twin):
    found = gather.gather(gather.tag_of(twin))
    differences = gather.gather(gather.tag_of(source)).differences(found, widened=("momentum_buffer",))
    if differences:
        raise SystemExit(f"{twin.name} is not {name}: {differences}")


def check_against_universal(name, twin, through):
    mine, theirs = gather.tag_of(twin), gather.tag_of(through)
    for file in sorted(os.listdir(mine)):
        differences = graph.compare(f"{theirs}/{file}", f"{mine}/{file}", universal.not_carried,
                                    universal.listed_by_directory)
        if differences:
            raise SystemExit(f"{name}, {file}: differs from what the universal checkpoint gives: {differences}")


def make_universal():
    with tempfile.TemporaryDirectory(prefix="ckptfs-data-") as scratch:
        target = HERE / "universal"
        shutil.rmtree(target, ignore_errors=True)
        universal.convert(HERE / "stage2_fp32_ws2", f"{scratch}/out")
        shutil.copytree(f"{scratch}/out", target)


if __name__ == "__main__":
    sys.exit(main())
