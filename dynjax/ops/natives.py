"""Names that PyTorch shows although other functions are made of them, and strided creation.

Strides are accepted where PyTorch has them and without effect: layout is XLA's.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp

from ..autograd.dispatch import check_inplace, into
from ..core.dtypes import as_dtype, get_default_dtype
from . import convolution, margins, pooling, shape  # noqa: F401  (declare what is used)
from .creation import filled, read_size
from .declare import NAMES, Float, Int, Ints, Tensor, composite, op, register
from .inplace import restructure
from .normalization import _affine, _spread, _standardize, _wide, batch_norm, group_norm, layer_norm

_TORCH, _FUNCTIONAL = NAMES["torch"], NAMES["nn.functional"]


# --- normalisation with its statistics ------------------------------------------------------------


def _statistics(input, rows, eps, *parameters):
    """Mean and 1 / deviation of the rows of the input, a matrix of so many.

    They have the type of the first parameter there is, or the input's.
    """
    (x,) = _wide(input)
    x = x.reshape(rows, x.size // max(rows, 1))
    dtype = next((p.dtype for p in parameters if p is not None), input.dtype)
    return x.mean(1).astype(dtype), _standardize(x, eps)[1][:, 0].astype(dtype)


def _without_gradient(results, out, name):
    """(result, statistics), the latter cut from the tape as PyTorch's; into `out=` if given."""
    result, *statistics = results
    results = (result, *(s.detach() for s in statistics))
    return results if out is None else into(out, results, name)


@op(name="native_layer_norm", function=False, method=False)
def _native_layer_norm(
    input: Tensor, normalized_shape: Ints, weight: Tensor | None, bias: Tensor | None, eps: Float
):
    """(result, means, reciprocal deviations)."""
    result = _LAYER_NORM(input, normalized_shape, weight, bias, eps)
    lead = input.shape[: input.ndim - len(normalized_shape)]
    kept = (*lead, *(1,) * len(normalized_shape))
    found = _statistics(input, math.prod(lead), eps, weight, bias)
    return (result, *(s.reshape(kept) for s in found))


@composite(method=False)
def native_layer_norm(input, normalized_shape, weight, bias, eps, *, out=None):
    """`layer_norm`, and the means and reciprocal deviations that it divided by."""
    results = _native_layer_norm(input, tuple(normalized_shape), weight, bias, eps)
    return _without_gradient(results, out, "native_layer_norm")


@op(method=False)
def native_group_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, N: Int, C: Int, HxW: Int,
    group: Int, eps: Float,
):  # fmt: skip
    """`group_norm`, and the means and reciprocal deviations that it divided by."""
    x = input.reshape(N, C, HxW)
    result = _GROUP_NORM(x, group, weight, bias, eps).reshape(input.shape)
    found = _statistics(x, N * group, eps, weight, bias)
    return (result, *(s.reshape(N, group) for s in found))


_LAYER_NORM, _GROUP_NORM = layer_norm.__wrapped__, group_norm.__wrapped__


@op(name="native_batch_norm", function=False, method=False)
def _native_batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running: Tensor | None, eps: Float
):
    """(result, means, reciprocal deviations) of the channels of a batch."""
    given = weight, bias, running
    x, weight, bias = _wide(input, weight, bias)
    channels = jnp.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
    mean, scale = _statistics(channels, x.shape[1], eps)
    dtype = next((p.dtype for p in given if p is not None), input.dtype)
    result = (x - _spread(mean, x.ndim)) * _spread(scale, x.ndim)
    parameters = [None if p is None else _spread(p, x.ndim) for p in (weight, bias)]
    result = _affine(result, *parameters).astype(input.dtype)
    return result, mean.astype(dtype), scale.astype(dtype)


@composite(method=False)
def native_batch_norm(
    input, weight, bias, running_mean, running_var, training, momentum, eps, *, out=None
):
    """`batch_norm`, and the means and reciprocal deviations; none of them unless training."""
    result = batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    results = (result, input.new_empty(0), input.new_empty(0))
    if training:
        results = _native_batch_norm(input, weight, bias, running_mean, eps)
    return _without_gradient(results, out, "native_batch_norm")


