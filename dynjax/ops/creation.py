"""New tensors from sizes, ranges and data.

What is small is made on the host, without recording or compiling anything. Large fills are
recorded as an operation without inputs, so that a program makes them where they are used.
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..autograd.dispatch import into
from ..core.devices import as_device
from ..core.dtypes import (
    as_dtype,
    get_default_complex_dtype,
    get_default_dtype,
    number_dtype,
)
from ..core.dtypes import of as dtype_of
from ..tensor.tensor import Tensor as Array
from ..tensor.tensor import from_host, to_host
from .declare import Dtype, Number, Size, composite, op

# Up to here, sending host data costs less than a program of its own.
_HOST_ELEMENTS = 1 << 16


# Arguments


def read_size(name: str, size: tuple) -> tuple[int, ...]:
    """Sizes given one by one or as one sequence. Raises TypeError, RuntimeError as PyTorch."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
    elif len(size) > 1 and isinstance(size[0], (tuple, list)):
        raise TypeError(f"{name}() takes 1 positional argument but {len(size)} were given")
    sizes = []
    for position, n in enumerate(size):
        if isinstance(n, (bool, float, str)) or not hasattr(n, "__index__"):
            where = f", but found element of type {type(n).__name__} at pos {position}"
            raise TypeError(
                f"{name}(): argument 'size' (position 1) must be tuple of ints"
                + (where if position else f", not {type(n).__name__}")
            )
        sizes.append(n.__index__())
    if any(n < 0 for n in sizes):
        if name == "zeros":
            raise RuntimeError("zeros: Dimension size must be non-negative.")
        raise RuntimeError(
            "Trying to create tensor with negative dimension "
            f"{next(n for n in sizes if n < 0)}: {sizes}"
        )
    return tuple(sizes)


_IGNORED = {"layout", "pin_memory", "memory_format", "names"}


def finish(name: str, made: Any, *, device=None, requires_grad: bool = False, out=None,
           **unused: Any) -> Any:  # fmt: skip
    """A tensor made of host data (or already a tensor), with PyTorch's common options.

    `layout`, `pin_memory`, `memory_format` and `names` are accepted and have no effect.
    """
    for option in unused.keys() - _IGNORED if unused else ():
        raise TypeError(f"{name}() got an unexpected keyword argument '{option}'")
    if not isinstance(made, Array):
        made = from_host(made, None if device is None else as_device(device))
    if out is not None:
        return into(out, made, name)
    if requires_grad:
        if not (made.dtype.is_floating_point or made.dtype.is_complex):
            raise RuntimeError(
                "Only Tensors of floating point and complex dtype can require gradients"
            )
        made.requires_grad_()
    return made


def _dtype_or(dtype, default, name):
    return default if dtype is None else as_dtype(dtype, name)


# Fills


@op(name="constant", method=False, function=False)
def _constant(size: Size, value: Number, dtype: Dtype):
    """One number in every element of a new tensor."""
    return jnp.full(size, value).astype(dtype)


def filled(name: str, size: tuple[int, ...], value: Any, dtype: Any, **options: Any) -> Any:
    """A new tensor of one number; see `finish` for the options."""
    host = math.prod(size) <= _HOST_ELEMENTS or options.get("requires_grad")
    if host or options.get("device") is not None or isinstance(value, complex):
        return finish(name, np.full(size, value, dtype.np), **options)
    return finish(name, _constant(size, value, dtype), **options)


_FILLS = {"zeros": 0, "ones": 1, "empty": 0}


def _fill_family(name, value):
    def create(*size, dtype=None, **options):
        size = size or (options.pop("size", ()),)
        dtype = _dtype_or(dtype, get_default_dtype(), name)
        return filled(name, read_size(name, size), value, dtype, **options)

    def like(input, *, dtype=None, **options):
        _check_tensor(f"{name}_like", input)
        dtype = _dtype_or(dtype, input.dtype, name)
        return filled(f"{name}_like", tuple(input.shape), value, dtype, **options)

    def new(input, *size, dtype=None, **options):
        size = size or (options.pop("size", ()),)
        dtype = _dtype_or(dtype, input.dtype, name)
        return filled(f"new_{name}", read_size(f"new_{name}", size), value, dtype, **options)

    what = "0 (PyTorch leaves it open)" if name == "empty" else str(value)
    create.__doc__ = f"A tensor of the given size, every element {what}."
    like.__doc__ = f"A tensor of the input's size and type, every element {what}."
    new.__doc__ = f"A tensor of the given size and the input's type, every element {what}."
    composite(name=name, method=False)(create)
    composite(name=f"{name}_like", method=False)(like)
    composite(name=f"new_{name}", function=False)(new)


def _check_tensor(name, input):
    if not isinstance(input, Array):
        raise TypeError(
            f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}"
        )


for _name, _value in _FILLS.items():
    _fill_family(_name, _value)


def _fill_dtype(value):
    return value.dtype if isinstance(value, Array) else number_dtype(value)


def _fill_value(value):
    return value.item() if isinstance(value, (Array, np.generic)) else value


