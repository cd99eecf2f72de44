"""Order: sorting, the largest, the most frequent, where a value belongs, counts of equal values.

Equal elements keep their order, whether or not `stable` is asked for. NaN counts as the largest.
Results whose size is data (`unique`, `bincount`) are computed on the host.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..core.dtypes import of as dtype_of
from ..tensor.tensor import from_host, to_host
from .checks import check_kind, check_not_empty, is_bool, is_complex, type_name, wrap_dim
from .declare import PROMOTE, Bool, Int, Number, Operand, Str, Tensor, composite, op
from .order import order_of


def _picked(x, order, d):
    """The values at an order's positions; gradients go to where the values were."""
    return jnp.take_along_axis(x, order, d, mode="promise_in_bounds")


def _sorted(input, dim, descending):
    d = wrap_dim(dim, input.ndim)
    check_kind(input, "c", "sort")
    if input.ndim == 0:
        return input, jnp.zeros((), jnp.int64)
    order = order_of(lax.stop_gradient(input), d, descending)
    return _picked(input, order, d), order


@op(out=True, returns=("values", "indices"))
def sort(input: Tensor, dim: Int = -1, descending: Bool = False, stable: Bool = False):
    """The elements along `dim` in order, and the positions that they come from."""
    return _sorted(input, dim, descending)


@op
def argsort(input: Tensor, dim: Int = -1, descending: Bool = False, stable: Bool = False):
    """The positions of the elements along `dim` in order."""
    return _sorted(input, dim, descending)[1]


@op(out=True, grad_name="SortBackward0")
def msort(input: Tensor):
    """The elements along the first dimension in order."""
    return _sorted(input, 0, False)[0]


@op(out=True, returns=("values", "indices"))
def topk(input: Tensor, k: Int, dim: Int = -1, largest: Bool = True, sorted: Bool = True):
    """The `k` largest (or smallest) elements along `dim` in order, and their positions."""
    d = wrap_dim(dim, input.ndim)
    if not 0 <= k <= (input.shape[d] if input.ndim else 1):
        raise RuntimeError("selected index k out of range")
    check_kind(input, "bc", "topk_cpu")
    if input.ndim == 0:
        place = jnp.zeros((), jnp.int64)
        return (input, place) if k else (input[None][:0], place[None][:0])
    x = lax.stop_gradient(input)
    if largest:
        order = jnp.moveaxis(lax.top_k(jnp.moveaxis(x, d, -1), k)[1], -1, d).astype(jnp.int64)
    else:
        order = lax.slice_in_dim(order_of(x, d), 0, k, axis=d)
    return _picked(input, order, d), order


@op(out=True, returns=("values", "indices"))
def kthvalue(input: Tensor, k: Int, dim: Int = -1, keepdim: Bool = False):
    """The `k`-th smallest element along `dim`, counted from 1, and its position."""
    d = wrap_dim(dim, input.ndim)
    n = input.shape[d] if input.ndim else 1
    if input.ndim and n == 0:
        raise IndexError(f"kthvalue(): Expected reduction dim {d} to have non-zero size.")
    if not 1 <= k <= n:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {d}")
    check_kind(input, "c", "sort")
    if not input.ndim:
        return input, jnp.zeros((), jnp.int64)
    place = lax.slice_in_dim(order_of(lax.stop_gradient(input), d), k - 1, k, axis=d)
    value = _picked(input, place, d)
    return (value, place) if keepdim else (value.squeeze(d), place.squeeze(d))


