"""Equality of what checkpoints hold, by content and by bits."""
import torch


def same_bits(one, other, may_widen=False):
    if may_widen and one.dtype != other.dtype:
        one, other = one.float(), other.float()
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.contiguous().flatten().view(torch.uint8), other.contiguous().flatten().view(torch.uint8))


def plain(value):
    """A form of `value` that compares by content: tensors and objects become what they hold."""
    if torch.is_tensor(value):
        return str(value.dtype), tuple(value.shape), value.flatten().tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "__dict__") and not isinstance(value, type):
        return type(value).__name__, plain(vars(value))
    return repr(value)
