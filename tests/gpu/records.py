"""What the GPU proof and its ranks tell each other, through files."""
import dataclasses
from dataclasses import dataclass
import json
import pathlib


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
