"""Complex numbers: their parts, angles and conjugates.

Source: https://pytorch.org/docs/stable/complex_numbers.html
"""

import math

import jax.numpy as jnp
from jax import lax

from .checks import broadcast, is_complex, type_name
from .declare import FLOAT, Tensor, op


def _write_real(base, new):
    return lax.complex(new, base.imag) if is_complex(base) else new


@op(view=_write_real, method=False, grad_name="SelectBackward0")
def real(input: Tensor):
    """The real part, a view; a real tensor itself."""
    return input.real if is_complex(input) else input


@op(view=lambda base, new: lax.complex(base.real, new), method=False, grad_name="SelectBackward0")
def imag(input: Tensor):
    """The imaginary part, a view. Raises RuntimeError for real types."""
    if not is_complex(input):
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return input.imag


@op()
def conj(input: Tensor):
    """The complex conjugate; a real tensor itself."""
    return jnp.conj(input)


@op(inplace=True, out=True)
def conj_physical(input: Tensor):
    """The complex conjugate; a real tensor itself."""
    return jnp.conj(input)


@op(types=FLOAT, out=True)
def angle(input: Tensor):
    """The angle of a complex number; 0 or pi for a real one."""
    if is_complex(input):
        return jnp.angle(input)
    half_turn = jnp.where(input < 0, jnp.asarray(math.pi, input.dtype), 0)
    return jnp.where(jnp.isnan(input), input, lax.stop_gradient(half_turn))


@op(name="complex", method=False, out="same type")
def complex_(real: Tensor, imag: Tensor):
    """A complex tensor from its two parts, of one floating type."""
    if real.dtype != imag.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {type_name(real.dtype)} but got scalar type "
            f"{type_name(imag.dtype)} for second argument"
        )
    return lax.complex(*broadcast(real, imag))


@op(method=False, out=True)
def polar(abs: Tensor, angle: Tensor):
    """A complex tensor from absolute value and angle."""
    return lax.complex(*broadcast(abs * jnp.cos(angle), abs * jnp.sin(angle)))
