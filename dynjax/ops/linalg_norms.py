"""Norms of matrices, and condition numbers.

Source: https://pytorch.org/docs/stable/linalg.html
"""

import math

import jax.numpy as jnp
import numpy as np

from ..autograd.dispatch import into
from .checks import check_floating, opmath, wrap_dim
from .declare import Bool, Dtype, Ints, Static, Tensor, composite
from .linalg_common import check_ndim, check_square, identity_like, linalg
from .linalg_solve import solution
from .linalg_spectra import singular_values
from .reductions import vector_norm, vector_norm_of

_ORDERS = (1, -1, 2, -2, math.inf, -math.inf)


def _check_order(order, allowed):
    if order not in allowed:
        name = f"{order:g}" if isinstance(order, float) else order
        raise RuntimeError(f"linalg.matrix_norm: Order {name} not supported.")


def matrix_norm_of(x, order, keepdim):
    """A norm of matrices in the last two dimensions: "fro", "nuc" or one of the operator norms."""
    if order == "fro":
        return vector_norm_of(x, 2, (-2, -1), keepdim)
    if order in (2, -2, "nuc"):
        sizes = singular_values(x)
        if order == "nuc":
            result = sizes.sum(-1)
        else:
            result = _largest(sizes, -1) if order == 2 else jnp.min(sizes, -1)
        return result[..., None, None] if keepdim else result
    along = -2 if abs(order) == 1 else -1
    sums = vector_norm_of(x, 1, (along,), True)
    pick = _largest if order > 0 else jnp.min
    result = pick(sums, -1 if along == -2 else -2, keepdims=True)
    return result if keepdim else result[..., 0, 0]


def _largest(sizes, axis, keepdims=False):
    """The largest of what is at least 0; 0 of nothing."""
    if not sizes.shape[axis]:
        return jnp.zeros_like(sizes.sum(axis, keepdims=keepdims))
    return jnp.max(sizes, axis, keepdims=keepdims)


@linalg(register=False)
def matrix_norm(input: Tensor, ord: Static, dim: Ints, keepdim: Bool, dtype: Dtype):
    """The norm of the matrices in two dimensions."""
    check_ndim(input, "linalg.matrix_norm")
    check_floating(input, "linalg.matrix_norm")
    if not isinstance(dim, tuple) or len(dim) != 2:
        shown = " ".join(map(str, dim)) if isinstance(dim, tuple) else dim
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {shown}")
    axes = [wrap_dim(d, input.ndim) for d in dim]
    if axes[0] == axes[1]:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got {tuple(dim)}")
    _check_order(ord, ("fro", "nuc") if isinstance(ord, str) else _ORDERS)
    narrow = input.dtype if dtype is None else np.dtype(dtype)
    x = jnp.moveaxis(input.astype(opmath(narrow)), axes, (-2, -1))
    result = matrix_norm_of(x, ord, keepdim)
    if keepdim:
        result = jnp.moveaxis(result, (-2, -1), axes)
    return result.astype(np.empty(0, narrow).real.dtype)


@composite(name="matrix_norm", module="linalg")
def any_matrix_norm(input, ord="fro", dim=(-2, -1), keepdim=False, *, dtype=None, out=None):
    """A norm of the matrices in two dimensions.

    Args:
        ord: "fro", "nuc", 1, -1, 2, -2, inf or -inf.
        dim: two dimensions.
        dtype: type to compute in.

    Raises:
        RuntimeError: integers; another order; dimensions that aren't two.
    """
    norm = matrix_norm(input, ord, tuple(dim), keepdim, dtype)
    return norm if out is None else into(out, norm, "linalg_matrix_norm")


@composite(module="linalg")
def norm(input, ord=None, dim=None, keepdim=False, *, dtype=None, out=None):
    """A norm of a vector or a matrix.

    Args:
        ord: as for `vector_norm`, or `matrix_norm` where there are two dimensions; None: the
            2-norm of all elements.
        dim: one dimension (a vector norm) or two (a matrix norm); all, if `ord` is None too.

    Raises:
        RuntimeError: integers; an order or dimensions that don't fit.
    """
    dims = (dim,) if isinstance(dim, int) else None if dim is None else tuple(dim)
    options = {"dtype": dtype, "out": out}
    if ord is None:
        return vector_norm(input, 2, dims, keepdim, **options)
    if dims is not None and len(dims) not in (1, 2):
        raise RuntimeError(
            f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dims)}"
        )
    if dims is None and input.ndim not in (1, 2):
        raise RuntimeError(
            "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
            f"{input.ndim}D."
        )
    if isinstance(ord, str) and dims is not None and len(dims) == 1:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {dims[0]}")
    over = tuple(range(input.ndim)) if dims is None else dims
    if len(over) == 1 and not isinstance(ord, str):
        return vector_norm(input, ord, over, keepdim, **options)
    return any_matrix_norm(input, ord, over, keepdim, **options)


@linalg(register=False)
def condition(input: Tensor, p: Static):
    """The condition number; infinite for singular matrices."""
    if input.ndim < 2:
        raise RuntimeError("linalg.cond: The input tensor must have at least 2 dimensions.")
    if p not in (None, "fro", "nuc", *_ORDERS):
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p}")
    if p in (None, 2, -2):
        sizes = singular_values(input)
        if not sizes.shape[-1]:
            return jnp.zeros(sizes.shape[:-1], sizes.dtype)
        ratio = sizes[..., -1] / sizes[..., 0] if p == -2 else sizes[..., 0] / sizes[..., -1]
        return jnp.where(jnp.isnan(ratio), jnp.inf, ratio)
    shown = f"{p:g}" if isinstance(p, float) else p
    check_square(input, f"linalg.cond(ord={shown})")
    if not input.size:
        return jnp.zeros(input.shape[:-2], input.real.dtype)
    inverse, info = solution(input, identity_like(input))
    result = matrix_norm_of(input, p, False) * matrix_norm_of(inverse, p, False)
    return jnp.where(info > 0, jnp.inf, result)


@composite(module="linalg")
def cond(input, p=None, *, out=None):
    """The condition number of matrices: the norm times that of the inverse.

    Args:
        input: (*, m, n); square unless `p` is None, 2 or -2.
        p: the order of the norm, as for `matrix_norm`; None is 2.

    Raises:
        RuntimeError: another order, matrices that aren't square.
    """
    number = condition(input, p)
    return number if out is None else into(out, number, "linalg_cond")
