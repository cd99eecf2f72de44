"""Covariance and correlation of rows.

Source: https://pytorch.org/docs/stable/torch.html#other-operations
"""

import warnings

import jax.numpy as jnp
from jax import lax

from ..engine.frames import user_stacklevel
from .checks import is_complex
from .declare import (
    FLOAT,
    Int,
    Tensor,
    composite,
    op,
)


def _covariance(x, correction, frequencies, importance):
    """The covariance of rows, or the variance of one."""
    rows = jnp.atleast_2d(x)
    n = rows.shape[1]
    if frequencies is None and importance is None:
        total, weights = n, jnp.ones(n, x.dtype)
        scale = max(n - correction, 0)
    else:
        weights = jnp.ones(n, x.dtype)
        for w in (frequencies, importance):
            weights = weights if w is None else weights * w.reshape(-1).astype(x.dtype)
        total = weights.sum()
        lost = 1 if importance is None else (weights * importance.reshape(-1)).sum() / total
        scale = total - correction * lost
        scale = jnp.maximum(scale.real, 0)
    centred = rows - (rows * weights).sum(1, keepdims=True) / total
    result = (centred * weights) @ jnp.conj(centred).T / scale
    return result if len(rows) != 1 else result.reshape(())


def _check_weights(name, weights, n, integral):
    if weights.ndim > 1:
        raise RuntimeError(
            f"cov(): expected {name} to have one or fewer dimensions but got {name} with "
            f"{weights.ndim} dimensions"
        )
    whole = not (weights.is_floating_point() or weights.is_complex())
    if whole != integral:
        kind = "integral" if integral else "floating point"
        raise RuntimeError(
            f"cov(): expected {name} to have {kind} dtype but got {name} with "
            f"{weights.dtype.type_name} dtype"
        )
    if weights.numel() != n:
        raise RuntimeError(
            f"cov(): expected {name} to have the same numel as there are observations in the "
            f"input but got {weights.numel()} != {n}"
        )


@op(name="cov", types=FLOAT, promote=("input", "aweights"), function=False, method=False,
    grad_name="SqueezeBackward0")  # fmt: skip
def _cov(input: Tensor, correction: Int, fweights: Tensor | None, aweights: Tensor | None):
    return _covariance(input, correction, fweights, aweights)


def _check_table(name, input):
    if input.ndim > 2:
        raise RuntimeError(
            f"{name}(): expected input to have two or fewer dimensions but got an input with "
            f"{input.ndim} dimensions"
        )


@composite
def cov(input, *, correction: int = 1, fweights=None, aweights=None):
    """The covariance matrix of the rows; of a vector its variance.

    Args:
        correction: subtracted from the number of observations in the divisor.
        fweights: how often each observation was made, integers.
        aweights: how much each observation counts.

    Raises:
        RuntimeError: three dimensions, bool, weights of another type or length.
    """
    _check_table("cov", input)
    if input.dtype.name == "bool":
        raise RuntimeError("cov(): bool dtype is not supported for input")
    n = input.shape[-1] if input.ndim else 1
    for name, weights, integral in (("fweights", fweights, True), ("aweights", aweights, False)):
        if weights is not None:
            _check_weights(name, weights, n, integral)
    if fweights is None and aweights is None and n <= correction:
        warnings.warn(
            "cov(): degrees of freedom is <= 0. Correction should be strictly less than the "
            "number of observations.",
            UserWarning,
            stacklevel=user_stacklevel(),
        )
    return _cov(input, correction, fweights, aweights)


@op(types=FLOAT, grad_name="ClampBackward1")
def corrcoef(input: Tensor):
    """The correlation coefficients of the rows. Raises RuntimeError for three dimensions."""
    _check_table("corrcoef", input)
    c = _covariance(input, 1, None, None)
    if c.ndim == 0:
        return c / c
    deviation = jnp.sqrt(jnp.diagonal(c).real)
    c = c / deviation[:, None] / deviation
    if is_complex(c):
        return lax.complex(jnp.clip(c.real, -1, 1), jnp.clip(c.imag, -1, 1))
    return jnp.where(c < -1, -1, jnp.where(c > 1, 1, c))
