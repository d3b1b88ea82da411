#!/usr/bin/env python3
"""Writes the golden files of this directory with the safetensors library (0.8.0).

tests/unit/safetensors/layout_test.cpp lays out the same tensors and compares the bytes before them.
"""
import pathlib

import torch
from safetensors.torch import save_file

DIRECTORY = pathlib.Path(__file__).parent
DTYPES = ["bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "bfloat16",
          "float32", "float64", "complex64", "float8_e5m2", "float8_e4m3fn", "float8_e5m2fnuz", "float8_e4m3fnuz",
          "float8_e8m0fnu", "float4_e2m1fn_x2"]


def of_dtype(name):
    dtype = getattr(torch, name)
    return torch.zeros(2, 3 * dtype.itemsize, dtype=torch.uint8).view(dtype)


def main():
    save_file({name: of_dtype(name) for name in DTYPES}, DIRECTORY / "dtypes.safetensors", {"format": "pt"})
    names = ["h.10.weight", "h.2.weight", "h.1.weight", "H", "_", "\N{GRINNING FACE}", "\N{FULLWIDTH LATIN SMALL LETTER A}",
             'quote"back\\slash/', "\b\f\n\r\t\x01\x1f\x7f", "caf\N{LATIN SMALL LETTER E WITH ACUTE}\N{LINE SEPARATOR}", ""]
    save_file({name: torch.zeros(1) for name in names}, DIRECTORY / "names.safetensors", {"format": "pt"})
    save_file({"scalar": torch.zeros(()), "empty": torch.zeros(0, 3), "matrix": torch.zeros(2, 1, 5)},
              DIRECTORY / "shapes.safetensors")
    save_file({}, DIRECTORY / "nothing.safetensors", {"format": "pt"})
    save_file({}, DIRECTORY / "nothing_at_all.safetensors")


if __name__ == "__main__":
    main()
