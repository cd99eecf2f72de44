"""Reading and writing at positions that tensors hold: gather, scatter, index_*, take, masked_*.

Positions are data, so PyTorch's range checks would cost a wait for the device at each call. They
are left out: reading out of range gives NaN (for integers the least value), writing there
does nothing, and a negative position counts from the end, as everywhere in JAX. Shapes and types
are checked when recorded. `nonzero`, `masked_select` and `where(condition)` have results whose
size is data: they read their mask on the host.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ..autograd.dispatch import into
from ..tensor.tensor import from_host, to_host
from .checks import broadcast, broadcast_shapes, scalar_name, type_name, wrap_dim
from .declare import PROMOTE, Bool, Int, Operand, Str, Tensor, composite, op
from .views import expand


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def set_at(base: jax.Array, dims: tuple | None, where: tuple, values: jax.Array) -> jax.Array:
    """`base` with `values` at the positions `where`, index arrays of the dimensions `dims`.

    `dims` None means the leading dimensions. The gradient is PyTorch's: that of an element which
    was written is 0, and every value, also one which a later equal position overwrote, gets that
    of its position.
    """
    return base.at[addresses(dims, where)].set(values, mode="drop")


def addresses(dims: tuple | None, where: tuple) -> tuple:
    """What to index with to address `where` in the dimensions `dims`, and all of the others."""
    if dims is None:
        return tuple(where)
    by_dim = dict(zip(dims, where, strict=True))
    return tuple(by_dim.get(d, slice(None)) for d in range(max(dims) + 1))


def _set_at_forward(base, dims, where, values):
    return set_at(base, dims, where, values), where


def _set_at_backward(dims, where, g):
    values = g.at[addresses(dims, where)].get(mode="fill", fill_value=0)
    return set_at(g, dims, where, jnp.zeros_like(values)), None, values


set_at.defvjp(_set_at_forward, _set_at_backward)


def _set(base, where, values):
    return set_at(base, None, where, values)


def _check_index(name, index, what="int32/int64"):
    if index.dtype not in (np.int64, np.int32):
        raise RuntimeError(f"{name}(): Expected dtype {what} for index")


def _grid(index, d):
    """Index arrays that address, for each entry of `index`, its own place but for dimension d."""
    places = [np.arange(n, dtype=np.int32).reshape([-1] + [1] * (index.ndim - k - 1))
              for k, n in enumerate(index.shape)]  # fmt: skip
    return tuple(jnp.broadcast_to(index if k == d else p, index.shape)
                 for k, p in enumerate(places))  # fmt: skip


def _cropped(x, shape):
    return x[tuple(slice(n) for n in shape)]


# Along one dimension, each entry with its own position


def _gathered(input, d, index):
    if index.ndim == 0:
        return input.reshape(-1)[index]
    sizes = [input.shape[k] if k == d else n for k, n in enumerate(index.shape)]
    return jnp.take_along_axis(_cropped(input, sizes), index, d)


def _check_gather(input, d, index):
    if max(index.ndim, 1) != max(input.ndim, 1) and index.size:
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    for k, n in enumerate(index.shape):
        if input.ndim and k != d and n > input.shape[k]:
            raise RuntimeError(
                f"Size does not match at dimension {k} expected index {list(index.shape)} to be no "
                f"larger than self {list(input.shape)} apart from dimension {d}"
            )


@op(out="same type")
def gather(input: Tensor, dim: Int, index: Tensor, *, sparse_grad: Bool = False):
    """out[i][j] = input[index[i][j]][j] for dim 0, and so on; `index` gives the shape."""
    d = wrap_dim(dim, input.ndim)
    if index.size == 0:
        return jnp.zeros(index.shape, input.dtype)
    _check_index("gather", index)
    _check_gather(input, d, index)
    if input.ndim == 0:
        return _gathered(input.reshape(1), 0, index.reshape(-1)).reshape(index.shape)
    return _gathered(input, d, index)


@op(out=True, grad_name="GatherBackward0")
def take_along_dim(input: Tensor, indices: Tensor, dim: Int = None):
    """The entries along `dim` at `indices`, broadcast otherwise; without dim, of the flat input."""
    if indices.dtype != np.int64:
        raise RuntimeError(
            f"torch.take_along_dim(): dtype of indices should be Long but got "
            f"{type_name(indices.dtype)}"
        )
    if dim is None:
        return jnp.take_along_axis(input.reshape(-1), indices.reshape(-1), 0)
    if input.ndim != indices.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, "
            f"but got {input.ndim} dimensions for input, and {indices.ndim} dimensions for indices"
        )
    d = wrap_dim(dim, input.ndim)
    ones = [tuple(1 if k == d else n for k, n in enumerate(x.shape)) for x in (input, indices)]
    shape = broadcast_shapes(*ones)
    input, indices = (
        jnp.broadcast_to(x, shape[:d] + x.shape[d : d + 1] + shape[d + 1 :])
        for x in (input, indices)
    )
    return jnp.take_along_axis(input, indices, d)


def _scatter_operands(input, dim, index, src):
    """(dimension, positions, source cut to the index) of a scatter, checked."""
    d = wrap_dim(dim, input.ndim)
    _check_index("scatter", index)
    if index.size == 0:
        return d, None, None
    if max(index.ndim, 1) != max(input.ndim, 1):
        raise RuntimeError("Index tensor must have the same number of dimensions as self tensor")
    if src.ndim and max(index.ndim, 1) != max(src.ndim, 1):
        raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
    fits = all(k == d or n <= input.shape[k] for k, n in enumerate(index.shape) if input.ndim)
    if not fits or (src.ndim and any(n > m for n, m in zip(index.shape, src.shape, strict=True))):
        raise RuntimeError(
            f"Expected index {list(index.shape)} to be no larger than self {list(input.shape)} "
            f"apart from dimension {d} and to be no larger size than src {list(src.shape)}"
        )
    index = index if index.ndim else index.reshape(1)
    src = _cropped(src, index.shape) if src.ndim else jnp.broadcast_to(src, index.shape)
    return d, _grid(index, d), src


def _scattered(input, dim, index, src, combine):
    _, where, src = _scatter_operands(input, dim, index, src)
    if where is None:
        return input
    base = input if input.ndim else input.reshape(1)
    return combine(base, where, src).reshape(input.shape)


def _add_at(base, where, values):
    if base.dtype == np.bool_:  # of truth values the sum is whether any is true
        return base.at[where].max(values, mode="drop")
    return base.at[where].add(values, mode="drop")


def _check_source(name, input, src):
    if src.dtype != input.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")


_SCATTER_REDUCTIONS = {"add": "sum", "multiply": "prod", None: None}


def _scatter_body(input, dim, index, src, reduce):
    if reduce not in _SCATTER_REDUCTIONS:
        raise RuntimeError("reduce argument must be either add or multiply.")
    combine = _set if reduce is None else _combiner(_SCATTER_REDUCTIONS[reduce])
    return _scattered(input, dim, index, src, combine)


@op(inplace=True, out=True)
def scatter(input: Tensor, dim: Int, index: Tensor, src: Operand = None, *,
            value: Operand = None, reduce: Str = None):  # fmt: skip
    """`input` with input[index[i][j]][j] = src[i][j] for dim 0, and so on.

    `src` may be one number (also as `value`). `reduce` "add" or "multiply" combines with what
    is there. Of equal positions, one is kept.
    """
    src = value if src is None else src
    if src.ndim:
        _check_source("scatter", input, src)
    return _scatter_body(input, dim, index, src.astype(input.dtype), reduce)


@op(inplace=True, out=True)
def scatter_add(input: Tensor, dim: Int, index: Tensor, src: Tensor):
    """`input` with src[i][j] added to input[index[i][j]][j] for dim 0, and so on."""
    _check_source("scatter", input, src)
    return _scattered(input, dim, index, src, _add_at)


_COMBINE = {"prod": "multiply", "amax": "max", "amin": "min"}


def _combiner(reduce):
    return _add_at if reduce == "sum" else partial(_combined, reduce)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _combined(reduce, base, where, src):
    """Scatter by product or extreme, differentiable to any order; ties share the gradient."""
    how = "min" if reduce == "prod" and base.dtype == np.bool_ else _COMBINE[reduce]
    return getattr(base.at[where], how)(src, mode="drop")


@_combined.defjvp
def _combined_jvp(reduce, primals, tangents):
    base, where, src = primals
    out = _combined(reduce, *primals)
    weigh = _product_weights if reduce == "prod" else _extreme_weights
    of_base, of_src = weigh(base, where, src, out)
    return out, _add_at(tangents[0] * of_base, where, tangents[2] * of_src)


def _extreme_weights(base, where, src, out):
    of_base = (base == out).astype(out.dtype)
    of_src = (src == out[where]).astype(out.dtype)
    ties = _add_at(of_base, where, of_src)
    return of_base / ties, of_src / ties[where]


def _product_weights(base, where, src, out):
    one = jnp.ones((), out.dtype)
    filled = jnp.where(base == 0, one, base)
    of_base = _combined("prod", filled, where, src) / filled
    is_zero = src == 0
    zeros = _add_at(jnp.zeros_like(base), where, is_zero.astype(base.dtype))[where]
    lone = is_zero & (zeros == 1)
    others = _combined("prod", base, where, jnp.where(lone, one, src))[where]
    return of_base, jnp.where(lone, others, out[where] / jnp.where(is_zero, one, src))


_NEUTRAL = {"sum": 0, "mean": 0, "prod": 1}


def _neutral(reduce, dtype):
    if reduce in _NEUTRAL:
        return _NEUTRAL[reduce]
    sign = -1 if reduce == "amax" else 1
    if jnp.issubdtype(dtype, jnp.inexact):
        return sign * np.inf
    if dtype == np.bool_:
        return sign > 0
    info = jnp.iinfo(dtype)
    return info.min if sign < 0 else info.max


def _reduced_at(base, where, src, reduce, include_self):
    if not include_self:
        neutral = jnp.full(src.shape, _neutral(reduce, base.dtype), base.dtype)
        base = _set(base, where, neutral)
    if reduce != "mean":
        return _combiner(reduce)(base, where, src)
    total = _add_at(base, where, src)
    count = jnp.ones(base.shape, base.dtype)
    if not include_self:
        count = _set(count, where, jnp.zeros(src.shape, base.dtype))
    count = jnp.maximum(_add_at(count, where, jnp.ones(src.shape, base.dtype)), 1)
    whole = jnp.issubdtype(base.dtype, jnp.integer)
    return total // count if whole else total / count


_REDUCTIONS = {name: name for name in ("sum", "prod", "mean", "amax", "amin")}
_REDUCTIONS |= {"max": "amax", "min": "amin"}


def reduction_named(reduce: str) -> str:
    """The reduction, of either of its names.

    Raises:
        RuntimeError: there is none of this name.
    """
    if reduce not in _REDUCTIONS:
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}"
        )
    return _REDUCTIONS[reduce]


@op(inplace=True, out=True)
def scatter_reduce(input: Tensor, dim: Int, index: Tensor, src: Tensor, reduce: Str, *,
                   include_self: Bool = True):  # fmt: skip
    """`input` with the entries of `src` combined at each position.

    `reduce`: "sum", "prod", "mean", "amax" or "amin" ("max" and "min" are the same); without
    `include_self`, what was there does not count. Tied extremes share the gradient evenly.
    """
    reduce = reduction_named(reduce)
    _check_source("scatter", input, src)

    def combine(base, where, values):
        return _reduced_at(base, where, values, reduce, include_self)

    return _scattered(input, dim, index, src, combine)


# Along one dimension, whole slices


def _vector_index(name, index, error=IndexError):
    if index.ndim > 1:
        raise error(f"{name}(): Index is supposed to be a vector")
    return index.reshape(-1)


@op(out=True)
def index_select(input: Tensor, dim: Int, index: Tensor):
    """The slices along `dim` at the positions of a vector."""
    d = wrap_dim(dim, input.ndim)
    index = _vector_index("index_select", index)
    _check_index("index_select", index, "int32 or int64")
    if input.ndim == 0:
        if index.size != 1:
            raise IndexError(
                f"index_select(): Index to scalar can have only 1 value, got {index.size} value(s)"
            )
        return input
    return jnp.take(input, index, d)


def _index_write(input, d, index, source, combine):
    """Combine whole slices: dimension d goes first, so that one index array addresses them."""
    if input.ndim == 0:
        return combine(input.reshape(1), (index,), source.reshape(-1)).reshape(())
    base, source = jnp.moveaxis(input, d, 0), jnp.moveaxis(source, d, 0)
    return jnp.moveaxis(combine(base, (index,), source), 0, d)


def _scaled(source, alpha):
    alpha = alpha.astype(source.dtype)
    return source & alpha if source.dtype == np.bool_ else source * alpha


def _without(shape, d):
    return shape[:d] + shape[d + 1 :]


@op(inplace=True, out=True)
def index_add(input: Tensor, dim: Int, index: Tensor, source: Tensor, *, alpha: Operand = 1):
    """`input` with `alpha` times the slices of `source` added at the positions `index`."""
    d, index = wrap_dim(dim, input.ndim), _vector_index("index_add_", index)
    count = source.shape[d] if source.ndim else 1
    if input.dtype != source.dtype:
        raise RuntimeError(
            f"index_add_(): self ({type_name(input.dtype)}) and source "
            f"({type_name(source.dtype)}) must have the same scalar type"
        )
    if index.size != count:
        raise RuntimeError(
            f"index_add_(): Number of indices ({index.size}) should be equal to "
            f"source.size(dim): ({count}), for dim: {d}"
        )
    if _without(source.shape, d) != _without(input.shape, d):
        raise RuntimeError(
            "source tensor shape must match self tensor shape, excluding the specified dimension. "
            f"Got self.shape = {list(input.shape)} source.shape = {list(source.shape)}"
        )
    return _index_write(input, d, index, _scaled(source, alpha), _add_at)


@op(inplace=True, out=True)
def index_copy(input: Tensor, dim: Int, index: Tensor, source: Tensor):
    """`input` with the slices of `source` at the positions `index`."""
    d, index = wrap_dim(dim, input.ndim), _vector_index("index_copy_", index)
    if input.dtype != source.dtype:
        raise RuntimeError(
            "index_copy_(): self and source expected to have the same dtype, but got (self) "
            f"{type_name(input.dtype)} and (source) {type_name(source.dtype)}"
        )
    if source.ndim and input.ndim and _without(source.shape, d) != _without(input.shape, d):
        shapes = [" ".join(map(str, _without(x.shape, d))) for x in (input, source)]
        raise RuntimeError(
            "index_copy_(): Source/destination tensor must have same slice shapes. Destination "
            f"slice shape: {shapes[0]} at dimension {d} and source slice shape: {shapes[1]} at "
            "dimension 0."
        )
    count = source.shape[d] if source.ndim else 1
    if index.size != count:
        raise IndexError(
            f"index_copy_(): Number of indices ({index.size}) should be equal to "
            f"source.size(dim) ({count})"
        )
    return _index_write(input, d, index, source, _set)


@op(inplace=True)
def index_fill(input: Tensor, dim: Int, index: Tensor, value: Operand):
    """`input` with `value` in the slices at the positions `index`."""
    d, index = wrap_dim(dim, input.ndim), _vector_index("index_fill_", index)
    if value.ndim:
        raise RuntimeError(
            "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{value.ndim} dimension(s)."
        )
    chosen = jnp.zeros(input.shape[d] if input.ndim else 1, bool).at[index].set(True, mode="drop")
    chosen = chosen.reshape([-1] + [1] * (input.ndim - d - 1) if input.ndim else ())
    return jnp.where(chosen, value.astype(input.dtype), input)


# Among all elements


@op(out=True)
def take(input: Tensor, index: Tensor):
    """The elements at positions in the flattened input, in the shape of `index`."""
    if index.dtype != np.int64:
        raise RuntimeError(
            f"take(): Expected a long tensor for index, but got {type_name(index.dtype)}"
        )
    if input.size == 0 and index.size:
        raise IndexError("take(): tried to take from an empty tensor")
    return jnp.take(input.reshape(-1), index) if index.size else jnp.zeros(index.shape, input.dtype)


def check_overflow(value, dtype):
    """Refuse a complex value where real numbers are stored. Raises RuntimeError."""
    if value.dtype.kind == "c" and np.dtype(dtype).kind != "c":
        name = {"int64": "int64_t", "int16": "int16_t"}.get(str(dtype), scalar_name(dtype))
        raise RuntimeError(f"value cannot be converted to type {name} without overflow")


@op(inplace=True)
def masked_fill(input: Tensor, mask: Tensor, value: Operand):
    """`input` with `value`, one number, where `mask` is True; the two broadcast."""
    if mask.dtype != np.bool_:
        raise RuntimeError(
            "masked_fill_ only supports boolean masks, but got mask with dtype "
            f"{scalar_name(mask.dtype)}"
        )
    if value.ndim:
        raise RuntimeError(
            "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{value.ndim} dimension(s)."
        )
    check_overflow(value, input.dtype)
    mask, input = broadcast(mask, input)
    return jnp.where(mask, value.astype(input.dtype), input)


@op(inplace=True)
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor):
    """`input` with the elements of `source`, in their order, where `mask` is True."""
    if input.dtype != source.dtype:
        raise RuntimeError(
            "masked_scatter: expected self and source to have same dtypes but got"
            f"{type_name(input.dtype)} and {type_name(source.dtype)}"
        )
    if mask.dtype != np.bool_:
        raise RuntimeError(
            "masked_scatter_ only supports boolean masks, but got mask with dtype "
            f"{type_name(mask.dtype)}"
        )
    mask, input = broadcast(mask, input)
    order = jnp.cumsum(mask.reshape(-1)).reshape(mask.shape) - 1
    if source.size == 0:
        return input
    return jnp.where(mask, source.reshape(-1).at[order].get(mode="clip"), input)


@op(method=False, function=False, grad_name="MaskedSelectBackward0")
def select_flat(input: Tensor, positions: Tensor):
    """The elements of the flattened input at `positions`, which are in range and distinct."""
    return input.reshape(-1).at[positions].get(mode="promise_in_bounds", unique_indices=True)


@composite
def masked_select(input, mask, *, out=None):
    """The elements where `mask` (broadcast against the input) is True, as a vector."""
    if mask.dtype.name != "bool":
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = broadcast_shapes(tuple(mask.shape), tuple(input.shape))
    positions = np.flatnonzero(np.broadcast_to(to_host(mask), shape))
    selected = select_flat(expand(input, shape), from_host(positions))
    return selected if out is None else into(out, selected, "masked_select")


@composite
def nonzero(input, *, as_tuple: bool = False, out=None):
    """Where the input is not 0: a row of indices an element, or an index vector a dimension."""
    host = to_host(input)
    if as_tuple:
        return tuple(map(from_host, np.atleast_1d(host).nonzero()))
    found = from_host(np.argwhere(host))
    return found if out is None else into(out, found, "nonzero")


@composite
def argwhere(input):
    """The indices of elements that are not 0, a row each."""
    return from_host(np.argwhere(to_host(input)))


@op(types=PROMOTE, promote=("input", "other"), method=False, function=False,
    grad_name="WhereBackward0")  # fmt: skip
def choose(condition: Tensor, input: Operand, other: Operand):
    """`input` where the condition is True, `other` elsewhere; all three broadcast."""
    if condition.dtype not in (np.bool_, np.uint8):
        raise RuntimeError(
            "where expected condition to be a boolean tensor, but got a tensor with dtype "
            f"{type_name(condition.dtype)}"
        )
    condition, input, other = broadcast(condition, input, other)
    return jnp.where(condition.astype(bool), input, other)


@composite(method=False)
def where(condition, input=None, other=None, *, out=None):
    """`input` where the condition is True, else `other`; given alone, the condition's `nonzero`."""
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    chosen = choose(condition, input, other)
    return chosen if out is None else into(out, chosen, "where")


@composite(name="where", function=False)
def where_method(input, condition, other):
    """The elements of `input` where the condition is True, those of `other` elsewhere."""
    return choose(condition, input, other)
