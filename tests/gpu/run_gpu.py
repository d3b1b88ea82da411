#!/usr/bin/env python3
"""The proof on GPUs: a decoder of 0.3 billion parameters, trained with Lightning, DeepSpeed and fused Adam in bf16, ZeRO stages 2 and
3, is saved at 4 ranks and resumed from a mount at 2, 8 and 1. Every rank's state must be the source's, bit for bit; losses must be those of
a run that was not interrupted; times are held against DeepSpeed's universal checkpoint. Needs CUDA, /dev/fuse and what is in
tests/requirements*.txt. Ranks beyond the number of GPUs share them through gloo. Exit code 0 when all holds.
"""
import argparse
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support"), str(HERE.parent / "oracle")]

import gpu_report  # noqa: E402
import live_state  # noqa: E402
import mounting  # noqa: E402
import processes  # noqa: E402
from records import Model, Resumed, Run, Stage  # noqa: E402

A = 4  # the world size of the run that is left
WORLD_SIZES = (2, 8, 1)
UNIVERSAL = 2  # the world size of the comparison with DeepSpeed's own way
EPOCHS_BEFORE, EPOCHS = 2, 3

DECODER = Model(layers=24, width=1024, heads=16, vocabulary=16384, length=512, global_batch=16, steps_per_epoch=4)
TINY = Model(layers=2, width=32, heads=2, vocabulary=64, length=16, global_batch=16, steps_per_epoch=2)


def main(arguments=None):
    options = parse_arguments(arguments)
    begin = time.monotonic()
    machine = processes.Machine(0 if options.cpu_tiny else visible_cards())
    model = TINY if options.cpu_tiny else dataclasses.replace(DECODER, layers=options.layers)
    with tempfile.TemporaryDirectory(prefix="ckptfs-gpu-", dir=options.directory) as scratch:
        build_fused_adam(machine)
        print(f"fused Adam built, {time.monotonic() - begin:.0f} s", flush=True)
        stages = [prove(machine, model, stage, options.world_sizes, f"{scratch}/stage{stage}") for stage in options.stages]
    finished = Run(gpu_report.facts(machine, model, time.monotonic() - begin, options.commit), stages)
    print("\n".join(gpu_report.table(stages)))
    for problem in finished.problems():
        print(f"FAILED: {problem}")
    if options.results:
        finished.write(options.results)
    if options.report:
        gpu_report.write(options.report, [finished])
    return 1 if finished.problems() else 0


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, nargs="+", default=[2, 3], choices=[1, 2, 3])
    parser.add_argument("--world-sizes", type=int, nargs="+", default=list(WORLD_SIZES), metavar="N", help="to resume at")
    parser.add_argument("--layers", type=int, default=DECODER.layers, help="fewer than 20 are less than 0.3 billion parameters")
    parser.add_argument("--directory", default=os.environ.get("TMPDIR", "/var/tmp"), help="where checkpoints are made: 20 GB")
    parser.add_argument("--report", type=pathlib.Path, metavar="FILE", help="write a document, and its plot beside it")
    parser.add_argument("--results", type=pathlib.Path, metavar="FILE", help="write all that was measured, as JSON")
    parser.add_argument("--commit", metavar="ID", help="what the document names, where this is not a clone")
    parser.add_argument("--cpu-tiny", action="store_true", help="a tiny model on CPUs that pass for GPUs, to test this program")
    return parser.parse_args(arguments)


def visible_cards():
    """Asked in another process: this one must not use the cards."""
    program = "import torch; print(torch.cuda.device_count())"
    cards = int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
    if cards == 0:
        sys.exit("torch finds no CUDA device")
    return cards


def build_fused_adam(machine):
    """Once, before ranks would build it all at once and their times would contain it."""
    accelerator = {"DS_ACCELERATOR": "cuda" if machine.cards else "cpu"}
    program = "from deepspeed.accelerator import get_accelerator as a; a().create_op_builder('FusedAdamBuilder').load()"
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | accelerator, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"DeepSpeed's fused Adam cannot be built:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def prove(machine, model, stage, world_sizes, scratch):
    os.makedirs(scratch)
    saved, truth = f"{scratch}/saved", f"{scratch}/truth.pt"
    reports = processes.run(machine, f"{scratch}/trained", model=model, stage=stage, world_size=A, epochs=EPOCHS, save_in=saved)
    say(f"stage {stage}: trained at {A}, {reports[0].first_step_s:.1f} s to the first step", reports[0].losses)
    (name,) = os.listdir(saved)
    source = f"{saved}/{name}"
    sizes = live_state.write_truth(source, truth)
    common = {"model": model, "stage": stage, "epochs": EPOCHS, "truth": truth}
    from_mount = [through_mount(machine, saved, name, sizes, world_size, f"{scratch}/resumed-{world_size}", common)
                  for world_size in world_sizes]
    universal, universal_bytes = through_universal(machine, source, sizes, scratch, common)
    result = Stage(stage, sum(sizes.values()), size_of(source), machine.place(A)[0], reports[0].losses, reports[0].steps, from_mount,
                   universal, universal_bytes)
    shutil.rmtree(scratch)
    return result


def through_mount(machine, saved, name, sizes, world_size, directory, common):
    started = time.time()
    with mounting.mounted(saved, world_size) as mount:
        prepared = time.time()
        reports = processes.run(machine, directory, world_size=world_size, resume=f"{mount}/{name}", started=started, **common)
    return resumed(machine, world_size, reports, sizes, prepared - started, "from the mount", common)


def through_universal(machine, source, sizes, scratch, common):
    """DeepSpeed's conversion with its own defaults, as a command, then the load of what it wrote."""
    target = f"{scratch}/universal"
    os.makedirs(target)
    command = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--inject_missing_state",
               "--input_folder", f"{source}/checkpoint", "--output_folder", f"{target}/checkpoint"]
    started = time.time()
    accelerator = {} if machine.cards else {"DS_ACCELERATOR": "cpu"}
    done = subprocess.run(command, env=os.environ | accelerator, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"ds_to_universal failed:\n{done.stderr}")
    shutil.copy(f"{source}/latest", target)
    prepared = time.time()
    reports = processes.run(machine, f"{scratch}/resumed-universal", world_size=UNIVERSAL, resume=target, universal=True,
                            started=started, **common)
    return resumed(machine, UNIVERSAL, reports, sizes, prepared - started, "universal", common), size_of(target)


def resumed(machine, world_size, reports, sizes, prepare_s, how, common):
    compared = [report.compared for report in reports]
    differences = [f"rank {rank}: {text}" for rank, report in enumerate(reports) for text in report.differences]
    result = Resumed(world_size, machine.place(world_size)[0], reports[0].losses, reports[0].steps,
                     max(report.first_step_s for report in reports), prepare_s, gpu_report.median(reports[0].step_s),
                     sum(entry[-1] for of_rank in compared for entry in of_rank), differences,
                     live_state.uncovered(compared, sizes), max(report.peak_memory for report in reports))
    say(f"stage {common['stage']}: resumed {how} at {world_size}, {result.first_step_s:.1f} s to the first step, "
        f"{len(differences)} differences", result.losses)
    return result


def say(text, losses):
    print(f"{text}; losses {' '.join(f'{loss:.4f}' for loss in losses)}", flush=True)


def size_of(root):
    return sum(os.stat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(root) for name in names)


if __name__ == "__main__":
    sys.exit(main())
