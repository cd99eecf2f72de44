"""The types of the array API standard, and how they promote.

Arrays of different types are promoted whatever their number of dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from ..core import dtypes
from ..core.dtypes import dtype as DType
from ..ops.declare import NAMES
from ..tensor.tensor import Tensor

_T = NAMES["torch"]
_any = any


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The type that arrays, types and numbers promote to; numbers count last."""
    known, numbers = [], []
    for x in arrays_and_dtypes:
        if isinstance(x, (Tensor, DType)):
            known.append(x if isinstance(x, DType) else x.dtype)
        else:
            numbers.append(x)
    if not known:
        raise ValueError("result_type() needs an array or a type")
    kind = reduce(promote, known)
    for x in numbers:
        kind = _T["result_type"](_T["empty"]((1,), dtype=kind), x)
    return kind


def promote(one: DType, other: DType) -> DType:
    """The type that two promote to; wide unsigned ones too, which PyTorch leaves out."""
    if is_integer(one) and is_integer(other):
        wide = np.promote_types(one.np, other.np)
        if wide.kind == "f":
            raise TypeError(f"{one} and {other} do not promote")
        return dtypes.of(wide)
    return dtypes.promote_types(one, other)


class FInfo(NamedTuple):
    """Limits of a floating type, as the standard names them."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


class IInfo(NamedTuple):
    """Limits of an integer type, as the standard names them."""

    bits: int
    max: int
    min: int
    dtype: DType


def finfo(type: Any, /) -> FInfo:
    """Limits of a floating type, or of an array's; of complex ones those of their parts."""
    own = type.dtype if isinstance(type, Tensor) else type
    real = own.to_real() if own.is_complex else own
    found = dtypes.finfo(real)
    return FInfo(found.bits, found.eps, found.max, found.min, found.smallest_normal, real)


def iinfo(type: Any, /) -> IInfo:
    """Limits of an integer type, or of an array's."""
    own = type.dtype if isinstance(type, Tensor) else type
    found = dtypes.iinfo(own)
    return IInfo(found.bits, found.max, found.min, own)


def can_cast(from_: Any, to: DType, /) -> bool:
    """Whether promotion leads from one type to the other."""
    own = from_.dtype if isinstance(from_, Tensor) else from_
    try:
        return promote(own, to) is to
    except (RuntimeError, TypeError):  # types that do not promote
        return False


_KINDS: dict[str, Callable[[DType], bool]] = {
    "bool": lambda t: t is dtypes.bool,
    "signed integer": lambda t: is_integer(t) and t.is_signed,
    "unsigned integer": lambda t: is_integer(t) and not t.is_signed,
    "integral": lambda t: is_integer(t),
    "real floating": lambda t: t.is_floating_point,
    "complex floating": lambda t: t.is_complex,
    "numeric": lambda t: t is not dtypes.bool,
}


def is_integer(t: DType) -> bool:
    return t is not dtypes.bool and not t.is_floating_point and not t.is_complex


def isdtype(dtype: DType, kind: Any) -> bool:
    """Whether a type is of a kind, or of one of several."""
    if isinstance(kind, tuple):
        return _any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, DType):
        return dtype is kind
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of types {kind!r}; known: {', '.join(_KINDS)}")
    return _KINDS[kind](dtype)


def astype(x: Tensor, dtype: DType, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """The array with another type."""
    return x.to(device or x.device, dtype, copy=copy)


def promoted(*operands: Any) -> list[Tensor]:
    """Arrays of one type; numbers take that of the arrays."""
    dtype = result_type(*operands)
    device = next(x.device for x in operands if isinstance(x, Tensor))
    return [
        x.to(dtype) if isinstance(x, Tensor) else _T["tensor"](x, dtype=dtype, device=device)
        for x in operands
    ]


__all__ = ["astype", "can_cast", "finfo", "iinfo", "isdtype", "result_type"]
