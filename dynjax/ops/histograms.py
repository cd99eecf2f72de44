"""Histograms: how many elements or points lie in each bin.

Source: https://pytorch.org/docs/stable/torch.html#reduction-ops
"""

import math

import jax.numpy as jnp
import numpy as np

from ..autograd.dispatch import into
from ..tensor.tensor import Tensor as TensorType
from .checks import check_kind, scalar_name
from .declare import (
    Bool,
    Size,
    Static,
    Tensor,
    Tensors,
    composite,
    op,
    result_type,
)


def _check_range(low, high, dim):
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(
            f"torch.histogramdd: dimension {dim}'s range [{low:g}, {high:g}] is not finite"
        )
    if low > high:
        raise RuntimeError(
            f"torch.histogramdd: min should not exceed max, but got min {low:g} max {high:g} for "
            f"dimension {dim}"
        )


def _check_real(x):
    check_kind(x, "bic" if x.dtype.itemsize > 2 else "bifc", "histogramdd")


def _bounds(x, given, dim):
    """The ends of the outer bins: as given, or the extremes of what there is."""
    if given is not None:
        _check_range(*given, dim)
        low, high = (jnp.asarray(b, x.dtype) for b in given)
    elif not x.size:
        return jnp.zeros((), x.dtype), jnp.ones((), x.dtype)
    else:
        low, high = x.min(), x.max()
    half = jnp.where(low == high, 0.5, 0).astype(x.dtype)
    return low - half, high + half


