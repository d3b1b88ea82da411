"""What the GPU proof and its ranks tell each other, and what a run of it leaves, through files."""
import dataclasses
from dataclasses import dataclass
import json
import math
import pathlib

LOSS_TOLERANCE = 1e-3  # relative; gradients are averaged in bf16, over other numbers of ranks


@dataclass(frozen=True)
class Model:
    """A decoder like GPT-2. `steps_per_epoch` global batches are its data, the same in every epoch and at every world size."""

    layers: int
    width: int
    heads: int
    vocabulary: int
    length: int  # tokens of a sequence
    global_batch: int  # sequences
    steps_per_epoch: int

    @property
    def parameters(self):
        block = 12 * self.width**2 + 13 * self.width
        return self.layers * block + (2 * self.vocabulary + self.length + 2) * self.width


@dataclass(frozen=True)
class Job:
    model: Model
    stage: int
    world_size: int
    backend: str
    cards: int  # that the ranks of this machine have one each of; 1: each rank is a node of its own, with the same card
    started: float  # time.time() when what is being timed began
    epochs: int  # the epoch that ends the run, counted from the first run
    save_in: str = None  # a directory for ModelCheckpoint
    resume: str = None  # ckpt_path
    universal: bool = False  # `resume` is a universal checkpoint
    truth: str = None  # what the loaded state has to be, see live_state.py
    stand_in: bool = False  # CPUs pass for GPUs

    @staticmethod
    def read(path):
        fields = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        return Job(**(fields | {"model": Model(**fields["model"])}))

    def write(self, path):
        pathlib.Path(path).write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")


@dataclass
class Report:
    """What a rank saw."""

    losses: list = dataclasses.field(default_factory=list)  # per step, the mean over the ranks
    steps: list = dataclasses.field(default_factory=list)  # the global step after each
    first_step_s: float = None  # from `started` to the end of the first step, less what the comparison took
    step_s: list = dataclasses.field(default_factory=list)  # of the further steps
    compared: list = dataclasses.field(default_factory=list)  # (kind, name, first element, elements)
    differences: list = dataclasses.field(default_factory=list)
    card: str = ""
    peak_memory: int = 0  # bytes of the card


@dataclass(frozen=True)
class Resumed:
    """One resume, from a mount or from a universal checkpoint."""

    world_size: int
    backend: str
    losses: list
    steps: list
    first_step_s: float  # from the first command to the end of the first step
    prepare_s: float  # of it, until training could be started: the mount, or the conversion
    step_s: float  # the median of the further steps
    compared: int  # elements, over all ranks
    differences: list
    uncovered: list
    peak_memory: int


@dataclass(frozen=True)
class Stage:
    stage: int
    parameters: int
    checkpoint_bytes: int
    backend: str
    losses: list
    steps: list
    from_mount: list  # of Resumed
    universal: Resumed
    universal_bytes: int

    def problems(self):
        """Of the mount: what a universal checkpoint loses is told, and no failure."""
        for resumed in self.from_mount:
            where = f"stage {self.stage}, resumed at {resumed.world_size}"
            yield from (f"{where}: {text}" for text in resumed.differences + resumed.uncovered)
            truth = dict(zip(self.steps, self.losses, strict=True))
            if resumed.steps != self.steps[-len(resumed.steps):]:
                yield f"{where}: steps {resumed.steps}"
            for step, loss in zip(resumed.steps, resumed.losses, strict=True):
                if not math.isclose(loss, truth.get(step, math.nan), rel_tol=LOSS_TOLERANCE):
                    yield f"{where}: the loss of step {step} is {loss}, {truth.get(step)} without an interruption"


@dataclass(frozen=True)
class Run:
    """One run of run_gpu.py."""

    facts: dict  # hardware and versions
    stages: list

    def problems(self):
        return [problem for stage in self.stages for problem in stage.problems()]

    def write(self, path):
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def read(path):
        content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        stages = [Stage(**(stage | {"from_mount": [Resumed(**one) for one in stage["from_mount"]],
                                    "universal": Resumed(**stage["universal"])})) for stage in content["stages"]]
        return Run(content["facts"], stages)
