"""The way back from pooled maxima, and pooling of windows that lie at random.

Source: https://pytorch.org/docs/stable/nn.functional.html#pooling-functions
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from . import adaptive_pooling  # noqa: F401  (declares what gets another name here)
from .checks import type_name
from .declare import NAMES, Bool, Ints, Tensor, composite, op, register
from .pooling import refuse
from .scatter import _set

_FUNCTIONAL = NAMES["nn.functional"]


# --- unpooling ------------------------------------------------------------------------------------


def _unpool_name(given):
    dims = len(given["output_size"])
    return "SqueezeBackward1" if dims == 1 else f"MaxUnpool{dims}DBackward0"


@op(name="max_unpool", function=False, method=False, grad_name=_unpool_name)
def _max_unpool(input: Tensor, indices: Tensor, output_size: Ints):
    """The elements of `input` at `indices` into the flattened output, 0 elsewhere."""
    dims = len(output_size)
    name = f"max_unpooling{max(dims, 2)}d_forward_out"
    if indices.dtype != np.int64:
        raise RuntimeError(
            f"elements in indices should be type int64 but got: {type_name(indices.dtype)}"
        )
    if input.ndim not in (dims + 1, dims + 2):
        raise RuntimeError(
            f"Input to max_unpooling{max(dims, 2)}d should be a {dims + 1}d or {dims + 2}d Tensor, "
            f"but got a tensor with {input.ndim} dimensions"
        )
    if indices.shape != input.shape:
        raise RuntimeError(
            f"Expected shape of indices to be same as that of the input tensor "
            f"({list(input.shape)}) but got indices tensor with shape: {list(indices.shape)}"
        )
    for d in range(input.ndim - dims, input.ndim):
        if input.shape[d] == 0:
            raise RuntimeError(
                f"{name}(): Expected input to have non-zero size for non-batch dimensions, but "
                f"got {list(input.shape)} with dimension {d} being empty."
            )
    refuse(name, input.dtype, ("int64",))
    lead = input.shape[: input.ndim - dims]
    planes = math.prod(lead)
    plane = jnp.arange(planes)[:, None]
    base = jnp.zeros((planes, math.prod(output_size)), input.dtype)
    at = jnp.broadcast_to(plane, (planes, math.prod(input.shape[len(lead) :])))
    result = _set(base, (at, indices.reshape(planes, -1)), input.reshape(planes, -1))
    return result.reshape(*lead, *output_size)


def _unpooled_size(input, kernel_size, stride, padding, output_size):
    """The size to unpool to. Raises ValueError."""
    default = [
        (n - 1) * s + k - 2 * p
        for n, k, s, p in zip(
            input.shape[-len(kernel_size) :], kernel_size, stride, padding, strict=True
        )
    ]
    if output_size is None:
        return tuple(default)
    dims = len(kernel_size)
    size = tuple(output_size)[2:] if len(output_size) == dims + 2 else tuple(output_size)
    if len(size) != dims:
        raise ValueError(
            f"output_size should be a sequence containing {dims} or {dims + 2} elements, but it "
            f"has a length of '{len(size)}'"
        )
    for d, (n, middle, s) in enumerate(zip(size, default, stride, strict=True)):
        if not middle - s < n < middle + s:
            raise ValueError(
                f'invalid output_size "{size}" (dim {d} must be between {middle - s} and '
                f"{middle + s})"
            )
    return size


def _declare_unpool(dims: int) -> None:
    def each(value):
        return (value,) * dims if isinstance(value, int) else tuple(value)

    def max_unpool(input, indices, kernel_size, stride=None, padding=0, output_size=None):
        kernel = each(kernel_size)
        stride = kernel if stride is None else each(stride)
        size = _unpooled_size(input, kernel, stride, each(padding), output_size)
        if min(size) < 0:
            d = next(d for d, n in enumerate(size) if n < 0)
            raise ValueError(
                "max_unpooling: output_size must contain non-negative spatial dimensions, but got "
                f"output_size[{d}]={size[d]}"
            )
        return _max_unpool(input, indices, size)

    max_unpool.__doc__ = f"""Put maxima back where `max_pool{dims}d` found them, 0 elsewhere.

    Args:
        input, indices: what `max_pool{dims}d` gave with `return_indices`.
        kernel_size, stride, padding: as it was called with.
        output_size: the size of its input, if the settings do not say.

    Raises:
        ValueError, RuntimeError: sizes or types do not fit.
    """
    composite(name=f"max_unpool{dims}d", module="nn.functional", method=False)(max_unpool)


# --- windows at random ----------------------------------------------------------------------------


def _starts(samples, size, out, kernel):
    """Where the windows along one dimension begin, (N, C, out)."""
    if out == 1:
        return jnp.full((*samples.shape, 1), size - kernel)
    alpha = (size - kernel) / jnp.asarray(out - 1, samples.dtype)
    place = jnp.arange(out - 1, dtype=samples.dtype)
    at = jnp.floor((place + samples[..., None]) * alpha) - jnp.floor(samples[..., None] * alpha)
    last = jnp.full((*samples.shape, 1), size - kernel)
    return jnp.concatenate([at.astype(last.dtype), last], -1)


def _fractional_name(given):
    return f"FractionalMaxPool{len(given['output_size'])}DBackward0"


@op(name="fractional_max_pool", function=False, method=False, grad_name=_fractional_name)
def _fractional(
    input: Tensor, samples: Tensor, kernel_size: Ints, output_size: Ints, indices: Bool
):
    """Maxima of windows whose places follow from samples in [0, 1)."""
    dims = len(output_size)
    name = f"fractional_max_pool{dims}d"
    if len(kernel_size) != dims:
        raise RuntimeError(f"{name}: kernel_size must either be a single Int or tuple of Ints")
    if input.ndim not in (dims + 1, dims + 2) or 0 in input.shape[-dims - 1 :]:
        raise RuntimeError(
            f"{name}: Expected {dims + 1}D or {dims + 2}D tensor with non-empty dimensions, but "
            f"got: {list(input.shape)}"
        )
    size = input.shape[-dims:]
    axes = ("time", "height", "width")[-dims:]
    for axis, n, k, out in zip(axes, size, kernel_size, output_size, strict=True):
        if out + k - 1 > n - (dims == 3):  # PyTorch's volumes keep a margin of one
            raise RuntimeError(
                f"{name}_out(): pool {axis} {k} too large relative to input {axis} {n}"
            )
    refuse(f"{name}_out_frame", input.dtype)
    if samples.dtype != input.dtype:
        raise RuntimeError("Expect _random_samples to have the same dtype as input")
    x = input if input.ndim == dims + 2 else input[None]
    if samples.ndim != 3 or samples.shape[0] < x.shape[0] or samples.shape[2] != dims:
        raise RuntimeError(
            f"Expect _random_samples to have shape ({x.shape[0]}, {x.shape[1]}, {dims}); got "
            f"{list(samples.shape)}"
        )
    samples = samples[: x.shape[0]]
    flat = jnp.zeros((*x.shape[:2], *(1,) * (2 * dims)), np.int64)
    for d, (n, k, out) in enumerate(zip(size, kernel_size, output_size, strict=True)):
        # In two dimensions PyTorch takes the first sample for the width.
        drawn = samples[..., dims - 1 - d if dims == 2 else d]
        at = _starts(drawn, n, out, k)[..., None] + jnp.arange(k)
        shape = [1] * (2 * dims)
        shape[d], shape[dims + d] = out, k
        flat = flat * n + at.reshape(*at.shape[:2], *shape)
    flat = flat.reshape(*x.shape[:2], math.prod(output_size), math.prod(kernel_size))
    plane = x.reshape(*x.shape[:2], 1, math.prod(size))
    windows = jnp.take_along_axis(plane, flat, 3)
    # As PyTorch: the last NaN, else the first of the largest.
    nan = jnp.isnan(windows)
    order = jnp.arange(windows.shape[-1])
    last_nan = jnp.where(nan, order, -1).max(-1)
    chosen = jnp.where(last_nan >= 0, last_nan, jnp.where(nan, -jnp.inf, windows).argmax(-1))
    chosen = chosen[..., None]
    shape = (*input.shape[:-dims], *output_size)
    value = jnp.take_along_axis(windows, chosen, -1).reshape(shape)
    found = jnp.take_along_axis(flat, chosen, -1).reshape(shape)
    return (value, found) if indices else value


def _declare_fractional(dims: int) -> None:
    name = f"fractional_max_pool{dims}d"

    def fractional_max_pool(
        input, kernel_size, output_size=None, output_ratio=None, return_indices=False,
        _random_samples=None,
    ):  # fmt: skip
        def each(value):
            return (value,) * dims if isinstance(value, (int, float)) else tuple(value)

        if output_size is None and output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
        if output_size is None:
            ratios = each(output_ratio)
            if len(ratios) != dims:
                raise ValueError(
                    f"{name} requires output_ratio to either be a single Int or tuple of Ints."
                )
            sizes = tuple(input.shape)[-dims:]
            output_size = tuple(int(n * r) for n, r in zip(sizes, ratios, strict=True))
        if _random_samples is None:
            count = 1 if input.dim() == dims + 1 else input.shape[0]
            _random_samples = NAMES["torch"]["rand"](
                count, input.shape[-dims - 1], dims, dtype=input.dtype
            )
        return _fractional(
            input, _random_samples, each(kernel_size), each(output_size), return_indices
        )

    fractional_max_pool.__doc__ = f"""The maximum of windows of one size, at places partly random.

    Args:
        input: (N, C, *spatial) or (C, *spatial), of {dims} spatial dimensions.
        kernel_size, output_size: an int or one per dimension; or else
        output_ratio: of output to input, between 0 and 1.
        return_indices: also return where in the flattened spatial dimensions the maxima are.

    Raises:
        ValueError, RuntimeError: sizes or types do not fit.

    Source: Graham: Fractional Max-Pooling (arXiv:1412.6071).
    """
    composite(name=name, module="nn.functional", method=False)(fractional_max_pool)


for _dims in (1, 2, 3):
    _declare_unpool(_dims)
for _dims in (2, 3):
    _declare_fractional(_dims)


# --- pooling under its other names ----------------------------------------------------------------


def _with_indices(name: str) -> None:
    pool = _FUNCTIONAL[name]

    def pooled(input, *args, **kwargs):
        kwargs.pop("return_indices", None)
        return pool(input, *args, return_indices=True, **kwargs)

    pooled.__doc__ = f"`{name}`, with where the maxima are."
    composite(name=f"{name}_with_indices", module="nn.functional", method=False)(pooled)


for _dims in (1, 2, 3):
    _with_indices(f"max_pool{_dims}d")
    _with_indices(f"adaptive_max_pool{_dims}d")
    if _dims > 1:
        _with_indices(f"fractional_max_pool{_dims}d")
register("torch", "max_pool1d_with_indices", _FUNCTIONAL["max_pool1d_with_indices"])
register("torch", "adaptive_max_pool1d", _FUNCTIONAL["adaptive_max_pool1d_with_indices"])
