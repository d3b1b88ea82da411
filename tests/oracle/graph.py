"""Reads a .pt as a graph of plain nodes, running nothing of its pickle, and compares two of them, bytes included."""
import collections
from dataclasses import dataclass, field
import io
import pickle
import zipfile

ELEMENT_SIZE = {
    "BFloat16Storage": 2, "HalfStorage": 2, "FloatStorage": 4, "DoubleStorage": 8, "LongStorage": 8, "IntStorage": 4,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1,
}


@dataclass(frozen=True)
class Global:
    module: str
    name: str


@dataclass(frozen=True)
class Storage:
    kind: str
    key: str
    location: str
    numel: int


@dataclass(eq=False)
class Tensor:
    storage: Storage
    offset: int
    size: tuple
    stride: tuple
    requires_grad: bool
    extra: tuple = ()

    @property
    def geometry(self):
        return (self.storage.kind, self.storage.location, self.storage.numel, self.offset, self.size, self.stride,
                self.requires_grad)


@dataclass(eq=False)
class Made:
    """An object of a class that stays unknown: what it was made from."""

    made_by: Global
    arguments: tuple
    state: object = None
    items: list = field(default_factory=list)


class Archive:
    """One .pt file. Records are read past their CRC, which a lazily cut file cannot know."""

    def __init__(self, path):
        self.path = path
        self._zip = zipfile.ZipFile(path)
        self.root = self._zip.namelist()[0].split("/", 1)[0]
        self.graph = _Unpickler(io.BytesIO(self.record("data.pkl"))).load()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._zip.close()

    @property
    def records(self):
        return [name.split("/", 1)[1] for name in self._zip.namelist()]

    @property
    def directory_offset(self):
        return self._zip.start_dir

    def size(self, name):
        return self._zip.getinfo(f"{self.root}/{name}").file_size

    def place(self, name):
        """The offset of the record's data in the file."""
        start = self._zip.getinfo(f"{self.root}/{name}").header_offset
        self._zip.fp.seek(start)
        header = self._zip.fp.read(30)
        return start + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")

    def record(self, name):
        self._zip.fp.seek(self.place(name))
        return self._zip.fp.read(self.size(name))

    def bytes_of(self, storage):
        return self.record(f"data/{storage.key}")


class _Unpickler(pickle._Unpickler):
    """The Python unpickler, as its C twin accepts no stand-ins for classes."""

    def find_class(self, module, name):
        special = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._tensor", "_rebuild_from_type_v2"): self._typed_tensor,
        }
        if (module, name) in special:
            return special[module, name]
        made_by = Global(module, name)

        class StandIn(Made):
            def __new__(cls, *arguments):
                node = object.__new__(cls)
                Made.__init__(node, made_by, arguments)
                return node

            def __init__(self, *arguments):
                pass

            def __setstate__(self, state):
                self.state = state

            def append(self, item):
                self.items.append(item)

            def extend(self, items):
                self.items.extend(items)

            def __setitem__(self, key, value):
                self.items.append((key, value))

        StandIn.described = made_by
        return StandIn

    def persistent_load(self, identity):
        label, kind, key, location, numel = identity
        if label != "storage":
            raise pickle.UnpicklingError(f"persistent id of kind {label!r}")
        return Storage(kind.described.name, key, location, numel)

    @staticmethod
    def _tensor(storage, offset, size, stride, requires_grad, hooks, metadata=None):
        return Tensor(storage, offset, size, stride, requires_grad, (hooks, metadata))

    @staticmethod
    def _typed_tensor(function, kind, arguments, state):
        tensor = function(*arguments)
        tensor.extra += (kind.described, state)
        return tensor


def compare(expected_path, found_path, ignore=lambda path: False, unordered=lambda path: False,
            widened=lambda path: False):
    """Returns a list of differences, empty when the files hold the same graph and the same bytes, padding included.

    Storage keys may be numbered otherwise; what shares a storage, or is one list or dictionary, must be so in both.
    `ignore` takes a path such as ("optimizer_state_dict", "group_paddings", 0) and says whether to pass over it;
    `unordered` says so of the order of a dictionary's keys, `widened` that one tensor may be bf16 where the other is fp32.
    """
    with Archive(expected_path) as expected, Archive(found_path) as found:
        comparison = _Comparison(expected, found, ignore, unordered, widened)
        comparison.walk(expected.graph, found.graph, ())
        return comparison.differences


