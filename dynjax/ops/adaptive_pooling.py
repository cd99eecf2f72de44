"""Adaptive pooling: the output's size is given, the windows follow from it."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from .declare import Bool, Static, Tensor, op
from .pooling import (
    SHAPES,
    channels_first,
    channels_last,
    flat_index,
    max_gathered,
    max_windows,
    refuse,
    sum_windows,
)
from .windows import Geometry


def _bins(size: int, out: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions (out, k) of adaptive windows over `size`, and which count."""
    start = np.arange(out) * size // max(out, 1)
    stop = -(-(np.arange(out) + 1) * size // max(out, 1))
    width = int((stop - start).max(initial=1))
    position = start[:, None] + np.arange(width)
    return position, position < stop[:, None]


def _adaptive(input, output_size, name) -> tuple[jax.Array, tuple[int, ...]]:
    """Check an adaptive call; return the channels-last input and the output size."""
    dims, shape = int(name[-2]), list(input.shape)
    values = (output_size,) * dims if isinstance(output_size, int) else tuple(output_size)
    if dims == 1 and len(values) != 1:
        raise RuntimeError(f"{name}() argument 'output_size' should contain one int (got "
                           f"{len(values)})")  # fmt: skip
    if dims > 1 and not isinstance(output_size, int) and len(values) >= input.ndim:
        raise ValueError(f"Input dimension should be at least {len(values) + 1}")
    if len(values) != dims:
        if "max" in name:
            raise RuntimeError(f"{name}(): internal error: output_size.size() must be {dims}")
        raise RuntimeError(f"{name}: output_size must be {dims}")
    if input.ndim not in (dims + 1, dims + 2):
        if dims == 1:
            raise RuntimeError(
                f"Expected 2 to 3 dimensions, but got {input.ndim}-dimensional tensor for "
                f"argument #1 'self' (while checking arguments for {name})"
            )
        colon = ":" if "max" in name else ""
        raise RuntimeError(
            f"{name}(): Expected {dims + 1}D or {dims + 2}D tensor, but got{colon} {shape}"
        )
    size = shape[-dims:]
    values = tuple(n if v is None else v for v, n in zip(values, size, strict=True))
    if any(v < 0 for v in values):
        if "max" in name:
            worst = next(v for v in values if v < 0)
            full = shape[:-dims] + list(values)
            raise RuntimeError(f"Trying to create tensor with negative dimension {worst}: {full}")
        raise RuntimeError(
            f"{name}: elements of output_size must be greater than or equal to 0 but received "
            "{" + ", ".join(map(str, values)) + "}"
        )
    for axis in range(input.ndim - dims - (1 if "max" in name else 0), input.ndim):
        if shape[axis] == 0:
            raise RuntimeError(
                f"{name}(): Expected input to have non-zero size for non-batch dimensions, but "
                f"input has sizes {shape} with dimension {axis} being empty"
            )
    refuse(name.replace("1d", "2d"), input.dtype)
    return channels_last(input, dims), values


def _exact_tiles(size, out) -> tuple[tuple[int, ...], Geometry] | None:
    if any(o == 0 or n % o for n, o in zip(size, out, strict=True)):
        return None
    kernel = tuple(n // o for n, o in zip(size, out, strict=True))
    return kernel, Geometry(kernel, ((0, 0),) * len(kernel), (1,) * len(kernel))


def _adaptive_avg(input, output_size, name):
    x, out = _adaptive(input, output_size, name)
    size = x.shape[1:-1]
    half = input.dtype in (jnp.float16, jnp.bfloat16)
    x = x.astype(jnp.float32 if half else x.dtype)
    exact = _exact_tiles(size, out)
    if exact:
        x = sum_windows(x, *exact) / math.prod(exact[0])
    else:
        # A mean over a box is the mean of means, one dimension at a time.
        for axis, (n, o) in enumerate(zip(size, out, strict=True)):
            position, valid = _bins(n, o)
            shape = (*position.shape, *[1] * (x.ndim - axis - 2))
            windows = jnp.take(x, position, axis=axis + 1, mode="clip")
            total = jnp.where(valid.reshape(shape), windows, 0).sum(axis + 2)
            x = total / jnp.asarray(valid.sum(1).reshape(-1, *shape[2:]), x.dtype)
    return channels_first(x.astype(input.dtype), input)


def _adaptive_max(input, output_size, return_indices, name):
    x, out = _adaptive(input, output_size, name)
    size = x.shape[1:-1]
    exact = _exact_tiles(size, out)
    if exact:
        value, index = max_windows(x, *exact, return_indices)
    else:
        bins = [_bins(n, o) for n, o in zip(size, out, strict=True)]
        positions, valid = [b[0] for b in bins], [b[1] for b in bins]
        value, choice = max_gathered(x, positions, valid)
        kernel = tuple(p.shape[1] for p in positions)
        index = flat_index(choice, positions, size, kernel) if 0 not in out else choice
    value = channels_first(value, input)
    return (value, channels_first(index, input)) if return_indices else value


_ADAPTIVE_DOC = """Divide `input`, {shape}, into `output_size` boxes and take the {what} of each.

Boxes may overlap by one element where sizes do not divide. `output_size` is an int or one per
dimension, None keeping that dimension's size.

Raises:
    RuntimeError: shapes or sizes do not fit, in PyTorch's words.

Source: torch.nn.functional.adaptive_{kind}_pool{dims}d.
"""


def _declare_adaptive(dims: int) -> None:
    average, maximum = f"adaptive_avg_pool{dims}d", f"adaptive_max_pool{dims}d"
    text = {"shape": SHAPES[dims], "dims": dims}
    node = f"Pool{dims}DBackward0" if dims > 1 else None

    @op(
        name=average,
        module="nn.functional",
        grad_name=f"AdaptiveAvg{node}" if node else "SqueezeBackward1",
        doc=_ADAPTIVE_DOC.format(what="mean", kind="avg", **text),
    )
    def adaptive_avg_pool(input: Tensor, output_size: Static):
        return _adaptive_avg(input, output_size, average)

    @op(
        name=maximum,
        module="nn.functional",
        grad_name=f"AdaptiveMax{node}" if node else "SqueezeBackward1",
        doc=_ADAPTIVE_DOC.format(what="maximum", kind="max", **text),
    )
    def adaptivemax_windows(input: Tensor, output_size: Static, return_indices: Bool = False):
        return _adaptive_max(input, output_size, return_indices, maximum)


for _dims in (1, 2, 3):
    _declare_adaptive(_dims)
