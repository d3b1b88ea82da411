"""The one table of what the oracle must show: every cell by name, and the truth that it is held against."""
from dataclasses import dataclass
import hashlib

from recipe import Recipe

UNIVERSAL = "universal"  # DeepSpeed's own universal checkpoint, loaded at N: everything equal, losses too
SOURCE = "source"  # the source gathered per parameter: the universal checkpoint loses or breaks something here
FRESH = "fresh"  # the source, and the losses of a run that starts at N: nothing was trained before the save


@dataclass(frozen=True)
class Cell:
    """One thing to show. `check` names the function of checks.py that shows it."""

    name: str
    recipe: Recipe
    source: int  # A: the world size that saves
    target: int  # N: the world size that resumes
    truth: str = UNIVERSAL
    quick: bool = False
    check: str = "resume"
    twin: Recipe = None  # another recipe whose losses must be the same
    further: tuple = ()  # chain: the world sizes after N; old_writer: the fixture's folder

    @property
    def ways(self):
        """Of ways.py. What is no resume, or goes by paths past DeepSpeed's checkpoint engine, takes a mount."""
        return ("mount",) if self.check in ("zero_to_fp32", "native_refusal", "planted_fault") else ("mount", "hook")


CORE_PAIRS = ((3, 2), (2, 3), (4, 1), (1, 4), (3, 3), (2, 8))


def _core():
    kinds = [(stage, dtype) for stage in (1, 2) for dtype in ("bf16", "fp16", "fp32")]
    for turn, (stage, dtype) in enumerate(kinds):
        for number, (source, target) in enumerate(CORE_PAIRS):
            # The quick ones go along the diagonal: every stage with every dtype, and every pair once.
            yield Cell(f"core/stage{stage}-{dtype}/{source}to{target}", Recipe(stage=stage, dtype=dtype), source, target,
                       quick=number == turn)


def _variant(name, first, second, truth=UNIVERSAL, twin=None, quick=True):
    """Two pairs of a variant, each (recipe, A, N); the first is in the quick subset."""
    for turn, (recipe, source, target) in enumerate((first, second)):
        yield Cell(f"{name}/stage{recipe.stage}-{recipe.dtype}/{source}to{target}", recipe, source, target, truth,
                   quick=quick and turn == 0, twin=recipe.but(**twin) if twin else None)


def _variants():
    bf16 = Recipe(stage=2, dtype="bf16")
    fp32 = Recipe(stage=1, dtype="fp32")
    fp16 = Recipe(stage=2, dtype="fp16")
    one = Recipe(stage=1, dtype="bf16")
    yield from _variant("one-group", (bf16.but(groups=1), 3, 2), (fp32.but(groups=1), 2, 4))
    yield from _variant("three-groups", (bf16.but(groups=3), 4, 3), (fp16.but(groups=3), 2, 3))
    yield from _variant("sgd-momentum", (bf16.but(optimizer="sgd_momentum"), 3, 2),
                        (fp32.but(optimizer="sgd_momentum"), 2, 3), SOURCE)
    yield from _variant("rmsprop", (fp32.but(optimizer="rmsprop"), 2, 3), (bf16.but(optimizer="rmsprop"), 3, 2), SOURCE,
                        quick=False)
    yield from _variant("amsgrad", (bf16.but(optimizer="amsgrad"), 3, 2), (fp32.but(optimizer="amsgrad"), 2, 4), SOURCE)
    yield from _variant("adagrad", (bf16.but(optimizer="adagrad", groups=1), 3, 2),
                        (fp32.but(optimizer="adagrad", groups=1), 2, 3), SOURCE, quick=False)
    # DeepSpeed's own operators take minutes to compile: the quick subset needs one of them, for `elastic` and for Muon.
    yield from _variant("cpu-adam", (bf16.but(optimizer="cpu_adam"), 2, 3), (fp32.but(optimizer="cpu_adam"), 3, 2), quick=False)
    yield from _variant("lion", (bf16.but(optimizer="lion"), 3, 2), (fp32.but(optimizer="lion"), 2, 3), SOURCE, quick=False)
    yield Cell("adafactor/stage2-bf16/3to2", bf16.but(optimizer="adafactor"), 3, 2, SOURCE)
    # It keeps `RMS`, the norm of the rank's own partition, which each step makes anew.
    yield Cell("adafactor-transformers/stage2-bf16/3to2", bf16.but(optimizer="transformers_adafactor"), 3, 2, SOURCE)
    yield from _variant("muon", (one.but(optimizer="muon"), 3, 2), (bf16.but(optimizer="muon"), 2, 4), SOURCE)
    yield from _variant("muon-offload", (bf16.but(optimizer="muon", offload=True), 3, 2),
                        (one.but(optimizer="muon", offload=True), 2, 3), SOURCE, quick=False)
    yield from _variant("round-robin", (bf16.but(round_robin=True), 3, 2), (fp32.but(round_robin=True), 2, 4), SOURCE,
                        twin={"round_robin": False})
    yield from _variant("alignment", (bf16.but(alignment=True), 3, 2), (fp32.but(alignment=True), 2, 4))
    yield from _variant("round-robin-alignment", (fp16.but(round_robin=True, alignment=True), 3, 4),
                        (one.but(round_robin=True, alignment=True), 4, 3), SOURCE, twin={"round_robin": False},
                        quick=False)
    yield from _variant("offload", (one.but(offload=True), 2, 3),
                        (bf16.but(optimizer="cpu_adam", offload=True), 3, 2))
    yield from _variant("frozen-tied", (bf16.but(frozen=True), 3, 2), (fp32.but(frozen=True), 2, 3))
    yield from _variant("frozen-changed", (bf16.but(frozen=True, drift=True), 2, 3),
                        (fp16.but(frozen=True, drift=True), 3, 2), SOURCE)
    yield from _variant("bf16-optimizer", (one.but(bf16_optimizer=True), 3, 2), (one.but(bf16_optimizer=True), 2, 4))
    # No losses: DeepSpeed's elastic load drops the groups' hyperparameters, so that natively, at A too, training goes on otherwise.
    yield from _variant("elastic", (bf16.but(elastic=True, optimizer="fused_adam"), 3, 2),
                        (fp32.but(elastic=True, optimizer="fused_adam"), 2, 3), SOURCE)
    yield from _variant("overflow", (fp16.but(overflow=True, steps=5), 3, 2),
                        (fp16.but(stage=1, overflow=True, steps=5), 2, 3))
    yield from _variant("zero-steps", (bf16.but(steps=0), 3, 2), (fp16.but(stage=1, steps=0), 2, 3), FRESH)


