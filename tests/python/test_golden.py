"""Every small real checkpoint, read through a tree at another world size, against what DeepSpeed wrote at that size."""
import collections
import functools
import io
import pickle
import re

import ckptfs
import graph
import pytest
import torch
from checks_of_golden import ignored, widened
from mount_fixtures import DATA

TWINS = sorted(path.name for path in DATA.glob("*_at_ws*"))


def tag_of(root):
    return (root / "latest").read_text()


def source_of(twin):
    name, world_size = re.fullmatch(r"(.*)_at_ws(\d+)", twin).groups()
    return DATA / name, int(world_size)


def test_there_are_twins():
    assert len(TWINS) > 40


@pytest.mark.parametrize("twin", TWINS)
def test_files_are_what_deepspeed_wrote(twin):
    source, world_size = source_of(twin)
    with ckptfs.open(source, world_size=world_size) as tree:
        tag = tag_of(DATA / twin)
        names = sorted(path.name for path in (DATA / twin / tag).iterdir())
        assert tree.listdir(tag) == names
        for name in names:
            with tree.open(f"{tag}/{name}") as file:
                assert graph.compare(DATA / twin / tag / name, file, ignored(twin), lambda path: False, widened(twin)) == []


@pytest.mark.parametrize("twin", TWINS)
def test_torch_loads_the_same_tensors(twin):
    source, world_size = source_of(twin)
    compared = 0
    with ckptfs.open(source, world_size=world_size) as tree:
        tag = tag_of(DATA / twin)
        for path in (DATA / twin / tag).iterdir():
            expected, found = tensors(load(path)), tensors(load(tree.open(f"{tag}/{path.name}")))
            assert expected.keys() == found.keys()
            compared += len(expected)
            for place, tensor in expected.items():
                other = found[place]
                if widened(twin)(place):
                    tensor, other = tensor.float(), other.float()
                assert tensor.dtype == other.dtype and torch.equal(tensor, other), place
    assert compared > 4


class StandIns(pickle.Unpickler):
    """For classes of packages that are not installed here."""

    def find_class(self, module, name):
        if module.partition(".")[0] in ("torch", "collections", "builtins", "numpy", "_codecs"):
            return super().find_class(module, name)
        return stand_in(module, name)


@functools.cache
def stand_in(module, name):
    return type(name, (dict,), {"__module__": module, "__init__": lambda self, *_: None,
                                "__setstate__": lambda self, state: self.update(state=state)})


class StandInPickle:
    """What torch takes as a pickle module."""

    Unpickler = StandIns
    load = staticmethod(lambda file, **_: StandIns(file).load())


def load(file):
    return torch.load(file, map_location="cpu", weights_only=False, pickle_module=StandInPickle)


def tensors(value, path=()):
    """Path -> tensor, of all in a loaded object but those of the stored config."""
    found = {}
    waiting = collections.deque([(path, value)])
    while waiting:
        path, value = waiting.popleft()
        if isinstance(value, torch.Tensor):
            found[path] = value
        elif isinstance(value, dict):
            waiting.extend(((*path, key), each) for key, each in value.items() if key != "ds_config")
        elif isinstance(value, (list, tuple)):
            waiting.extend(((*path, index), each) for index, each in enumerate(value))
    return found


def test_stand_ins_hold_what_was_pickled():
    class Elsewhere:
        pass

    Elsewhere.__module__, Elsewhere.__qualname__ = "deepspeed.elsewhere", "Elsewhere"
    loaded = StandIns(io.BytesIO(b"cdeepspeed.elsewhere\nElsewhere\n(tR}X\x01\x00\x00\x00aK\x01sb.")).load()
    assert loaded == {"state": {"a": 1}}