@composite(method=False)
def constant_pad_nd(input, pad, value=0):
    """`nn.functional.pad` with a constant."""
    return _FUNCTIONAL["pad"](input, tuple(pad), "constant", value)


@composite(module=("torch", "nn.functional"), method=False)
def conv_tbc(input, weight, bias, pad=0):
    """A 1-D convolution of (time, batch, channels) with a (width, in, out) kernel."""
    x = _FUNCTIONAL["conv1d"](input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad)
    return x.permute(2, 0, 1)


# Functions of nn.functional that are in the main namespace too, with the same parameters.
for _name in (
    "avg_pool1d", "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_avg_pool1d",
    "bilinear",
):  # fmt: skip
    if _name in _FUNCTIONAL and _name not in _TORCH:
        register("torch", _name, _FUNCTIONAL[_name])


# --- sizes and strides ----------------------------------------------------------------------------


def _check_strides(size, stride):
    if len(size) != len(stride):
        raise RuntimeError(
            f"dimensionality of sizes ({len(size)}) must match dimensionality of strides "
            f"({len(stride)})"
        )


@composite(method=False)
def empty_strided(size, stride, *, dtype=None, **options: Any):
    """A tensor of the given size, every element 0; the strides have no effect."""
    _check_strides(size, stride)
    dtype = get_default_dtype() if dtype is None else as_dtype(dtype, "empty_strided")
    return filled("empty_strided", read_size("empty_strided", (size,)), 0, dtype, **options)


@composite(function=False)
def new_empty_strided(input, size, stride, *, dtype=None, **options: Any):
    """`empty_strided` in the input's type."""
    return empty_strided(size, stride, dtype=dtype or input.dtype, **options)


@composite(method=False)
def empty_permuted(size, physical_layout, *, dtype=None, **options: Any):
    """A tensor of the given size, every element 0; the layout has no effect.

    Raises:
        RuntimeError: the layout is no permutation of the dimensions.
    """
    if len(size) != len(physical_layout):
        raise RuntimeError(
            f"Number of dimensions in size does not match the length of the physical_layout; i.e. "
            f"len(size) = {len(size)} is not equal to len(physical_layout) = "
            f"{len(physical_layout)}"
        )
    for k, d in enumerate(physical_layout):
        if not 0 <= d < len(size):
            raise RuntimeError(f"Dimension out of range (expected to be between 0 and "
                               f"{len(size) - 1}, but got {d} at index {k}).")  # fmt: skip
        if d in physical_layout[:k]:
            raise RuntimeError("Duplicate dim not allowed")
    return empty_strided(size, physical_layout, dtype=dtype, **options)


@composite(name="resize_", function=False)
def resize_(input, *size, memory_format=None):
    """Give the tensor another size, keeping its first elements; further ones are 0
    (PyTorch leaves them open).

    Raises:
        RuntimeError: it requires grad.
    """
    size = read_size("resize_", size)
    if input.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    if tuple(input.shape) == size:
        return input
    check_inplace(input)
    count, flat = math.prod(size), input.reshape(-1)
    if count > flat.shape[0]:
        flat = _TORCH["cat"]([flat, flat.new_zeros(count - flat.shape[0])])
    view = flat.narrow(0, 0, count).view(size)
    if count <= math.prod(input.shape):
        return restructure(input, view)
    input._v, input._alias = view.clone()._v, None
    return input


@composite(name="resize_as_")
def resize_as_(input, the_template, *, memory_format=None):
    """`resize_` to the size of another tensor."""
    return input.resize_(tuple(the_template.shape))


# --- questions ------------------------------------------------------------------------------------


@composite
def is_nonzero(input) -> bool:
    """Whether the one element is not 0. Raises RuntimeError where there are none, or several."""
    if input.numel() == 0:
        raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
    return bool(input)


@composite
def is_same_size(input, other) -> bool:
    """Whether two tensors are of one shape."""
    return tuple(input.shape) == tuple(other.shape)


@composite(method=False)
def is_signed(input) -> bool:
    """Whether the type has negative numbers."""
    return input.dtype.is_signed


@composite
def is_inference(input) -> bool:
    """False: tensors made under `inference_mode` are as any other."""
    return False