def _special():
    bf16, fp32 = Recipe(stage=2, dtype="bf16"), Recipe(stage=1, dtype="fp32")
    fp16 = Recipe(stage=2, dtype="fp16")
    # A group of six elements: at more than three ranks some have only padding of it.
    tiny = Recipe(width=3, vocabulary=5, layers=0)
    yield Cell("tiny-group/stage2-bf16/5to2", tiny, 5, 2, quick=True)
    # A rank of padding alone: the universal load asks for a parameter's step there, and fails.
    yield Cell("tiny-group/stage2-bf16/2to8", tiny, 2, 8, SOURCE)
    chains = {"adamw": bf16, "fp16": fp16, "round-robin": bf16.but(round_robin=True),
              "alignment": fp32.but(alignment=True), "bf16-optimizer": Recipe(stage=1, bf16_optimizer=True),
              "elastic": bf16.but(elastic=True, optimizer="fused_adam"), "frozen-changed": bf16.but(frozen=True, drift=True)}
    for name, recipe in chains.items():
        yield Cell(f"chain/{name}/3to2to4to3", recipe, 3, 2, SOURCE, quick=name in ("adamw", "round-robin"), check="chain",
                   further=(4, 3))
    for versions, fixture, recipe, source in OLD_FIXTURES:
        for version in versions:
            # Every version once, and every fixture once.
            yield Cell(f"old-writer/{version}/{fixture}/{source}to2", recipe, source, 2, SOURCE,
                       quick=(version == "0.16.9") == (fixture == "stage2_fp16"),
                       check="old_writer", further=(f"{version}_{fixture}_ws{source}",))
    yield Cell("zero-to-fp32/stage2-bf16/3to2", bf16, 3, 2, SOURCE, quick=True, check="zero_to_fp32")
    yield Cell("zero-to-fp32/stage1-round-robin/3to4", fp32.but(round_robin=True), 3, 4, SOURCE, check="zero_to_fp32")
    yield Cell("weights-only-load/stage2-bf16/3to2", bf16.but(frozen=True, drift=True), 3, 2, SOURCE, quick=True,
               check="load_weights")
    yield Cell("weights-only-load/stage1-fp32/2to3", fp32, 2, 3, SOURCE, check="load_weights")
    yield Cell("native-refusal/stage2-bf16/3to2", bf16, 3, 2, SOURCE, quick=True, check="native_refusal")
    # Narrow enough that the last rank's last element of the last group is padding.
    yield Cell("planted-fault/stage2-bf16/3to4", Recipe(width=7, vocabulary=11, layers=1), 3, 4, SOURCE, quick=True,
               check="planted_fault")
    yield Cell("native-refusal/stage1-fp32/2to3", fp32, 2, 3, SOURCE, check="native_refusal")


