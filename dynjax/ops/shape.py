"""Operations that rearrange, join, repeat or pad elements, and give a result of their own."""

import math

import jax.numpy as jnp
import numpy as np

from ..core.size import Size as TensorSize
from ..tensor.tensor import Tensor as Array
from ..tensor.tensor import from_host
from .checks import broadcast_shapes, wrap_dim, wrap_dims
from .declare import (
    PROMOTE,
    Int,
    Ints,
    Number,
    Size,
    Static,
    Str,
    Tensor,
    Tensors,
    composite,
    op,
)
from .scatter import index_select
from .views import expand, read_basic, view

# Joining


def _non_empty(name, tensors, error=RuntimeError):
    if not tensors:
        raise error(f"{name} expects a non-empty TensorList")
    return tensors


def _concatenate(tensors, dim):
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    for position, x in enumerate(tensors):
        if x.ndim == 0:
            raise RuntimeError(
                f"zero-dimensional tensor (at position {position}) cannot be concatenated"
            )
    # PyTorch passes over empty vectors, whatever the shape of the others.
    kept = [(i, x) for i, x in enumerate(tensors) if x.shape != (0,)] or [(0, tensors[0])]
    first = kept[0][1]
    d = wrap_dim(dim, first.ndim)
    for position, x in kept:
        if x.ndim != first.ndim:
            raise RuntimeError(
                f"Tensors must have same number of dimensions: got {first.ndim} and {x.ndim}"
            )
        for axis in range(first.ndim):
            if axis != d and x.shape[axis] != first.shape[axis]:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {d}. Expected size "
                    f"{first.shape[axis]} but got size {x.shape[axis]} for tensor number "
                    f"{position} in the list."
                )
    return jnp.concatenate([x for _, x in kept], d)


@op(types=PROMOTE, out=True, aliases=("concat", "concatenate"), method=False)
def cat(tensors: Tensors, dim: Int = 0):
    """The tensors joined along `dim`; empty vectors are passed over."""
    return _concatenate(tensors, dim)


@op(types=PROMOTE, out=True, method=False)
def stack(tensors: Tensors, dim: Int = 0):
    """The tensors, of equal shape, joined along a new dimension `dim`."""
    first = _non_empty("stack", tensors)[0]
    d = wrap_dim(dim, first.ndim + 1)
    for position, x in enumerate(tensors):
        if x.shape != first.shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first.shape)} at "
                f"entry 0 and {list(x.shape)} at entry {position}"
            )
    return jnp.stack(tensors, d)


def _joined(name, prepare, dim, aliases=(), doc=""):
    def body(tensors: Tensors):
        ready = [prepare(x) for x in _non_empty(name, tensors)]
        return _concatenate(ready, dim if dim is not None else int(ready[0].ndim > 1))

    op(name=name, types=PROMOTE, out=True, method=False, aliases=aliases, doc=doc,
       grad_name="CatBackward0")(body)  # fmt: skip


def _column(x):
    return x.reshape(-1, 1) if x.ndim < 2 else x


_joined("hstack", jnp.atleast_1d, None, doc="Joined side by side: along dim 1, vectors along 0.")
_joined("vstack", jnp.atleast_2d, 0, ("row_stack",), doc="Joined row upon row: along dim 0.")
_joined("dstack", jnp.atleast_3d, 2, doc="Joined in depth: along dim 2.")
_joined("column_stack", _column, 1, doc="Joined column by column; vectors are columns.")


def _listed(tensors):
    """PyTorch takes either several tensors or one sequence of them."""
    return tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors


def _at_least(name, shape_of, doc):
    def function(*tensors):
        out = tuple(
            x if len(x.shape) >= len(shape_of(x.shape)) else view(x, shape_of(x.shape))
            for x in _listed(tensors)
        )
        return out[0] if len(tensors) == 1 and tensors[0] is not _listed(tensors) else out

    function.__doc__ = doc
    composite(name=name, method=False)(function)


def _matrix_shape(shape):
    return (1,) * (2 - len(shape)) + tuple(shape)


def _volume_shape(shape):
    return (*_matrix_shape(shape), 1)


