"""Statistics: quantiles, the most frequent value, histograms, covariance.

Source: https://pytorch.org/docs/stable/torch.html#reduction-ops
"""

import math
import warnings

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..autograd.dispatch import into
from ..engine.frames import user_stacklevel
from ..tensor.tensor import Tensor as TensorType
from .checks import check_kind, check_not_empty, is_complex, scalar_name, wrap_dim
from .declare import (
    FLOAT,
    Bool,
    Int,
    Operand,
    Size,
    Static,
    Str,
    Tensor,
    Tensors,
    composite,
    op,
    result_type,
)

# --- quantiles ----------------------------------------------------------------------------------


def _ranked(x, rank, interpolation):
    """Elements of a sorted last dimension at fractional positions."""
    if interpolation in ("lower", "higher", "nearest"):
        rank = {"lower": jnp.floor, "higher": jnp.ceil, "nearest": jnp.round}[interpolation](rank)
    below = jnp.floor(rank)

    def at(position):
        return jnp.take_along_axis(x, position.astype(np.int64), -1, mode="promise_in_bounds")

    if interpolation not in ("linear", "midpoint"):
        return at(below)
    low, high = at(below), at(jnp.ceil(rank))
    weight = rank - below if interpolation == "linear" else jnp.asarray(0.5, x.dtype)
    return jnp.where(weight < 0.5, low + weight * (high - low), high - (high - low) * (1 - weight))


@op(name="quantile", function=False, method=False, out=True, grad_name="SqueezeBackward4")
def _quantile(
    input: Tensor, q: Operand, dim: Int | None, keepdim: Bool, interpolation: Str, skip_nan: Bool
):
    """`quantile` and `nanquantile`; the number q has the input's type."""
    if input.dtype not in (np.float32, np.float64):
        raise RuntimeError("quantile() input tensor must be either float or double dtype")
    if q.ndim > 1:
        raise RuntimeError("quantile() q must be a scalar or 1D tensor")
    if q.dtype != input.dtype:
        raise RuntimeError("quantile() q tensor must be same dtype as the input tensor")
    if input.size == 0:
        raise RuntimeError("quantile() input tensor must be non-empty")
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise RuntimeError(
            "quantile() interpolation must be one of linear, lower, higher, midpoint or nearest, "
            f"but got {interpolation}"
        )
    ndim, whole = input.ndim, dim is None
    axis = 0 if whole else wrap_dim(dim, ndim)
    x = jnp.sort(input.reshape(-1) if whole or not ndim else jnp.moveaxis(input, axis, -1))
    last, missing = x.shape[-1] - 1, jnp.isnan(x)
    if skip_nan:
        last = jnp.maximum(last - missing.sum(-1, keepdims=True), 0).astype(x.dtype)
    rank = jnp.atleast_1d(q) * last
    rank = jnp.broadcast_to(rank, (*x.shape[:-1], rank.shape[-1]))
    if not skip_nan:  # NaN is sorted to the end
        rank = jnp.where(missing.any(-1, keepdims=True), last, rank)
    found = _ranked(x, rank, interpolation)
    found = jnp.moveaxis(found, -1, 0) if q.ndim else found[..., 0]
    if not keepdim or not ndim:
        return found
    return found.reshape((*q.shape, *(1,) * ndim)) if whole else jnp.expand_dims(
        found, axis + q.ndim
    )  # fmt: skip


def _declare_quantile(name, skip_nan, doc):
    def function(
        input, q, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear",
        out=None,
    ):  # fmt: skip
        if not isinstance(q, (int, float, TensorType)):
            raise TypeError(
                f"{name}(): argument 'q' must be Tensor or float, not {type(q).__name__}"
            )
        if not isinstance(q, TensorType) and not 0 <= q <= 1:
            raise RuntimeError(f"quantile() q must be in the range [0, 1] but got {q:g}")
        return _quantile(input, q, dim, keepdim, interpolation, skip_nan, out=out)

    function.__doc__ = f"""{doc}

    Args:
        q: one number in [0, 1], or a vector of them in the input's type, which then makes the
            first dimension of the result.
        dim: over this dimension; over everything by default.
        interpolation: between two elements: "linear", "lower", "higher", "nearest", "midpoint".

    Raises:
        RuntimeError: an empty input, one that is not float32 or float64, q out of range.
    """
    composite(name=name)(function)


_declare_quantile("quantile", False, "The element below which the share `q` lies; NaN wins.")
_declare_quantile("nanquantile", True, "`quantile` of what is not NaN.")


# --- the most frequent --------------------------------------------------------------------------


