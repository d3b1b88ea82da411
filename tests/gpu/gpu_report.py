"""The document of runs on GPUs, and its plot: `gpu_report.py DOCUMENT RESULTS...` writes it from what run_gpu.py --results has left."""
import importlib.metadata
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import textwrap

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support"), str(HERE.parent / "oracle")]

import mounting  # noqa: E402
from records import LOSS_TOLERANCE, Run  # noqa: E402
from report import commit  # noqa: E402

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")


def median(values):
    return statistics.median(values)


def facts(machine, model, seconds, commit_id):
    """Versions and hardware of this run, by name."""
    packages = {name: importlib.metadata.version(name) for name in ("lightning", "deepspeed", "torch")}
    program = "import torch; print(torch.version.cuda, '.'.join(map(str, torch.cuda.nccl.version())) if torch.cuda.is_available() else '')"
    cuda, _, nccl = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip().partition(" ")
    cards, driver = _cards() if machine.cards else (["none: CPUs passed for GPUs"], "")
    return {"cards": cards, "driver": driver, "cuda": cuda, "nccl": nccl, "packages": packages, "python": platform.python_version(),
            "kernel": f"{platform.system()} {platform.release().partition('-')[0]}", "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30), "model": vars(model), "seconds": seconds,
            "commit": commit_id or commit(), "wheel": _wheel()}


def _wheel():
    """The wheel that the program was installed from; None where it was built in place."""
    try:
        distribution = importlib.metadata.distribution("ckptfs")
    except importlib.metadata.PackageNotFoundError:
        return None
    installed = {pathlib.Path(file.locate()).resolve() for file in distribution.files or ()}
    return distribution.version if mounting.BINARY.resolve() in installed else None


def _cards():
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    lines = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip().splitlines()
    return [line.split(", ")[0] for line in lines], lines[0].split(", ")[1]


def table(stages):
    lines = ["| ZeRO | resumed | ranks | backend | elements compared | that differ | ready | first step | further steps | loss, largest difference |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for stage in stages:
        for resumed in [*stage.from_mount, stage.universal]:
            how = "universal" if resumed is stage.universal else "mount"
            wrong = len(resumed.differences) + len(resumed.uncovered)
            lines.append(f"| {stage.stage} | {how} | {resumed.world_size} | {resumed.backend} | {resumed.compared:,} | {wrong or 'none'} | "
                         f"{resumed.prepare_s:.2f} s | {resumed.first_step_s:.1f} s | {resumed.step_s:.2f} s | "
                         f"{deviation(stage, resumed):.1e} |")
    return lines


def deviation(stage, resumed):
    """The largest relative difference of a loss from the uninterrupted run's."""
    truth = stage.losses[-len(resumed.losses):]
    return max(abs(found - true) / abs(true) for found, true in zip(resumed.losses, truth, strict=True))


def write(file, runs):
    """The first run is plotted."""
    plot_file = file.with_suffix(".svg")
    plot_file.write_text(plot(runs[0].stages), encoding="utf-8")
    lines = [
        "# On GPUs", "",
        *_paragraph(f"""Written by `tests/gpu/run_gpu.py --report docs/gpu.md`, or by `tests/gpu/gpu_report.py` from what runs of it left in
            `tests/gpu/recorded`. Lightning's Trainer, unmodified, saves a model at 4 ranks after two epochs and goes on to a third.
            `fit(ckpt_path=…)` resumes the checkpoint from a mount at other world sizes, and, for comparison, from the universal checkpoint
            that `ds_to_universal` makes of it. Training is in bf16, with DeepSpeed's FusedAdam in two parameter groups."""), "",
        *_paragraph("""* **State**: after the load and before the first step every rank compares what its optimizer holds, fp32 masters, `exp_avg` and
            `exp_avg_sq`, and the bf16 weights, parameter by parameter and bit for bit, with the source's files as the oracle's own reader gathers
            them; the step and the hyper-parameters of each group too. The ranks together must have compared every element."""),
        *_paragraph(f"""* **Losses** are held against the run that was not interrupted, within {LOSS_TOLERANCE:.1%}: gradients are averaged in bf16 over
            another number of ranks."""),
        *_paragraph("""* **Ready** is how long it takes until training can be started: the mount, or the conversion. **First step** counts from the same
            moment to the end of the first step, with the start of the processes and the load, without the comparison."""),
        *_paragraph("""* With fewer GPUs than ranks the ranks share them (`devices=1, num_nodes=N`) through gloo, which makes their steps slow."""), "",
    ]
    for run in runs:
        lines += _section(run)
    lines += ["## Losses", "", f"![Losses]({plot_file.name})", "",
              "Of the first run above. Lines are the training at 4 ranks that was not interrupted, circles the runs that were resumed from a mount."]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _section(run):
    problems, packages, model, stages = run.problems(), run.facts["packages"], run.facts["model"], run.stages
    facts = run.facts
    return [
        f"## {_counted(facts['cards'])}", "",
        *_paragraph(f"""Lightning {packages['lightning']}, DeepSpeed {packages['deepspeed']}, torch {packages['torch']}, CUDA {facts['cuda']},
            NCCL {facts['nccl'] or 'none'}, driver {facts['driver'] or 'none'}, Python {facts['python']}, {facts['kernel']}, {facts['cores']} cores,
            {facts['memory_gib']} GiB of memory. {_program(facts.get('wheel'))} Commit `{facts['commit']}`. {facts['seconds'] / 60:.1f} minutes, every number from this one run.
            A decoder of {stages[0].parameters / 1e9:.2f} billion parameters: {model['layers']} layers of width {model['width']}, {model['vocabulary']}
            tokens; {model['global_batch']} sequences of {model['length']} tokens a step, saved after step {_saved_at(stages[0])} of
            {stages[0].steps[-1]}."""), "",
        f"**{f'{len(problems)} failures.' if problems else 'All of it holds.'}**", "",
        *([*(f"* {problem}" for problem in problems), ""] if problems else []),
        *table(stages), "",
        f"| ZeRO | checkpoint | universal checkpoint on disk | mount on disk | first step at {stages[0].universal.world_size}: universal / mount |",
        "| --- | --- | --- | --- | --- |",
        *[_comparison(stage) for stage in stages], "",
        *_lost(stages),
    ]


def _program(wheel):
    return f"The program is that of the wheel ckptfs {wheel}, installed with pip." if wheel else "The program was built from source."


def _paragraph(text):
    return textwrap.wrap(" ".join(text.split()), 128, subsequent_indent="  " if text.startswith("*") else "",
                         break_long_words=False, break_on_hyphens=False)


def _counted(cards):
    if cards[0].startswith("none"):
        return "No GPU: CPUs passed for GPUs"
    return f"{len(cards)} × {cards[0]}"


def _saved_at(stage):
    return stage.from_mount[0].steps[0] - 1


def _comparison(stage):
    same = [resumed for resumed in stage.from_mount if resumed.world_size == stage.universal.world_size]
    ratio = f"{stage.universal.first_step_s / same[0].first_step_s:.2f}" if same else "not measured"
    return f"| {stage.stage} | {stage.checkpoint_bytes / 1e9:.2f} GB | {stage.universal_bytes / 1e9:.2f} GB | 0 | {ratio} |"


def _lost(stages):
    """What the way through a universal checkpoint loses, which the same comparison finds."""
    lines = [f"* Stage {stage.stage}: {text}" for stage in stages
             for text in sorted({text.partition(": ")[2] for text in stage.universal.differences})]
    return ["After the load of the universal checkpoint the same comparison finds:", "", *lines, ""] if lines else []


def plot(stages):
    """An SVG: one panel a stage, losses over steps."""
    width, height = 420, 320
    panels = [f'<g transform="translate({index * width},0)">{_panel(stage, width, height)}</g>' for index, stage in enumerate(stages)]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * len(stages)}" height="{height}" font-family="sans-serif" font-size="12">\n'
            f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(panels) + "\n</svg>\n")


