"""Searching, sorting and sets in the array API standard."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from ..core import dtypes
from ..ops.declare import NAMES
from ..tensor.tensor import Tensor

_T = NAMES["torch"]


def nonzero(x: Tensor, /) -> tuple[Tensor, ...]:
    """Where elements are not zero, an array an axis."""
    if x.ndim == 0:
        raise ValueError("nonzero() of no dimensions")
    return tuple(_T["nonzero"](x, as_tuple=True))


def searchsorted(
    x1: Tensor, x2: Tensor, /, *, side: str = "left", sorter: Tensor | None = None
) -> Tensor:
    """Where the elements of x2 belong in x1."""
    return _T["searchsorted"](x1, x2, side=side, sorter=sorter)


def sort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Elements in order."""
    return x.sort(dim=axis, descending=descending, stable=stable).values


def argsort(
    x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> Tensor:
    """The order of elements."""
    return x.sort(dim=axis, descending=descending, stable=stable).indices


def take(x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    """Parts of an array along an axis."""
    if axis is None:
        if x.ndim != 1:
            raise ValueError(f"take() of {x.ndim} dimensions needs an axis")
        axis = 0
    return x.index_select(axis, indices.reshape(-1).remainder(x.shape[axis]))


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """Elements of an array along an axis."""
    return _T["take_along_dim"](x, indices.to(dtypes.int64).remainder(x.shape[axis]), axis)


UniqueAll = namedtuple("unique_all_result", "values indices inverse_indices counts")
UniqueCounts = namedtuple("unique_counts_result", "values counts")
UniqueInverse = namedtuple("unique_inverse_result", "values inverse_indices")


def unique_values(x: Tensor, /) -> Tensor:
    """The distinct elements."""
    return _T["unique"](x)


def unique_counts(x: Tensor, /) -> Any:
    """The distinct elements, and how often each is there."""
    return UniqueCounts(*_T["unique"](x, return_counts=True))


def unique_inverse(x: Tensor, /) -> Any:
    """The distinct elements, and which of them each element is."""
    return UniqueInverse(*_T["unique"](x, return_inverse=True))


def unique_all(x: Tensor, /) -> Any:
    """The distinct elements, where each is first, which each element is, and how often."""
    values, inverse, counts = _T["unique"](x, return_inverse=True, return_counts=True)
    order = inverse.reshape(-1).sort(stable=True).indices
    begins = counts.cumsum(0) - counts
    return UniqueAll(values, order[begins], inverse, counts)


__all__ = [
    "argsort",
    "nonzero",
    "searchsorted",
    "sort",
    "take",
    "take_along_axis",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
]
