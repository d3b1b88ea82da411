"""What may differ between a view and its twin in tests/data/zero; the README there says why."""


def ignored(twin):
    """Paths in a pickle that are passed over."""
    if twin.startswith("stage3_zero_init"):
        return lambda path: path[:1] == ("ds_config",) or path[-1:] == ("ds_id",)
    return lambda path: path[:1] == ("ds_config",)


def widened(twin):
    """Tensors that may be bf16 in one and fp32 in the other."""
    if twin.startswith("muon"):
        return lambda path: path[:1] == ("optimizer_state_dict",) and path[-1] == "momentum_buffer"
    return lambda path: False