def _panel(stage, width, height):
    left, right, top, bottom = 50, width - 15, 30, height - 40
    margin = (max(stage.losses) - min(stage.losses)) / 10
    low, high = min(stage.losses) - margin, max(stage.losses) + margin

    def at(step, loss):
        x = left + (right - left) * (step - stage.steps[0]) / (stage.steps[-1] - stage.steps[0])
        return x, bottom - (bottom - top) * (loss - low) / (high - low)

    parts = [f'<text x="{left}" y="20" font-weight="bold">ZeRO stage {stage.stage}</text>',
             f'<path d="M{left},{top} V{bottom} H{right}" fill="none" stroke="black"/>',
             f'<text x="{(left + right) / 2}" y="{height - 8}" text-anchor="middle">step</text>',
             f'<text x="12" y="{(top + bottom) / 2}" transform="rotate(-90 12 {(top + bottom) / 2})" text-anchor="middle">loss</text>']
    for step in stage.steps[::max(1, len(stage.steps) // 6)]:
        parts.append(f'<text x="{at(step, low)[0]:.1f}" y="{bottom + 16}" text-anchor="middle">{step}</text>')
    for index in range(5):
        loss = low + (high - low) * index / 4
        parts.append(f'<text x="{left - 6}" y="{at(1, loss)[1] + 4:.1f}" text-anchor="end">{loss:.2f}</text>')
    line = " ".join("{:.1f},{:.1f}".format(*at(step, loss)) for step, loss in zip(stage.steps, stage.losses))
    parts.append(f'<polyline points="{line}" fill="none" stroke="black"/>')
    saved, _ = at(_saved_at(stage), low)
    parts.append(f'<path d="M{saved:.1f},{top} V{bottom}" stroke="grey" stroke-dasharray="4 3"/>'
                 f'<text x="{saved - 4:.1f}" y="{bottom - 6}" text-anchor="end" fill="grey">saved at 4</text>')
    for index, resumed in enumerate(stage.from_mount):
        colour = COLOURS[index % len(COLOURS)]
        for step, loss in zip(resumed.steps, resumed.losses):
            x, y = at(step, loss)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 + 2 * index}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        y = top + 14 * index
        parts.append(f'<circle cx="{right - 95}" cy="{y}" r="4" fill="none" stroke="{colour}" stroke-width="1.5"/>'
                     f'<text x="{right - 85}" y="{y + 4}">resumed at {resumed.world_size}</text>')
    return "".join(parts)


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]), [Run.read(path) for path in sys.argv[2:]])
