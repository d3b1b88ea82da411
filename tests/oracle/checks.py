"""What a cell does: train, save, resume from what ckptfs shows, and hold all that came of it against the cell's truth."""
import contextlib
import fcntl
import filecmp
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys

from engines import ENGINES, merged
import gather
import graph
from mounting import BINARY, mounted, MountError
import padding
from plain import same_bits
import ranks
from recipe import ds_config
import trainer
import universal

OLD = pathlib.Path(__file__).resolve().parents[1] / "data" / "zero" / "old"
STEPS = 2  # after a resume


class Mismatch(AssertionError):
    """What was found is not what the truth says."""


class Session:
    """Checkpoints that cells share, in one directory: each trained, converted or resumed once, also by cells that run
    at the same time."""

    def __init__(self, directory, scratch, shown):
        self.directory = pathlib.Path(directory)
        self.log = f"{scratch}/ranks.log"
        self.shown = shown  # one of ways.py: a context with what ckptfs shows

    def trained(self, recipe, world_size):
        return self._once(f"{recipe.key}-trained-{world_size}", lambda target: self.run(
            recipe, world_size, steps=recipe.steps, save=target))

    def universal_of(self, recipe, world_size):
        return self._once(f"{recipe.key}-universal-{world_size}", lambda target: universal.convert(
            self.trained(recipe, world_size), target, self.log))

    def resumed_universal(self, recipe, source, target):
        """(the ranks' reports, what was saved straight after the load, and two steps later) of DeepSpeed's own way from A to N."""
        def make(directory):
            reports = self.run(recipe, target, load=self.universal_of(recipe, source), universal=True, steps=STEPS,
                               save_loaded=f"{directory}/loaded", save=f"{directory}/stepped")
            pathlib.Path(directory, "reports").write_bytes(pickle.dumps(reports))

        directory = self._once(f"{recipe.key}-universal-{source}-at-{target}", make)
        return pickle.loads(pathlib.Path(directory, "reports").read_bytes()), f"{directory}/loaded", f"{directory}/stepped"

    def run(self, recipe, world_size, **job):
        return trainer.run(trainer.Job(recipe, world_size, **job), self.log)

    def _once(self, name, make):
        target = self.directory / name
        with open(f"{target}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed, or this process ends
            if not target.exists():
                unfinished = str(target) + ".unfinished"
                shutil.rmtree(unfinished, ignore_errors=True)  # of a cell that failed half-way
                make(unfinished)
                os.rename(unfinished, target)
        return str(target)


def resume(cell, session, scratch):
    """Train at A, show at N, resume from what is shown, save at once, take two steps, save."""
    source = session.trained(cell.recipe, cell.source)
    loaded, stepped = f"{scratch}/loaded", f"{scratch}/stepped"
    with session.shown(source, cell.target) as view:
        if cell.source == cell.target:
            expect_same_bytes(source, view.files)
        reports = session.run(cell.recipe, cell.target, load=view.load, save_loaded=loaded, steps=STEPS, save=stepped)
        expect_loaded_from(reports, view.load)
        expect_same_objects(loaded, view.files, is_config_or_number if cell.recipe.zero_init else is_config,
                            widened=is_muon_momentum if cell.recipe.optimizer == "muon" else never)
    expect_same_parameters(source, loaded)
    if cell.truth == "universal":
        expect_same_as_universal(cell, session, scratch, reports, loaded, stepped)
    if cell.truth == "fresh":
        expect_same_losses(reports, session.run(cell.recipe, cell.target, steps=STEPS))
    if cell.twin:
        expect_same_losses(reports, session.resumed_universal(cell.twin, cell.source, cell.target)[0])


def chain(cell, session, scratch):
    """What is shown of a save of what is shown of a save ... back at A: the source again."""
    source = link = session.trained(cell.recipe, cell.source)
    if cell.recipe.stage == 3:  # its padding is garbage, and zeros after the first view
        source = padding.blanked(source, f"{scratch}/source")
    for world_size in (cell.target, *cell.further):
        saved = f"{scratch}/at-{world_size}"
        with session.shown(link, world_size) as view:
            session.run(cell.recipe, world_size, load=view.load, save_loaded=saved)
        link = saved
    expect_same_objects(source, link)


def other_sub_group_size(cell, session, scratch):
    """The config that resumes has another sub_group_size: ckptfs is told, and cuts anew at the source's own world size too."""
    source, loaded = session.trained(cell.recipe, cell.source), f"{scratch}/loaded"
    (size,) = cell.further
    with session.shown(source, cell.target, sub_group_size=size) as view:
        session.run(cell.recipe.but(sub_group_size=size), cell.target, load=view.load, save_loaded=loaded)
        expect_same_objects(loaded, view.files)
    expect_same_parameters(source, loaded)


def old_writer(cell, session, scratch):
    """A fixture that an old DeepSpeed wrote, resumed at N by the DeepSpeed of today."""
    source, loaded = str(OLD / cell.further[0]), f"{scratch}/loaded"
    with session.shown(source, cell.target) as view:
        session.run(cell.recipe, cell.target, load=view.load, save_loaded=loaded)
    # Up to 0.16 buffers were saved in the dtype of the training; DeepSpeed loads them into fp32 ones.
    expect_same_parameters(source, loaded, widened=("drifting",))


def zero_to_fp32(cell, session, scratch):
    """The script that DeepSpeed leaves beside the tags, run from where it lies, unmodified."""
    # Its command line would want huggingface_hub, to split what it writes into several files.
    program = "import sys, zero_to_fp32 as z; z.convert_zero_checkpoint_to_fp32_state_dict(*sys.argv[1:], max_shard_size=None)"
    source = session.trained(cell.recipe, cell.source)

    def weights(root, target):
        done = subprocess.run([sys.executable, "-c", program, root, target], capture_output=True, text=True, timeout=600,
                              env=os.environ | {"PYTHONPATH": root})
        if done.returncode != 0:
            raise Mismatch(f"zero_to_fp32.py fails on {root}:\n{done.stderr}")
        return gather.load(f"{target}/pytorch_model.bin")

    expected = weights(source, f"{scratch}/expected")
    with mounted(source, cell.target) as mount:
        found = weights(mount.path, f"{scratch}/found")
    if expected.keys() != found.keys():
        raise Mismatch(f"names: {sorted(expected.keys() ^ found.keys())}")
    wrong = [name for name in expected if not same_bits(expected[name], found[name])]
    if wrong:
        raise Mismatch(f"consolidated weights differ: {wrong}")


def load_weights(cell, session, scratch):
    """load_optimizer_states=False works natively at any world size: what is shown must give the same weights."""
    source = session.trained(cell.recipe, cell.source)
    expected = session.run(cell.recipe, cell.target, load=source, load_optimizer=False)
    with session.shown(source, cell.target) as view:
        found = session.run(cell.recipe, cell.target, load=view.load, load_optimizer=False)
    for rank, (one, other) in enumerate(zip(expected, found, strict=True)):
        if one.weights != other.weights:
            raise Mismatch(f"rank {rank}: {[n for n in one.weights if one.weights[n] != other.weights.get(n)]}")


def gathered_save(cell, session, scratch):
    """With stage3_gather_16bit_weights_on_model_save a job can also save whole weights, beside the tags: they pass through."""
    source = f"{scratch}/source"
    session.run(cell.recipe, cell.source, steps=cell.recipe.steps, save=source)
    name = trainer.GATHERED
    with session.shown(source, cell.target) as view:
        if not filecmp.cmp(f"{source}/{name}", f"{view.files}/{name}", shallow=False):
            raise Mismatch(f"{name} has other bytes")
        loaded = f"{scratch}/loaded"
        session.run(cell.recipe, cell.target, load=view.load, save=loaded)
    one, other = gather.load(f"{source}/{name}"), gather.load(f"{loaded}/{name}")
    wrong = [key for key in one.keys() | other.keys() if not same_bits(one[key], other[key])]
    if wrong:
        raise Mismatch(f"gathered again after the resume, these differ: {wrong}")


def native_refusal(cell, session, scratch):
    """Without ckptfs the resume fails; with it, it works (the other cells). The day this fails, DeepSpeed has learnt it."""
    source = session.trained(cell.recipe, cell.source)
    try:
        session.run(cell.recipe, cell.target, load=source)
    except ranks.RankError as refusal:
        if "Automatic adjustment of ZeRO's optimizer state partitioning" not in refusal.detail:
            raise
        return
    raise Mismatch("DeepSpeed resumed at another world size by itself")


def word_of_check(cell, session, scratch):
    """`ckptfs check` says of every engine of `further` whether it resumes the checkpoint; then DeepSpeed tries."""
    source = session.trained(cell.recipe, cell.source)
    wrong = []
    for name in cell.further:
        engine = ENGINES[name]
        recipe, config = cell.recipe.but(**engine.changes), f"{scratch}/{name}.json"
        with open(config, "w", encoding="ascii") as file:
            json.dump(merged(ds_config(recipe, cell.target), engine.settings), file)
        done = subprocess.run([BINARY, "check", source, f"--world-size={cell.target}", f"--ds-config={config}", "--json"],
                              capture_output=True, text=True, timeout=60)
        if done.returncode not in (0, 1):
            raise Mismatch(f"{name}: check ended with {done.returncode}: {done.stderr}")
        word, loss = json.loads(done.stdout), lost(source, cell, session, recipe, engine.settings, config, f"{scratch}/{name}")
        if word["agrees"] == bool(loss):
            wrong.append(f"{name}: check says {word['findings'] or 'nothing'}, DeepSpeed: {loss or 'resumes'}")
    if wrong:
        raise Mismatch("\n".join(wrong))


def lost(source, cell, session, recipe, settings, config, loaded):
    """What a resume from the view, which is told the config, fails of or loses; empty where it has all that the source had."""
    try:
        with session.shown(source, cell.target, ds_config=config) as view:
            reports = session.run(recipe, cell.target, load=view.load, save_loaded=loaded, steps=1, settings=settings)
    except (ranks.RankError, MountError) as refusal:
        if "no answer within" in str(refusal):
            raise
        return str(refusal)
    if (reports[0].loss_scale != 1.0) != (recipe.dtype == "fp16"):
        return f"goes on with a loss scale of {reports[0].loss_scale} in {recipe.dtype}"
    before, after = gather.gather(gather.tag_of(source)), gather.gather(gather.tag_of(loaded))
    return summary([difference for difference in before.differences(after) if difference.startswith(("masters", "states"))])


def planted_fault(cell, session, scratch):
    """The twin of all that compares: one wrong bit of a master, and one of a padding, must be found."""
    source, copy = session.trained(cell.recipe, cell.source), f"{scratch}/copy"
    with mounted(source, cell.target) as mount:
        shutil.copytree(mount.path, copy)
        expect_same_objects(mount.path, copy)
        with flipped(copy, cell.target - 1, element=0):
            must_find(expect_same_parameters, source, copy)
            must_find(expect_same_objects, mount.path, copy)
        with flipped(copy, cell.target - 1, element=-1):
            expect_same_parameters(source, copy)
            must_find(expect_same_objects, mount.path, copy)
    expect_same_parameters(source, copy)


@contextlib.contextmanager
def flipped(root, rank, element):
    """One bit of the last group's master is the other on `rank`: of its first element, or of the last, which is padding."""
    (path,) = pathlib.Path(gather.tag_of(root)).glob(f"*zero_pp_rank_{rank}_*_optim_states.pt")
    with graph.Archive(path) as archive:
        state = archive.graph["optimizer_state_dict"]
        storage = state.get("single_partition_of_fp32_groups", state.get("fp32_flat_groups"))[-1].storage
        place = archive.place(f"data/{storage.key}") + 4 * (element % storage.numel)

    def flip():
        with open(path, "r+b") as file:
            file.seek(place)
            value = file.read(1)[0]
            file.seek(place)
            file.write(bytes([value ^ 1]))

    flip()
    yield
    flip()


def must_find(check, *arguments):
    try:
        check(*arguments)
    except Mismatch:
        return
    raise Mismatch(f"{check.__name__} did not find the planted fault")


def expect_same_as_universal(cell, session, scratch, reports, loaded, stepped):
    truth, *saved = session.resumed_universal(cell.recipe, cell.source, cell.target)
    expect_same_losses(reports, truth)
    for number, (expected, found) in enumerate(zip(saved, (loaded, stepped), strict=True)):
        if cell.recipe.stage == 3 and cell.source == cell.target:  # the source's own files, garbage in their padding
            expected, found = (padding.blanked(root, f"{scratch}/blank-{kind}-{number}")
                               for kind, root in (("expected", expected), ("found", found)))
        expect_same_objects(expected, found, universal.not_carried, universal.listed_by_directory)


def expect_loaded_from(reports, root):
    """DeepSpeed says that it has loaded the file that lies there, wherever its bytes came from."""
    for report in reports:
        if os.path.dirname(report.loaded_from) != gather.tag_of(root):
            raise Mismatch(f"loaded from {report.loaded_from}, which is not in {gather.tag_of(root)}")


def expect_same_losses(found, truth):
    """Losses, loss scale, learning rates and counters of every rank."""
    for rank, (one, other) in enumerate(zip(truth, found, strict=True)):
        for part in ("losses", "loss_scale", "learning_rates", "global_steps", "skipped_steps"):
            if getattr(one, part) != getattr(other, part):
                raise Mismatch(f"rank {rank}, {part}: {getattr(one, part)} became {getattr(other, part)}")


def expect_same_parameters(source, saved, widened=()):
    """Masters, states, weights and scalars, gathered per parameter. Loading widens Muon's momentum to fp32."""
    differences = gather.gather(gather.tag_of(source)).differences(gather.gather(gather.tag_of(saved)),
                                                                    ("momentum_buffer", *widened))
    if differences:
        raise Mismatch(f"gathered per parameter: {summary(differences)}")


def never(path):
    return False


def is_config(path):
    return path[:1] == ("ds_config",)


def is_config_or_number(path):
    """Under zero.Init `ds_id` numbers the parameters as they were made, which no file tells."""
    return is_config(path) or path[-1:] == ("ds_id",)


def is_muon_momentum(path):
    return path[:1] == ("optimizer_state_dict",) and path[-1] == "momentum_buffer"


def expect_same_objects(expected, found, ignore=is_config, unordered=never, widened=never):
    """The latest tags of two roots: the same files, and in each .pt the same graph and bytes, padding included."""
    expected, found = gather.tag_of(str(expected)), gather.tag_of(str(found))
    if sorted(os.listdir(expected)) != sorted(os.listdir(found)):
        raise Mismatch(f"files: {sorted(os.listdir(expected))} became {sorted(os.listdir(found))}")
    if not os.listdir(expected):
        raise Mismatch(f"{expected} is empty")
    for name in sorted(os.listdir(expected)):
        differences = graph.compare(f"{expected}/{name}", f"{found}/{name}", ignore, unordered, widened)
        if differences:
            raise Mismatch(f"{name}: {summary(differences)}")


def expect_same_bytes(source, view):
    for folder, _, names in os.walk(source):
        inside = os.path.relpath(folder, source)
        if sorted(os.listdir(folder)) != sorted(os.listdir(os.path.join(view, inside))):
            raise Mismatch(f"{inside}: other names")
        for name in names:
            if not filecmp.cmp(os.path.join(folder, name), os.path.join(view, inside, name), shallow=False):
                raise Mismatch(f"{inside}/{name}: other bytes, although the world size is the same")


def summary(differences):
    more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
    return "; ".join(differences[:3]) + more