_at_least("atleast_1d", lambda shape: tuple(shape) or (1,), "Scalars as vectors of one.")
_at_least("atleast_2d", _matrix_shape, "Scalars and vectors as matrices of one row.")
_at_least(
    "atleast_3d",
    lambda shape: _volume_shape(shape) if len(shape) < 3 else tuple(shape),
    "Tensors of fewer dimensions viewed with three.",
)


@composite(method=False)
def broadcast_tensors(*tensors):
    """The tensors expanded to their common shape. Raises RuntimeError where there is none."""
    tensors = _listed(tensors)
    shape = broadcast_shapes(*(tuple(x.shape) for x in tensors))
    return tuple(expand(x, shape) for x in tensors)


@composite(method=False)
def meshgrid(*tensors, indexing: str = "ij"):
    """Coordinate grids from vectors: result k varies along dimension k.

    With `indexing="xy"` the first two dimensions of the results are swapped. Raises RuntimeError
    for tensors of two or more dimensions or of different dtypes.
    """
    tensors = _listed(tensors)
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    for x in tensors:
        if len(x.shape) > 1:
            raise RuntimeError(
                f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {x}"
            )
        if x.dtype != tensors[0].dtype:
            raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    if indexing not in ("ij", "xy"):
        raise RuntimeError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    order = list(range(len(tensors)))
    if indexing == "xy" and len(tensors) > 1:
        order[:2] = 1, 0
    shape = [math.prod(tensors[k].shape) for k in order]

    def grid(k):
        own = [1] * len(order)
        own[order.index(k)] = shape[order.index(k)]
        return expand(view(tensors[k], tuple(own)), tuple(shape))

    return tuple(grid(k) for k in range(len(tensors)))


# Repeating


def _repeated(input, repeats):
    if len(repeats) < input.ndim:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of "
            "tensor"
        )
    shape = (1,) * (len(repeats) - input.ndim) + input.shape
    if any(r < 0 for r in repeats):
        full = [n * r for n, r in zip(shape, repeats, strict=True)]
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(full)}: {full}")
    return jnp.tile(input, repeats)


@op
def repeat(input: Tensor, repeats: Size):
    """`input` repeated as a whole, so often along each dimension."""
    return _repeated(input, repeats)


@op(grad_name="RepeatBackward0")
def tile(input: Tensor, dims: Size):
    """`input` repeated as a whole; missing leading repeats count as 1."""
    return _repeated(input, (1,) * (input.ndim - len(dims)) + dims)


@op(method=False, function=False, grad_name="RepeatInterleaveBackward0")
def repeat_each(input: Tensor, repeats: Int, dim: Int):
    """Each entry along `dim` repeated in place, equally often."""
    if repeats < 0:
        raise RuntimeError("Repeats must be non-negative")
    d, shape = wrap_dim(dim, input.ndim), input.shape
    wide = jnp.broadcast_to(
        jnp.expand_dims(input, d + 1), (*shape[: d + 1], repeats, *shape[d + 1 :])
    )
    return wide.reshape(*shape[:d], shape[d] * repeats, *shape[d + 1 :])


@composite
def repeat_interleave(input, repeats=None, dim: int | None = None, *, output_size=None):
    """Each entry repeated in place: `repeats` times, or so often as a vector of counts says.

    Without `dim` the input is flattened first. With `input` alone, it is the counts and the
    result the positions 0, 0, 1, ... A vector of counts is read on the host, since the size of
    the result follows from it.
    """
    if repeats is None:
        return from_host(np.repeat(np.arange(input.shape[0]), np.asarray(input)))
    if dim is None:
        input, dim = view(input, (-1,)), 0
    if not isinstance(repeats, Array):
        return repeat_each(input, int(repeats), dim)
    counts, size = np.asarray(repeats), input.shape[wrap_dim(dim, len(input.shape))]
    if counts.dtype not in (np.int64, np.int32):
        raise RuntimeError("repeats has to be Long or Int tensor")
    if counts.ndim > 1:
        raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
    if counts.size not in (1, size):
        raise RuntimeError(
            "repeats must have the same size as input along dim, but got repeats.size(0) = "
            f"{counts.size} and input.size({dim}) = {size}"
        )
    if (counts < 0).any():
        raise RuntimeError("repeats can not be negative")
    positions = np.repeat(np.arange(size), np.broadcast_to(counts.reshape(-1), size))
    return index_select(input, dim, from_host(positions))


