"""Equality of two directories that training runs have left: names, modes, and what each file holds."""
import json
import os
import pathlib
import re
import shutil
import stat

import gather
import graph
import padding

SHARD = re.compile(r"zero_pp_rank_(\d+)_mp_rank_(\d\d)_(model|optim)_states\.pt$")
TIMES = re.compile(r"(_runtime|_per_second)$")
TORCH_FILES = (".pt", ".pth", ".bin", ".pkl")


def differences(one, other, scratch):
    """What differs between the directories `one` and `other`, as text; empty when nothing does.

    Files of PyTorch are compared as graphs of objects with bitwise tensors, JSON by value less times, all else by bytes.
    The padding of stage 3, which DeepSpeed never writes, does not count. `scratch`: a new directory for copies."""
    copies = []
    for root in (one, other):
        copies.append(pathlib.Path(scratch, f"copy{len(copies)}"))
        shutil.copytree(root, copies[-1], symlinks=True)
        blank_padding(copies[-1])
    listings = [listing(root) for root in copies]
    if listings[0] != listings[1]:
        return [f"{name}: {listings[0].get(name)} became {listings[1].get(name)}"
                for name in sorted({*listings[0], *listings[1]}) if listings[0].get(name) != listings[1].get(name)]
    found = []
    for name, (kind, _) in listings[0].items():
        if kind == "file":
            found += [f"{name}: {what}" for what in file_differences(copies[0] / name, copies[1] / name)]
    return found


def listing(root):
    """name -> what it is: a directory or a file and its mode, or a link and where it leads."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = pathlib.Path(folder, name)
            mode = stat.S_IMODE(path.lstat().st_mode)
            what = ("link", os.readlink(path)) if path.is_symlink() else ("folder" if path.is_dir() else "file", oct(mode))
            found[str(path.relative_to(root))] = what
    return found


def file_differences(one, other):
    if one.suffix in TORCH_FILES:
        return graph.compare(one, other, ignore)
    if one.suffix == ".json":
        return [] if without_times(json.loads(one.read_text())) == without_times(json.loads(other.read_text())) else ["other JSON"]
    return [] if one.read_bytes() == other.read_bytes() else ["other bytes"]


def ignore(path):
    return False


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if not TIMES.search(key)}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def blank_padding(root):
    """At stage 3 the padding is whatever was in memory: zeros, for all ranks' files below `root`."""
    for path in pathlib.Path(root).rglob("*_model_states.pt"):
        if match := padding.MODEL_FILE.match(path.name):
            padding.blank_rank(path.parent, path.name, int(match[1]), match[2])


def whole(root, copy):
    """A copy of the checkpoint whose latest tag lacks the files that an earlier save at more ranks has left over."""
    shutil.copytree(root, copy, symlinks=True)
    tag = gather.tag_of(str(copy))
    first = min(pathlib.Path(tag).glob("*_rank_00_model_states.pt"))  # rank 0's
    world_size = gather.load(first)["dp_world_size"]
    for name in os.listdir(tag):
        match = SHARD.search(name)
        if match and int(match[1]) >= world_size:
            os.unlink(f"{tag}/{name}")
    return copy
