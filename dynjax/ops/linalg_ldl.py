"""The LDL factorization of symmetric matrices, which need not be positive definite.

The pivots and the packed form are LAPACK's (sytf2, sytrs). Not differentiable, as in PyTorch.

Source: J. R. Bunch, L. Kaufman, Some stable methods for calculating inertia and solving symmetric
linear systems, Mathematics of Computation 31 (1977).
"""

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..autograd.dispatch import into
from .checks import check_floating, is_integral, type_name
from .declare import Bool, Tensor, composite, result_type
from .linalg_common import (
    check_info,
    check_kernel,
    check_same_type,
    check_square,
    linalg,
    not_differentiable,
)

_ALPHA = (1 + 17**0.5) / 8  # bounds how much elements may grow


def _size(x):
    return jnp.abs(x.real) + jnp.abs(x.imag) if x.dtype.kind == "c" else jnp.abs(x)


def _swapped(a, i, j, axis):
    order = jnp.arange(a.shape[axis])
    order = jnp.where(order == i, j, jnp.where(order == j, i, order))
    return jnp.take(a, order, axis)


def _pivot(a, k):
    """Which row to bring to the front of what is left of a, and by a block of 1 or 2."""
    rows = jnp.arange(a.shape[0])
    column = jnp.where(rows > k, _size(a[:, k]), -1)
    other, largest = jnp.argmax(column), jnp.maximum(column.max(), 0)
    in_row = jnp.where((rows >= k) & (rows != other), _size(a[other]), 0).max()
    own = _size(a[k, k])
    stay = (own >= _ALPHA * largest) | (own * in_row >= _ALPHA * largest * largest)
    single = stay | (_size(a[other, other]) >= _ALPHA * in_row)
    return jnp.where(stay, k, other), jnp.where(single, 1, 2), jnp.maximum(own, largest) == 0


def _eliminated(a, k, width, conj):
    """One block of columns of L in place, and the rest of the matrix without it."""
    n = a.shape[0]
    rows = jnp.arange(n)
    last = jnp.minimum(k + 1, n - 1)
    pair = width == 2
    x = jnp.where((rows >= k + width)[:, None], a[:, jnp.array([k, last])], 0)
    x = x * jnp.array([1, pair]).astype(a.dtype)
    d, off, e = a[k, k], jnp.where(pair, a[last, k], 0), jnp.where(pair, a[last, last], 1)
    determinant = d * e - off * conj(off)
    inverse = jnp.array([[e, -conj(off)], [-off, d]]) / determinant
    factor = jnp.matmul(x, inverse, precision=lax.Precision.HIGHEST)
    rest = a - jnp.matmul(factor, conj(x).T, precision=lax.Precision.HIGHEST)
    done = jnp.where(rows[:, None] >= k + width, factor, a[:, jnp.array([k, last])])
    a = jnp.where((rows >= k + width)[:, None] & (rows >= k + width), rest, a)
    a = a.at[:, k].set(done[:, 0])
    return a.at[:, last].set(jnp.where(pair, done[:, 1], a[:, last]))


def _factored(a, hermitian):
    """LD, pivots and the position of the first zero block, 0 if none, of one matrix."""
    n = a.shape[0]
    rows = jnp.arange(n)
    conj = jnp.conj if hermitian else lambda x: x
    half = jnp.tril(a, -1)
    diagonal = jnp.diag(jnp.diagonal(a).real.astype(a.dtype) if hermitian else jnp.diagonal(a))

    def step(carry):
        a, pivots, info, k = carry
        chosen, width, zero = _pivot(a, k)
        front = k + width - 1
        left = rows >= k
        swapped = _swapped(_swapped(a, front, chosen, 0), front, chosen, 1)
        a = jnp.where(left[:, None] & left, swapped, a)
        a = jnp.where(zero, a, _eliminated(a, k, width, conj))
        mark = jnp.where(width == 2, -(chosen + 1), chosen + 1).astype(np.int32)
        pivots = jnp.where((rows >= k) & (rows < k + width), mark, pivots)
        return a, pivots, jnp.where(zero & (info == 0), k + 1, info), k + width

    start = (half + diagonal + conj(half).T, jnp.zeros(n, np.int32), jnp.int32(0), jnp.int32(0))
    start = (*start[:2], start[2].astype(np.int64), start[3].astype(np.int64))
    ld, pivots, info, _ = lax.while_loop(lambda carry: carry[3] < n, step, start)
    return jnp.tril(ld), pivots, info.astype(np.int32)


