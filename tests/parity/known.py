"""Differences from PyTorch that are known: `(entry, check)` and why. Nothing else may differ."""

_OUT_TYPE = "out= of another type that the result can be cast to is accepted, as elsewhere"
_RANGE = "positions are data: a range check would wait for the device at every call"
_PARTLY_FILLED = "PyTorch leaves out= as it was for a transform along one dimension"
_WEIGHTS = "weights are data: a check would wait for the device at every call"

KNOWN: dict[tuple[str, str], str] = {
    ("addbmm", "inplace"): "PyTorch gives a 0-dim tensor the shape of the result, in place",
    ("aminmax", "raises"): _OUT_TYPE,
    ("complex", "raises"): _OUT_TYPE,
    ("cov", "raises"): _WEIGHTS,
    ("fft_ihfftn", "out"): _PARTLY_FILLED,
    ("gather", "raises"): _OUT_TYPE + "; " + _RANGE,
    ("linalg_norm_subgradients_at_zero", "second_order"): "PyTorch's second gradient there is NaN",
    ("multinomial", "raises"): _OUT_TYPE + "; " + _WEIGHTS,
    ("narrow", "error_type"): "a tensor of several elements is no int: TypeError, as elsewhere",
    ("narrow", "raises"): "a bool tensor counts as an int",
    ("scatter", "raises"): _RANGE,
    ("scatter_add", "raises"): _RANGE,
}
