"""Sliding windows over channels-last arrays: what convolutions and pooling share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Geometry(NamedTuple):
    """Where the windows lie; one entry per spatial dimension."""

    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]


def output_size(size: Sequence[int], kernel: Sequence[int], geometry: Geometry) -> tuple[int, ...]:
    """Return how many windows of `kernel` fit in `size` (spatial) in each dimension."""
    return tuple(
        (n + low + high - dilation * (k - 1) - 1) // stride + 1
        for n, k, stride, (low, high), dilation in zip(size, kernel, *geometry, strict=True)
    )


def taps(
    x: jax.Array, kernel: Sequence[int], geometry: Geometry, fill: float = 0
) -> Iterator[tuple[jax.Array, tuple[int, ...]]]:
    """Yield for each kernel position the elements of `x` it meets, and the position.

    Args:
        x: (N, *spatial, C).
        kernel: the window's size.
        geometry: stride, padding and dilation of the windows.
        fill: the value of the padding.

    Yields: ((N, *output, C), position), positions in row-major order.
    """
    size = output_size(x.shape[1:-1], kernel, geometry)
    if any(low or high for low, high in geometry.padding):
        pads = ((0, 0), *geometry.padding, (0, 0))
        x = jnp.pad(x, pads, constant_values=jnp.asarray(fill, x.dtype))
    for tap in itertools.product(*map(range, kernel)):
        start = [i * dilation for i, dilation in zip(tap, geometry.dilation, strict=True)]
        stop = [
            first + (n - 1) * stride + 1
            for first, n, stride in zip(start, size, geometry.stride, strict=True)
        ]
        part = lax.slice(
            x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *geometry.stride, 1)
        )
        yield part, tap
