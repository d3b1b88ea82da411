"""What came of the cells: the line of each, and the document of a full run."""
from dataclasses import dataclass
import importlib.metadata
import pathlib
import platform
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]

TRUTHS = {
    "universal": "DeepSpeed's universal checkpoint at N, and the source per parameter",
    "source": "the source, per parameter",
    "fresh": "the source, per parameter; losses of a run that starts at N",
}
CHECKS = {
    "chain": "the source, object for object",
    "zero_to_fp32": "the script on the source",
    "load_weights": "the same load from the source",
    "other_sub_group_size": "the source, per parameter, and what DeepSpeed saves under the other sub_group_size",
    "gathered_save": "the gathered weights of the source",
    "native_refusal": "DeepSpeed's error",
    "word_of_check": "what DeepSpeed makes of each engine that `ckptfs check` was asked about",
    "planted_fault": "faults planted in a copy, which the comparisons must find",
}

LOST = """
## What the mount keeps and the universal checkpoint loses

DeepSpeed's own way to another world size, `ds_to_universal` and `load_universal`, is the truth wherever it carries the whole run.
Where it does not, the cells are held against the source itself: masters, states and weights per parameter, scalars, counters,
what DeepSpeed saves again straight after the load, and chains of resumes that end where they began. A universal checkpoint of
DeepSpeed 0.19.8 loses, and the mount keeps:

* buffers, and frozen parameters that training changed: it does not load the module;
* states of any optimizer that does not keep exactly `exp_avg` and `exp_avg_sq` (SGD, RMSprop, Adagrad, Lion, Muon, amsgrad): the
  conversion or the load fails;
* the order of parameters under `round_robin_gradients`: data end up with other parameters;
* `elastic_checkpoint` files, and runs that were saved before their first step;
* at stage 3, the hyperparameters of every group but the first (learning rate, weight decay: all groups get those of group 0);
* at stage 3 with several sub-groups, their `step`: they share one tensor, so that Adam's bias correction runs ahead.

Never compared, because nothing defines it: the padding of stage 3 in a source, which DeepSpeed leaves uninitialised (the mount
writes zeros), and `ds_id` of a model that was built under `zero.Init`, which numbers parameters in the order of their making.

Not run, as DeepSpeed has no CPU kernels for them: quantised weights and gradients in transit (`zero_quantized_weights`,
`zero_quantized_gradients`), which change nothing that is saved.

In families (`tensor-parallel`, `pipeline`) world sizes are totals: 4 ranks are 2 that hold one model together, times 2.
""".rstrip().splitlines()


@dataclass(frozen=True)
class Result:
    cell: object
    way: str
    passed: bool
    problem: str  # empty when passed
    seconds: float

    @property
    def name(self):
        return name_of(self.cell, self.way)

    @property
    def line(self):
        verdict = "ok    " if self.passed else "FAILED"
        text = f"{verdict} {self.seconds:6.1f} s  {self.name}"
        return text if self.passed else f"{text}\n{self.problem.rstrip()}"


def name_of(cell, way):
    return cell.name if way == "mount" else f"{cell.name} ({way})"


def write(file, results, table_hash):
    failed = sum(not result.passed for result in results)
    lines = [
        "# The oracle",
        "",
        "Real DeepSpeed resumes at another world size, and everything is held, bit for bit, against the oracle named in the table:",
        "from a mount, and, where a cell resumes, from the source itself with `ckptfs.deepspeed.enable()`, without a mount. What a",
        "cell does is in `tests/oracle/checks.py`, the table itself in `tests/oracle/cells.py`.",
        "Written by `tests/oracle/run_oracle.py --full --report docs/oracle.md`.",
        "",
        f"**{len(results) - failed} passed, {failed} failed.** {versions()}.",
        f"Commit `{commit()}`, hash of the table of cells `{table_hash}`.",
        "",
        "| cell | held against | mount | hook |",
        "| --- | --- | --- | --- |",
    ]
    words = {(result.cell, result.way): "passed" if result.passed else "FAILED" for result in results}
    lines += [f"| {cell.name} | {truth(cell)} | {words[cell, 'mount']} | {words.get((cell, 'hook'), '')} |"
              for cell in dict.fromkeys(result.cell for result in results)]
    lines += LOST
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def truth(cell):
    text = CHECKS.get(cell.check, TRUTHS[cell.truth])
    if cell.twin:
        text += "; losses of the same training without it"
    return text


def versions():
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("deepspeed", "torch", "numpy"))
    return f"{packages}, Python {platform.python_version()}, {platform.system()} {platform.release()}"


def commit():
    def git(*arguments):
        return subprocess.run(["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *arguments], capture_output=True,
                              text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "src", "include", "tests/oracle", "CMakeLists.txt")
    return git("rev-parse", "HEAD") + (" with changes" if changed else "")
