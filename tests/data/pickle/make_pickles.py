#!/usr/bin/env python3
"""Writes the golden pickles beside this script: CASE.PROTOCOL.c.pkl by the C pickler, CASE.PROTOCOL.py.pkl by the pure-Python
one where its bytes differ, and torch.PROTOCOL.c.pkl (data.pkl of torch.save) if torch can be imported."""
import collections
import copyreg
import datetime
import enum
import fractions
import functools
import io
import pathlib
import pickle
import pickletools
import struct
import sys
import types
import zipfile

HERE = pathlib.Path(__file__).parent

# The classes live in a module that never exists anywhere else, so that nobody can be tempted to load the files.
golden = types.ModuleType("golden")
sys.modules["golden"] = golden


def golden_class(cls):
    cls.__module__ = "golden"
    setattr(golden, cls.__name__, cls)
    return cls


class PersistentId:
    def __init__(self, value):
        self.value = value


@golden_class
class Plain:
    def __init__(self, **state):
        self.__dict__.update(state)


@golden_class
class ListChild(list):
    pass


@golden_class
class DictChild(dict):
    pass


@golden_class
class TupleChild(tuple):
    pass


@golden_class
class Keyword(int):
    def __new__(cls, *, value=0):
        return int.__new__(cls, value)

    def __getnewargs_ex__(self):
        return (), {"value": int(self)}


@golden_class
class Colour(enum.Enum):
    RED = 1


@golden_class
class Outer:
    class Inner:
        pass


Outer.Inner.__module__ = "golden"
Outer.Inner.__qualname__ = "Outer.Inner"
Outer.__qualname__ = "Outer"


@golden_class
class Reduced:
    """Leads back to itself through the arguments of its own reduction."""

    def __init__(self, first, second):
        self.first, self.second = first, second

    def __reduce__(self):
        return Reduced, (self.first, self.second), {"state": self.first}


@golden_class
class WithSetter:
    pass


def set_state(value, state):
    value.state = state


set_state.__module__ = "golden"
golden.set_state = set_state
copyreg.pickle(WithSetter, lambda value: (WithSetter, (), {"self": value, "n": 1}, None, None, set_state))

for code, name in ((5, "Extension1"), (500, "Extension2"), (500_000, "Extension4")):
    golden_class(type(name, (), {}))
    copyreg.add_extension("golden", name, code)


def recursive():
    in_list = []
    in_list.append(in_list)
    in_dict = {}
    in_dict["self"] = in_dict
    result = [in_list, in_dict]
    for extra in range(4):
        via = []
        result.append((via, *range(extra)))
        via.append(result[-1])
    first, second = [], []
    result.append((first, second))
    first.append(result[-1])
    second.append(result[-1])
    plain = Plain(n=1)
    plain.me = plain
    result.append(plain)
    holder = Plain()
    holder.frozen = frozenset([holder])
    result.append(holder.frozen)
    one, two = [], []
    result.append(Reduced(one, two))
    one.append(result[-1])
    two.append(result[-1])
    return result


def reals():
    patterns = ("7ff0000000000001", "fff8000000000123", "7ff8deadbeef0000", "0000000000000001")
    return [0.0, -0.0, 1.5, float("inf"), float("-inf")] + [struct.unpack(">d", bytes.fromhex(p))[0] for p in patterns]


def integers():
    edges = [0, 1, 255, 256, 65535, 65536]
    for bits in (31, 32, 39, 40, 63, 64, 100, 2039, 2040):
        edges += [2**bits - 1, 2**bits, -(2**bits), -(2**bits) - 1]
    return [*edges, -1, -128, -129]


def shared():
    text, inner = "shared", ["equal"]
    return [text, text, inner, inner, {"a": inner}, (inner,), (inner,), "equ" + "al", ["equal"]]


def memo():
    values = ["memo%d" % i for i in range(300)]
    return [values, values[::-1]]


def batches():
    sizes = (0, 1, 2, 1000, 1001)
    result = []
    for size in sizes:
        nones = [None] * size
        result += [nones, ListChild(nones), dict.fromkeys(range(size)), DictChild.fromkeys(range(size))]
    return result


def sets():
    result = []
    for size in (0, 1, 2, 1000, 1001):
        result += [set(range(size)), frozenset(range(size))]
    return result


def storage(key, count):
    return PersistentId(("storage", Plain, key, "cpu", count))