# Turning


@op
def flip(input: Tensor, dims: Size):
    """The order of entries along each of `dims` reversed."""
    return jnp.flip(input, wrap_dims(dims, input.ndim)) if input.ndim else input


def _turned(name, needed, dim, side):
    def body(input: Tensor):
        if input.ndim < needed:
            raise RuntimeError(f"Input must be >= {needed}-d.")
        return jnp.flip(input, dim)

    op(name=name, grad_name="FlipBackward0", doc=f"The entries flipped {side}.")(body)


_turned("fliplr", 2, 1, "left to right")
_turned("flipud", 1, 0, "upside down")


@op
def roll(input: Tensor, shifts: Ints, dims: Ints = ()):
    """Entries shifted along `dims` (without dims: along the flattened tensor), wrapping round."""
    shifts, dims = ((v,) if isinstance(v, int) else v for v in (shifts, dims))
    if not shifts:
        raise RuntimeError("`shifts` required")
    if not dims and len(shifts) == 1:
        return jnp.roll(input, shifts[0])
    if input.ndim == 0 and len(shifts) == len(dims):
        raise IndexError(f"Dimension specified as {dims[0]} but tensor has no dimensions")
    if len(shifts) != len(dims):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}"
        )
    for shift, dim in zip(shifts, dims, strict=True):
        input = jnp.roll(input, shift, wrap_dim(dim, input.ndim)) if input.size else input
    return input