OLD = ("0.14.5", "0.16.9")
SMALL = Recipe(width=7, vocabulary=11, layers=1)

# At stage 3 the universal load gives every group the hyperparameters of the first: one group where it is the truth.
THIRD = Recipe(stage=3, groups=1)


def _stage3_core():
    quick = {("bf16", 3, 2), ("fp16", 2, 3)}
    for dtype in ("bf16", "fp16", "fp32"):
        for source, target in CORE_PAIRS:
            yield Cell(f"core/stage3-{dtype}/{source}to{target}", THIRD.but(dtype=dtype), source, target,
                       quick=(dtype, source, target) in quick)


def _stage3_variants():
    bf16, fp16, fp32 = (THIRD.but(dtype=dtype) for dtype in ("bf16", "fp16", "fp32"))
    offload = {"optimizer": "cpu_adam", "offload": True, "offload_parameters": True}
    yield from _variant("three-groups", (bf16.but(groups=3), 3, 5), (fp32.but(groups=3), 4, 3), SOURCE, quick=False)
    # One group becomes 6 sub-groups at 2 ranks, 4 at 3, 3 at 5.
    several = {"sub_group_size": 250}
    yield from _variant("sub-groups", (bf16.but(**several), 3, 2), (fp16.but(**several), 2, 5), SOURCE,
                        twin={"sub_group_size": None})
    yield from _variant("sub-groups-and-groups", (bf16.but(groups=3, sub_group_size=300), 2, 8),
                        (fp32.but(groups=2, sub_group_size=300), 5, 1), SOURCE, quick=False)
    yield from _variant("frozen-changed", (bf16.but(groups=2, frozen=True, drift=True), 2, 3),
                        (fp16.but(groups=3, frozen=True, drift=True), 5, 4), SOURCE)
    yield from _variant("frozen-tied", (bf16.but(frozen=True), 3, 2), (fp32.but(frozen=True, tied=False), 2, 3), SOURCE,
                        quick=False)
    yield from _variant("tiny-parameter", (bf16.but(tiny=True), 3, 5), (fp32.but(tiny=True, persistence=0), 4, 8), quick=False)
    yield from _variant("offload", (bf16.but(**offload), 3, 2), (fp32.but(offload=True), 2, 3), quick=False)
    yield from _variant("zero-init", (bf16.but(zero_init=True), 3, 2), (fp16.but(zero_init=True), 2, 4), quick=False)
    yield from _variant("hpz", (bf16.but(hpz=2), 4, 2), (fp32.but(hpz=2), 2, 4), quick=False)
    yield from _variant("overflow", (fp16.but(overflow=True, steps=5), 3, 2), (fp16.but(overflow=True, steps=5), 2, 3),
                        quick=False)
    yield from _variant("zero-steps", (bf16.but(steps=0), 3, 2), (fp16.but(steps=0, groups=2), 2, 3), FRESH, quick=False)
    for optimizer in ("sgd_momentum", "amsgrad", "rmsprop", "lion", "muon"):
        yield Cell(f"{optimizer.replace('_', '-')}/stage3-bf16/3to2", bf16.but(optimizer=optimizer, groups=2), 3, 2, SOURCE)
    chains = {"adamw": bf16.but(groups=2), "fp16": fp16, "fp32": fp32.but(groups=3), "sub-groups": bf16.but(groups=2, **several),
              "frozen-changed": bf16.but(frozen=True, drift=True), "offload": bf16.but(**offload)}
    for name, recipe in chains.items():
        yield Cell(f"chain/stage3-{name}/3to2to4to3", recipe, 3, 2, SOURCE, quick=name == "sub-groups", check="chain",
                   further=(4, 3))
    yield Cell("zero-to-fp32/stage3-bf16/3to4", bf16.but(groups=3, frozen=True, drift=True, **several), 3, 4, SOURCE, quick=True,
               check="zero_to_fp32")
    yield Cell("native-refusal/stage3-bf16/3to2", bf16, 3, 2, SOURCE, check="native_refusal")
    yield Cell("planted-fault/stage3-bf16/3to4", SMALL.but(stage=3), 3, 4, SOURCE, check="planted_fault")
    for target in (3, 2):
        yield Cell(f"other-sub-group-size/stage3-bf16/3to{target}", bf16.but(groups=2, **several), 3, target, SOURCE,
                   check="other_sub_group_size", further=(700,))
    yield Cell("gathered-save/stage3-bf16/3to2", bf16.but(gathered_save=True), 3, 2, SOURCE, check="gathered_save")