@op(out=True, returns=("values", "indices"))
def mode(input: Tensor, dim: Int = -1, keepdim: Bool = False):
    """The most frequent element along `dim`, the least of several, and where it is last."""
    check_kind(input, "c", "mode_cpu")
    axis = wrap_dim(dim, input.ndim)
    check_not_empty(input, (axis,), "mode")
    if input.ndim == 0:
        return input, jnp.zeros((), np.int64)
    x = jnp.moveaxis(input, axis, -1)
    order = order_of(lax.stop_gradient(x), x.ndim - 1)
    ranked = jnp.take_along_axis(x, order, -1)
    place = lax.broadcasted_iota(np.int64, x.shape, x.ndim - 1)
    new = place == 0
    new = new.at[..., 1:].set(ranked[..., 1:] != ranked[..., :-1])
    start = lax.cummax(jnp.where(new, place, 0), x.ndim - 1)
    best = jnp.argmax(place - start, -1, keepdims=True)
    index = jnp.take_along_axis(order, best, -1).astype(np.int64)
    found = jnp.take_along_axis(x, index, -1), index
    return tuple(jnp.moveaxis(a, -1, axis) if keepdim else a[..., 0] for a in found)


# Where a value belongs


def _found(boundaries, values, right):
    side = "right" if right else "left"
    if boundaries.ndim == 1:
        return jnp.searchsorted(boundaries, values, side=side)
    rows = boundaries.reshape(-1, boundaries.shape[-1])
    each = values.reshape(rows.shape[0], values.shape[-1])
    found = jax.vmap(lambda b, v: jnp.searchsorted(b, v, side=side))(rows, each)
    return found.reshape(values.shape)


def _check_side(right, side):
    if side not in (None, "left", "right"):
        raise RuntimeError(
            f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}"
        )
    if right and side == "left":
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left "
            "while right was True"
        )


def _check_boundaries(boundaries, values):
    if values.ndim == 0 and boundaries.ndim != 1:
        raise RuntimeError(
            "torch.searchsorted(): input value can be a scalar only when boundaries tensor "
            f"dimension is 1, but we got boundaries tensor dim({boundaries.ndim}) and input "
            f"value's dim({values.ndim}) numel({values.size})"
        )
    if boundaries.ndim != 1 and boundaries.shape[:-1] != values.shape[:-1]:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
            "dimensions of boundaries tensor and input value tensor must match, but we got "
            f"boundaries tensor {list(boundaries.shape)} and input value tensor "
            f"{list(values.shape)}"
        )
    if values.ndim and boundaries.dtype != values.dtype:
        raise RuntimeError(
            "torch.searchsorted(): boundary tensor and input value tensor should have same dtype, "
            f"but got boundary tensor dtype {type_name(boundaries.dtype)} and input value tensor "
            f"dtype {type_name(values.dtype)}"
        )


@op(method=False, out=True)
def searchsorted(sorted_sequence: Tensor, input: Operand, *, out_int32: Bool = False,
                 right: Bool = False, side: Str = None, sorter: Tensor | None = None):  # fmt: skip
    """The position before which each value would go into a sorted last dimension.

    Before equal elements, or behind them with `right` or side="right". `sorter` gives the order
    of a sequence that is not sorted itself.
    """
    _check_side(right, side)
    if sorter is not None:
        if sorter.shape != sorted_sequence.shape:
            raise RuntimeError(
                "torch.searchsorted(): boundary and sorter must have the same size, but got "
                f"boundary tensor {list(sorted_sequence.shape)}and got sorter tensor "
                f"{list(sorter.shape)}"
            )
        sorted_sequence = jnp.take_along_axis(sorted_sequence, sorter, -1)
    _check_boundaries(sorted_sequence, input)
    values = input if input.ndim else input.astype(sorted_sequence.dtype)
    found = _found(sorted_sequence, values, right or side == "right")
    return found.astype(jnp.int32 if out_int32 else jnp.int64)


@op(method=False, out=True)
def bucketize(input: Operand, boundaries: Tensor, *, out_int32: Bool = False, right: Bool = False):
    """The interval between sorted boundaries that each value lies in."""
    if boundaries.ndim != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})")
    _check_boundaries(boundaries, input)
    values = input if input.ndim else input.astype(boundaries.dtype)
    return _found(boundaries, values, right).astype(jnp.int32 if out_int32 else jnp.int64)


