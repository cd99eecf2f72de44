"""The Python array API standard over dynjax's tensors: `x.__array_namespace__()`.

Source: https://data-apis.org/array-api/2024.12. Names that PyTorch has with the standard's meaning
are PyTorch's; the others are in `adapters`.
"""

from __future__ import annotations

import sys
from math import e, inf, nan, pi
from typing import Any

from ..core.dtypes import finfo, iinfo
from ..core.suggest import missing as _missing
from ..tensor.tensor import Tensor as _Tensor
from . import fft, linalg
from .adapters import (
    all, any, arange, argmax, argmin, argsort, array_namespace, asarray, astype, binary,
    broadcast_arrays, broadcast_to, can_cast, clip, concat, conj, count_nonzero, cumulative_prod,
    cumulative_sum, diff, empty, empty_like, expand_dims, eye, flip, from_dlpack, full, full_like,
    isdtype, linspace, matmul, matrix_transpose, max, mean, meshgrid, min, moveaxis, nonzero, ones,
    ones_like, permute_dims, positive, prod, repeat, reshape, result_type, roll, round,
    searchsorted, sign, sort, squeeze, stack, std, sum, take, take_along_axis, tensordot, tile,
    tril, triu, unary, unique_all, unique_counts, unique_inverse, unique_values, unstack, var,
    vecdot, where, zeros, zeros_like,
)  # fmt: skip
from .info import DTYPES as _DTYPES
from .info import __array_namespace_info__

VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12")
__array_api_version__ = VERSIONS[-1]
newaxis = None

# The standard's names, and PyTorch's where that is another.
_UNARY = dict.fromkeys(
    """
    abs acos acosh asin asinh atan atanh ceil cos cosh exp expm1 floor imag isfinite isinf isnan
    log log1p log2 log10 logical_not negative real reciprocal signbit sin sinh square sqrt tan tanh
    trunc
    """.split()
) | {"bitwise_invert": "bitwise_not"}
_BINARY = dict.fromkeys(
    """
    add atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign
    divide floor_divide greater greater_equal hypot less less_equal logaddexp logical_and logical_or
    logical_xor maximum minimum multiply nextafter not_equal pow remainder subtract
    """.split()
) | {"equal": "eq"}
globals().update({name: unary(name, ours or name) for name, ours in _UNARY.items()})
globals().update({name: binary(name, ours or name) for name, ours in _BINARY.items()})
globals().update(_DTYPES)


def namespace() -> Any:
    """This module."""
    return sys.modules[__name__]


def __getattr__(name: str) -> object:
    raise _missing(__name__, name, globals())


_Tensor.__array_namespace__ = array_namespace
__all__ = [n for n in globals() if not n.startswith("_") and n not in
           ("Any", "annotations", "array_namespace", "adapters", "binary", "info", "namespace", "sys",
            "unary", "VERSIONS")]  # fmt: skip
__all__ += ["__array_api_version__", "__array_namespace_info__"]