class _Comparison:
    def __init__(self, expected, found, ignore, unordered, widened):
        self.differences = []
        self._expected, self._found = expected, found
        self._ignore, self._unordered, self._widened = ignore, unordered, widened
        self._twins = {}  # identity in the expected graph -> the node it was met with
        self._reverse = {}
        self._storages = {}

    def walk(self, expected, found, path):
        if self._ignore(path):
            return
        if isinstance(expected, Tensor) and isinstance(found, Tensor):
            self._tensors(expected, found, path)
        elif _kind(expected) != _kind(found):
            self._differ(path, f"{_kind(expected)} became {_kind(found)}")
        elif isinstance(expected, (dict, list, Made)):
            if self._is_new_pair(expected, found, path):
                self._containers(expected, found, path)
        elif isinstance(expected, tuple):
            self._sequences(expected, found, path)
        elif isinstance(expected, type):
            self._values(expected.described, found.described, path)
        else:
            self._values(expected, found, path)

    def _is_new_pair(self, expected, found, path):
        known = id(expected) in self._twins
        if self._twins.setdefault(id(expected), found) is not found:
            self._differ(path, "is one object with another place in one file only")
        if self._reverse.setdefault(id(found), expected) is not expected:
            self._differ(path, "is one object with another place in the found file only")
        return not known

    def _containers(self, expected, found, path):
        if isinstance(expected, Made):
            self._values(expected.made_by, found.made_by, path)
            self._sequences(expected.arguments, found.arguments, path + ("<arguments>",))
            self.walk(expected.state, found.state, path + ("<state>",))
            self._sequences(expected.items, found.items, path + ("<items>",))
        elif isinstance(expected, dict):
            wanted = [key for key in expected if not self._ignore(path + (key,))]
            present = [key for key in found if not self._ignore(path + (key,))]
            if self._unordered(path):
                wanted, present = sorted(wanted), sorted(present)
            if wanted != present:
                self._differ(path, f"keys {wanted} became {present}")
            for key in wanted:
                if key in found:
                    self.walk(expected[key], found[key], path + (key,))
            attributes = getattr(expected, "__dict__", None), getattr(found, "__dict__", None)
            self.walk(*attributes, path + ("<attributes>",))
        else:
            self._sequences(expected, found, path)

    def _sequences(self, expected, found, path):
        if len(expected) != len(found):
            self._differ(path, f"{len(expected)} elements became {len(found)}")
        for index, pair in enumerate(zip(expected, found)):
            self.walk(*pair, path + (index,))

    def _values(self, expected, found, path):
        if repr(expected) != repr(found):  # repr tells 1 from True and -0.0 from 0.0
            self._differ(path, f"{expected!r} became {found!r}")

    def _tensors(self, expected, found, path):
        skip = 1 if self._widened(path) else 0  # the storage's kind
        if expected.geometry[skip:] != found.geometry[skip:]:
            self._differ(path, f"tensor {expected.geometry} became {found.geometry}")
        self._sequences(expected.extra, found.extra, path + ("<extra>",))
        pair = expected.storage.key, found.storage.key
        for mapping, one, other in (("to", *pair), ("from", *reversed(pair))):
            if self._storages.setdefault((mapping, one), other) != other:
                self._differ(path, "shares its storage with another tensor in one file only")
        if ("done", pair) not in self._storages:
            self._storages["done", pair] = True
            self._bytes(expected.storage, found.storage, path)

    def _bytes(self, expected, found, path):
        old, new = self._expected.bytes_of(expected), self._found.bytes_of(found)
        if expected.kind != found.kind:
            old, new = _as_fp32(expected, old), _as_fp32(found, new)
        if old == new:
            return
        step = max(ELEMENT_SIZE[expected.kind], ELEMENT_SIZE[found.kind])
        places = [i // step for i in range(0, min(len(old), len(new)), step) if old[i:i + step] != new[i:i + step]]
        self._differ(path, f"data: {len(places)} of {len(old) // step} elements differ, at {places[:6]}...; "
                           f"{len(old)} bytes became {len(new)}")

    def _differ(self, path, what):
        self.differences.append(f"{'/'.join(str(part) for part in path)}: {what}")


def _as_fp32(storage, data):
    """bf16 is the upper half of fp32."""
    if storage.kind != "BFloat16Storage":
        return data
    return b"".join(b"\0\0" + data[i:i + 2] for i in range(0, len(data), 2))


def _kind(node):
    if isinstance(node, Made):
        return "Made"
    return type(node).__name__
