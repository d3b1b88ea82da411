#!/usr/bin/env python3
"""Writes golden.txt: what `tensor.to(dtype)` makes of the inputs that tests/unit/model/conversion_test.cpp makes too.

A line holds the source's dtype, the target's, and the CRC-32 of each of 16 blocks of results. In them every NaN is the
one of `CANONICAL`, since torch's own vector and scalar code differ in its bits.
"""
import pathlib
import zlib

import numpy
import torch

LOW_16 = [0x0000, 0x0001, 0x0fff, 0x1000, 0x1001, 0x2000, 0x2fff, 0x3000, 0x3001, 0x4000, 0x5555, 0x7fff, 0x8000,
          0x8001, 0xc000, 0xffff]
LOW_48 = [0x000000000000, 0x000000000001, 0x00000fffffff, 0x000010000000, 0x000010000001, 0x000020000000,
          0x00002fffffff, 0x000030000000, 0x000030000001, 0x400000000000, 0x555555555555, 0x7fffffffffff,
          0x800000000000, 0x800000000001, 0xc00000000000, 0xffffffffffff]
CANONICAL = {torch.float32: 0x7fc00000, torch.bfloat16: 0x7fc0, torch.float16: 0x7e00}
UNSIGNED = {torch.float32: torch.uint32, torch.bfloat16: torch.uint16, torch.float16: torch.uint16}
BLOCKS = 16


def inputs(dtype):
    """Every pattern of 16 bits; of wider types, every pattern of the upper 16 bits before 16 lower ends."""
    upper = numpy.arange(65536, dtype=numpy.uint64)
    if dtype in (torch.bfloat16, torch.float16):
        return torch.from_numpy(upper.astype(numpy.uint16)).view(dtype)
    low, shift, kind = (LOW_16, 16, numpy.uint32) if dtype == torch.float32 else (LOW_48, 48, numpy.uint64)
    bits = (upper[:, None] << numpy.uint64(shift)) | numpy.array(low, dtype=numpy.uint64)[None, :]
    return torch.from_numpy(bits.reshape(-1).astype(kind)).view(dtype)


def main():
    lines = []
    for source in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        for target in (torch.float32, torch.bfloat16, torch.float16):
            if source != target:
                result = inputs(source).to(target)
                bits = result.view(UNSIGNED[target]).numpy().copy()
                bits[torch.isnan(result).numpy()] = CANONICAL[target]
                crcs = [zlib.crc32(block.tobytes()) for block in numpy.split(bits, BLOCKS)]
                lines.append(" ".join([str(source)[6:], str(target)[6:]] + [f"{crc:08x}" for crc in crcs]))
    (pathlib.Path(__file__).parent / "golden.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
