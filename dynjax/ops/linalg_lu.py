"""The LU factorization, its parts, and what is solved with it.

Source: https://pytorch.org/docs/stable/linalg.html
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..autograd.dispatch import into
from .checks import check_kind
from .declare import Bool, Dtype, Tensor, composite, op, result_type
from .linalg_common import adjoint as conjugate_transpose
from .linalg_common import check_same_type, first_failure, linalg


def _check(x, name, pivot):
    if x.ndim < 2:
        raise RuntimeError(
            f"{name}: Expected tensor with 2 or more dimensions. Got size: {list(x.shape)} instead"
        )
    if not pivot:
        raise RuntimeError(f"{name}: LU without pivoting is not implemented on the CPU")
    check_kind(x, "bi", "lu_cpu")
    if x.dtype.itemsize == 2:
        check_kind(x, "f", "lu_cpu")


def zero_pivot(lu):
    """The position (from 1) of the first zero on the diagonal; 0 if there is none."""
    zero = jnp.diagonal(lax.stop_gradient(lu), axis1=-2, axis2=-1) == 0
    if not zero.shape[-1]:
        return jnp.zeros(zero.shape[:-1], np.int32)
    return jnp.where(zero.any(-1), jnp.argmax(zero, -1) + 1, 0).astype(np.int32)


def permuted(b, permutation):
    """The rows of matrices in the order of a permutation."""
    return jnp.take_along_axis(b, permutation[..., None], -2)


def order(pivots, rows):
    """The permutation that a sequence of swaps, counted from 1, makes."""
    return lax.linalg.lu_pivots_to_permutation(pivots - 1, rows)


def _unpacked(lu):
    """L (*, m, k) and U (*, k, n)."""
    k = min(lu.shape[-2:])
    eye = jnp.eye(lu.shape[-2], k, dtype=lu.dtype)
    return jnp.tril(lu[..., :, :k], -1) + eye, jnp.triu(lu[..., :k, :])


@linalg(register=False, returns=("LU", "pivots", "info"))
def lu_factor_ex(A: Tensor, pivot: Bool):
    """L and U in one matrix, the swaps, and the position of the first zero pivot, 0 if none."""
    _check(A, "torch.lu_factor" if A.ndim < 2 else "linalg.lu_factor", pivot)
    lu, swaps, _ = lax.linalg.lu(A)
    return lu, swaps + 1, zero_pivot(lu)


_ZERO_PIVOT = (
    "U[{0},{0}] is zero and using it on lu_solve would result in a division by zero. If you still "
    "want to perform the factorization, consider calling linalg.lu(A, pivot) or "
    "linalg.lu_factor_ex(A, pivot)"
)


def _check_pivots(info, name):
    failure = first_failure(info)
    if failure is not None:
        raise RuntimeError(f"{name}: {failure[1]}{_ZERO_PIVOT.format(failure[0])}")


@composite(name="lu_factor_ex", module="linalg")
def checked_lu_factor_ex(A, *, pivot=True, check_errors=False, out=None):
    """The LU factorization with partial pivoting: (LU, pivots, info); arguments as `lu_factor`.

    Args:
        check_errors: raise RuntimeError where a pivot is 0, instead of only telling in `info`.
    """
    result = lu_factor_ex(A, pivot)
    if check_errors:
        _check_pivots(result.info, "torch.linalg.lu_factor_ex")
    return result if out is None else into(out, result, "linalg_lu_factor_ex")


_Factor = result_type("linalg_lu_factor", ("LU", "pivots"))


@composite(module="linalg")
def lu_factor(A, *, pivot=True, out=None):
    """L and U of A (*, m, n) in one matrix, and the swaps of rows, counted from 1.

    Raises:
        RuntimeError: no matrix; a pivot is 0.
    """
    result = lu_factor_ex(A, pivot)
    _check_pivots(result.info, "torch.linalg.lu_factor")
    result = _Factor._make(result[:2])
    return result if out is None else into(out, result, "linalg_lu_factor")


@linalg(register=False, returns=("P", "L", "U"))
def lu(A: Tensor, pivot: Bool):
    """L and U, and the permutation as positions."""
    _check(A, "linalg.lu", pivot)
    packed, _, permutation = lax.linalg.lu(A)
    return permutation, *_unpacked(packed)


@op(method=False, function=False)
def permutation_matrix(permutation: Tensor, dtype: Dtype):
    """P with P @ x[permutation] == x."""
    eye = jnp.eye(permutation.shape[-1], dtype=dtype)
    return jnp.swapaxes(eye[permutation], -1, -2)


@composite(name="lu", module="linalg")
def separate_lu(A, *, pivot=True, out=None):
    """P, L and U with P @ L @ U == A.

    Args:
        A: (*, m, n).

    Raises:
        RuntimeError: no matrix.
    """
    result = lu(A, pivot)
    result = result._replace(P=permutation_matrix(result.P, A.dtype))
    return result if out is None else into(out, result, "linalg_lu")


@composite(name="lu")
def packed_lu(input, pivot=True, get_infos=False, out=None):
    """(LU, pivots), as `linalg.lu_factor_ex`; with `get_infos` (LU, pivots, infos)."""
    result = lu_factor_ex(input, pivot)
    result = result if get_infos else tuple(result[:2])
    return result if out is None else into(out, result, "lu")


@op(name="lu_unpack", method=False, function=False, returns=("P", "L", "U"))
def unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: Bool):
    """L and U (if asked for, else empty), and the permutation as positions."""
    nothing = jnp.zeros(0, LU_data.dtype)
    parts = _unpacked(LU_data) if unpack_data else (nothing, nothing)
    return order(LU_pivots, LU_data.shape[-2]), *parts


@composite(method=False)
def lu_unpack(LU_data, LU_pivots, unpack_data=True, unpack_pivots=True, *, out=None):
    """P, L and U of a packed factorization; what is not asked for is empty.

    Args:
        LU_data, LU_pivots: (*, m, n) and (*, k), as `linalg.lu_factor` returns them.

    Raises:
        RuntimeError: pivots of a type other than int32.
    """
    if unpack_pivots and LU_pivots.dtype.name != "int32":
        raise RuntimeError(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 "
            "dtype.\nNote: this function is intended to be used with the output produced by "
            "torch.linalg.lu_factor"
        )
    result = unpack(LU_data, LU_pivots, unpack_data)
    P = permutation_matrix(result.P, LU_data.dtype) if unpack_pivots else LU_data.new_empty(0)
    result = result._replace(P=P)
    return result if out is None else into(out, result, "lu_unpack")


def solved(lu, permutation, b, adjoined=False):
    """A^-1 b of a packed factorization of A, or A^-H b; b (*, n, k)."""

    def part(lower, b):
        return lax.linalg.triangular_solve(
            lu, b, left_side=True, lower=lower, unit_diagonal=lower,
            transpose_a=adjoined, conjugate_a=adjoined,
        )  # fmt: skip

    if not adjoined:
        return part(False, part(True, permuted(b, permutation)))
    return permuted(part(True, part(False, b)), jnp.argsort(permutation, -1))


@linalg
def lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: Bool = True, adjoint: Bool = False):
    """X with A @ X == B, of the factorization of A by `lu_factor`.

    Args:
        LU, pivots: (*, n, n) and (*, n).
        B: (*, n, k), or (*, k, n) if not `left`; batches broadcast.
        left: solve A @ X == B, else X @ A == B.
        adjoint: take A.mH for A.

    Raises:
        RuntimeError: shapes or types do not fit.
    """
    return _lu_solved(LU, pivots, B, left, adjoint)


def _lu_solved(LU, pivots, B, left, adjoined):
    name = "linalg.lu_solve"
    if pivots.dtype != np.int32:
        raise RuntimeError(f"{name}: pivots should be a Tensor of scalar type torch.int32")
    check_same_type(LU, B, name, ("LU", "B"))
    if LU.shape[-1] != LU.shape[-2]:
        raise RuntimeError(
            f"{name}: LU must be batches of square matrices, but they are {LU.shape[-2]} by "
            f"{LU.shape[-1]} matrices"
        )
    check_fit(LU, B, left, name, "LU")
    batch = jnp.broadcast_shapes(LU.shape[:-2], B.shape[:-2])
    lu = jnp.broadcast_to(LU, batch + LU.shape[-2:])
    rows = jnp.broadcast_to(order(pivots, LU.shape[-1]), (*batch, LU.shape[-1]))
    b = jnp.broadcast_to(B, batch + B.shape[-2:])
    if left:
        return solved(lu, rows, b, adjoined)
    return conjugate_transpose(solved(lu, rows, conjugate_transpose(b), not adjoined))


def check_fit(a, b, left, name, argument="A"):
    """Refuse right-hand sides of another size. Raises RuntimeError."""
    if b.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor B must have at least 2 dimensions.")
    if a.shape[-1] != b.shape[-2 if left else -1]:
        equation = f"{argument}X = B" if left else f"X{argument} = B"
        raise RuntimeError(
            f"{name}: Incompatible shapes of {argument} and B for the equation {equation} "
            f"({a.shape[-2]}x{a.shape[-1]} and {b.shape[-2]}x{b.shape[-1]})"
        )


@op(name="lu_solve", out=True, grad_name="LinalgLuSolveBackward0")
def packed_lu_solve(input: Tensor, LU_data: Tensor, LU_pivots: Tensor):
    """X with A @ X == input; `linalg.lu_solve` with its arguments in another order."""
    return _lu_solved(LU_data, LU_pivots, input, True, False)
