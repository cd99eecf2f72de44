"""Views: operations whose result shares its elements with the tensor that it came from.

Each one has two directions. The body reads the viewed positions out of the base; its `write`
puts new values back into them, which is how an in-place operation on a view reaches the base.

Arrays here have a shape and no strides, so every layout counts as contiguous: `view` accepts
whatever `reshape` does, and `reshape` and `flatten` always give a view. PyTorch gives a copy
where strides force one (`x.t().reshape(-1)`), so a write into such a result, which PyTorch
would keep to the copy, reaches the base here. Writing to expanded elements is refused, as there.

Source: https://pytorch.org/docs/stable/tensor_view.html
"""

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..engine.frames import user_stacklevel
from ..tensor.tensor import Tensor as Array
from .checks import type_name, wrap_dim, wrap_dims
from .declare import Int, Ints, Size, Static, Tensor, composite, op

SHARED_MEMORY = (
    "unsupported operation: more than one element of the written-to tensor refers to a single "
    "memory location. Please clone() the tensor before performing the operation."
)


# Shape only


def _write_reshaped(base, new, *_, **__):
    return new.reshape(base.shape)


def infer_size(size: tuple[int, ...], numel: int) -> tuple[int, ...]:
    """Resolve the one -1 that a requested shape may hold. Raises RuntimeError as PyTorch does."""
    if size.count(-1) > 1:
        raise RuntimeError("only one dimension can be inferred")
    for position, n in enumerate(size):
        if n < -1:
            raise RuntimeError(
                f"invalid shape dimension {n} at index {position} of shape {list(size)}"
            )
    known = math.prod(n for n in size if n != -1)
    if -1 in size and known == 0 and numel == 0:
        raise RuntimeError(
            f"cannot reshape tensor of 0 elements into shape {list(size)} because the "
            "unspecified dimension size -1 can be any value and is ambiguous"
        )
    fits = (known > 0 and numel % known == 0) if -1 in size else known == numel
    if not fits:
        raise RuntimeError(f"shape '{list(size)}' is invalid for input of size {numel}")
    return tuple(numel // known if n == -1 else n for n in size)


@op(view=_write_reshaped)
def view(input: Tensor, size: Size):
    """The same elements in the given shape; one size may be -1, to be inferred."""
    return input.reshape(infer_size(size, input.size))


@op(view=_write_reshaped, grad_name="ViewBackward0")
def reshape(input: Tensor, shape: Size):
    """The same elements in the given shape; one size may be -1, to be inferred."""
    return input.reshape(infer_size(shape, input.size))


@composite
def view_as(input, other):
    """`input` viewed in the shape of `other`."""
    return view(input, tuple(other.shape))


@composite
def reshape_as(input, other):
    """`input` in the shape of `other`."""
    return reshape(input, tuple(other.shape))


@op(view=_write_reshaped, grad_name="ViewBackward0")
def flatten(input: Tensor, start_dim: Int = 0, end_dim: Int = -1):
    """Dimensions `start_dim` to `end_dim` (both included) merged into one."""
    start, end = wrap_dim(start_dim, input.ndim), wrap_dim(end_dim, input.ndim)
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    merged = math.prod(input.shape[start : end + 1])
    return input.reshape(*input.shape[:start], merged, *input.shape[end + 1 :])


@op(view=_write_reshaped, grad_name="ViewBackward0")
def ravel(input: Tensor):
    """The elements in one dimension."""
    return input.reshape(-1)


@op(view=_write_reshaped, grad_name="ViewBackward0")
def unflatten(input: Tensor, dim: Int, sizes: Size):
    """Dimension `dim` split into `sizes`; one of them may be -1."""
    d = wrap_dim(dim, input.ndim)
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    n = input.shape[d]
    try:
        full = infer_size(sizes, n)
    except RuntimeError as error:
        if "is invalid for input" not in str(error):
            raise
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {d} "
            f"({n}) in the input tensor"
        ) from None
    return input.reshape(*input.shape[:d], *full, *input.shape[d + 1 :])


def _squeeze_name(arguments):
    kinds = {type(None): 0, int: 1, tuple: 2}
    return f"SqueezeBackward{kinds[type(arguments['dim'])]}"


