"""What view operations are without a view: copies of what they show, and writes into a copy.

Both follow from the view operation itself, one rule for all: `name_copy` is its body, and
`name_scatter` its write.

Source: https://pytorch.org/docs/stable/tensor_view.html
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax

from . import complex, splits  # noqa: F401  (declare views)
from .checks import type_name, wrap_dim
from .declare import OPS, Int, Ints, Op, Tensor, composite, op
from .splits import _section_sizes, _write_piece
from .views import _by_position, along, read_basic, write_basic

# --- views that only a copy or a few programs need -----------------------------------------------


def _sections(input, split_sizes, dim):
    d = wrap_dim(dim, input.ndim)
    return _section_sizes("split_with_sizes", input, split_sizes, d), d


@op(view=_write_piece(_sections))
def split_with_sizes(input: Tensor, split_sizes: Ints, dim: Int = 0):
    """Pieces along `dim`, of the sizes listed."""
    sizes, d = _sections(input, split_sizes, dim)
    return tuple(lax.split(input, sizes, d))


def _slice(input, dim, start, end, step):
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    if input.ndim == 0:
        raise RuntimeError("slice() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, input.ndim)
    span = range(input.shape[d])[start:end:step]
    return along(input, d, (span.start, len(span), step))


def _write_slice(base, new, dim=0, start=None, end=None, step=1):
    return write_basic(base, new, _slice(base, dim, start, end, step))


@op(view=_write_slice, function=False, method=False)
def slice_(
    input: Tensor, dim: Int = 0, start: Int | None = None, end: Int | None = None, step: Int = 1
):
    """`input[start:end:step]` along `dim`."""
    return read_basic(input, _slice(input, dim, start, end, step))


@op(view=lambda base, new: lax.complex(new[..., 0], new[..., 1]), method=False)
def view_as_real(input: Tensor):
    """A complex tensor as pairs of real and imaginary part, along a new last dimension.

    Raises:
        RuntimeError: it is not complex.
    """
    if input.dtype.kind != "c":
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return jnp.stack([input.real, input.imag], -1)


@op(view=lambda base, new: jnp.stack([new.real, new.imag], -1), method=False)
def view_as_complex(input: Tensor):
    """Pairs along the last dimension as real and imaginary part of complex numbers.

    Raises:
        RuntimeError: another type than float32 and float64, a last dimension other than 2.
    """
    if input.dtype not in (np.float32, np.float64):
        raise RuntimeError(
            "view_as_complex is only supported for half, float and double tensors, but got a "
            f"tensor of scalar type: {type_name(input.dtype)}"
        )
    if input.ndim == 0:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if input.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    return lax.complex(input[..., 0], input[..., 1])


def _strided(input, size, stride, storage_offset=None):
    """The elements of the flattened `input` at strided positions."""
    offset = storage_offset or 0
    if len(size) != len(stride):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(s < 0 for s in stride):
        raise RuntimeError(
            "as_strided: Negative strides are not supported at the moment, got strides: "
            f"{list(stride)}"
        )
    if offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {offset}")
    positions = np.full(size, offset)
    for d, (n, s) in enumerate(zip(size, stride, strict=True)):
        positions += (np.arange(n) * s).reshape(-1, *(1,) * (len(size) - d - 1))
    if positions.max(initial=-1) >= input.size:
        width = input.dtype.itemsize
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, "
            f"and itemsize {width} requiring a storage size of {(positions.max() + 1) * width} "
            f"are out of bounds for storage of size {input.size * width}"
        )
    return input.reshape(-1)[positions]


@op(view=_by_position(_strided), inplace=True)
def as_strided(input: Tensor, size: Ints, stride: Ints, storage_offset: Int | None = None):
    """The elements at the positions that sizes, strides and an offset describe.

    Arrays have no strides here: positions count in the flattened `input`, not in the storage of
    the tensor that `input` is a view of. A write is refused where elements overlap.

    Raises:
        RuntimeError: positions outside of `input`.
    """
    return _strided(input, size, stride, storage_offset)


# --- copies --------------------------------------------------------------------------------------


def _copy_name(view: Op) -> Callable:
    def name(arguments):
        own = view.grad_name
        own = own(arguments) if callable(own) else own
        stem = "".join(part.capitalize() for part in view.name.split("_"))
        return f"{own or stem + 'Backward0'}_copy"

    return name


def _declare_copy(name: str, **options) -> None:
    view = OPS[name]
    doc = f"A copy of what `{name}` shows."
    op(name=f"{name}_copy", grad_name=_copy_name(view), out=True, doc=doc,
       **{"method": False} | options)(_renamed(view.fn))  # fmt: skip


def _renamed(fn: Callable) -> Callable:
    def body(*args, **kwargs):
        return fn(*args, **kwargs)

    body.__wrapped__, body.__annotations__ = fn, fn.__annotations__
    return body


for _name in (
    "alias", "as_strided", "diagonal", "expand", "permute", "select", "slice", "split",
    "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unfold", "unsqueeze", "view",
    "view_as_complex", "view_as_real",
):  # fmt: skip
    _declare_copy(_name)
_declare_copy("narrow", method=True)


@composite(method=False)
def detach_copy(input):
    """A copy that is not on the tape."""
    return input.detach().clone()


# --- pieces that do not count as views ------------------------------------------------------------


def _unsafe(name: str, view: Op, grad_name: str) -> None:
    op(name=name, grad_name=grad_name, doc=f"As `{view.name}`, but no views.")(_renamed(view.fn))


_unsafe("unsafe_chunk", OPS["chunk"], "UnsafeSplitBackward0")
_unsafe("unsafe_split", OPS["split"], "UnsafeSplitBackward0")
_unsafe("unsafe_split_with_sizes", OPS["split_with_sizes"], "UnsafeSplitWithSizesBackward0")


# --- writes into a copy ---------------------------------------------------------------------------


def _written(view: Op, input, src, **statics):
    """A copy of `input` with `src` where the view shows it. Raises RuntimeError."""
    shape = np.shape(view.fn(np.empty(input.shape, bool), **statics))
    if src.shape != shape:
        raise RuntimeError(
            "expected src to have a size equal to the slice of self. src size = "
            f"{list(src.shape)}, slice size = {list(shape)}"
        )
    return view.view(input, src.astype(input.dtype), **statics)


@op(out=True)
def select_scatter(input: Tensor, src: Tensor, dim: Int, index: Int):
    """A copy of `input` with `src` at `index` along `dim`."""
    return _written(OPS["select"], input, src, dim=dim, index=index)


@op(out=True)
def slice_scatter(
    input: Tensor, src: Tensor, dim: Int = 0, start: Int | None = None, end: Int | None = None,
    step: Int = 1,
):  # fmt: skip
    """A copy of `input` with `src` in `input[start:end:step]` along `dim`."""
    return _written(OPS["slice"], input, src, dim=dim, start=start, end=end, step=step)


@op(out=True)
def diagonal_scatter(input: Tensor, src: Tensor, offset: Int = 0, dim1: Int = 0, dim2: Int = 1):
    """A copy of `input` with `src` on the diagonal of two dimensions."""
    return _written(OPS["diagonal"], input, src, offset=offset, dim1=dim1, dim2=dim2)


@op(out=True)
def as_strided_scatter(
    input: Tensor, src: Tensor, size: Ints, stride: Ints, storage_offset: Int | None = None
):
    """A copy of `input` with `src` at the positions of `as_strided`."""
    statics = {"size": size, "stride": stride, "storage_offset": storage_offset}
    return _written(OPS["as_strided"], input, src, **statics)


# --- lazily conjugated and negated views: there are none ------------------------------------------


@composite
def resolve_conj(input):
    """`input`: no tensor is conjugated lazily."""
    return input


@composite
def resolve_neg(input):
    """`input`: no tensor is negated lazily."""
    return input


@composite
def is_conj(input) -> bool:
    """False: `conj` computes, where PyTorch's marks the tensor as conjugated."""
    return False


@composite
def is_neg(input) -> bool:
    """False: no tensor is negated lazily."""
    return False
