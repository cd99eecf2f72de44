"""More reads and writes at positions that tensors hold: put, index_reduce, segments.

As in `scatter`, positions are data and their range is not checked.
"""

import jax.numpy as jnp
import numpy as np

from .checks import check_kind, type_name, wrap_dim
from .declare import Bool, Int, Number, Str, Tensor, op
from .scatter import (
    _add_at,
    _combiner,
    _index_write,
    _neutral,
    _reduced_at,
    _set,
    reduction_named,
)  # fmt: skip


@op(inplace=True)
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: Bool = False):
    """A copy of `input` with `source` at positions of the flattened input, or added there.

    Raises:
        RuntimeError, IndexError: types or sizes do not fit.
    """
    if index.dtype != np.int64:
        raise RuntimeError(
            f"put_(): Expected a long tensor for index, but got {type_name(index.dtype)}"
        )
    if input.dtype != source.dtype:
        raise RuntimeError(
            "put_(): self and source expected to have the same dtype, but got self.dtype = "
            f"{type_name(input.dtype)} and source.dtype = {type_name(source.dtype)}"
        )
    if index.size != source.size:
        raise IndexError(
            "put_(): Expected source and index to have the same number of elements, but got "
            f"source.numel() = {source.size}, index.numel() = {index.size}"
        )
    if input.size == 0 and index.size:
        raise IndexError("put_(): Tried to put elements into an empty tensor")
    write = _add_at if accumulate else _set
    flat = write(input.reshape(-1), (index.reshape(-1),), source.reshape(-1))
    return flat.reshape(input.shape)


@op(inplace=True, out=True)
def index_reduce(input: Tensor, dim: Int, index: Tensor, source: Tensor, reduce: Str, *,
                 include_self: Bool = True):  # fmt: skip
    """`input` with the slices of `source` combined at the positions `index` along `dim`.

    `reduce`: "prod", "mean", "amax" or "amin"; without `include_self`, what was there does not
    count.

    Raises:
        RuntimeError, IndexError: another reduction, types or sizes do not fit.
    """
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(
            "index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got "
            f"{reduce}."
        )
    d, name = wrap_dim(dim, input.ndim), "index_reduce_()"
    if index.ndim > 1:
        raise IndexError(
            f"{name}: Index is supposed to be a vector, but got dim: {index.ndim} with type: "
            f"{type_name(index.dtype)} and size: {list(index.shape)}"
        )
    if index.dtype not in (np.int64, np.int32):
        raise RuntimeError(
            f"{name}: Expected dtype int32/int64 for index but got: {type_name(index.dtype)}"
        )
    if input.dtype != source.dtype:
        raise RuntimeError(
            f"{name}: self ({type_name(input.dtype)}) and source ({type_name(source.dtype)}) must "
            "have the same scalar type"
        )
    count = source.shape[d] if source.ndim else 1
    if index.size != count:
        raise RuntimeError(
            f"{name}: Number of indices ({index.size}) should be equal to source.size(dim): "
            f"({count}), for dim: {d}"
        )

    def combine(base, where, values):
        return _reduced_at(base, where, values, reduce, include_self)

    return _index_write(input, d, index.reshape(-1), source, combine)


@op()
def nonzero_static(input: Tensor, *, size: Int, fill_value: Int = -1):
    """As `nonzero`, in `size` rows: further elements are left out, missing ones `fill_value`.

    Raises:
        RuntimeError: a negative size.
    """
    if size < 0:
        raise RuntimeError("nonzero_static: 'size' must be an non-negative integer")
    if input.ndim == 0:
        return jnp.zeros((size, 0), np.int64)
    if input.size == 0:  # where jnp.nonzero fills with 0
        return jnp.full((size, input.ndim), fill_value, np.int64)
    found = jnp.nonzero(input, size=size, fill_value=fill_value)
    return jnp.stack(found, -1).astype(np.int64)


@op(method=False)
def segment_reduce(
    data: Tensor, reduce: Str, *, lengths: Tensor | None = None, indices: Tensor | None = None,
    offsets: Tensor | None = None, axis: Int = 0, unsafe: Bool = False,
    initial: Number | None = None,
):  # fmt: skip
    """Reduce consecutive segments along `axis`.

    Args:
        data: floating.
        reduce: "sum", "mean", "prod", "amax" or "amin" ("max" and "min" are the same).
        lengths: of the segments, shape (*data.shape[:axis], segments); or else
        offsets: where the segments begin, and where the last ends.
        unsafe: accepted: what the lengths sum to is data, and not checked.
        initial: what an empty segment gives, and any other is combined with.

    Raises:
        RuntimeError: another reduction, neither lengths nor offsets.
    """
    reduce = reduction_named(reduce)
    if lengths is None and offsets is None:
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined.")
    if offsets is None:
        ends = jnp.cumsum(lengths, -1)
        count = lengths.shape[-1]
    else:
        ends, count = offsets[..., 1:], offsets.shape[-1] - 1
    check_kind(data, "bic", "_segment_reduce_cpu")
    d = wrap_dim(axis, data.ndim)
    n, lead = data.shape[d], data.shape[:d]
    # The segment of each row: how many segments end at or before it.
    at = (ends[..., None, :] <= jnp.arange(n)[:, None]).sum(-1)
    rows = np.indices((*lead, n)).astype(np.int32)[:d]
    where = (*(jnp.asarray(r) for r in rows), jnp.where(at < count, at, count))
    shape = (*lead, count, *data.shape[d + 1 :])
    if reduce == "mean":
        start = jnp.full(shape, 0 if initial is None else initial, data.dtype)
        rows = _add_at(jnp.zeros(shape, data.dtype), where, jnp.ones_like(data))
        empty = jnp.asarray(np.nan if initial is None else initial, data.dtype)
        return jnp.where(rows == 0, empty, _add_at(start, where, data) / jnp.maximum(rows, 1))
    neutral = _neutral(reduce, data.dtype) if initial is None else initial
    combine = _combiner(reduce)
    return combine(jnp.full(shape, neutral, data.dtype), where, data)
