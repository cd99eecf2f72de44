"""Filling parameters: PyTorch's distributions, drawn on the host.

A draw takes the next counter of the generator and NumPy's Philox, so building a model compiles
and runs nothing. All functions fill their tensor in place, outside of the tape, and return it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd.modes import no_grad
from ..engine.random import Generator, default_generator
from ..tensor.tensor import Tensor

__all__ = [
    "calculate_gain",
    "constant",
    "constant_",
    "dirac",
    "dirac_",
    "eye",
    "eye_",
    "kaiming_normal",
    "kaiming_normal_",
    "kaiming_uniform",
    "kaiming_uniform_",
    "normal",
    "normal_",
    "ones_",
    "orthogonal",
    "orthogonal_",
    "sparse",
    "sparse_",
    "trunc_normal_",
    "uniform",
    "uniform_",
    "xavier_normal",
    "xavier_normal_",
    "xavier_uniform",
    "xavier_uniform_",
    "zeros_",
]

_LINEAR = (
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
)


def _rng(generator: Generator | None) -> np.random.Generator:
    return (default_generator if generator is None else generator).numpy()


def _fill(tensor: Tensor, values: np.ndarray) -> Tensor:
    with no_grad():
        tensor._set_host(values)
    return tensor


def _draw_dtype(tensor: Tensor) -> type:
    return np.float64 if tensor.dtype.itemsize >= 8 else np.float32


def _check_drawable(tensor: Tensor, kernel: str) -> None:
    if not (tensor.dtype.is_floating_point or tensor.dtype.is_complex):
        raise NotImplementedError(f"{kernel} not implemented for '{tensor.dtype.type_name}'")


def _uniform(tensor: Tensor, a: float, b: float, generator: Generator | None) -> Tensor:
    _check_drawable(tensor, '"check_uniform_bounds"')
    if a > b:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={a:g} > to={b:g}"
        )
    rng, dtype = _rng(generator), _draw_dtype(tensor)
    parts = [rng.random(tuple(tensor.shape), dtype) * dtype(b - a) + dtype(a)]
    if tensor.dtype.is_complex:
        parts.append(rng.random(tuple(tensor.shape), dtype) * dtype(b - a) + dtype(a))
    return _fill(tensor, parts[0] if len(parts) == 1 else parts[0] + 1j * parts[1])


def _normal(tensor: Tensor, mean: float, std: float, generator: Generator | None) -> Tensor:
    _check_drawable(tensor, '"normal_kernel_cpu"')
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    rng, dtype = _rng(generator), _draw_dtype(tensor)
    shape = tuple(tensor.shape)
    if tensor.dtype.is_complex:
        # PyTorch's convention: the variance is shared by the two parts.
        std /= math.sqrt(2.0)
        values = rng.standard_normal(shape, dtype) + 1j * rng.standard_normal(shape, dtype)
    else:
        values = rng.standard_normal(shape, dtype)
    return _fill(tensor, values * dtype(std) + dtype(mean))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the recommended gain of a nonlinearity.

    Args:
        nonlinearity: "linear", "conv1d" ..., "sigmoid", "tanh", "relu", "leaky_relu", "selu".
        param: the negative slope of "leaky_relu".

    Raises:
        ValueError: an unknown nonlinearity, or a slope that is no number.
    """
    if nonlinearity in _LINEAR or nonlinearity == "sigmoid":
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        if param is None:
            param = 0.01
        elif isinstance(param, bool) or not isinstance(param, (int, float)):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + param**2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    if len(tensor.shape) < 2:
        raise ValueError(
            "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions"
        )
    fan_out, fan_in, *field = tensor.shape
    size = math.prod(field)
    return fan_in * size, fan_out * size


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    mode = mode.lower()
    modes = ["fan_in", "fan_out"]
    if mode not in modes:
        raise ValueError(f"Mode {mode} not supported, please use one of {modes}")
    return _calculate_fan_in_and_fan_out(tensor)[modes.index(mode)]


def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Draw from the uniform distribution on [a, b).

    Raises:
        RuntimeError: `a` is above `b`.
        NotImplementedError: an integer tensor.
    """
    return _uniform(tensor, a, b, generator)


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Draw from the normal distribution.

    Raises:
        RuntimeError: `std` is negative.
        NotImplementedError: an integer tensor.
    """
    return _normal(tensor, mean, std, generator)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Draw from the normal distribution cut to [a, b], by rejection."""
    _check_drawable(tensor, '"normal_kernel_cpu"')
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. "
            "The distribution of values may be incorrect.",
            stacklevel=2,
        )
    rng = _rng(generator)

    def cdf(x: float) -> float:
        return (1.0 + math.erf((x - mean) / std / math.sqrt(2.0))) / 2.0

    # Normal draws are mostly kept if [a, b] holds enough of the mass; else uniform ones are
    # kept by their density, relative to its peak within [a, b].
    by_normal = cdf(b) - cdf(a) > 0.3
    peak = ((max(a, min(mean, b)) - mean) / std) ** 2
    values = np.empty(math.prod(tensor.shape))
    pending = np.arange(values.size)
    while pending.size:
        if by_normal:
            draws = rng.normal(mean, std, pending.size)
            kept = (draws >= a) & (draws <= b)
        else:
            draws = rng.uniform(a, b, pending.size)
            density = np.exp(0.5 * (peak - ((draws - mean) / std) ** 2))
            kept = rng.random(pending.size) < density
        values[pending[kept]] = draws[kept]
        pending = pending[~kept]
    return _fill(tensor, values.reshape(tuple(tensor.shape)))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with `val`."""
    return _fill(tensor, np.full(tuple(tensor.shape), val))


