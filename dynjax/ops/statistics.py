"""Covariance and correlation.

Weights are data: that none is negative, nor their sum 0, is not checked, as that would wait for
the device.

Source: https://pytorch.org/docs/stable/generated/torch.cov.html
"""

import jax.numpy as jnp

from .checks import is_complex, is_floating, is_integral, type_name
from .declare import FLOAT, Int, Tensor, op
from .linalg_common import adjoint, product


def _check_weights(name, weights, wanted, fits, count):
    if weights.ndim > 1:
        raise RuntimeError(
            f"cov(): expected {name} to have one or fewer dimensions but got {name} with "
            f"{weights.ndim} dimensions"
        )
    if not fits:
        raise RuntimeError(
            f"cov(): expected {name} to have {wanted} dtype but got {name} with "
            f"{type_name(weights.dtype)} dtype"
        )
    if weights.size != count:
        raise RuntimeError(
            f"cov(): expected {name} to have the same numel as there are observations in the "
            f"input but got {weights.size} != {count}"
        )


def _covariance(x, name, correction=1, fweights=None, aweights=None):
    if x.ndim > 2:
        raise RuntimeError(
            f"{name}(): expected input to have two or fewer dimensions but got an input with "
            f"{x.ndim} dimensions"
        )
    x = x if x.ndim == 2 else x.reshape(1, -1)
    count = x.shape[1]
    weights = jnp.ones(count, x.real.dtype)
    if fweights is not None:
        fits = is_integral(fweights, include_bool=False)
        _check_weights("fweights", fweights, "integral", fits, count)
        weights = weights * fweights.reshape(-1).astype(weights.dtype)
    total = weights.sum()
    if aweights is not None:
        _check_weights("aweights", aweights, "floating point", is_floating(aweights), count)
        relative = aweights.reshape(-1).astype(weights.dtype)
        weights = weights * relative
        total = weights.sum()
    mean = (x * weights).sum(1, keepdims=True) / total
    centred = x - mean
    lost = correction
    if aweights is not None and correction:
        lost = correction * (weights * relative).sum() / total
    matrix = product(centred * weights, adjoint(centred)) / jnp.maximum(total - lost, 0)
    return matrix.squeeze() if 0 not in matrix.shape else matrix


@op(types=FLOAT, promote=("input",), grad_name="SqueezeBackward0")
def cov(input: Tensor, *, correction: Int = 1, fweights: Tensor | None = None,
        aweights: Tensor | None = None):  # fmt: skip
    """The covariance matrix of variables (rows) over observations (columns).

    Args:
        input: (variables, observations), or the observations of one variable.
        correction: subtracted from the number of observations in the divisor.
        fweights: how often each observation counts, integers.
        aweights: how much each observation counts.

    Returns: (variables, variables), or a 0-dim tensor for one.

    Raises:
        RuntimeError: more than two dimensions, bool, weights of the wrong kind or number.
    """
    return _covariance(input, "cov", correction, fweights, aweights)


@op(types=FLOAT)
def corrcoef(input: Tensor):
    """The correlation matrix of variables (rows); arguments and result as for `cov`."""
    c = _covariance(input, "corrcoef")
    if c.ndim == 0:
        return c / c
    deviation = jnp.sqrt(jnp.diagonal(c).real)
    c = c / deviation[:, None] / deviation
    if is_complex(c):
        return jnp.clip(c.real, -1, 1) + 1j * jnp.clip(c.imag, -1, 1)
    return jnp.clip(c, -1, 1)
