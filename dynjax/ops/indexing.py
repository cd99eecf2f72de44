"""`x[index]` and `x[index] = value` in all of PyTorch's forms.

An index is read in two parts. Integers, slices, None and Ellipsis become one view operation,
`basic_index`, whose static argument is the index in normal form. Tensors, lists and masks then
pick from that view: one operation, `index`, with the index tensors as inputs.

Positions that are data are not checked, since that would wait for the device at each call: reading
out of range gives NaN (for integers the least value), writing there does nothing. The size of
`x[mask]` is data, so the mask is read on the host; `x[mask] = number` needs no such wait.
A 0-dim integer tensor picks without a wait too, and so, unlike in PyTorch, copies: write to it by
`x[i] = value`, not through `x[i]`.
"""

import math
import operator
from functools import lru_cache
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from ..engine.trace import state
from ..engine.value import concrete, kind_of
from ..tensor.tensor import Tensor as Array
from ..tensor.tensor import from_host, to_host, value_of, wrap
from .declare import OPS, Bool, Ints, Operand, Size, Tensor, Tensors, composite, op
from .front import attach_known
from .inplace import inplace_form
from .scatter import addresses, set_at
from .views import alias, basic_index

_BAD_TENSOR = "tensors used as indices must be long, int, byte or bool tensors"


# Reading an index


def getitem(input: Any, index: Any) -> Any:
    """`input[index]`: a view for basic indices, a new tensor for tensors, lists and masks.

    Raises:
        IndexError: too many indices, an integer out of range, a mask of another shape.
        TypeError, ValueError: what is no index.
    """
    if type(index) is Array and index.dtype.name == "int64" and input.shape:
        return index_at(input, (index,), (0,))
    basic, tensors = parse(index, input.shape)
    if basic is not None:
        if not basic:
            input = alias(input)
        else:
            rows = rows_at_hand(input, basic)
            input = basic_index(input, basic) if rows is None else rows
    if not tensors:
        return input
    return index_at(input, *_positions(tensors))


def rows_at_hand(input: Any, basic: tuple) -> Any:
    """Some rows of data that is there already, as a view; None where the index is recorded.

    A loop over minibatches (`x[i:i + 32]`) has other positions every time. Recorded, each would be
    a program of its own; taken on the host, without a copy, they are inputs of the same one.
    """
    first = basic[0]
    if first is None or (type(first) is tuple and first[1] == input.shape[0]):
        return None
    value, trace = value_of(input), state.trace
    kind = value.kind
    if value.trace is not None or kind.requires_grad or not input.is_cpu or value in trace.leaves:
        return None
    if value.array is None or isinstance(value.array, jax.core.Tracer):
        return None
    part = np.asarray(np.asarray(value.array)[tuple([_numpy_item(item) for item in basic])])
    rows = wrap(concrete(part, kind_of(part.shape, kind.dtype, kind.device)))
    attach_known(input, rows, OPS["basic_index"].later_view(kind, basic))
    return rows


def _numpy_item(item: Any) -> Any:
    if type(item) is not tuple:
        return item
    start, count, step = item
    return slice(start, start + count * step, step)


def parse(index: Any, shape: tuple[int, ...]) -> tuple[tuple | None, tuple]:
    """Split an index into its basic part and its tensors.

    Returns:
        The basic part in normal form: ints, (start, count, step) triples and None, of which
        trailing whole dimensions are left out; () if there is nothing to do and no tensor
        either, None if there is nothing to do before the tensors.
        The tensors as (dimension of the basic result, tensor) pairs.
    """
    key = _basic_key(index)
    if key is not None:
        return _normal(key, tuple(shape)), ()
    return _read(index, tuple(shape))


def _basic_key(index):
    """A hashable form of an index of plain ints, slices, None and Ellipsis; otherwise None."""
    if type(index) is tuple:
        key = tuple([_item_key(item) for item in index])
        return None if _OTHER in key else key
    key = _item_key(index)
    return None if key is _OTHER else (_SINGLE, key)


_OTHER, _SINGLE = "other", "single"