def _families():
    """World sizes are totals: two ranks, or two stages, hold one model together."""
    recipes = {"tensor-parallel": Recipe(stage=1, tensor_parallel=2),
               "tensor-parallel-gradients": Recipe(stage=2, tensor_parallel=2),
               "tensor-parallel-three-groups": Recipe(stage=2, dtype="fp16", groups=3, tensor_parallel=2),
               "pipeline": Recipe(stage=1, pipeline=2), "pipeline-fp32": Recipe(stage=1, dtype="fp32", groups=1, pipeline=2)}
    for name, recipe in recipes.items():
        kind = f"{name}/stage{recipe.stage}-{recipe.dtype}"
        for target in (2, 6):
            yield Cell(f"{kind}/4to{target}", recipe, 4, target, SOURCE, quick=name in ("tensor-parallel", "pipeline") and target == 6)
        yield Cell(f"chain/{kind}/4to2to6to4", recipe, 4, 2, SOURCE, check="chain", further=(6, 4))
    for target in (2, 6):
        yield Cell(f"sequence-mesh/stage2-bf16/4to{target}", Recipe(sequence_mesh=2), 4, target, SOURCE, quick=target == 2)


def _check():
    """Four steps: in the first two the learning rate is 0, and the masters are what 16 bits can hold."""
    first = SMALL.but(stage=1, steps=4)
    second, third = first.but(stage=2), first.but(stage=3)
    zero12 = ("same", "stage3", "stage0", "rounded", "universal", "in-turn", "offload")
    others = {
        "stage1-bf16": (first, 1, ("stage2", "fp16", "fp32", "bf16-gradients", "elastic", *zero12)),
        "stage2-bf16": (second, 3, ("stage1", "bf16-optimizer", "bf16-optimizer-round-robin", "bf16-optimizer-alignment",
                                    "fp32-gradients", "round-robin", "alignment", "elastic")),
        "stage2-round-robin": (second.but(round_robin=True), 3, ("bf16-optimizer", "bf16-optimizer-round-robin")),
        "stage1-fp16": (first.but(dtype="fp16"), 1, ("stage2", "bf16", "fp32", "static-scale", *zero12)),
        "stage1-fp32": (first.but(dtype="fp32"), 1, ("stage2", "bf16", "fp16", *zero12)),
        "stage2-elastic": (second.but(elastic=True, optimizer="fused_adam"), 3, ("plain", "stage1", "bf16-optimizer")),
        "bf16-optimizer": (first.but(bf16_optimizer=True), 3, ("same", "stage1", "stage2", "round-robin", "alignment")),
        "stage3-bf16": (third, 1, ("same", "stage1", "stage2", "bf16-optimizer", "stage0", "fp16", "fp32", "rounded", "universal",
                                   "in-turn", "elastic", "offload-parameters", "sub-groups", "fp32-gradients")),
        "stage3-fp16": (third.but(dtype="fp16"), 1, ("same", "bf16", "fp32", "static-scale")),
    }
    yield Cell("check/stage1-bf16-quick/2to1", first, 2, 1, SOURCE, quick=True, check="word_of_check",
               further=("bf16-optimizer", "bf16-optimizer-rounded", "stage3", "rounded"))
    for name, (recipe, target, engines) in others.items():
        yield Cell(f"check/{name}/2to{target}", recipe, 2, target, SOURCE, check="word_of_check", further=engines)


# (versions of DeepSpeed, name, recipe, world size): what tests/data/zero/old holds.
OLD_FIXTURES = (
    (OLD, "stage1_bf16", SMALL.but(stage=1), 3),
    (OLD, "stage2_fp16", SMALL.but(dtype="fp16"), 3),
    (OLD, "tiny_group", Recipe(dtype="fp32", width=3, vocabulary=5, layers=0), 5),
    (("0.12.6",), "stage3_bf16", SMALL.but(stage=3, sub_group_size=20), 3),
    (("0.12.6",), "stage3_fp16", SMALL.but(stage=3, dtype="fp16"), 3),
)

CELLS = (*_core(), *_variants(), *_special(), *_stage3_core(), *_stage3_variants(), *_families(),
         *_check())


def table_hash():
    return hashlib.sha256("\n".join(repr(cell) for cell in CELLS).encode()).hexdigest()[:16]


if len({cell.name for cell in CELLS}) != len(CELLS):
    raise ValueError("two cells have one name")
