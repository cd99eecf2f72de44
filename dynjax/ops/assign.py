"""Replacing a tensor's content: copy_, fill_, zero_."""

import jax.numpy as jnp

from ..tensor.tensor import Tensor as TensorHandle
from .checks import is_complex
from .declare import Operand, Tensor, op, register
from .scatter import check_overflow
from .views import expanded_size


@op(method=False, function=False, inplace=True, grad_name="CopyBackwards")
def copy(input: Tensor, src: Tensor):
    """`src` broadcast to the shape of `input` and converted to its type."""
    expanded_size(src, input.shape)
    if is_complex(src) and not is_complex(input):
        src = src.real
    return jnp.broadcast_to(src.astype(input.dtype), input.shape)


@op(method=False, inplace=True)
def fill(input: Tensor, value: Operand):
    """One number in every element."""
    if value.ndim:
        raise RuntimeError(
            "fill_ only supports 0-dimension value tensor but got tensor with "
            f"{value.ndim} dimensions."
        )
    check_overflow(value, input.dtype)
    return jnp.broadcast_to(value.astype(input.dtype), input.shape)


@op(method=False, function=False, inplace=True)
def zero(input: Tensor):
    """0 in every element."""
    return jnp.zeros(input.shape, input.dtype)


register("torch", "zero_", TensorHandle.zero_)
