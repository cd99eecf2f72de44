"""Clipping gradients: one recorded operation over all of them, and no wait for its result."""

from __future__ import annotations

import math
import types
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...autograd.multi_tensor import MultiTensor
from ...core.dtypes import get_default_dtype, promote_types
from ...tensor.tensor import Tensor, from_host

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]


def _vector_norm(x: jax.Array, order: float) -> jax.Array:
    size = jnp.abs(x)
    # Half precision is summed in single precision, as PyTorch does.
    wide = size.astype(jnp.promote_types(size.dtype, jnp.float32))
    if math.isinf(order):
        result = jnp.max(wide, initial=0) if order > 0 else jnp.min(wide)
    elif order == 0:
        result = jnp.sum(wide != 0).astype(wide.dtype)
    elif order == 1:
        result = jnp.sum(wide)
    elif order == 2:
        result = jnp.sqrt(jnp.sum(jnp.square(wide)))
    else:
        result = jnp.sum(wide**order) ** (1.0 / order)
    return result.astype(size.dtype)


def _norm(total: list[jax.Array], tensors: list[jax.Array], order: float) -> tuple:
    dtype = total[0].dtype
    norms = jnp.stack([_vector_norm(t, order).astype(dtype) for t in tensors])
    return ([_vector_norm(norms, order)],)


def _scale(grads: list[jax.Array], total: list[jax.Array], max_norm: jax.Array) -> tuple:
    coefficient = jnp.minimum(max_norm.astype(total[0].dtype) / (total[0] + 1e-6), 1.0)
    return ([g * coefficient.astype(g.real.dtype) for g in grads],)


def _clamp(grads: list[jax.Array], bound: jax.Array) -> tuple:
    return ([jnp.clip(g, -bound.astype(g.dtype), bound.astype(g.dtype)) for g in grads],)


_record_norm = MultiTensor(
    _norm, writes=("total",), reads=("tensors",), statics=("order",), name="total_norm"
)
_record_scale = MultiTensor(
    _scale, writes=("grads",), reads=("total",), numbers=("max_norm",), name="clip_grad_norm"
)
_record_clamp = MultiTensor(_clamp, writes=("grads",), numbers=("bound",), name="clip_grad_value")


def _grads(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    return [p.grad for p in parameters if p.grad is not None]


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Return the norm of all `tensors` taken together, as if they were one vector.

    Args:
        tensors: one or more Tensors.
        norm_type: the p of the norm, "inf" for the maximum.
        error_if_nonfinite: raise if the norm is not finite; this waits for the result.
        foreach: accepted; the Tensors are always taken together.

    Raises:
        RuntimeError: the norm is not finite, and `error_if_nonfinite` is set.
    """
    group: Sequence[Tensor] = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    norm_type = float(norm_type)
    if not group:
        return from_host(np.zeros((), get_default_dtype().np))
    dtype = group[0].dtype.to_real()
    for tensor in group[1:]:
        dtype = promote_types(dtype, tensor.dtype.to_real())
    total = from_host(np.zeros((), dtype.np), group[0].device)
    _record_norm(total=[total], tensors=group, order=norm_type)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, "
            "so it cannot be clipped. To disable this error and scale the gradients by the "
            "non-finite norm anyway, set `error_if_nonfinite=False`"
        )
    return total


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    total_norm: Tensor,
    foreach: bool | None = None,
) -> None:
    """Scale the gradients in place by `max_norm / total_norm`, if that is below 1.

    Args:
        parameters: those whose gradients are scaled.
        max_norm: the norm that the gradients may have.
        total_norm: the norm that they have, from `get_total_norm`.
        foreach: accepted; the gradients are always taken together.
    """
    max_norm = float(max_norm)
    grads = _grads(parameters)
    if grads:
        _record_scale(grads=grads, total=[total_norm], max_norm=max_norm)


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients in place so that their norm, taken together, is at most `max_norm`.

    Args:
        parameters: those whose gradients are scaled.
        max_norm: the norm that the gradients may have.
        norm_type: the p of the norm, "inf" for the maximum.
        error_if_nonfinite: raise if the norm is not finite; this waits for the result.
        foreach: accepted; the gradients are always taken together.

    Returns:
        The norm before clipping, a 0-dim Tensor. Nothing waits for it.

    Raises:
        RuntimeError: the norm is not finite, and `error_if_nonfinite` is set; the gradients
            are unchanged.
    """
    if not isinstance(parameters, Tensor):
        generated = isinstance(parameters, types.GeneratorType)
        parameters = list(parameters)
        if generated and not parameters:
            warnings.warn(
                "`parameters` is an empty generator, no gradient clipping will occur.",
                stacklevel=2,
            )
    max_norm = float(max_norm)
    total = get_total_norm(_grads(parameters), norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(parameters, max_norm, total, foreach)
    return total


def clip_grad_norm(*args: Any, **kwargs: Any) -> Tensor:
    """Deprecated name of `clip_grad_norm_`."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of "
        "`torch.nn.utils.clip_grad_norm_`.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(*args, **kwargs)


def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Clip every element of the gradients in place to [-clip_value, clip_value].

    Args:
        parameters: those whose gradients are clipped.
        clip_value: the largest size that an element may have.
        foreach: accepted; the gradients are always taken together.
    """
    clip_value = float(clip_value)
    grads = _grads(parameters)
    if grads:
        _record_clamp(grads=grads, bound=clip_value)