def _item_key(item):
    kind = type(item)
    if kind is int or item is None or item is Ellipsis:
        return item
    if kind is slice:
        key = (item.start, item.stop, item.step)
        if all(type(x) is int or x is None for x in key):
            return key
    return _OTHER


@lru_cache(maxsize=4096)
def _normal(key, shape):
    single = key[:1] == (_SINGLE,)
    items = tuple(slice(*k) if isinstance(k, tuple) else k for k in (key[1:] if single else key))
    if single and not shape and isinstance(items[0], int):
        raise IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or "
            "`tensor.item<T>()` in C++ to convert a 0-dim tensor to a number"
        )
    return _read(items, shape, single)[0]


def _read(index, shape, single=False):
    given = index if _is_tuple(index) else (index,)
    items = [_as_item(item) for item in given]
    missing = len(shape) - sum(_dims_taken(item) for item in items)
    if missing < 0:
        if single and isinstance(items[0], slice):
            raise IndexError("slice() cannot be applied to a 0-dim tensor.")
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    basic, tensors, d, at = [], [], 0, 0  # d: dimension of the input, at: of the basic result
    for position, item in enumerate(items):
        if item is Ellipsis:
            basic += _whole(shape[d : d + missing])
            d, at, missing = d + missing, at + missing, 0
        elif item is None:
            basic.append(None)
            at += 1
        elif isinstance(item, int):
            basic.append(_checked_int(item, position, shape[d]))
            d += 1
        elif isinstance(item, slice):
            basic.append(_counted(item, shape[d]))
            d, at = d + 1, at + 1
        else:
            taken = len(item.shape) if _is_mask(item) else 1
            if not isinstance(given[position], Array) and not _is_mask(item):
                _check_listed(item, at, shape[d])
            basic += _whole(shape[d : d + taken]) or [None]
            tensors.append((at, item))
            d, at = d + taken, at + max(taken, 1)
    _check_masks(tensors, basic, shape[d:])
    if basic == _whole(shape[:d]) and not (single and isinstance(items[0], slice)):
        return (None if tensors else ()), tuple(tensors)
    while not single and basic[-1:] == _whole(shape[d - 1 : d]):
        basic.pop()
        d -= 1
    return tuple(basic), tuple(tensors)


def _whole(sizes):
    return [(0, n, 1) for n in sizes]


def _is_tuple(index):
    """PyTorch reads a short list that holds more than numbers as a tuple, as NumPy once did."""
    if isinstance(index, tuple):
        return True
    if not isinstance(index, (list, range)) or len(index) >= 32:
        return False
    return any(
        x is None or x is Ellipsis or isinstance(x, (Array, slice, list, tuple, str, np.ndarray))
        for x in index
    )


def _as_item(item):
    """An entry of an index as an int, slice, None, Ellipsis, or a tensor of positions or a mask."""
    if item is None or item is Ellipsis or type(item) is int or isinstance(item, slice):
        return item
    if isinstance(item, Array):
        if item.dtype.name not in ("int64", "int32", "uint8", "bool"):
            raise IndexError(_BAD_TENSOR)
        return item
    if isinstance(item, (bool, np.bool_)):
        return from_host(np.asarray(bool(item)))
    if isinstance(item, (list, tuple, range, np.ndarray)):
        host = np.asarray(to_host(list(item) if isinstance(item, range) else item))
        return _as_item(from_host(host if host.size else host.astype(np.int64)))
    if isinstance(item, str):
        raise TypeError(f"new(): invalid data type '{type(item).__name__}'")
    try:
        return operator.index(item)
    except TypeError:
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are "
            f"valid indices (got {type(item).__name__})"
        ) from None


def _is_mask(tensor):
    return tensor.dtype.name in ("bool", "uint8")


def _dims_taken(item):
    if item is None or item is Ellipsis:
        return 0
    return len(item.shape) if isinstance(item, Array) and _is_mask(item) else 1


def _checked_int(index, d, size):
    if not -size <= index < size:
        raise IndexError(f"index {index} is out of bounds for dimension {d} with size {size}")
    return index % size


def _check_listed(positions, at, size):
    """Positions that the user wrote out are known: check them."""
    for index in to_host(positions).reshape(-1).tolist():
        _checked_int(index, at, size)


