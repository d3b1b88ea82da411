#!/usr/bin/env python3
"""Random operations on one file, each compared with a model in memory; it ends at the first difference.

    fsx.py DIRECTORY [--source DIRECTORY] [--operations=N] [--seed=N]

Reads and writes by offset, appended and mapped; truncates, allocates, punches, copies, syncs; opens the file anew in every way, also two
ways at once; renames it and gives it other names. At the end what SOURCE holds is compared as well, if it is named. Exit code 1 where
something differs; the operations before it are printed.
"""
import argparse
import collections
import ctypes
import errno
import mmap
import os
import pathlib
import random
import sys

LARGEST = 256 * 1024  # of the file
LARGEST_STEP = 64 * 1024
BLOCK = 4096  # what O_DIRECT asks for, and a page
HISTORY = 40
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 0x10
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]


class Difference(Exception):
    """The file is not what the model says."""


class File:
    """The file under test, opened twice: for reading and for writing, each in a way of its own, and mapped meanwhile."""

    def __init__(self, directory, chance):
        self.directory = pathlib.Path(directory)
        self.chance = chance
        self.model = bytearray()
        self.name = "file"
        self.names = {"file"}
        self.unsupported = set()
        self.pool = chance.randbytes(4 * LARGEST_STEP)
        self.buffer = mmap.mmap(-1, 2 * LARGEST_STEP)  # aligned, as O_DIRECT asks
        self.map, self.map_offset = None, 0
        self.reader = self.writer = self.flags = None
        self.handle_flags = {}
        os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644))
        self.open_reader(os.O_RDWR)
        self.open_writer(os.O_RDWR)

    @property
    def path(self):
        return str(self.directory / self.name)

    # What is done to it. Each returns what the history says of it.

    def read(self):
        offset, nbytes = self.some_range(len(self.model) + BLOCK)
        if self.handle_flags["reader"] & os.O_DIRECT:
            offset, nbytes = aligned(offset, nbytes)
        found = self.pread(self.reader, offset, nbytes)
        self.compare(found, offset, nbytes, "read")
        return f"read {offset} +{nbytes}"

    def write(self):
        offset, nbytes = self.some_range(LARGEST)
        if self.handle_flags["writer"] & os.O_DIRECT:
            offset, nbytes = aligned(offset, nbytes)
        data = self.some_bytes(nbytes)
        if self.handle_flags["writer"] & os.O_APPEND:  # Linux appends, whatever the offset
            offset = len(self.model)
            if offset + nbytes > LARGEST:
                return self.truncate_down()
        self.pwrite(self.writer, data, offset)
        self.put(offset, data)
        return f"write {offset} +{nbytes}"

    def append(self):
        nbytes = self.chance.randrange(1, LARGEST_STEP)
        if len(self.model) + nbytes > LARGEST:
            return self.truncate_down()
        data = self.some_bytes(nbytes)
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            for part in (data[:nbytes // 2], data[nbytes // 2:]):
                if os.write(handle, part) != len(part):
                    raise Difference("a short append")
        finally:
            os.close(handle)
        self.put(len(self.model), data)
        return f"append +{nbytes}"

    def truncate_down(self):
        return self.truncate_to(self.chance.randrange(len(self.model) + 1))

    def truncate_up(self):
        return self.truncate_to(self.chance.randrange(len(self.model), LARGEST + 1))

    def truncate_to(self, size):
        by_path = self.chance.random() < 0.5
        (os.truncate(self.path, size) if by_path else os.ftruncate(self.writer, size))
        self.resize(size)
        return f"{'truncate' if by_path else 'ftruncate'} {size}"

    def open_truncated(self):
        os.close(os.open(self.path, self.chance.choice([os.O_WRONLY, os.O_RDWR]) | os.O_TRUNC))
        self.resize(0)
        return "open O_TRUNC"

    def mapped_read(self):
        if not self.model:
            return None
        offset, nbytes = self.some_range(len(self.model))
        nbytes = min(nbytes, len(self.model) - offset)
        start = offset // BLOCK * BLOCK
        with mmap.mmap(self.reader, offset + nbytes - start, mmap.MAP_SHARED, mmap.PROT_READ, offset=start) as found:
            self.compare(found[offset - start:], offset, nbytes, "mapped read")
        return f"mapped read {offset} +{nbytes}"

    def mapped_write(self):
        if not self.model or not self.handle_flags["writer"] & os.O_RDWR:
            return None
        offset, nbytes = self.some_range(len(self.model))
        nbytes = min(nbytes, len(self.model) - offset)
        start = offset // BLOCK * BLOCK
        data = self.some_bytes(nbytes)
        is_synced = self.chance.random() < 0.5
        with mmap.mmap(self.writer, offset + nbytes - start, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=start) as target:
            target[offset - start:offset - start + nbytes] = data
            if is_synced:
                target.flush()
        self.put(offset, data)
        return f"mapped write {offset} +{nbytes}{' msync' if is_synced else ''}"

    def keep_map(self):
        """A mapping that lives over what follows, and sees it."""
        if self.map:
            self.map.close()
            self.map = None
            return "unmap"
        if len(self.model) <= BLOCK:
            return None
        self.map_offset = self.chance.randrange(len(self.model) // BLOCK) * BLOCK
        nbytes = min(LARGEST_STEP, len(self.model) - self.map_offset)
        self.map = mmap.mmap(self.reader, nbytes, mmap.MAP_SHARED, mmap.PROT_READ, offset=self.map_offset)
        return f"map {self.map_offset} +{nbytes}"

    def look_at_map(self):
        if not self.map:
            return None
        nbytes = min(len(self.map), len(self.model) - self.map_offset)
        if nbytes <= 0:
            return None
        self.compare(self.map[:nbytes], self.map_offset, nbytes, "mapping")
        return f"look at the mapping {self.map_offset} +{nbytes}"

    def allocate(self):
        mode = self.chance.choice([0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE])
        offset, nbytes = self.some_range(LARGEST)
        what = f"fallocate mode {mode}"
        if what in self.unsupported:
            return None
        if LIBC.fallocate(self.writer, mode, offset, nbytes) != 0:
            if ctypes.get_errno() != errno.EOPNOTSUPP:
                raise OSError(ctypes.get_errno(), what)
            self.unsupported.add(what)
            return f"{what}: not supported"
        if not mode & KEEP_SIZE and offset + nbytes > len(self.model):
            self.resize(offset + nbytes)
        if mode & (PUNCH_HOLE | ZERO_RANGE):
            end = min(offset + nbytes, len(self.model))
            self.model[offset:end] = bytes(max(0, end - offset))
        return f"{what} {offset} +{nbytes}"

    def copy_range(self):
        """Between two places of the file that do not overlap."""
        if not self.model:
            return None
        offset, nbytes = self.some_range(len(self.model))
        nbytes = min(nbytes, len(self.model) - offset)
        target = self.chance.randrange(LARGEST - nbytes + 1)
        if abs(target - offset) < nbytes:
            return None
        source_handle = os.open(self.path, os.O_RDONLY)
        target_handle = os.open(self.path, self.chance.choice([os.O_WRONLY, os.O_RDWR]))
        try:
            done = 0
            while done < nbytes:
                count = os.copy_file_range(source_handle, target_handle, nbytes - done, offset + done, target + done)
                if count == 0:
                    raise Difference(f"copy_file_range ends {nbytes - done} bytes too early")
                done += count
        finally:
            os.close(source_handle)
            os.close(target_handle)
        self.put(target, bytes(self.model[offset:offset + nbytes]))
        return f"copy {offset} +{nbytes} to {target}"

    def seek_data(self):
        """What is a hole reads as zeros, and there is no data behind the last."""
        if not self.model:
            return None
        os.fsync(self.writer)  # FUSE asks the daemon, which does not know what mappings have not given back
        at = self.chance.randrange(len(self.model))
        try:
            data = os.lseek(self.reader, at, os.SEEK_DATA)
        except OSError as failure:
            if failure.errno != errno.ENXIO:
                raise
            data = len(self.model)
        if any(self.model[at:data]):
            raise Difference(f"SEEK_DATA from {at} goes to {data}, over data")
        hole = os.lseek(self.reader, at, os.SEEK_HOLE)
        if hole > len(self.model) or hole < at:
            raise Difference(f"SEEK_HOLE from {at} goes to {hole}")
        return f"seek data {at}: {data}, hole: {hole}"

    def sync(self):
        call = self.chance.choice([os.fsync, os.fdatasync])
        call(self.writer)
        return call.__name__

    def look_at_size(self):
        sizes = {os.stat(self.path).st_size, os.fstat(self.reader).st_size, os.fstat(self.writer).st_size}
        if sizes != {len(self.model)}:
            raise Difference(f"sizes are {sizes}, expected {len(self.model)}")
        return "stat"

    def reopen_reader(self):
        flags = self.chance.choice([os.O_RDONLY, os.O_RDONLY, os.O_RDWR, os.O_RDONLY | os.O_DIRECT])
        self.open_reader(flags)
        return f"open for reading, flags {flags:o}"

    def reopen_writer(self):
        flags = self.chance.choice([os.O_RDWR, os.O_RDWR, os.O_WRONLY, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_APPEND, os.O_WRONLY | os.O_DIRECT,
                                    os.O_RDWR | os.O_DIRECT, os.O_WRONLY | os.O_SYNC])
        self.open_writer(flags)
        return f"open for writing, flags {flags:o}"

    def close_all(self):
        """Nobody has the file open for a moment: what was held for those who had is let go."""
        self.close()
        self.open_reader(self.chance.choice([os.O_RDONLY, os.O_RDWR]))
        self.open_writer(self.chance.choice([os.O_WRONLY, os.O_RDWR]))
        return "close, and open anew"

    def rename(self):
        name = self.chance.choice(["file", "other", "third"])
        if name in self.names:
            return None
        os.rename(self.path, self.directory / name)
        self.names = self.names - {self.name} | {name}
        self.name = name
        return f"rename to {name}"

    def rename_over(self):
        """The way of atomic savers: a new file takes the name over."""
        data = self.some_bytes(self.chance.randrange(LARGEST_STEP))
        incoming = self.directory / "incoming"
        incoming.write_bytes(data)
        self.close()
        for name in self.names - {self.name}:
            os.unlink(self.directory / name)
        self.names = {self.name}
        os.rename(incoming, self.path)
        self.model = bytearray(data)
        self.open_reader(os.O_RDONLY)
        self.open_writer(os.O_RDWR)
        return f"rename a new file of {len(data)} bytes over it"

    def link(self):
        name = self.chance.choice(["file", "other", "third"])
        if name in self.names:
            if len(self.names) > 1 and name != self.name:
                os.unlink(self.directory / name)
                self.names.remove(name)
                return f"unlink {name}"
            return None
        os.link(self.path, self.directory / name)
        self.names.add(name)
        self.name = name
        return f"link as {name}"

    OPERATIONS = {read: 20, write: 20, append: 4, truncate_down: 3, truncate_up: 3, open_truncated: 1, mapped_read: 8, mapped_write: 8, keep_map: 2,
                  look_at_map: 6, allocate: 6, copy_range: 4, seek_data: 2, sync: 2, look_at_size: 6, reopen_reader: 4, reopen_writer: 4, close_all: 1,
                  rename: 1, rename_over: 1, link: 2}

    # How it is done.

    def some_range(self, limit):
        """Often small, often at the bounds of pages, sometimes large."""
        nbytes = self.chance.choice([self.chance.randrange(1, 64), self.chance.randrange(1, BLOCK * 2), self.chance.randrange(1, LARGEST_STEP)])
        offset = self.chance.randrange(max(1, limit))
        if self.chance.random() < 0.3:
            offset = offset // BLOCK * BLOCK
        return offset, max(1, min(nbytes, LARGEST - offset))

    def some_bytes(self, nbytes):
        start = self.chance.randrange(len(self.pool) - nbytes)
        return self.pool[start:start + nbytes]

    def pread(self, handle, offset, nbytes):
        count = os.preadv(handle, [memoryview(self.buffer)[:nbytes]], offset)
        return self.buffer[:count]

    def pwrite(self, handle, data, offset):
        self.buffer[:len(data)] = data
        count = os.pwritev(handle, [memoryview(self.buffer)[:len(data)]], offset)
        if count != len(data):
            raise Difference(f"a short write: {count} of {len(data)} bytes")

    def put(self, offset, data):
        if offset > len(self.model):
            self.model.extend(bytes(offset - len(self.model)))
        self.model[offset:offset + len(data)] = data

    def resize(self, size):
        del self.model[size:]
        self.model.extend(bytes(size - len(self.model)))

    def compare(self, found, offset, nbytes, what):
        expected = self.model[offset:offset + nbytes]
        if found == expected:
            return
        if len(found) != len(expected):
            raise Difference(f"{what} at {offset}: {len(found)} bytes, expected {len(expected)} (the file has {len(self.model)})")
        first = next(index for index, (one, other) in enumerate(zip(found, expected)) if one != other)
        last = len(found) - next(index for index, (one, other) in enumerate(zip(reversed(found), reversed(expected))) if one != other)
        raise Difference(f"{what} at {offset} +{nbytes}: bytes {offset + first} to {offset + last} differ; found {found[first:first + 16].hex()}, "
                         f"expected {expected[first:first + 16].hex()}")

    def open_reader(self, flags):
        if self.reader is not None:
            os.close(self.reader)
        self.reader = os.open(self.path, flags)
        self.handle_flags["reader"] = flags

    def open_writer(self, flags):
        if self.writer is not None:
            os.close(self.writer)
        self.writer = os.open(self.path, flags)
        self.handle_flags["writer"] = flags

    def close(self):
        if self.map:
            self.map.close()
            self.map = None
        for handle in (self.reader, self.writer):
            os.close(handle)
        self.reader = self.writer = None


def aligned(offset, nbytes):
    return offset // BLOCK * BLOCK, max(BLOCK, nbytes // BLOCK * BLOCK)


def work(options, chance, file, history):
    operations, weights = zip(*File.OPERATIONS.items())
    for number in range(options.operations):
        operation = chance.choices(operations, weights)[0]
        try:
            told = operation(file)
        except (Difference, OSError) as failure:
            raise Difference(f"operation {number}, {operation.__name__}, of {file.name} with {len(file.model)} bytes: {failure}") from failure
        if told:
            history.append(f"{number}: {told}")
    file.close()
    for directory in filter(None, (options.directory, options.source)):
        for name in sorted(file.names):
            found = (pathlib.Path(directory) / name).read_bytes()
            file.compare(found, 0, max(len(found), len(file.model)), f"at the end, {directory}/{name}")
        if set(os.listdir(directory)) != file.names:
            raise Difference(f"at the end, {directory} holds {sorted(os.listdir(directory))}, expected {sorted(file.names)}")


def main(arguments=None):
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("directory", help="an empty directory")
    made.add_argument("--source", help="where the same directory is in SOURCE")
    made.add_argument("--operations", type=int, default=5000)
    made.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = made.parse_args(arguments)
    print(f"fsx: seed {options.seed}, {options.operations} operations", flush=True)
    chance = random.Random(options.seed)
    history = collections.deque(maxlen=HISTORY)
    file = File(options.directory, chance)
    try:
        work(options, chance, file, history)
    except Difference as failure:
        print("\n".join([*history, f"DIFFERENCE: {failure}", f"again with --seed={options.seed} --operations={options.operations}"]))
        return 1
    print(f"fsx: no difference; not supported: {', '.join(sorted(file.unsupported)) or 'nothing'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
