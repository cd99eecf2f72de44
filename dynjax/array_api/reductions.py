"""Sums, means and what else reduces arrays in the array API standard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import dtypes
from ..core.dtypes import dtype as DType
from ..ops.declare import NAMES
from ..tensor.tensor import Tensor
from .named import named
from .types import is_integer

_T = NAMES["torch"]


def axes_of(x: Tensor, axis: Any) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(x.ndim))
    return (axis,) if isinstance(axis, int) else tuple(axis)


def _summed(name: str, dtype_of: Callable[[DType], DType | None]) -> Callable:
    run = _T[name]

    def function(
        x: Tensor, /, *, axis: Any = None, dtype: DType | None = None, keepdims: bool = False
    ) -> Tensor:
        kind = dtype or dtype_of(x.dtype)
        axes = axes_of(x, axis)
        if not axes:
            return x.to(kind, copy=True)
        for a in sorted([a % x.ndim for a in axes], reverse=True):
            x = run(x, a, keepdim=keepdims, dtype=kind)
        return x

    return named(function, name, name)


def accumulated(t: DType) -> DType:
    """In what integers are added up: unsigned ones as such."""
    if is_integer(t) and not t.is_signed:
        return dtypes.uint64
    return dtypes.int64 if is_integer(t) or t is dtypes.bool else t


sum, prod = _summed("sum", accumulated), _summed("prod", accumulated)


def _reduced(name: str, ours: str) -> Callable:
    run = _T[ours]

    def function(x: Tensor, /, *, axis: Any = None, keepdims: bool = False) -> Tensor:
        axes = axes_of(x, axis)
        return run(x, axes, keepdim=keepdims) if axes else run(x.unsqueeze(-1), -1)

    return named(function, name, ours)


max, min = _reduced("max", "amax"), _reduced("min", "amin")
mean = _reduced("mean", "mean")


def _truth(name: str) -> Callable:
    run = _T[name]

    def function(x: Tensor, /, *, axis: Any = None, keepdims: bool = False) -> Tensor:
        x = x != 0
        for a in sorted([a % x.ndim for a in axes_of(x, axis)], reverse=True):
            x = run(x, a, keepdim=keepdims)
        return x

    return named(function, name, name)


all, any = _truth("all"), _truth("any")


def _spread(name: str) -> Callable:
    run = _T[name]

    def function(
        x: Tensor, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False
    ) -> Tensor:
        axes = axes_of(x, axis)
        if not axes:
            found = run(x.reshape(1, -1), 0, correction=correction)
            return found.reshape(x.shape)
        return run(x, axes, correction=correction, keepdim=keepdims)

    return named(function, name, name)


std, var = _spread("std"), _spread("var")


def _found(name: str) -> Callable:
    run = _T[name]

    def function(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
        found = run(x, axis, keepdim=keepdims if axis is not None else False)
        return found.reshape((1,) * x.ndim) if keepdims and axis is None else found

    return named(function, name, name)


argmax, argmin = _found("argmax"), _found("argmin")


def count_nonzero(x: Tensor, /, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """How many elements are not zero."""
    return sum(x != 0, axis=axis, keepdims=keepdims, dtype=dtypes.int64)


def _cumulative(name: str, ours: str, first: int) -> Callable:
    run = _T[ours]

    def function(
        x: Tensor, /, *, axis: int | None = None, dtype: DType | None = None,
        include_initial: bool = False,
    ) -> Tensor:  # fmt: skip
        if axis is None:
            if x.ndim != 1:
                raise ValueError(f"{name}() of {x.ndim} dimensions needs an axis")
            axis = 0
        found = run(x, axis, dtype=dtype or accumulated(x.dtype))
        if include_initial:
            shape = [1 if d == axis % x.ndim else n for d, n in enumerate(x.shape)]
            start = _T["full"](shape, first, dtype=found.dtype, device=x.device)
            found = _T["cat"]([start, found], axis)
        return found

    return named(function, name, ours)


cumulative_sum = _cumulative("cumulative_sum", "cumsum", 0)
cumulative_prod = _cumulative("cumulative_prod", "cumprod", 1)


def diff(
    x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Differences of neighbours."""
    return _T["diff"](x, n, axis, prepend, append)


__all__ = [
    "all",
    "any",
    "argmax",
    "argmin",
    "count_nonzero",
    "cumulative_prod",
    "cumulative_sum",
    "diff",
    "max",
    "mean",
    "min",
    "prod",
    "std",
    "sum",
    "var",
]