def ones_(tensor: Tensor) -> Tensor:
    """Fill with ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with zeros."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """Make a matrix the identity, as far as its shape allows.

    Raises:
        ValueError: not two dimensions.
    """
    if len(tensor.shape) != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    return _fill(tensor, np.eye(*tensor.shape))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Make the weight of a convolution keep its inputs, as many channels as it has.

    Raises:
        ValueError: not 3, 4 or 5 dimensions, or dim 0 not divisible by `groups`.
    """
    if len(tensor.shape) not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    channels_out, channels_in, *field = tensor.shape
    if channels_out % groups != 0:
        raise ValueError("dim 0 must be divisible by groups")
    per_group = channels_out // groups
    center = tuple(size // 2 for size in field)
    values = np.zeros(tuple(tensor.shape))
    for group in range(groups):
        for channel in range(min(per_group, channels_in)):
            values[(group * per_group + channel, channel, *center)] = 1
    return _fill(tensor, values)


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Draw uniformly with variance `gain**2 * 2 / (fan_in + fan_out)` (Glorot and Bengio 2010)."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    bound = math.sqrt(3.0) * gain * math.sqrt(2.0 / float(fan_in + fan_out))
    return _uniform(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draw normally with variance `gain**2 * 2 / (fan_in + fan_out)` (Glorot and Bengio 2010)."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    std = gain * math.sqrt(2.0 / float(fan_in + fan_out))
    return _normal(tensor, 0.0, std, generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Draw uniformly with variance `gain**2 / fan` (He et al. 2015).

    Args:
        tensor: what to fill, of two or more dimensions.
        a: the negative slope of "leaky_relu".
        mode: "fan_in" keeps the variance forward, "fan_out" backward.
        nonlinearity: see `calculate_gain`.
        generator: the source of the draw, or None for the default one.
    """
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    std = calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))
    bound = math.sqrt(3.0) * std
    return _uniform(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Draw normally with variance `gain**2 / fan`; the arguments are `kaiming_uniform_`'s."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    std = calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))
    return _normal(tensor, 0.0, std, generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """Draw a (semi) orthogonal matrix, all dimensions but the first taken together.

    Raises:
        ValueError: fewer than two dimensions.
    """
    if len(tensor.shape) < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    _check_drawable(tensor, '"normal_kernel_cpu"')
    if 0 in tensor.shape:
        return tensor
    rows = tensor.shape[0]
    columns = math.prod(tensor.shape[1:])
    flat = _rng(generator).standard_normal((rows, columns), _draw_dtype(tensor))
    q, r = np.linalg.qr(flat.T if rows < columns else flat)
    # The signs make the distribution uniform (arXiv:math-ph/0609050).
    q = q * np.sign(np.diag(r))
    if rows < columns:
        q = q.T
    return _fill(tensor, gain * q.reshape(tuple(tensor.shape)))


def sparse_(
    tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None
) -> Tensor:
    """Draw a normal matrix in which the fraction `sparsity` of each column is zero.

    Raises:
        ValueError: not two dimensions.
    """
    if len(tensor.shape) != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    _check_drawable(tensor, '"normal_kernel_cpu"')
    rng = _rng(generator)
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    values = rng.standard_normal((rows, columns), _draw_dtype(tensor)) * std
    for column in range(columns):
        values[rng.permutation(rows)[:zeros], column] = 0
    return _fill(tensor, values)


def _deprecated(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    new = function.__name__
    old = new[:-1]

    def deprecated_init(*args: Any, **kwargs: Any) -> Tensor:
        warnings.warn(
            f"`nn.init.{old}` is now deprecated in favor of `nn.init.{new}`.",
            FutureWarning,
            stacklevel=2,
        )
        return function(*args, **kwargs)

    deprecated_init.__doc__ = f"Deprecated name of `{new}`."
    deprecated_init.__name__ = old
    return deprecated_init


uniform = _deprecated(uniform_)
normal = _deprecated(normal_)
constant = _deprecated(constant_)
eye = _deprecated(eye_)
dirac = _deprecated(dirac_)
xavier_uniform = _deprecated(xavier_uniform_)
xavier_normal = _deprecated(xavier_normal_)
kaiming_uniform = _deprecated(kaiming_uniform_)
kaiming_normal = _deprecated(kaiming_normal_)
orthogonal = _deprecated(orthogonal_)
sparse = _deprecated(sparse_)