@op(name="histogramdd_edges", function=False, method=False, differentiable=False)
def _edges(input: Tensor, bins: Size, range: Static | None):
    """The edges of equally wide bins for each column of a matrix."""
    _check_real(input)
    if range is not None and len(range) != 2 * len(bins):
        raise RuntimeError(
            f"torch.histogramdd: for a {len(bins)}-dimensional histogram range should have "
            f"{2 * len(bins)} elements, but got {len(range)}"
        )
    edges = []
    for d, n in enumerate(bins):
        if n <= 0:
            raise RuntimeError(
                f"torch.histogram(): bins must be > 0, but got {n} for dimension {d}"
            )
        low, high = _bounds(input[:, d], range and range[2 * d : 2 * d + 2], d)
        step, k = (high - low) / n, jnp.arange(n + 1)
        edges.append(jnp.where(k < (n + 1) // 2, low + step * k, high - step * (n - k)))
    return tuple(e.astype(input.dtype) for e in edges)


@op(name="histogramdd_counts", function=False, method=False, differentiable=False)
def _counts(input: Tensor, edges: Tensors, weight: Tensor | None, density: Bool):
    """How many rows of a matrix lie in each bin, or the sum of their weights."""
    _check_real(input)
    flat, inside = jnp.zeros(len(input), np.int64), jnp.ones(len(input), bool)
    for d, e in enumerate(edges):
        if e.ndim != 1:
            raise RuntimeError(
                f"torch.histogramdd: bins tensor should have one dimension, but got {e.ndim} "
                f"dimensions in the bins tensor for dimension {d}"
            )
        if e.size < 2:
            raise RuntimeError(
                f"torch.histogram(): bins must be > 0, but got {e.size - 1} for dimension {d}"
            )
        if e.dtype != input.dtype:
            raise RuntimeError(
                "torch.histogramdd: input tensor and bins tensors should have the same dtype, but "
                f"got input with dtype {scalar_name(input.dtype)} and bins for dimension {d} with "
                f"dtype {scalar_name(e.dtype)}"
            )
        x, n = input[:, d], e.size - 1
        place = jnp.where(x == e[-1], n - 1, jnp.searchsorted(e, x, side="right") - 1)
        inside &= (x >= e[0]) & (x <= e[-1])
        flat = flat * n + place
    shape = tuple(e.size - 1 for e in edges)
    weight = jnp.ones(len(input), input.dtype) if weight is None else weight
    counts = jnp.zeros(math.prod(shape), input.dtype)
    counts = counts.at[jnp.where(inside, flat, 0)].add(jnp.where(inside, weight, 0)).reshape(shape)
    if density:
        counts = counts / counts.sum()
        for d, e in enumerate(edges):
            counts = counts / jnp.expand_dims(jnp.diff(e), [a for a in range(len(edges)) if a != d])
    return counts


def _histogram(rows, shape, bins, limits, weight, density):
    """Counts and edges for a matrix of which each row is a point."""
    if weight is not None:
        if tuple(weight.shape) != tuple(shape[:-1]):
            raise RuntimeError(
                "torch.histogramdd: if weight tensor is provided it should have the same shape as "
                "the input tensor excluding its innermost dimension, but got input with shape "
                f"{list(shape)} and weight with shape {list(weight.shape)}"
            )
        if weight.dtype != rows.dtype:
            raise RuntimeError(
                "torch.histogramdd: if weight tensor is provided, input tensor and weight tensor "
                f"should have the same dtype, but got input({scalar_name(rows.dtype.np)}), and "
                f"weight({scalar_name(weight.dtype.np)})"
            )
        weight = weight.reshape(-1)
    if not all(isinstance(b, TensorType) for b in bins):
        bins = _edges(rows, bins, limits)
    return _counts(rows, list(bins), weight, density), bins


_Histogram = result_type("histogram", ("hist", "bin_edges"))
_Histogramdd = result_type("histogramdd", ("hist", "bin_edges"))


@composite
def histogram(input, bins=100, *, range=None, weight=None, density: bool = False, out=None):
    """How many elements lie in each bin, and the edges of the bins.

    Args:
        bins: a number of equally wide bins, or a sorted vector of their edges.
        range: the outer edges; the least and the largest element by default. Only the last bin
            contains its upper edge.
        weight: counts each element this often.
        density: divide by the total and by each bin's width.

    Returns: a named tuple (hist, bin_edges); NaN edges where the input's own range is not finite.

    Raises:
        RuntimeError: no bins, a given range that is not finite or not in order, types that differ.
    """
    if not isinstance(bins, TensorType):
        if isinstance(bins, bool) or not hasattr(bins, "__index__"):
            raise TypeError(
                f"histogram(): argument 'bins' must be Tensor or int, not {type(bins).__name__}"
            )
    elif range is not None:
        raise TypeError("histogram(): 'range' is for a number of bins, not for a tensor of edges")
    n = input.numel()
    weight = weight if weight is None else _as_vector(weight, input)
    hist, (edges,) = _histogram(
        input.reshape(n, 1), (n, 1), (bins,), range and tuple(range), weight, density
    )
    result = _Histogram(hist, edges)
    return result if out is None else into(out, result, "histogram")


def _as_vector(weight, input):
    return weight.reshape(-1) if weight.shape == input.shape else weight


@composite(method=False)
def histogramdd(input, bins, range=None, weight=None, density: bool = False):
    """How many points lie in each cell of a grid, and the grid's edges.

    Args:
        input: (..., D), points of D coordinates.
        bins: the number of bins, for each coordinate or for all; or their edges, D vectors.
        range: the outer edges, (low, high) for each coordinate in one flat sequence.
        weight: (...), counts each point this often.
        density: divide by the total and by each cell's volume.

    Returns: a named tuple (hist, bin_edges), the latter a tuple.

    Raises:
        RuntimeError: as `histogram`; fewer than two dimensions.
    """
    if input.ndim < 2:
        raise RuntimeError("torch.histogramdd: input tensor should have at least 2 dimensions")
    d = input.shape[-1]
    bins = (bins,) * d if isinstance(bins, int) else tuple(bins)
    if len(bins) != d:
        raise RuntimeError(
            "histogramdd: The size of bins must be equal to the innermost dimension of the input."
        )
    limits = range and tuple(range)
    hist, edges = _histogram(input.reshape(-1, d), input.shape, bins, limits, weight, density)
    return _Histogramdd(hist, tuple(edges))