@op(view=_write_reshaped, inplace=True, grad_name=_squeeze_name)
def squeeze(input: Tensor, dim: Ints = None):
    """Without the dimensions of size 1: all of them, or those of `dim` that are."""
    dims = range(input.ndim) if dim is None else wrap_dims(dim, input.ndim)
    return input.reshape([n for d, n in enumerate(input.shape) if d not in dims or n != 1])


@op(view=_write_reshaped, inplace=True)
def unsqueeze(input: Tensor, dim: Int):
    """With a dimension of size 1 at `dim`."""
    return jnp.expand_dims(input, wrap_dim(dim, input.ndim + 1))


@op(view=_write_reshaped, name="alias", function=False)
def alias(input: Tensor):
    """The same elements in the same shape: the view that `x[...]` gives."""
    return input


# Order of dimensions


def _swap(input, dim0, dim1):
    return jnp.swapaxes(input, wrap_dim(dim0, input.ndim), wrap_dim(dim1, input.ndim))


def _swap_dims(input: Tensor, dim0: Int, dim1: Int):
    """Dimensions `dim0` and `dim1` swapped."""
    return _swap(input, dim0, dim1) if input.ndim else _swap(input[None], dim0, dim1)[0]


def _swap_axes(input: Tensor, axis0: Int, axis1: Int):
    """Dimensions `axis0` and `axis1` swapped."""
    return _swap_dims(input, axis0, axis1)


def _write_swapped(base, new, *dims, **named):
    return _swap_dims(new, *dims, *named.values())


for _name, _fn in {
    "transpose": _swap_dims,
    "swapdims": _swap_dims,
    "swapaxes": _swap_axes,
}.items():
    op(name=_name, view=_write_swapped, inplace=True, grad_name="TransposeBackward0")(_fn)


def _last_two(input, conjugate=False):
    out = jnp.swapaxes(input, -1, -2)
    return out.conj() if conjugate and jnp.iscomplexobj(out) else out


@op(view=lambda base, new: new.T, inplace=True)
def t(input: Tensor):
    """The transpose of a matrix; vectors and scalars as they are."""
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return input.T


@op(name="numpy_T", view=lambda base, new: new.T, function=False, grad_name="PermuteBackward0")
def numpy_t(input: Tensor):
    """`x.T`: the dimensions in reverse order."""
    return input.T


def _needs_matrix(name, input):
    if input.ndim < 2:
        raise RuntimeError(
            f"tensor.{name} is only supported on matrices or batches of matrices. "
            f"Got {input.ndim}-D tensor."
        )


@op(name="matrix_T", view=lambda b, new: _last_two(new), function=False,
    grad_name="TransposeBackward0")  # fmt: skip
def matrix_t(input: Tensor):
    """`x.mT`: the last two dimensions swapped."""
    _needs_matrix("mT", input)
    return _last_two(input)


@op(view=lambda b, new: _last_two(new, True), grad_name="TransposeBackward0")
def adjoint(input: Tensor):
    """`x.mH`: the last two dimensions swapped, conjugated."""
    if input.ndim == 1:
        _needs_matrix("adjoint()", input)
    return _last_two(input, True) if input.ndim else input.conj()


def _permutation(dims, ndim):
    if len(dims) != ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the "
            f"length of the desired ordering of dimensions i.e. input.dim() = {ndim} is not equal "
            f"to len(dims) = {len(dims)}"
        )
    wrapped = tuple(wrap_dim(d, ndim) for d in dims)
    if len(set(wrapped)) != ndim:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return wrapped


@op(view=lambda base, new, dims: new.transpose(np.argsort(_permutation(dims, base.ndim))))
def permute(input: Tensor, dims: Size):
    """The dimensions in the order that `dims` gives."""
    return input.transpose(_permutation(dims, input.ndim))


def _moves(input, source, destination):
    pairs = {"source": source, "destination": destination}
    pairs = {k: (v,) if isinstance(v, int) else v for k, v in pairs.items()}
    if len(pairs["source"]) != len(pairs["destination"]):
        raise RuntimeError(
            "movedim: Invalid source or destination dims: source "
            f"({list(pairs['source'])} dims) should contain the same number of dims as "
            f"destination ({list(pairs['destination'])} dims)"
        )
    for name, dims in pairs.items():
        wrapped = [wrap_dim(d, input.ndim) for d in dims]
        if len(set(wrapped)) != len(wrapped):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({list(dims)})")
    return pairs["source"], pairs["destination"]


