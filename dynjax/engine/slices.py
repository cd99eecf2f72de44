"""Rows of arrays at places known to be inside: JAX need not ask of each whether it is negative.

What it asks is compiled with everything that reads or writes a row.
"""

from __future__ import annotations

from typing import Any

from jax import lax


def row(array: Any, place: Any) -> Any:
    """One row."""
    return lax.dynamic_index_in_dim(array, place, 0, False, allow_negative_indices=False)


def with_row(array: Any, value: Any, place: Any) -> Any:
    """An array with another row."""
    return lax.dynamic_update_index_in_dim(array, value, place, 0, allow_negative_indices=False)


def block(array: Any, start: Any, size: int, axis: int = 0) -> Any:
    """Rows beside each other, or columns."""
    return lax.dynamic_slice_in_dim(array, start, size, axis, allow_negative_indices=False)


def with_block(array: Any, rows: Any, start: Any) -> Any:
    """An array with other rows, which are beside each other."""
    return lax.dynamic_update_slice_in_dim(array, rows, start, 0, allow_negative_indices=False)


def rows(array: Any, places: Any) -> Any:
    """Rows anywhere, of a vector of places."""
    numbers = lax.GatherDimensionNumbers(tuple(range(1, array.ndim)), (0,), (0,))
    sizes = (1, *array.shape[1:])
    return lax.gather(array, places[:, None], numbers, sizes, mode="promise_in_bounds")


__all__ = ["block", "row", "rows", "with_block", "with_row"]
