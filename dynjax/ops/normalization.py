"""Normalisation over features, groups, batches and neighbouring channels.

Half types are computed in float32 and rounded once, as in PyTorch.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..autograd.modes import no_grad
from ..core.dtypes import get_default_dtype
from .checks import (
    check_floating,
    check_kind,
    in_opmath,
    is_integral,
    reduced_dims,
    type_name,
    wrap_dim,
)
from .declare import Float, Int, Ints, Number, Tensor, composite, op
from .reductions import vector_norm_of


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _standardize(x: jax.Array, eps: float) -> tuple[jax.Array, jax.Array]:
    """Bring each row of a matrix to mean 0 and variance 1; return also 1 / deviation.

    The derivative is written from the result: JAX's own keeps and repeats the intermediate
    steps (a GPT's layer norms, forward and backward: 3.7 ms, so 2.5, of a step of 35).
    """
    centred = x - x.mean(-1, keepdims=True)
    scale = lax.rsqrt((centred * centred).mean(-1, keepdims=True) + eps)
    return centred * scale, scale


@_standardize.defjvp
def _standardize_jvp(eps: float, primals: tuple, tangents: tuple) -> tuple:
    (x,), (dx,) = primals, tangents
    y, scale = _standardize(x, eps)
    shift = (y * dx).mean(-1, keepdims=True)
    tangent = (dx - dx.mean(-1, keepdims=True) - y * shift) * scale
    return (y, scale), (tangent, -scale * scale * shift)


def _spread(vector: jax.Array, ndim: int, axis: int = 1) -> jax.Array:
    """Reshape (C,) to broadcast along `axis` of `ndim` dimensions."""
    return vector.reshape((-1,) + (1,) * (ndim - axis - 1))


def _affine(x: jax.Array, weight: jax.Array | None, bias: jax.Array | None) -> jax.Array:
    if weight is not None:
        x = x * weight
    return x if bias is None else x + bias


def _check_normalized(input, shape, weight, bias, star) -> None:
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least "
            "one element, but got normalized_shape = []"
        )
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and value.shape != shape:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of "
                f"shape {list(value.shape)} and normalized_shape = {list(shape)}"
            )
    if input.shape[input.ndim - len(shape) :] != shape or input.ndim < len(shape):
        tail = ", ".join(map(str, shape))
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*{star}{tail}], "
            f"but got input of size{list(input.shape)}"
        )


def _normalized_shape(shape: Any, function: str) -> tuple[int, ...]:
    if isinstance(shape, int):
        raise TypeError(
            f"{function}(): argument 'normalized_shape' (position 2) must be tuple of ints, not int"
        )
    return tuple(shape)


def _check_mixed(input, *others) -> None:
    """Parameters may be float32 beside a half input, else the types are the same."""
    half = input.dtype.itemsize == 2
    for other in others:
        if other is None or other.dtype == input.dtype or (half and other.dtype == np.float32):
            continue
        raise RuntimeError("mixed dtype (CPU): all inputs must share same datatype.")


def _wide(*arrays: jax.Array | None) -> list[jax.Array | None]:
    return [a.astype(np.float32) if a is not None and a.dtype.itemsize == 2 else a for a in arrays]


@op(module=("nn.functional", "torch"), method=False, grad_name="NativeLayerNormBackward0")
def layer_norm(
    input: Tensor,
    normalized_shape: Ints,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: Float = 1e-5,
):
    """Normalise over the last dimensions to mean 0 and variance 1, then scale and shift.

    Args:
        input: (*, *normalized_shape), floating.
        weight, bias: of `normalized_shape`, or None.

    Returns: as `input`.

    Raises:
        RuntimeError: shapes or types do not fit, in PyTorch's words.

    Source: Ba, Kiros, Hinton: Layer Normalization (arXiv:1607.06450).
    """
    shape = _normalized_shape(normalized_shape, "layer_norm")
    _check_normalized(input, shape, weight, bias, ", ")
    check_kind(input, "bic", "LayerNormKernelImpl")
    _check_mixed(input, weight, bias)
    x, weight, bias = _wide(input, weight, bias)
    if input.size == 0:
        return input
    rows, _ = _standardize(x.reshape(-1, math.prod(shape)), eps)
    return _affine(rows.reshape(x.shape), weight, bias).astype(input.dtype)


@op(module=("nn.functional", "torch"), method=False, grad_name="MulBackward0")
def rms_norm(
    input: Tensor,
    normalized_shape: Ints,
    weight: Tensor | None = None,
    eps: Float | None = None,
):
    """Divide by the root of the mean square over the last dimensions, then scale.

    Args:
        input: (*, *normalized_shape), floating.
        weight: of `normalized_shape`, or None.
        eps: added to the mean square; by default the smallest step of the computing type.

    Returns: as `input`.

    Source: Zhang, Sennrich: Root Mean Square Layer Normalization (arXiv:1910.07467).
    """
    shape = _normalized_shape(normalized_shape, "rms_norm")
    _check_normalized(input, shape, weight, None, "")
    check_kind(input, "bi", "rms_norm")
    x, weight = _wide(input, weight)
    if eps is None:
        eps = float(jnp.finfo(x.dtype).eps)
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    square = (x * x).mean(axes, keepdims=True)
    return _affine(x * lax.rsqrt(square + eps), weight, None).astype(input.dtype)


@op(module=("nn.functional", "torch"), method=False, grad_name="NativeGroupNormBackward0")
def group_norm(
    input: Tensor,
    num_groups: Int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: Float = 1e-5,
):
    """Normalise each group of channels of each sample, then scale and shift the channels.

    Args:
        input: (N, C, *), floating.
        num_groups: divides C.
        weight, bias: (C,) or None.

    Returns: as `input`.

    Source: Wu, He: Group Normalization (arXiv:1803.08494).
    """
    shape = list(input.shape)
    if input.ndim < 2:
        raise RuntimeError(
            f"Expected at least 2 dimensions for input tensor but received {input.ndim}"
        )
    channels = shape[1]
    folded = [shape[0] * channels // num_groups, num_groups, *shape[2:]]
    if folded[0] * math.prod(folded[2:]) == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {folded}"
        )
    if num_groups < 0 or channels % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input "
            f"of shape {shape} and num_groups={num_groups}"
        )
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and value.shape != (channels,):
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in "
                f"input, but got {name} of shape {list(value.shape)} and input of shape {shape}"
            )
    check_kind(input, "bic", "GroupNormKernelImpl")
    _check_mixed(input, weight, bias)
    if input.size == 0:
        return input
    x, *parameters = _wide(input, weight, bias)
    rows, _ = _standardize(x.reshape(shape[0] * num_groups, -1), eps)
    parameters = [None if p is None else _spread(p, input.ndim) for p in parameters]
    return _affine(rows.reshape(x.shape), *parameters).astype(input.dtype)


# --------------------------------------------------------------------------------------------
# Batch statistics.


def _moments(x: jax.Array, eps: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalise each channel of (N, C, *); return also mean and unbiased variance, (C,)."""
    axes = (0, *range(2, x.ndim))
    count = x.size // max(x.shape[1], 1)
    mean = x.mean(axes, keepdims=True)
    centred = x - mean
    variance = (centred * centred).mean(axes, keepdims=True)
    unbiased = variance.reshape(-1) * (count / max(count - 1, 1))
    return centred * lax.rsqrt(variance + eps), mean.reshape(-1), unbiased


def _check_channels(channels, **vectors) -> None:
    for name, vector in vectors.items():
        if vector is not None and math.prod(vector.shape) != channels:
            raise RuntimeError(
                f"{name} should contain {channels} elements not {math.prod(vector.shape)}"
            )


@op(name="_batch_norm_train", function=False, method=False,
    grad_name="NativeBatchNormBackward0")  # fmt: skip
def _batch_norm_train(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: Number,
    eps: Float,
):
    """Normalise by the batch's statistics; return also the new running ones."""
    check_kind(input, "bic", "batch_norm")
    x, *parameters = _wide(input, weight, bias)
    parameters = [None if p is None else _spread(p, x.ndim) for p in parameters]
    if input.size == 0:
        result, mean, variance = x, None, None
    else:
        result, mean, variance = _moments(x, eps)
    results = [_affine(result, *parameters).astype(input.dtype)]
    for running, batch in ((running_mean, mean), (running_var, variance)):
        if running is None:
            continue
        old = lax.stop_gradient(running)
        if batch is not None:
            rate = momentum.astype(batch.dtype)
            old = old * (1 - rate) + lax.stop_gradient(batch) * rate
        results.append(old.astype(running.dtype))
    return tuple(results)


@op(name="_batch_norm_eval", function=False, method=False,
    grad_name="NativeBatchNormBackward0")  # fmt: skip
def _batch_norm_eval(
    input: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: Float,
):
    """Normalise by the running statistics."""
    check_kind(input, "bic", "batch_norm")
    x, *parameters = _wide(input, running_mean, running_var, weight, bias)
    mean, variance, weight, bias = [None if p is None else _spread(p, x.ndim) for p in parameters]
    scale = lax.rsqrt(variance + eps)
    return _affine((x - mean) * scale, weight, bias).astype(input.dtype)


def _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps):
    if not training:
        return _batch_norm_eval(input, running_mean, running_var, weight, bias, eps)
    results = _batch_norm_train(input, running_mean, running_var, weight, bias, momentum, eps)
    if not isinstance(results, tuple):
        return results
    result, *fresh = results
    targets = [t for t in (running_mean, running_var) if t is not None]
    with no_grad():
        for target, value in zip(targets, fresh, strict=True):
            target.copy_(value)
    return result