def _move_dims(input: Tensor, source: Ints, destination: Ints):
    """The dimensions `source` moved to the places `destination`, the others in their order."""
    source, destination = _moves(input, source, destination)
    return jnp.moveaxis(input, source, destination) if input.ndim else input


def _write_moved(base, new, source, destination):
    return _move_dims(new, destination, source)


for _name in ("movedim", "moveaxis"):
    op(name=_name, view=_write_moved, grad_name="PermuteBackward0")(_move_dims)


def _reversed(input):
    if input.ndim not in (0, 2):
        warnings.warn(
            "The use of `x.T` on tensors of dimension other than 2 to reverse their shape is "
            "deprecated and it will throw an error in a future release. Consider `x.mT` to "
            "transpose batches of matrices or `x.permute(*torch.arange(x.ndim - 1, -1, -1))` to "
            "reverse the dimensions of a tensor.",
            UserWarning,
            stacklevel=user_stacklevel(),
        )
    return numpy_t(input)


def _hermitian(input):
    if input.ndim not in (0, 2):
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {input.ndim}-D tensor."
        )
    return adjoint(input)


for _name, _fn in {"T": _reversed, "mT": matrix_t, "H": _hermitian, "mH": adjoint}.items():
    setattr(Array, _name, property(_fn))


# Expanding


def expanded_size(input: jax.Array, size: tuple[int, ...]) -> tuple[int, ...]:
    """Resolve the -1s of an `expand`. Raises RuntimeError as PyTorch does."""
    lead = len(size) - input.ndim
    if lead < 0:
        raise RuntimeError(
            f"expand(torch.{type_name(input.dtype)}Tensor{{{list(input.shape)}}}, "
            f"size={list(size)}): the number of sizes provided ({len(size)}) must be greater or "
            f"equal to the number of dimensions in the tensor ({input.ndim})"
        )
    result = list(size)
    for d in reversed(range(len(size))):
        n = size[d]
        old = input.shape[d - lead] if d >= lead else 1
        if n == -1 and d < lead:
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) isn't allowed in a leading, "
                f"non-existing dimension {d}"
            )
        if n == -1:
            result[d] = old
        elif n < 0 or (old != 1 and n != old):
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({old}) at "
                f"non-singleton dimension {d}.  Target sizes: {list(size)}.  "
                f"Tensor sizes: {list(input.shape)}"
            )
    return tuple(result)


def _write_expanded(base, new, *_, **__):
    if new.size > base.size:
        raise RuntimeError(SHARED_MEMORY)
    return new.reshape(base.shape)


@op(view=_write_expanded)
def expand(input: Tensor, size: Size):
    """`input` with dimensions of size 1 repeated to `size`, without a copy; -1 keeps a size."""
    return jnp.broadcast_to(input, expanded_size(input, size))


@composite
def expand_as(input, other):
    """`input` expanded to the shape of `other`."""
    return expand(input, tuple(other.shape))


@op(view=_write_expanded, grad_name="ExpandBackward0")
def broadcast_to(input: Tensor, size: Size):
    """`input` broadcast to the given shape."""
    return jnp.broadcast_to(input, expanded_size(input, size))


# Picking


def _sliced(shape, index):
    """Read a normalised basic index: (starts, counts, steps, picked shape, result shape)."""
    starts, counts, steps, result, d = [], [], [], [], 0
    for item in index:
        if item is None:
            result.append(1)
            continue
        start, count, step = (item, 1, 1) if isinstance(item, int) else item
        if not isinstance(item, int):
            result.append(count)
        starts.append(start)
        counts.append(count)
        steps.append(step)
        d += 1
    rest = list(shape[d:])
    picked = counts + rest
    return starts + [0] * len(rest), picked, steps + [1] * len(rest), result + rest


def read_basic(input: jax.Array, index: tuple) -> jax.Array:
    """Read a normalised basic index: ints, (start, count, step) triples and None, in order."""
    starts, counts, steps, shape = _sliced(input.shape, index)
    if tuple(counts) != input.shape:
        limits = [s + max((n - 1) * k + 1, 0) if n else s
                  for s, n, k in zip(starts, counts, steps, strict=True)]  # fmt: skip
        input = lax.slice(input, starts, limits, steps)
    return input.reshape(shape)