@op
def rot90(input: Tensor, k: Int = 1, dims: Ints = (0, 1)):
    """Turned `k` times by 90 degrees, from the first of `dims` towards the second."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    if dims[0] == dims[1] or abs(dims[0] - dims[1]) == input.ndim:
        raise RuntimeError(
            f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}"
        )
    for position, d in enumerate(dims):
        if not -input.ndim <= d < input.ndim:
            raise RuntimeError(f"Rotation dim{position} out of range, dim{position} = {d}")
    return jnp.rot90(input, k, dims)


# Diagonals and triangles


def _triangle(name, fn, doc):
    def body(input: Tensor, diagonal: Int = 0):
        if input.ndim < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
        return fn(input, diagonal)

    op(name=name, inplace=True, out=True, doc=doc)(body)


_triangle("tril", jnp.tril, "The lower triangle, up to the given diagonal; the rest is 0.")
_triangle("triu", jnp.triu, "The upper triangle, from the given diagonal on; the rest is 0.")


def _embedded(input, offset, dim1, dim2):
    ndim = input.ndim + 1
    a, b = wrap_dim(dim1, ndim), wrap_dim(dim2, ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    n = input.shape[-1] + abs(offset)
    rows, columns = np.ogrid[:n, :n]
    start = max(-offset, 0)
    spread = jnp.pad(input, [(0, 0)] * (input.ndim - 1) + [(start, n - input.shape[-1] - start)])
    out = jnp.where(columns - rows == offset, spread[..., None], jnp.zeros((), input.dtype))
    return jnp.moveaxis(out, (-2, -1), (a, b))


@op
def diag_embed(input: Tensor, offset: Int = 0, dim1: Int = -2, dim2: Int = -1):
    """The last dimension as the diagonal of two new ones, the rest 0."""
    return _embedded(input, offset, dim1, dim2)


@op(out=True, grad_name="DiagonalBackward0")
def diag(input: Tensor, diagonal: Int = 0):
    """A vector as the diagonal of a matrix, or the diagonal of a matrix as a vector."""
    if input.ndim not in (1, 2):
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    return input.diagonal(diagonal) if input.ndim == 2 else _embedded(input, diagonal, 0, 1)


@op(grad_name="DiagEmbedBackward0")
def diagflat(input: Tensor, offset: Int = 0):
    """The flattened elements as the diagonal of a matrix."""
    return _embedded(input.reshape(-1), offset, 0, 1)


# Padding

_PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
_PAD_NAMES = {"reflect": "ReflectionPad{}D", "replicate": "ReplicationPad{}D"}


def _pad_name(arguments):
    if arguments["mode"] in _PAD_NAMES:
        name = _PAD_NAMES[arguments["mode"]].format(len(arguments["pad"]) // 2)
    else:
        name = "CopySlices" if arguments["mode"] == "circular" else "ConstantPadNd"
    return name if name == "CopySlices" else f"{name}Backward0"


def _check_pad(input, pad, mode, value):
    n = len(pad)
    if n % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if n > 2 * input.ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got "
            f"padding length {n} and input of dimension {input.ndim}"
        )
    if mode == "constant":
        return
    if value is not None:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if n not in (2, 4, 6) or input.ndim - n // 2 not in (1, 2):
        raise NotImplementedError(
            "Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now"
        )
    if mode not in _PAD_MODES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")


def _check_pad_widths(input, widths, mode):
    for d, (before, after) in enumerate(widths):
        size = input.shape[d]
        if size + before + after < 0:
            raise RuntimeError("narrow(): length must be non-negative.")
        if mode == "reflect" and max(before, after) >= size and max(before, after) > 0:
            raise RuntimeError(
                "Argument #4: Padding size should be less than the corresponding input dimension, "
                f"but got: padding ({before}, {after}) at dimension {d} of input "
                f"{list(input.shape)}"
            )
        if mode == "circular" and max(before, after) > size:
            raise RuntimeError("Padding value causes wrapping around more than once.")


@op(module="nn.functional", grad_name=_pad_name)
def pad(input: Tensor, pad: Ints, mode: Str = "constant", value: Number = None):
    """`input` with `pad` = (before, after) entries added, pairs from the last dimension backwards.

    Modes: "constant" (`value`, by default 0), "reflect", "replicate", "circular". A negative
    width takes entries away. Raises RuntimeError and NotImplementedError as PyTorch does.
    """
    _check_pad(input, pad, mode, value)
    pairs = [pad[i : i + 2] for i in range(0, len(pad), 2)]
    widths = [(0, 0)] * (input.ndim - len(pairs)) + pairs[::-1]
    _check_pad_widths(input, widths, mode)
    cut = tuple((max(-a, 0), n + min(a, 0) + min(b, 0), 1)
                for n, (a, b) in zip(input.shape, widths, strict=True))  # fmt: skip
    added = [(max(a, 0), max(b, 0)) for a, b in widths]
    if mode == "constant":
        fill = 0 if value is None else value.astype(input.dtype)
        return jnp.pad(read_basic(input, cut), added, constant_values=fill)
    if mode == "circular":
        return jnp.pad(read_basic(input, cut), added, mode="wrap")
    # What these modes repeat is taken from the input before it is cut.
    out = jnp.pad(input, added, mode=_PAD_MODES[mode])
    return read_basic(
        out, tuple((start, n + a + b, 1)
                   for (start, _, _), n, (a, b) in zip(cut, input.shape, widths, strict=True))
    )  # fmt: skip


# Copies


@op
def clone(input: Tensor, *, memory_format: Static = None):
    """A copy, through which gradients flow."""
    return input


@composite
def contiguous(input, memory_format=None):
    """`input` itself: every layout counts as contiguous here."""
    return input


@composite(name="broadcast_shapes", method=False)
def _broadcast_shapes(*shapes):
    """The size that tensors of these shapes broadcast to.

    Raises:
        RuntimeError: two sizes differ and neither is 1. ValueError: one is negative.
    """
    shapes = [(s,) if isinstance(s, int) else tuple(s) for s in shapes]
    for s in shapes:
        for k, n in enumerate(s):
            if not hasattr(n, "__index__"):
                kind = type(n).__name__
                raise TypeError(f"torch.Size() takes an iterable of 'int' (item {k} is '{kind}')")
        if any(n < 0 for n in s):
            raise ValueError(
                f"Attempting to broadcast a dimension with negative length: got shape {s}"
            )
    return TensorSize(broadcast_shapes(*shapes))