CASES = {
    "scalars": lambda: [None, True, False, Ellipsis, 1j, type(None)],
    "integers": integers,
    "reals": reals,
    "strings": lambda: ["", "a", "é", "\ud800", "\U0001f600", "x" * 255, "x" * 256, "\x00", "a\nb"],
    "bytes": lambda: [b"", b"a", bytes(range(256)), b"x" * 255, bytearray(), bytearray(b"abc")],
    "tuples": lambda: [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((),), TupleChild((1, 2))],
    "shared": shared,
    "memo": memo,
    "recursive": recursive,
    "objects": lambda: [Plain(), Plain(a=1, b=[2]), Keyword(value=3), Colour.RED, Colour.RED, Outer.Inner, Outer.Inner(),
                        len, functools.partial(int, base=2), fractions.Fraction(1, 3), datetime.timedelta(1),
                        datetime.datetime(2026, 1, 2, 3, 4, 5), range(5), collections.deque([1, 2], 3)],
    "ordered": lambda: {"empty": collections.OrderedDict(), "one": collections.OrderedDict(a=1),
                        "two": collections.OrderedDict(a=1, b=[2]), "counter": collections.Counter("aab"),
                        "default": collections.defaultdict(list, {"k": [1]})},
    "setter": lambda: [WithSetter(), {"a": WithSetter()}, 3],
    "extensions": lambda: [golden.Extension1, golden.Extension2, golden.Extension4, golden.Extension1(), golden.Extension2],
    "persistent": lambda: [PersistentId("a"), storage("0", 5), storage("0", 5), PersistentId(("outer", PersistentId("inner")))],
    "root": lambda: 7,
}

# Larger, so in fewer protocols.
LARGE_CASES = {
    "batches": (batches, (4,)),
    "sets": (sets, (4,)),
    "frames": (lambda: [b"a" * 65535, ["in the next frame"], b"b" * 65536, None, "c" * 3], (4,)),
}


def dump(pickler, value, protocol, **options):
    class Pickler(pickler):
        def persistent_id(self, candidate):
            return candidate.value if isinstance(candidate, PersistentId) else None

    target = io.BytesIO()
    Pickler(target, protocol, **options).dump(value)
    return target.getvalue()


def write(name, data, seen):
    (HERE / f"{name}.pkl").write_bytes(data)
    seen.update(opcode.name for opcode, _, _ in pickletools.genops(data))


def write_both(case, protocol, make, seen, **options):
    by_c, by_python = (dump(p, make(), protocol, **options) for p in (pickle.Pickler, pickle._Pickler))
    write(f"{case}.{protocol}.c", by_c, seen)
    if by_python != by_c:
        write(f"{case}.{protocol}.py", by_python, seen)


def write_torch(seen):
    try:
        import torch
    except ImportError:
        print("no torch: torch.*.pkl stay as they are")
        return
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    value = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "size": torch.Size([2, 3]),
             "dtype": torch.bfloat16, "parameter": torch.nn.Parameter(torch.ones(2))}
    for protocol in (2, 5):
        target = io.BytesIO()
        torch.save(value, target, pickle_protocol=protocol)
        write(f"torch.{protocol}.c", zipfile.ZipFile(target).read("archive/data.pkl"), seen)


def main():
    for old in HERE.glob("*.pkl"):
        if not old.name.startswith("torch."):
            old.unlink()
    seen = set()
    for case, make in CASES.items():
        for protocol in range(2, 6):
            write_both(case, protocol, make, seen)
    for case, (make, protocols) in LARGE_CASES.items():
        for protocol in protocols:
            write_both(case, protocol, make, seen)
    buffers = lambda: [pickle.PickleBuffer(b"read-only"), pickle.PickleBuffer(bytearray(b"writable"))]
    write_both("buffers-in-band", 5, buffers, seen)
    write_both("buffers", 5, buffers, seen, buffer_callback=lambda buffer: None)
    write("optimized.4.c", pickletools.optimize(dump(pickle.Pickler, shared(), 4)), seen)
    write("optimized.2.c", pickletools.optimize(dump(pickle.Pickler, shared(), 2)), seen)
    write_torch(seen)
    old_opcodes = {"INT", "LONG", "FLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "PERSID", "GET", "PUT", "DICT",
                   "INST", "LIST", "OBJ", "DUP"}
    too_large = {"BINUNICODE8", "BINBYTES8"}  # only beyond 4 GiB
    missing = {opcode.name for opcode in pickletools.opcodes} - seen - old_opcodes - too_large
    assert not missing, f"no golden file holds {sorted(missing)}"


if __name__ == "__main__":
    main()