@composite(module=("nn.functional", "torch"), method=False)
def batch_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Normalise each channel over the batch, then scale and shift.

    Args:
        input: (N, C, *), floating.
        running_mean, running_var: (C,); used unless `training`, updated in place otherwise.
        weight, bias: (C,) or None.
        momentum: the weight of the batch in the running statistics.

    Returns: as `input`.

    Raises:
        ValueError: training with one value per channel, or `eps` that is negative, in training
            also zero. RuntimeError: sizes do not fit.

    Source: Ioffe, Szegedy: Batch Normalization (arXiv:1502.03167).
    """
    if eps < 0 or (training and eps == 0):
        wanted = "positive during training" if training else "non-negative"
        raise ValueError(f"batch_norm eps must be {wanted}, but got {eps}")
    shape = tuple(input.shape)
    if training and len(shape) > 1 and shape[0] * math.prod(shape[2:]) == 1:
        raise ValueError(
            "Expected more than 1 value per channel when training, got input size "
            f"torch.Size({list(shape)})"
        )
    _check_channels(
        shape[1] if len(shape) > 1 else 0,
        running_mean=running_mean,
        running_var=running_var,
        weight=weight,
        bias=bias,
    )
    if not training:
        for name, value in (("running_mean", running_mean), ("running_var", running_var)):
            if value is None:
                raise RuntimeError(f"{name} must be defined in evaluation mode")
    return _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


@composite(module=("nn.functional", "torch"), method=False)
def instance_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Normalise each channel of each sample, then scale and shift the channels.

    Args and errors as for `batch_norm`; the running statistics are the samples' averages.

    Source: Ulyanov, Vedaldi, Lempitsky: Instance Normalization (arXiv:1607.08022).
    """
    shape = tuple(input.shape)
    if use_input_stats and math.prod(shape[2:]) == 1:
        raise ValueError(
            "Expected more than 1 spatial element when training, got input size "
            f"torch.Size({list(shape)})"
        )
    if not use_input_stats and (running_mean is None or running_var is None):
        raise RuntimeError(
            "Expected running_mean and running_var to be defined when use_input_stats is false"
        )
    batch, channels = shape[:2]
    total = batch * channels
    for name, value in (
        ("running_mean", running_mean),
        ("running_var", running_var),
        ("weight", weight),
        ("bias", bias),
    ):
        if value is not None and math.prod(value.shape) != channels:
            size = math.prod(value.shape) * batch
            raise RuntimeError(f"{name} should contain {total} elements not {size}")
    # The samples' channels are the channels of one sample.
    folded = [None if t is None else t.repeat(batch) for t in (weight, bias)]
    means = [None if t is None else t.detach().repeat(batch) for t in (running_mean, running_var)]
    result = _batch_norm(
        input.reshape(1, total, *shape[2:]), *means, *folded, use_input_stats, momentum, eps
    )
    if use_input_stats:
        with no_grad():
            for target, value in zip((running_mean, running_var), means, strict=True):
                if target is not None:
                    target.copy_(value.view(batch, channels).mean(0))
    return result.view(shape)


