"""The checkpoints of tests/data/zero, and how to compare what is loaded from them."""
import pathlib

from safetensors.torch import load_file
import torch

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "zero"


def tag_of(root):
    return (root / "latest").read_text().strip()


def checkpoints(*without):
    """Their names: those that DeepSpeed's tests trained, not their twins at other world sizes."""
    return sorted(path.name for path in DATA.iterdir() if (path / "latest").exists() and "_at_" not in path.name and
                  not path.name.startswith(("universal", *without)))


def loaded(path):
    """Of a safetensors file, in memory of their own: tensors of load_file() map the file, which keeps a mount busy."""
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


def bits(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def differences(found, truth):
    """What two dicts of tensors do not have in common, bit by bit, as text."""
    wrong = [f"{name}: only found" for name in found if name not in truth]
    wrong += [f"{name}: missing" for name in truth if name not in found]
    for name in found:
        if name in truth:
            a, b = found[name], truth[name]
            if (a.dtype, a.shape) != (b.dtype, b.shape):
                wrong.append(f"{name}: {a.dtype} {tuple(a.shape)}, expected {b.dtype} {tuple(b.shape)}")
            elif not torch.equal(bits(a), bits(b)):
                wrong.append(f"{name}: other bits")
    return wrong
