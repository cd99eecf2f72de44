"""What the optimizers' updates share: first states, rounding as PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np

from ..core.dtypes import get_default_dtype
from ..tensor.tensor import Tensor, from_host


def zeros_like(param: Tensor) -> Tensor:
    """Zeros of `param`'s shape, dtype and device, as a constant from the host.

    No operation is recorded for them, so that the first step is the same program as later ones.
    """
    return from_host(np.zeros(param.shape, param.dtype.np), param.device)


def number(value: float | Tensor) -> float:
    """A hyper-parameter as a Python number."""
    return value if type(value) is float else float(value)


def step_count(count: float, fused: bool | None) -> Tensor:
    """A new "step" tensor, of the dtype PyTorch gives it."""
    wide = not fused and get_default_dtype().np == np.float64
    return from_host(np.array(count, np.float64 if wide else np.float32))


def computing_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """The type PyTorch computes in: float32 for half-precision types, which it rounds to after
    every operation, else `dtype` itself.
    """
    return jnp.dtype(jnp.float32) if dtype.itemsize == 2 else dtype


def numbers_for(dtype: jnp.dtype, numbers: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Numbers from the host, rounded once to the (real) type in which `dtype` is computed."""
    real = jnp.finfo(computing_dtype(dtype)).dtype
    return {name: value.astype(real) for name, value in numbers.items()}


def add(x: jax.Array, y: jax.Array, alpha: jax.Array) -> jax.Array:
    """`x + alpha * y`, rounded once to x's type."""
    wide = computing_dtype(x.dtype)
    return (x.astype(wide) + y.astype(wide) * alpha).astype(x.dtype)