def write_basic(base: jax.Array, new: jax.Array, index: tuple) -> jax.Array:
    """`base` with `new` at the positions that `read_basic` reads."""
    starts, counts, steps, _ = _sliced(base.shape, index)
    new = new.reshape(counts)
    if new.size in (0, base.size):
        return base if new.size == 0 else new
    if all(k == 1 for k in steps):
        return lax.dynamic_update_slice(base, new, starts)
    # With steps: spread out and select, since XLA's CPU scatter goes element by element.
    gaps = [(s, size - s - (n - 1) * k - 1, k - 1)
            for s, n, k, size in zip(starts, counts, steps, base.shape, strict=True)]  # fmt: skip
    spread = lax.pad(new, jnp.zeros((), new.dtype), gaps)
    return jnp.where(lax.pad(jnp.ones(new.shape, bool), False, gaps), spread, base)


def _basic_name(arguments):
    kinds = {int: "Select", tuple: "Slice", type(None): "Unsqueeze"}
    return f"{kinds[type(arguments['index'][-1])]}Backward0"


@op(view=write_basic, method=False, function=False, grad_name=_basic_name)
def basic_index(input: Tensor, index: Static):
    """`x[index]` for a normalised index: ints, (start, count, step) triples and None, in order."""
    return read_basic(input, index)


def along(input, dim, item):
    return tuple((0, n, 1) for n in input.shape[:dim]) + (item,)


def _select_index(input, dim, index):
    if input.ndim == 0:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, input.ndim)
    n = input.shape[d]
    if not -n <= index < n:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} "
            f"at dimension {d}"
        )
    return along(input, d, index % n)


@op(view=lambda base, new, dim, index: write_basic(base, new, _select_index(base, dim, index)))
def select(input: Tensor, dim: Int, index: Int):
    """The slice at `index` along `dim`, without that dimension."""
    return read_basic(input, _select_index(input, dim, index))


def _narrow_index(input, dim, start, length):
    if input.ndim == 0:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    d = wrap_dim(dim, input.ndim)
    n = input.shape[d]
    if not -n <= start <= n:
        raise IndexError(
            f"start out of range (expected to be in range of [{-n}, {n}], but got {start})"
        )
    start = start + n if start < 0 else start
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return along(input, d, (start, length, 1))


def _write_narrow(base, new, dim, start, length):
    return write_basic(base, new, _narrow_index(base, dim, start, length))


@op(view=_write_narrow, grad_name="SliceBackward0")
def narrow(input: Tensor, dim: Int, start: Int, length: Int):
    """`length` entries along `dim`, from `start` on."""
    return read_basic(input, _narrow_index(input, dim, start, length))


def _by_position(read):
    """A write for any view: read the positions of its elements, then set these in the base."""

    def write(base, new, *args, **kwargs):
        positions = read(np.arange(base.size).reshape(base.shape), *args, **kwargs)
        if np.unique(positions).size != positions.size:
            raise RuntimeError(SHARED_MEMORY)
        flat = base.reshape(-1).at[positions.reshape(-1)].set(new.reshape(-1))
        return flat.reshape(base.shape)

    return write


def _diagonal(input, offset=0, dim1=0, dim2=1):
    a, b = wrap_dim(dim1, input.ndim), wrap_dim(dim2, input.ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return input.diagonal(offset, a, b)


@op(view=_by_position(_diagonal))
def diagonal(input: Tensor, offset: Int = 0, dim1: Int = 0, dim2: Int = 1):
    """The diagonal of dimensions `dim1` and `dim2`, as a last dimension."""
    return _diagonal(input, offset, dim1, dim2)


def _windows(input, dimension, size, step):
    d = wrap_dim(dimension, input.ndim)
    input = input if input.ndim else input.reshape(1)
    n = input.shape[d]
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {n} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    at = np.arange(0, n - size + 1, step)[:, None] + np.arange(size)
    order = [*range(d + 1), *range(d + 2, input.ndim + 1), d + 1]
    return input[(slice(None),) * d + (at,)].transpose(order)


@op(view=_by_position(_windows))
def unfold(input: Tensor, dimension: Int, size: Int, step: Int):
    """Windows of `size` along `dimension`, every `step`; the window is a new last dimension."""
    out = _windows(input, dimension, size, step)
    return out.reshape(size) if input.ndim == 0 else out
