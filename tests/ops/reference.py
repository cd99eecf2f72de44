"""What the tests of the operations share: slow, plain references and how to compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dynjax.ops  # noqa: F401  (declares the operations)
from dynjax.ops.declare import OPS


def body(name: str) -> Callable:
    """The pure JAX function of an operation."""
    return OPS[name].fn


def windows(
    x: Any,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    fill: float = 0,
) -> Any:
    """Every window of (N, C, *spatial), as (N, C, *output, *kernel), by advanced indexing."""
    x = jnp.pad(x, ((0, 0), (0, 0), *padding), constant_values=fill)
    dims = len(kernel)
    index = []
    for axis, (k, s, d) in enumerate(zip(kernel, stride, dilation)):
        count = (x.shape[2 + axis] - d * (k - 1) - 1) // s + 1
        shape = [1] * (2 * dims)
        shape[axis], shape[dims + axis] = count, k
        index.append((np.arange(count)[:, None] * s + np.arange(k) * d).reshape(shape))
    return x[(slice(None), slice(None), *index)]


def agree(
    ours: Callable, plain: Callable, *arrays: np.ndarray, second: bool = True, tol: float = 1e-10
) -> None:
    """Compare values, gradients and second-order gradients of two functions in float64."""
    with jax.enable_x64(True):
        args = [jnp.asarray(a, np.float64) for a in arrays]
        weights = np.random.default_rng(7).standard_normal(jax.eval_shape(plain, *args).shape)
        places = tuple(range(len(args)))

        def everything(f: Callable) -> tuple:
            first = jax.grad(lambda *a: (f(*a) * weights).sum(), places)
            squares = jax.grad(lambda *a: sum((g**2).sum() for g in first(*a)), places)
            # One program: most of a test's time is the compiler's.
            return jax.jit(lambda *a: (f(*a), first(*a), squares(*a) if second else ()))(*args)

        got, want = everything(ours), everything(plain)
        assert got[0].shape == want[0].shape and got[0].dtype == np.float64
        np.testing.assert_allclose(got[0], want[0], rtol=tol, atol=tol)
        for order in (1, 2):
            for a, b in zip(got[order], want[order]):
                np.testing.assert_allclose(a, b, rtol=100 * tol, atol=100 * tol)
