"""Differences from PyTorch that are known: `(entry, check)` and why. Nothing else may differ."""

_NUMBERS = "two Python numbers make a tensor, where PyTorch asks for one tensor at least"
_OUT_TYPE = "out= of another type that the result can be cast to is accepted, as elsewhere"
_RANGE = "positions are data: a range check would wait for the device at every call"
_WEIGHTS = "weights are data: a check would wait for the device at every call"

KNOWN: dict[tuple[str, str], str] = {
    ("addbmm", "inplace"): "PyTorch gives a 0-dim tensor the shape of the result, in place",
    ("aminmax", "raises"): _OUT_TYPE,
    ("bitwise_and", "raises"): _NUMBERS,
    ("bitwise_left_shift", "raises"): _NUMBERS,
    ("bitwise_or", "raises"): _NUMBERS,
    ("bitwise_right_shift", "raises"): _NUMBERS,
    ("bitwise_xor", "raises"): _NUMBERS,
    ("complex", "raises"): _OUT_TYPE,
    ("cov", "raises"): _WEIGHTS,
    ("float_power", "raises"): _NUMBERS,
    ("gather", "raises"): _OUT_TYPE + "; " + _RANGE,
    ("linalg_norm_subgradients_at_zero", "second_order"): "PyTorch's second gradient there is NaN",
    ("multinomial", "raises"): _OUT_TYPE + "; " + _WEIGHTS,
    ("narrow", "error_type"): "a tensor of several elements is no int: TypeError, as elsewhere",
    ("narrow", "raises"): "a bool tensor counts as an int",
    ("pow", "raises"): _NUMBERS,
    ("remainder", "raises"): _NUMBERS,
    ("scatter", "raises"): _RANGE,
    ("scatter_add", "raises"): _RANGE,
    ("xlogy", "raises"): _NUMBERS,
}