# --------------------------------------------------------------------------------------------
# Neighbours and norms.


@op(module="nn.functional", grad_name="DivBackward0")
@in_opmath
def local_response_norm(
    input: Tensor, size: Int, alpha: Float = 1e-4, beta: Float = 0.75, k: Float = 1.0
):
    """Divide by (k + alpha * mean square over `size` neighbouring channels) ** beta.

    Args:
        input: (N, C, *), at least three dimensions.

    Raises:
        ValueError: fewer dimensions.

    Source: Krizhevsky, Sutskever, Hinton: ImageNet Classification (2012), 3.3.
    """
    if input.ndim < 3:
        raise ValueError(
            "Expected 3D or higher dimensionality                          input "
            f"(got {input.ndim} dimensions)"
        )
    if input.size == 0:
        return input
    pads = [(0, 0)] * input.ndim
    pads[1] = (size // 2, (size - 1) // 2)
    squares = jnp.pad(input * input, pads)
    channels = input.shape[1]
    total = sum(lax.slice_in_dim(squares, i, i + channels, axis=1) for i in range(size))
    if is_integral(input):  # PyTorch's mean of integers is an integer
        default = get_default_dtype().np
        return input.astype(default) / ((total // size).astype(default) * alpha + k) ** beta
    return input / (total / size * alpha + k) ** beta


@op(module="nn.functional", out=True, grad_name="DivBackward0")
@in_opmath
def normalize(input: Tensor, p: Float = 2.0, dim: Ints = 1, eps: Float = 1e-12):
    """Divide by the `p`-norm along `dim`, or by `eps` where the norm is smaller.

    Source: torch.nn.functional.normalize.
    """
    if input.dtype.kind in "biu":
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{type_name(input.dtype)}"
        )
    length = vector_norm_of(input, p, reduced_dims(dim, input.ndim), True)
    # Where eps takes over, the norm gets no gradient.
    return input / jnp.where(length < eps, jnp.asarray(eps, length.dtype), length)


@op(inplace=True, out=True)
@in_opmath
def renorm(input: Tensor, p: Float, dim: Int, maxnorm: Float):
    """The slices along `dim`, those of a larger `p`-norm scaled down to `maxnorm`.

    Raises:
        RuntimeError: p <= 0, maxnorm < 0, fewer than two dimensions, integers.
    """
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm:g}")
    if input.ndim < 2:
        raise RuntimeError(
            f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions"
        )
    axis = wrap_dim(dim, input.ndim)
    check_floating(input, "linalg.vector_norm")
    others = tuple(d for d in range(input.ndim) if d != axis)
    norms = vector_norm_of(input, p, others, keepdim=True)
    # What keeps a norm of 0 from dividing is part of PyTorch's result.
    return input * jnp.where(norms > maxnorm, maxnorm / (norms + 1e-7), 1)