def _counted(item, size):
    start, stop, step = item.indices(size)
    if step <= 0:
        raise ValueError("step must be greater than zero")
    return start, len(range(start, stop, step)), step


def _check_masks(tensors, basic, rest):
    kept = [1 if b is None else b[1] for b in basic if not isinstance(b, int)] + list(rest)
    for at, mask in tensors:
        for k, n in enumerate(mask.shape if _is_mask(mask) else ()):
            if n != kept[at + k]:
                raise IndexError(
                    f"The shape of the mask {list(mask.shape)} at index {k} does not match the "
                    f"shape of the indexed tensor {kept} at index {at + k}"
                )


def _positions(tensors):
    """(index tensors, their dimensions): masks become the positions of their True entries."""
    indices, dims = [], []
    for d, tensor in tensors:
        if not _is_mask(tensor):
            found = [tensor]
        else:
            found = map(from_host, np.atleast_1d(to_host(tensor)).nonzero())
        for k, positions in enumerate(found):
            indices.append(positions)
            dims.append(d + k)
    return indices, tuple(dims)


# Picking and putting


def _consecutive(dims):
    return all(b == a + 1 for a, b in zip(dims, dims[1:], strict=False))


def _places(dims, indices):
    """Where the dimensions of the index tensors go: (in JAX's result, in PyTorch's).

    Both put them where the indexed dimensions were if these are neighbours, else first; but in
    PyTorch 0-dim tensors are integers, gone before that is decided.
    """
    zero = [d for d, i in zip(dims, indices, strict=True) if i.ndim == 0]
    wide = [d - sum(z < d for z in zero) for d in dims if d not in zero]
    ours = dims[0] if _consecutive(dims) else 0
    return ours, (wide[0] if wide and _consecutive(wide) else 0)


def _checked(input, indices):
    try:
        return np.broadcast_shapes(*(i.shape for i in indices))
    except ValueError:
        shapes = ", ".join(str(list(i.shape)) for i in indices if i.ndim)
        raise IndexError(
            f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}"
        ) from None


def _moved(x, count, source, destination):
    if source == destination or count == 0:
        return x
    return jnp.moveaxis(x, range(source, source + count), range(destination, destination + count))


@op(name="index", method=False, function=False)
def index_at(input: Tensor, indices: Tensors, dims: Ints):
    """The entries of `input` at index tensors for the dimensions `dims`, in PyTorch's layout."""
    shape = _checked(input, indices)
    ours, theirs = _places(dims, indices)
    found = input.at[addresses(dims, indices)].get(mode="fill")
    return _moved(found, len(shape), ours, theirs)


@op(name="index_put", method=False, function=False)
def index_put_at(input: Tensor, indices: Tensors, dims: Ints, values: Operand,
                 accumulate: Bool = False):  # fmt: skip
    """`input` with `values` (added, if `accumulate`) where `index` reads; they broadcast."""
    shape = _checked(input, indices)
    ours, theirs = _places(dims, indices)
    rest = [n for d, n in enumerate(input.shape) if d not in dims]
    result = (*rest[:theirs], *shape, *rest[theirs:])
    lead = len(result) - values.ndim
    if lead < 0 or any(n not in (1, m) for n, m in zip(values.shape, result[lead:], strict=True)):
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(values.shape)} cannot be broadcast to "
            f"indexing result of shape {list(result)}"
        )
    values = jnp.broadcast_to(values.astype(input.dtype), result)
    values = _moved(values, len(shape), theirs, ours)
    if accumulate:
        at = input.at[addresses(dims, indices)]
        return (at.max if input.dtype == np.bool_ else at.add)(values, mode="drop")
    return set_at(input, dims, tuple(indices), values)


