"""Quantiles: the element below which a share of them lies.

Source: https://pytorch.org/docs/stable/torch.html#reduction-ops
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..tensor.tensor import Tensor as TensorType
from .checks import wrap_dim
from .declare import (
    Bool,
    Int,
    Operand,
    Str,
    Tensor,
    composite,
    op,
)
from .order import order_of


def _ranked(x, rank, interpolation):
    """Elements of a sorted last dimension at fractional positions."""
    if interpolation in ("lower", "higher", "nearest"):
        rank = {"lower": jnp.floor, "higher": jnp.ceil, "nearest": jnp.round}[interpolation](rank)
    below = jnp.floor(rank)

    def at(position):
        return jnp.take_along_axis(x, position.astype(np.int64), -1, mode="promise_in_bounds")

    if interpolation not in ("linear", "midpoint"):
        return at(below)
    low, high = at(below), at(jnp.ceil(rank))
    weight = rank - below if interpolation == "linear" else jnp.asarray(0.5, x.dtype)
    return jnp.where(weight < 0.5, low + weight * (high - low), high - (high - low) * (1 - weight))


@op(name="quantile", function=False, method=False, out=True, grad_name="SqueezeBackward4")
def _quantile(
    input: Tensor, q: Operand, dim: Int | None, keepdim: Bool, interpolation: Str, skip_nan: Bool
):
    """`quantile` and `nanquantile`; the number q has the input's type."""
    if input.dtype not in (np.float32, np.float64):
        raise RuntimeError("quantile() input tensor must be either float or double dtype")
    if q.ndim > 1:
        raise RuntimeError("quantile() q must be a scalar or 1D tensor")
    if q.dtype != input.dtype:
        raise RuntimeError("quantile() q tensor must be same dtype as the input tensor")
    if input.size == 0:
        raise RuntimeError("quantile() input tensor must be non-empty")
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise RuntimeError(
            "quantile() interpolation must be one of linear, lower, higher, midpoint or nearest, "
            f"but got {interpolation}"
        )
    ndim, whole = input.ndim, dim is None
    axis = 0 if whole else wrap_dim(dim, ndim)
    x = input.reshape(-1) if whole or not ndim else jnp.moveaxis(input, axis, -1)
    order = order_of(lax.stop_gradient(x), x.ndim - 1)
    x = jnp.take_along_axis(x, order, -1, mode="promise_in_bounds")
    last, missing = x.shape[-1] - 1, jnp.isnan(x)
    if skip_nan:
        last = jnp.maximum(last - missing.sum(-1, keepdims=True), 0).astype(x.dtype)
    rank = jnp.atleast_1d(q) * last
    rank = jnp.broadcast_to(rank, (*x.shape[:-1], rank.shape[-1]))
    if not skip_nan:  # NaN is sorted to the end
        rank = jnp.where(missing.any(-1, keepdims=True), last, rank)
    found = _ranked(x, rank, interpolation)
    found = jnp.moveaxis(found, -1, 0) if q.ndim else found[..., 0]
    if not keepdim or not ndim:
        return found
    return found.reshape((*q.shape, *(1,) * ndim)) if whole else jnp.expand_dims(
        found, axis + q.ndim
    )  # fmt: skip


def _declare_quantile(name, skip_nan, doc):
    def function(
        input, q, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear",
        out=None,
    ):  # fmt: skip
        if not isinstance(q, (int, float, TensorType)):
            raise TypeError(
                f"{name}(): argument 'q' must be Tensor or float, not {type(q).__name__}"
            )
        if not isinstance(q, TensorType) and not 0 <= q <= 1:
            raise RuntimeError(f"quantile() q must be in the range [0, 1] but got {q:g}")
        return _quantile(input, q, dim, keepdim, interpolation, skip_nan, out=out)

    function.__doc__ = f"""{doc}

    Args:
        q: one number in [0, 1], or a vector of them in the input's type, which then makes the
            first dimension of the result.
        dim: over this dimension; over everything by default.
        interpolation: between two elements: "linear", "lower", "higher", "nearest", "midpoint".

    Raises:
        RuntimeError: an empty input, one that is not float32 or float64, q out of range.
    """
    composite(name=name)(function)


_declare_quantile("quantile", False, "The element below which the share `q` lies; NaN wins.")
_declare_quantile("nanquantile", True, "`quantile` of what is not NaN.")