@composite(method=False)
def full(size, fill_value, *, dtype=None, **options):
    """A tensor of the given size with `fill_value` everywhere, typed after it by default."""
    if not isinstance(size, (tuple, list)):
        raise TypeError(
            f"full(): argument 'size' (position 1) must be tuple of ints, not {type(size).__name__}"
        )
    dtype = _dtype_or(dtype, _fill_dtype(fill_value), "full")
    return filled("full", read_size("full", (size,)), _fill_value(fill_value), dtype, **options)


@composite(method=False)
def full_like(input, fill_value, *, dtype=None, **options):
    """A tensor of the input's size and type with `fill_value` everywhere."""
    _check_tensor("full_like", input)
    dtype = _dtype_or(dtype, input.dtype, "full_like")
    return filled("full_like", tuple(input.shape), _fill_value(fill_value), dtype, **options)


@composite(function=False)
def new_full(input, size, fill_value, *, dtype=None, **options):
    """A tensor of the given size and the input's type with `fill_value` everywhere."""
    dtype = _dtype_or(dtype, input.dtype, "new_full")
    size = read_size("new_full", (size,))
    return filled("new_full", size, _fill_value(fill_value), dtype, **options)


# From data


def _from_data(name, data, dtype, **options):
    dtype = None if dtype is None else as_dtype(dtype, name)
    return finish(name, to_host(data, dtype), **options)


@composite(function=False)
def new_tensor(input, data, *, dtype=None, device=None, requires_grad: bool = False):
    """A tensor with a copy of the data, of the input's type."""
    return _from_data("new_tensor", data, dtype or input.dtype, device=device,
                      requires_grad=requires_grad)  # fmt: skip


# Ranges


def _number(x):
    return x.item() if isinstance(x, (Array, np.generic)) else x


@composite(method=False)
def arange(start, end=None, step=1, *, dtype=None, **options):
    """Numbers from `start` (0 if only one is given) up to but without `end`, `step` apart.

    Of type int64 where all three are integers, otherwise the default dtype.
    """
    start, end = (0, start) if end is None else (start, end)
    start, end, step = _number(start), _number(end), _number(step)
    for value in (start, end, step):
        if not isinstance(value, (bool, int, float)):
            raise TypeError(f"arange(): argument 'end' must be Number, not {type(value).__name__}")
    if dtype is None and isinstance(options.get("out"), Array):
        dtype = options["out"].dtype
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    whole = not any(isinstance(x, float) for x in (start, end, step))
    default = dtype_of(np.dtype(np.int64)) if whole else get_default_dtype()
    dtype = _dtype_or(dtype, default, "arange")
    if not dtype.is_floating_point and int(step) == 0:
        raise ValueError("step must be nonzero")
    if not whole and not dtype.is_floating_point:
        start, end, step, whole = int(start), int(end), int(step), True
    count = -((start - end) // step) if whole else math.ceil((end - start) / step)
    values = start + step * np.arange(count, dtype=np.int64 if whole else np.float64)
    return finish("arange", values.astype(dtype.np), **options)


@composite(method=False)
def range(start, end, step=1, *, dtype=None, **options):
    """Numbers from `start` to `end` (included), `step` apart, of the default dtype."""
    dtype = _dtype_or(dtype, get_default_dtype(), "range")
    values = start + step * np.arange(math.floor((end - start) / step) + 1)
    return finish("range", values.astype(dtype.np), **options)


def _spaced(start, end, steps, dtype, name):
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    start, end = _number(start), _number(end)
    mixed = isinstance(start, complex) or isinstance(end, complex)
    default = get_default_complex_dtype() if mixed else get_default_dtype()
    return np.linspace(start, end, steps), _dtype_or(dtype, default, name)


@composite(method=False)
def linspace(start, end, steps: int, *, dtype=None, **options):
    """`steps` numbers from `start` to `end`, both included, equally far apart."""
    values, dtype = _spaced(start, end, steps, dtype, "linspace")
    return finish("linspace", values.astype(dtype.np), **options)


@composite(method=False)
def logspace(start, end, steps: int, base: float = 10.0, *, dtype=None, **options):
    """`steps` numbers from `base`**`start` to `base`**`end`, equal factors apart."""
    values, dtype = _spaced(start, end, steps, dtype, "logspace")
    return finish("logspace", np.power(base, values).astype(dtype.np), **options)


# Matrices


@composite(method=False)
def eye(n: int, m: int | None = None, *, dtype=None, **options):
    """A matrix of `n` rows (and `m` columns) with 1 on the diagonal and 0 elsewhere."""
    for name, size in (("n", n), ("m", m)):
        if size is not None and size < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {size}")
    return finish("eye", np.eye(n, m, dtype=_dtype_or(dtype, get_default_dtype(), "eye").np),
                  **options)  # fmt: skip


def _triangle_indices(name, pick):
    def function(row: int, col: int, offset: int = 0, *, dtype=None, **options):
        for what, size in (("row", row), ("col", col)):
            if size < 0:
                raise RuntimeError(f"{what} must be non-negative, got{size}")
        dtype = _dtype_or(dtype, dtype_of(np.dtype(np.int64)), name)
        return finish(name, np.stack(pick(row, offset, col)).astype(dtype.np), **options)

    side = "lower" if name.startswith("tril") else "upper"
    function.__doc__ = f"Row and column indices of the {side} triangle, as the rows of a matrix."
    composite(name=name, method=False)(function)


_triangle_indices("tril_indices", np.tril_indices)
_triangle_indices("triu_indices", np.triu_indices)
