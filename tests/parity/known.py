"""Differences from PyTorch that are known: `(entry, check)` and why. Nothing else may differ."""

_RANGE = "positions are data: a range check would wait for the device at every call"
_PARTLY_FILLED = "PyTorch leaves out= as it was for a transform along one dimension"
_WEIGHTS = "weights are data: a check would wait for the device at every call"
_OWN_STORAGE = "positions count in the tensor, not in the storage of what it is a view of"
_NO_RESULT = "PyTorch returns None where out= is a list"
_IN_PIECES = "PyTorch's loss in pieces has no second gradient"

KNOWN: dict[tuple[str, str], str] = {
    ("addbmm", "inplace"): "PyTorch gives a 0-dim tensor the shape of the result, in place",
    ("as_strided_partial_views", "function"): _OWN_STORAGE,
    ("as_strided_partial_views", "gradient"): _OWN_STORAGE,
    ("as_strided_partial_views", "method"): _OWN_STORAGE,
    ("as_strided_partial_views", "second_order"): _OWN_STORAGE,
    ("as_strided_scatter", "gradient"): "PyTorch lets through what a 0-dim src overwrites",
    ("as_strided_scatter", "second_order"): "PyTorch lets through what a 0-dim src overwrites",
    ("cov", "raises"): _WEIGHTS,
    ("fft_ihfft2", "out"): _PARTLY_FILLED,
    ("fft_ihfftn", "out"): _PARTLY_FILLED,
    ("gather", "raises"): _RANGE,
    ("linalg_norm_subgradients_at_zero", "second_order"): "PyTorch's second gradient there is NaN",
    ("masked_logaddexp", "second_order"): "PyTorch's second gradient is NaN where both are masked",
    ("multinomial", "raises"): _WEIGHTS,
    ("narrow", "error_type"): "a tensor of several elements is no int: TypeError, as elsewhere",
    ("narrow", "raises"): "a bool tensor counts as an int, as it does in PyTorch elsewhere",
    ("narrow_copy", "error_type"): "PyTorch fails an internal check",
    ("nn_functional_linear_cross_entropy_chunked", "second_order"): _IN_PIECES,
    ("nn_functional_linear_cross_entropy_chunked_none", "second_order"): _IN_PIECES,
    ("nn_functional_ctc_loss", "second_order"): "PyTorch has none, though its database says so",
    ("scatter", "raises"): _RANGE,
    ("scatter_add", "raises"): _RANGE,
    ("split_with_sizes_copy", "out"): _NO_RESULT,
    ("unbind_copy", "out"): _NO_RESULT,
}

# The same of layers: `(entry, check)`.
KNOWN_MODULES: dict[tuple[str, str], str] = {
    ("Embedding", "raises"): _RANGE,
}
