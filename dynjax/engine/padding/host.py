"""Data on the host: padded, and cut to what it was."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .extents import Axis, value_of


def widened(
    array: np.ndarray, axes: Sequence[Axis], padded: Sequence[int], symbols: Sequence[int]
) -> np.ndarray:
    """An array of these axes, padded with zeros."""
    factors = [factor for axis in axes for factor in axis]
    wide = np.zeros([value_of((f,), padded) for f in factors], array.dtype)
    sizes = [value_of((f,), symbols) for f in factors]
    wide[tuple(map(slice, sizes))] = array.reshape(sizes)
    return wide.reshape([value_of(axis, padded) for axis in axes])


def narrowed(
    array: np.ndarray, axes: Sequence[Axis], padded: Sequence[int], symbols: Sequence[int]
) -> np.ndarray:
    """The data of an array that is padded."""
    factors = [factor for axis in axes for factor in axis]
    array = array.reshape([value_of((f,), padded) for f in factors])
    array = array[tuple([slice(value_of((f,), symbols)) for f in factors])]
    return np.ascontiguousarray(array).reshape([value_of(axis, symbols) for axis in axes])
