"""A trainer that saves and removes through a mount whose daemon is killed, and what SOURCE must hold then.

The trainer notes each operation before it and after its answer. What is in SOURCE afterwards must be what the answered operations make, with at
most the one that was under way, done or in part.
"""
import errno
import itertools
import json
import os
import pathlib
import random
import shutil
import time

from mount_fixtures import content_of, DATA

SAVED_AT_4 = DATA / "stage2_bf16_ws4" / "global_step2"
SAVED_AT_3 = DATA / "stage2_bf16_ws4_at_ws3" / "global_step2"
WRITABLE = ("--world-size=3", "--writable")
CHUNKS = (512, 4096, 20000, 131072)
LOST = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO)


def is_optimizer(name):
    return name.endswith("optim_states.pt")


def content(path):
    """What the trainer writes there."""
    name = os.path.basename(path)
    if name.startswith("latest"):
        return os.path.dirname(path).encode() or b"a tag"
    return (SAVED_AT_3 / name).read_bytes()


class Trainer:
    """Saves, moves and removes tags below `root` until the daemon is gone. Never returns from run()."""

    def __init__(self, root, journal, seed):
        self.root = root
        self.journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.chance = random.Random(seed)
        self.handle = None

    def run(self):
        try:
            for number in itertools.count():
                self.one_round(number)
        except OSError as failure:
            self.note({"failed": failure.errno})
            os._exit(0)
        finally:
            os._exit(1)

    def one_round(self, number):
        self.save(f"new{number}")
        self.save("last", is_new=False)
        for tag in (f"old{number}", f"new{number - 2}"):
            if self.chance.random() < 0.8 and os.path.exists(f"{self.root}/{tag}"):
                self.remove(tag)
        if self.chance.random() < 0.5 and os.path.exists(f"{self.root}/old{number + 3}"):
            self.do("rename", f"old{number + 3}", f"moved{number}", call=lambda: os.rename(f"{self.root}/old{number + 3}", f"{self.root}/moved{number}"))

    def save(self, tag, is_new=True):
        if is_new:
            self.do("mkdir", tag, call=lambda: os.mkdir(f"{self.root}/{tag}"))
        for source in sorted(SAVED_AT_3.glob("*.pt")):
            self.write(f"{tag}/{source.name}")
        self.write("latest.incoming")
        self.do("rename", "latest.incoming", "latest", call=lambda: os.rename(f"{self.root}/latest.incoming", f"{self.root}/latest"))

    def write(self, path):
        data, chunk = content(path), self.chance.choice(CHUNKS)
        self.do("open", path, call=lambda: setattr(self, "handle", os.open(f"{self.root}/{path}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)))
        try:
            for start in range(0, len(data), chunk):
                part = data[start:start + chunk]
                self.do("write", path, len(part), call=lambda: os.write(self.handle, part) == len(part) or os._exit(3))
            if self.chance.random() < 0.1:
                self.do("fsync", path, call=lambda: os.fsync(self.handle))
        finally:
            os.close(self.handle)

    def remove(self, tag):
        for name in os.listdir(f"{self.root}/{tag}"):
            self.do("unlink", f"{tag}/{name}", call=lambda: os.unlink(f"{self.root}/{tag}/{name}"))
        self.do("rmdir", tag, call=lambda: os.rmdir(f"{self.root}/{tag}"))

    def do(self, *what, call):
        self.note({"begins": what})
        call()
        self.note({"done": True})

    def note(self, record):
        os.write(self.journal, json.dumps(record).encode() + b"\n")


class Model:
    """What SOURCE should hold: {path: bytes, or None for a directory}."""

    def __init__(self, root):
        self.files = tree(root)
        self.virtual = {}  # tag -> names of optimizer files that are still shown, while the tag is that of 4 ranks
        for path, data in self.files.items():
            if data is None:
                self.virtual[path] = {name for name in os.listdir(SAVED_AT_3) if is_optimizer(name)}

    def apply(self, what):
        operation, path, *rest = what
        tag, name = os.path.split(path)
        if operation == "mkdir":
            self.files[path] = None
        elif operation == "open":
            self.virtual.pop(tag, None)
            self.files[path] = b""
        elif operation == "write":
            at = len(self.files[path])
            self.files[path] += content(path)[at:at + rest[0]]
        elif operation == "rename":
            self.rename(path, rest[0])
        elif operation == "unlink":
            self.unlink(tag, name)
        elif operation == "rmdir":
            self.virtual.pop(path, None)
            self.files = {one: data for one, data in self.files.items() if one != path and not one.startswith(f"{path}/")}

    def unlink(self, tag, name):
        if tag not in self.virtual or not is_optimizer(name):
            del self.files[f"{tag}/{name}"]
            return
        self.virtual[tag].remove(name)
        if not self.virtual[tag]:
            for path in [one for one in self.files if one.startswith(f"{tag}/") and is_optimizer(one)]:
                del self.files[path]

    def rename(self, old, new):
        if old in self.virtual:
            self.virtual[new] = self.virtual.pop(old)
        for path in [one for one in self.files if one == old or one.startswith(f"{old}/")]:
            self.files[new + path[len(old):]] = self.files.pop(path)


def tree(root):
    found = {}
    for directory, directories, files in os.walk(root):
        inside = os.path.relpath(directory, root)
        found |= {os.path.normpath(f"{inside}/{name}"): None for name in directories}
        found |= {os.path.normpath(f"{inside}/{name}"): pathlib.Path(directory, name).read_bytes() for name in files}
    return found


def expected_trees(model, journal):
    """SOURCE after all that was answered, and after what was under way."""
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    under_way = None
    for record in records:
        if "begins" in record:
            under_way = record["begins"]
        elif "done" in record:
            model.apply(under_way)
            under_way = None
    before = dict(model.files)
    if under_way:
        model.apply(under_way)
    return records, under_way, before, model.files


def is_between(found, before, after, under_way):
    """Of a write that was cut short any part may be there, and of a removal of several files some."""
    if under_way is not None and under_way[0] in ("unlink", "rmdir"):
        return after.items() <= found.items() <= before.items()
    if under_way is None or under_way[0] != "write":
        return found in (before, after)
    path = under_way[1]
    rest = {one: data for one, data in found.items() if one != path} == {one: data for one, data in before.items() if one != path}
    return rest and after[path].startswith(found[path]) and len(found[path]) >= len(before[path])


def differences(found, before, after):
    return [f"{path}: {brief(found, path)}; before {brief(before, path)}, after {brief(after, path)}"
            for path in sorted(found.keys() | before.keys() | after.keys()) if found.get(path) != before.get(path) or found.get(path) != after.get(path)
            or (path in found) != (path in before)]


def brief(files, path):
    return "absent" if path not in files else "a directory" if files[path] is None else f"{len(files[path])} bytes"


def prepare(source):
    source.mkdir()
    for name in ["last", *(f"old{number}" for number in range(20))]:
        shutil.copytree(SAVED_AT_4, source / name)
    for path in source.rglob("*"):
        os.utime(path, (10**9, 10**9))


def kill_during_saves(make_mount, tmp_path, seed, options=()):
    print(f"seed {seed}")
    chance = random.Random(seed)
    source, journal = tmp_path / "source", tmp_path / "journal"
    prepare(source)
    model = Model(source)
    mount = make_mount(source, *WRITABLE, *options)
    trainer = os.fork()
    if trainer == 0:
        Trainer(str(mount.path), journal, seed).run()
    time.sleep(chance.uniform(0.02, 0.7))
    mount.kill()
    _, status = os.waitpid(trainer, 0)
    assert status == 0, status
    mount.close()
    records, under_way, before, after = expected_trees(model, journal)
    assert records and "failed" in records[-1] and records[-1]["failed"] in LOST, records[-1:]
    found = tree(source)
    assert is_between(found, before, after, under_way), "\n".join([f"seed {seed}, under way: {under_way}", *differences(found, before, after)])
    go_on(make_mount, source, found)
    return len(records)


def go_on(make_mount, source, found):
    """A new mount shows it, and saves."""
    mount = make_mount(source, *WRITABLE)
    mount.may_log_errors("cannot be shown as world-size-3")  # what the trainer left half-way
    assert set(os.listdir(mount.path)) == set(os.listdir(source))
    for path, data in found.items():
        if data is not None and not path.endswith("_states.pt"):
            assert content_of(mount.path / path) == data, path
    shutil.copytree(SAVED_AT_3, mount.path / "afterwards")
    assert tree(source / "afterwards") == tree(SAVED_AT_3)
    shutil.rmtree(mount.path / "last")
    assert not (source / "last").exists()
    mount.close()


def rounds(mounted, tmp_path, count, seed):
    operations = 0
    for number in range(count):
        directory = tmp_path / f"round{number}"
        directory.mkdir()
        options = [(), ("--io=cached",), ("--io=direct",)][number % 3]
        operations += kill_during_saves(mounted, directory, seed + number, options)
        shutil.rmtree(directory)
    assert operations > 20 * count, "the trainer did something"