@functools.partial(jnp.vectorize, signature="(n,n),(n),(n,k)->(n,k)", excluded=(3,))
def _solved(ld, pivots, b, hermitian):
    n = ld.shape[0]
    rows = jnp.arange(n)
    conj = jnp.conj if hermitian else lambda x: x
    # Of each block of two, the first row.
    starts = lax.scan(lambda open, p: ((p < 0) & ~open,) * 2, jnp.array(False), pivots)[1]

    def columns(k):
        """The place and width of row k's block, L's columns there, and the row swapped with."""
        width = jnp.where(starts[k], 2, 1)
        last = jnp.minimum(k + 1, n - 1)
        x = jnp.where((rows >= k + width)[:, None], ld[:, jnp.array([k, last])], 0)
        x = x * jnp.array([1, width == 2]).astype(ld.dtype)
        return width, last, x, jnp.abs(pivots[k]) - 1

    def skip(k):
        return (pivots[k] < 0) & ~starts[k]

    def forward(k, b):
        width, last, x, other = columns(k)
        moved = _swapped(b, k + width - 1, other, 0)
        moved = moved - x @ moved[jnp.array([k, last])]
        pair = width == 2
        d, off, e = ld[k, k], jnp.where(pair, ld[last, k], 0), jnp.where(pair, ld[last, last], 1)
        first, second = moved[k], moved[last]
        determinant = d * e - off * conj(off)
        moved = moved.at[k].set((e * first - conj(off) * second * pair) / determinant)
        second = jnp.where(pair, (d * second - off * first) / determinant, moved[last])
        return jnp.where(skip(k), b, moved.at[last].set(second))

    def backward(i, b):
        k = n - 1 - i
        width, last, x, other = columns(k)
        change = conj(x).T @ b
        moved = b.at[k].add(-change[0]).at[last].add(-change[1])
        return jnp.where(skip(k), b, _swapped(moved, k + width - 1, other, 0))

    return lax.fori_loop(0, n, backward, lax.fori_loop(0, n, forward, b))


@linalg(register=False, returns=("LD", "pivots", "info"))
def ldl_factor_ex(input: Tensor, hermitian: Bool):
    """L and D in one matrix, pivots, and the position of the first zero block, 0 if none."""
    check_square(input, "torch.linalg.ldl_factor_ex")
    check_floating(input, "torch.linalg.ldl_factor_ex")
    check_kernel(input, "ldl_factor_kernel_cpu")
    if not input.size:
        return input, jnp.zeros(input.shape[:-1], np.int32), jnp.zeros(input.shape[:-2], np.int32)
    factor = jnp.vectorize(lambda a: _factored(a, hermitian), signature="(n,n)->(n,n),(n),()")
    return not_differentiable("linalg_ldl_factor_ex")(factor)(input)


_ZERO_BLOCK = (
    "The factorization could not be completed because D[{0},{0}] is zero and a solution with it "
    "would divide by zero."
)


@composite(name="ldl_factor_ex", module="linalg")
def checked_ldl_factor_ex(input, *, hermitian=False, check_errors=False, out=None):
    """The LDL factorization: (LD, pivots, info); arguments as for `ldl_factor`.

    Args:
        check_errors: raise where a block of D is 0, instead of only telling in `info`.
    """
    result = ldl_factor_ex(input, hermitian)
    if check_errors:
        check_info(result.info, "torch.linalg.ldl_factor_ex", _ZERO_BLOCK)
    return result if out is None else into(out, result, "linalg_ldl_factor_ex")


_Factor = result_type("linalg_ldl_factor", ("LD", "pivots"))


@composite(module="linalg")
def ldl_factor(input, *, hermitian=False, out=None):
    """L and the blocks of D in one matrix, and pivots, of symmetric matrices.

    Args:
        input: (*, n, n), of which the lower triangle is read.
        hermitian: the matrices are Hermitian rather than symmetric.

    Returns:
        (LD, pivots); a pivot p > 0 swapped its row with row p; two equal ones p < 0 belong to a
        block of 2 rows, of which the second was swapped with row -p.

    Raises:
        LinAlgError: a block of D is 0.
        RuntimeError: the matrices are not square.
    """
    result = ldl_factor_ex(input, hermitian)
    check_info(result.info, "torch.linalg.ldl_factor", _ZERO_BLOCK)
    result = _Factor._make(result[:2])
    return result if out is None else into(out, result, "linalg_ldl_factor")


@linalg
def ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: Bool = False):
    """X with A @ X == B, of the factorization of A by `ldl_factor`.

    Args:
        LD, pivots: (*, n, n) and (*, n).
        B: (*, n, k); batches broadcast.

    Raises:
        RuntimeError: shapes or types do not fit.
    """
    name = "torch.linalg.ldl_solve"
    check_square(LD, name, "LD")
    if B.ndim < 2:
        raise RuntimeError(
            f"{name}: Expected B to have at least 2 dimensions, but it has {B.ndim} dimensions "
            "instead"
        )
    if pivots.shape != LD.shape[:-1]:
        raise RuntimeError(
            f"{name}: Expected LD.shape[:-1] and pivots.shape to be the same, but got pivots with "
            f"shape {list(pivots.shape)} instead"
        )
    if not is_integral(pivots, include_bool=False):
        raise RuntimeError(f"{name}: Expected pivots to be integers. Got {type_name(pivots.dtype)}")
    check_same_type(LD, B, name, ("LD", "B"))
    if LD.shape[-1] != B.shape[-2]:
        raise RuntimeError(
            f"{name}: Incompatible matrix sizes for LD and B: each LD matrix is {LD.shape[-1]} by "
            f"{LD.shape[-1]} but each B matrix is {B.shape[-2]} by {B.shape[-1]}"
        )
    if not B.size or not LD.size:
        batch = jnp.broadcast_shapes(LD.shape[:-2], B.shape[:-2])
        return jnp.zeros((*batch, *B.shape[-2:]), B.dtype)
    solved = not_differentiable("linalg_ldl_solve")(lambda *x: _solved(*x, hermitian))
    return solved(LD, pivots, B)
