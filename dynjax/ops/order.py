"""Positions in order: what sorting, medians and their like are made of."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def order_of(x, axis, descending=False):
    """Positions along an axis in order, equal ones as they come, NaN as the largest; int64.

    XLA's CPU sorts plain integers by their own comparison, anything else through a function that
    it calls for every pair: 1024 rows of 256 floats take 150 ms with `jnp.argsort`, 12 ms as the
    integers made of (value, position).
    """
    if jax.default_backend() == "cpu" and x.dtype.itemsize <= 4 and x.shape[axis] < 1 << 31:
        return _packed_order(x, axis, descending)
    if descending:
        # Reversed twice, so that equal elements keep their order.
        back = jnp.argsort(jnp.flip(x, axis), axis=axis, stable=True)
        return jnp.flip(x.shape[axis] - 1 - back, axis).astype(np.int64)
    return jnp.argsort(x, axis=axis, stable=True).astype(np.int64)


def _packed_order(x, axis, descending):
    key = _key(x).astype(np.int64)
    if descending:
        key = ~key
    place = lax.broadcasted_iota(np.int64, x.shape, axis)
    return lax.sort(key << 32 | place, dimension=axis, is_stable=False) & 0x7FFFFFFF


def _key(x):
    """Integers within 32 signed bits in the order of the numbers; NaN above all, -0 as 0."""
    if x.dtype == np.uint32:
        return x.astype(np.int64) - (1 << 31)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    # By bits throughout: XLA's comparisons take denormal numbers for 0.
    bits = lax.bitcast_convert_type(x.astype(np.float32), np.int32)
    size = bits & 0x7FFFFFFF
    key = jnp.where(bits < 0, ~size, size)
    key = jnp.where(size == 0, 0, key)
    return jnp.where(size > 0x7F800000, np.int32(0x7FFFFFFF), key)


__all__ = ["order_of"]