@op(out=True, returns=("values", "indices"))
def mode(input: Tensor, dim: Int = -1, keepdim: Bool = False):
    """The most frequent element along `dim`, the least of several, and where it is last."""
    check_kind(input, "c", "mode_cpu")
    axis = wrap_dim(dim, input.ndim)
    check_not_empty(input, (axis,), "mode")
    if input.ndim == 0:
        return input, jnp.zeros((), np.int64)
    x = jnp.moveaxis(input, axis, -1)
    order = jnp.argsort(lax.stop_gradient(x), stable=True)
    ranked = jnp.take_along_axis(x, order, -1)
    place = lax.broadcasted_iota(np.int64, x.shape, x.ndim - 1)
    new = place == 0
    new = new.at[..., 1:].set(ranked[..., 1:] != ranked[..., :-1])
    start = lax.cummax(jnp.where(new, place, 0), x.ndim - 1)
    best = jnp.argmax(place - start, -1, keepdims=True)
    index = jnp.take_along_axis(order, best, -1).astype(np.int64)
    found = jnp.take_along_axis(x, index, -1), index
    return tuple(jnp.moveaxis(a, -1, axis) if keepdim else a[..., 0] for a in found)


# --- histograms ---------------------------------------------------------------------------------


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


# --- covariance ---------------------------------------------------------------------------------


def _covariance(x, correction, frequencies, importance):
    """The covariance of rows, or the variance of one."""
    rows = jnp.atleast_2d(x)
    n = rows.shape[1]
    if frequencies is None and importance is None:
        total, weights = n, jnp.ones(n, x.dtype)
        scale = max(n - correction, 0)
    else:
        weights = jnp.ones(n, x.dtype)
        for w in (frequencies, importance):
            weights = weights if w is None else weights * w.reshape(-1).astype(x.dtype)
        total = weights.sum()
        lost = 1 if importance is None else (weights * importance.reshape(-1)).sum() / total
        scale = total - correction * lost
        scale = jnp.maximum(scale.real, 0)
    centred = rows - (rows * weights).sum(1, keepdims=True) / total
    result = (centred * weights) @ jnp.conj(centred).T / scale
    return result if len(rows) != 1 else result.reshape(())


def _check_weights(name, weights, n, integral):
    if weights.ndim > 1:
        raise RuntimeError(
            f"cov(): expected {name} to have one or fewer dimensions but got {name} with "
            f"{weights.ndim} dimensions"
        )
    whole = not (weights.is_floating_point() or weights.is_complex())
    if whole != integral:
        kind = "integral" if integral else "floating point"
        raise RuntimeError(
            f"cov(): expected {name} to have {kind} dtype but got {name} with "
            f"{weights.dtype.type_name} dtype"
        )
    if weights.numel() != n:
        raise RuntimeError(
            f"cov(): expected {name} to have the same numel as there are observations in the "
            f"input but got {weights.numel()} != {n}"
        )


@op(name="cov", types=FLOAT, promote=("input", "aweights"), function=False, method=False,
    grad_name="SqueezeBackward0")  # fmt: skip
def _cov(input: Tensor, correction: Int, fweights: Tensor | None, aweights: Tensor | None):
    return _covariance(input, correction, fweights, aweights)


def _check_table(name, input):
    if input.ndim > 2:
        raise RuntimeError(
            f"{name}(): expected input to have two or fewer dimensions but got an input with "
            f"{input.ndim} dimensions"
        )


@composite
def cov(input, *, correction: int = 1, fweights=None, aweights=None):
    """The covariance matrix of the rows; of a vector its variance.

    Args:
        correction: subtracted from the number of observations in the divisor.
        fweights: how often each observation was made, integers.
        aweights: how much each observation counts.

    Raises:
        RuntimeError: three dimensions, bool, weights of another type or length.
    """
    _check_table("cov", input)
    if input.dtype.name == "bool":
        raise RuntimeError("cov(): bool dtype is not supported for input")
    n = input.shape[-1] if input.ndim else 1
    for name, weights, integral in (("fweights", fweights, True), ("aweights", aweights, False)):
        if weights is not None:
            _check_weights(name, weights, n, integral)
    if fweights is None and aweights is None and n <= correction:
        warnings.warn(
            "cov(): degrees of freedom is <= 0. Correction should be strictly less than the "
            "number of observations.",
            UserWarning,
            stacklevel=user_stacklevel(),
        )
    return _cov(input, correction, fweights, aweights)


@op(types=FLOAT, grad_name="ClampBackward1")
def corrcoef(input: Tensor):
    """The correlation coefficients of the rows. Raises RuntimeError for three dimensions."""
    _check_table("corrcoef", input)
    c = _covariance(input, 1, None, None)
    if c.ndim == 0:
        return c / c
    deviation = jnp.sqrt(jnp.diagonal(c).real)
    c = c / deviation[:, None] / deviation
    if is_complex(c):
        return lax.complex(jnp.clip(c.real, -1, 1), jnp.clip(c.imag, -1, 1))
    return jnp.where(c < -1, -1, jnp.where(c > 1, 1, c))