@op(types=PROMOTE, method=False, out=True)
def isin(
    elements: Operand, test_elements: Operand, *, assume_unique: Bool = False, invert: Bool = False
):
    """Whether each element is among the others (with `invert`, whether it is not).

    Raises:
        RuntimeError: bool and complex types.
    """
    if is_complex(elements) or is_bool(elements):
        name = type_name(elements.dtype)
        raise RuntimeError(f"Unsupported input type encountered for isin(): {name}")
    others = jnp.sort(test_elements.reshape(-1))
    if not others.size:
        return jnp.full(elements.shape, invert)
    place = jnp.minimum(jnp.searchsorted(others, elements), others.size - 1)
    return (others[place] == elements) != invert


# Counting


@composite
def bincount(input, weights=None, minlength: int = 0):
    """How often each number from 0 to the largest occurs, or the sum of weights of each.

    The size of the result is data, so the input is read on the host.
    """
    host = to_host(input)
    if host.dtype.kind not in "iu":
        name = dtype_of(host.dtype).type_name
        raise NotImplementedError(f"\"bincount_cpu\" not implemented for '{name}'")
    if host.ndim != 1 or (host < 0).any():
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if weights is None:
        return from_host(np.bincount(host, minlength=minlength))
    given = to_host(weights)
    if given.shape != host.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    counts = np.bincount(host, given, minlength)
    return from_host(counts.astype(given.dtype if given.dtype == np.float32 else np.float64))


@op(out=True)
def histc(input: Tensor, bins: Int = 100, min: Number = 0, max: Number = 0):
    """How many elements lie in each of `bins` equal intervals from `min` to `max`.

    Where both are equal, from the least to the largest element. Raises RuntimeError for no bins.
    """
    check_kind(input, "bic", "histogram_cpu")
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    x = input.reshape(-1)
    low, high = (jnp.asarray(b).astype(x.dtype) for b in (min, max))
    if x.size:
        given = low == high
        low, high = jnp.where(given, x.min(), low), jnp.where(given, x.max(), high)
    flat = low == high
    low, high = jnp.where(flat, low - 1, low), jnp.where(flat, high + 1, high)
    place = jnp.floor((x - low) / (high - low) * bins).astype(jnp.int32)
    place = jnp.where(x == high, bins - 1, place)
    inside = (x >= low) & (x <= high)
    return jnp.zeros(bins, x.dtype).at[place].add(inside.astype(x.dtype), mode="drop")


def _unique_result(values, inverse, counts, return_inverse, return_counts):
    extra = [inverse] * return_inverse + [counts] * return_counts
    found = tuple(from_host(np.array(x)) for x in (values, *extra))
    return found if extra else found[0]


@composite
def unique(input, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
           dim: int | None = None):  # fmt: skip
    """The different elements in order (or, with `dim`, the different slices along it).

    Optionally also, for each element, which of them it is, and how often each occurs. The size
    of the result is data, so the input is read on the host.
    """
    host = to_host(input)
    axis = None if dim is None else wrap_dim(dim, host.ndim)
    values, inverse, counts = np.unique(
        host, return_inverse=True, return_counts=True, axis=axis, equal_nan=False
    )
    inverse = inverse.reshape(host.shape if axis is None else -1)
    return _unique_result(values, inverse, counts, return_inverse, return_counts)


@composite
def unique_consecutive(input, return_inverse: bool = False, return_counts: bool = False,
                       dim: int | None = None):  # fmt: skip
    """As `unique`, but only neighbours that are equal count as one; nothing is sorted."""
    host = to_host(input)
    axis = 0 if dim is None else wrap_dim(dim, host.ndim)
    rows = host.reshape(-1) if dim is None else np.moveaxis(host, axis, 0)
    flat = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    new = np.ones(len(rows), bool)
    new[1:] = (flat[1:] != flat[:-1]).any(1)
    starts = np.flatnonzero(new)
    inverse = np.cumsum(new) - 1
    counts = np.diff(np.append(starts, len(rows)))
    values = rows[starts] if dim is None else np.moveaxis(rows[starts], 0, axis)
    inverse = inverse.reshape(host.shape) if dim is None else inverse
    return _unique_result(values, inverse, counts, return_inverse, return_counts)
