"""Saves over a tag again and again, each save with bytes of its own, as savers of several kinds do.

What is not tensors is the same in all saves, the step included: only the bytes tell two saves apart.
"""
import io
import os
import random
import struct
import time
import zipfile

# Smaller records hold numbers such as the step, which all saves have in common.
SMALLEST_TENSOR = 16
LOCAL_HEADER_NBYTES = 30
CHUNK_NBYTES = 4096


def tensor_ranges(data):
    """(start, end) of every tensor of a `.pt` file."""
    found = []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for record in archive.infolist():
            if "/data/" in record.filename and record.file_size >= SMALLEST_TENSOR:
                name, extra = struct.unpack_from("<HH", data, record.header_offset + LOCAL_HEADER_NBYTES - 4)
                start = record.header_offset + LOCAL_HEADER_NBYTES + name + extra
                found.append((start, start + record.file_size))
    return found


def saves_in(data):
    """The numbers of the saves that the tensors of a file come from; padding, which is zero, belongs to none."""
    found = set()
    for start, end in tensor_ranges(data):
        found |= set(data[start:end])
    return found - {0}


def truncate_and_stream(path, data):
    with open(path, "wb", buffering=0) as file:
        for at in range(0, len(data), CHUNK_NBYTES):
            file.write(data[at:at + CHUNK_NBYTES])


def rewrite_in_place(path, data):
    with open(path, "r+b", buffering=0) as file:
        for at in range(0, len(data), CHUNK_NBYTES):
            file.write(data[at:at + CHUNK_NBYTES])


def rename_over(path, data):
    with open(path.with_name("incoming"), "wb", buffering=0) as file:
        file.write(data)
    os.rename(path.with_name("incoming"), path)


WRITERS = {"truncate": truncate_and_stream, "in-place": rewrite_in_place, "rename": rename_over}


class Saver:
    """`pause_s`: the longest pause between two files of a save."""

    def __init__(self, tag, write, pause_s=0.0):
        self.templates = {path: path.read_bytes() for path in sorted(tag.glob("*_states.pt"))}
        self.ranges = {path: tensor_ranges(data) for path, data in self.templates.items()}
        self.write = write
        self.pause_s = pause_s
        self.number = 0

    def content(self, path, number):
        data = bytearray(self.templates[path])
        for start, end in self.ranges[path]:
            data[start:end] = bytes([number]) * (end - start)
        return bytes(data)

    def save(self):
        self.number = self.number % 100 + 1  # below 0x80, where bf16 is fp32 rounded, byte for byte
        for path in self.templates:
            self.write(path, self.content(path, self.number))
            time.sleep(random.uniform(0, self.pause_s))

    def run(self, is_over, seen):
        """`seen`, a shared number: of the last save that somebody has read. The next one waits for that."""
        while not is_over():
            self.save()
            while seen.value != self.number and not is_over():
                time.sleep(0.01)