def _value_for(input, value):
    """A value to be stored: a tensor of the same type, or a number that the type can hold."""
    if isinstance(value, Array):
        if value.dtype != input.dtype:
            raise RuntimeError(
                "Index put requires the source and destination dtypes match, got "
                f"{input.dtype.type_name} for the destination and {value.dtype.type_name} for the "
                "source."
            )
    elif not isinstance(value, (bool, int, float, complex, np.generic)):
        raise TypeError(
            f"can't assign a {type(value).__name__} to a torch.{input.dtype.type_name}Tensor"
        )
    elif isinstance(value, complex) and not input.dtype.is_complex:
        raise RuntimeError(
            f"value cannot be converted to type {input.dtype.name.rstrip('0123456789')} "
            "without overflow"
        )
    return value.item() if isinstance(value, np.generic) else value


put_in_place = inplace_form(index_put_at, "index_put_")


@composite
def index_put(input, indices, values, accumulate: bool = False):
    """`input` with `values` at index tensors for its first dimensions, added if `accumulate`.

    Raises: as `setitem`; IndexError for more index tensors than dimensions.
    """
    given, d = [], 0
    for tensor in indices:
        item = _as_item(tensor)
        given.append((d, item))
        d += _dims_taken(item)
    if d > len(input.shape):
        raise IndexError(f"too many indices for tensor of dimension {len(input.shape)} (got {d})")
    _check_masks(given, _whole(input.shape), ())
    return index_put_at(input, *_positions(given), _value_for(input, values), accumulate)


composite(name="index_put_", function=False)(inplace_form(index_put, "index_put_"))


def setitem(input: Any, index: Any, value: Any) -> None:
    """`input[index] = value` in place; the value broadcasts, a basic index also converts its type.

    Raises: as :func:`getitem`; RuntimeError for a value of another shape (or, with index
    tensors, type); TypeError for what is neither tensor nor number.
    """
    basic, tensors = parse(index, input.shape)
    if isinstance(value, Array):
        value = _without_leading_ones(value)
    if any(t.shape or _is_mask(t) for _, t in tensors) or not isinstance(value, Array):
        value = _value_for(input, value)
    target = basic_index(input, basic) if basic else input
    if tensors:
        _put(target, tensors, value)
    elif isinstance(value, Array):
        target.copy_(value)
    else:
        target.fill_(value)


def _put(target, tensors, value):
    at, first = tensors[0]
    if len(tensors) == 1 and _is_mask(first) and _is_single(value):
        target.masked_fill_(_spread(first, len(target.shape) - at), value)
    else:
        put_in_place(target, *_positions(tensors), value)


def _without_leading_ones(value):
    lead = next((d for d, n in enumerate(value.shape) if n != 1), len(value.shape))
    return value.reshape(tuple(value.shape[lead:])) if lead else value


def _is_single(value):
    return not isinstance(value, Array) or len(value.shape) == 0


def _spread(mask, ndim):
    """The mask with dimensions of 1 behind its own, to broadcast over whole slices."""
    mask = mask if mask.dtype.name == "bool" else mask.bool()
    return mask.reshape(tuple(mask.shape) + (1,) * (ndim - len(mask.shape)))


@op(name="unravel_index", function=False, method=False)
def _coordinates(indices: Tensor, shape: Size):
    x = indices.astype(np.int64)
    return tuple(x // math.prod(shape[d + 1 :]) % n for d, n in enumerate(shape))


@composite(method=False)
def unravel_index(indices, shape):
    """The coordinates in a tensor of this shape of positions in it when flattened, as a tuple.

    Raises:
        TypeError: indices that are no integers, a shape that is no int or sequence of ints.
        ValueError: a negative size.
    """
    if indices.dtype.is_floating_point or indices.dtype.is_complex or indices.dtype.name == "bool":
        raise TypeError(f"expected 'indices' to be integer dtype, but got {indices.dtype}")
    sizes = (shape,) if isinstance(shape, int) else shape
    if not isinstance(sizes, (tuple, list)):
        raise TypeError(f"expected 'shape' to be int or sequence of ints, but got {type(shape)}")
    for n in sizes:
        if not isinstance(n, int):
            raise TypeError(f"expected 'shape' sequence to only contain ints, but got {type(n)}")
    if any(n < 0 for n in sizes):
        raise ValueError(f"'shape' cannot have negative values, but got {tuple(sizes)}")
    return _coordinates(indices, sizes) if sizes else ()
