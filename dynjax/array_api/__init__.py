"""The Python array API standard over dynjax's tensors: `x.__array_namespace__()`.

Source: https://data-apis.org/array-api/2024.12. Names that PyTorch has with the standard's meaning
are PyTorch's; the others are in the files beside this.
"""

from __future__ import annotations

from math import e, inf, nan, pi

from ..core.suggest import missing as _missing
from . import creation, elementwise, fft, linalg, products, reductions, searching, shapes, types
from .creation import *  # noqa: F403
from .elementwise import *  # noqa: F403
from .info import DTYPES as _DTYPES
from .info import __array_namespace_info__
from .products import *  # noqa: F403
from .reductions import *  # noqa: F403
from .searching import *  # noqa: F403
from .shapes import *  # noqa: F403
from .types import *  # noqa: F403

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
globals().update({name: elementwise.unary(name, ours or name) for name, ours in _UNARY.items()})
globals().update({name: elementwise.binary(name, ours or name) for name, ours in _BINARY.items()})
globals().update(_DTYPES)


def __getattr__(name: str) -> object:
    raise _missing(__name__, name, globals())


_OURS = creation, elementwise, products, reductions, searching, shapes, types
__all__ = [
    "__array_api_version__", "__array_namespace_info__", "e", "fft", "inf", "linalg", "nan",
    "newaxis", "pi", *_DTYPES, *_UNARY, *_BINARY, *[n for part in _OURS for n in part.__all__],
]  # fmt: skip
