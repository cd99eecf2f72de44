"""Square systems: solutions, inverses, determinants.

Source: https://pytorch.org/docs/stable/linalg.html
"""

import functools
import math

import jax.numpy as jnp
from jax import lax

from ..autograd.dispatch import into
from .checks import check_floating, check_kind
from .declare import Bool, Tensor, composite, op, result_type
from .linalg_common import (
    check_info,
    check_precise,
    check_same_type,
    check_square,
    identity_like,
    linalg,
    product,
)
from .linalg_lu import check_fit, solved, zero_pivot

# --- solutions ----------------------------------------------------------------------------------


def solution(a, b):
    """x with a @ x == b, of matrices with equal batches, and the position of a zero pivot.

    Its gradient solves with the same factors: nothing flows through the factorization.
    """
    lu, _, permutation = lax.linalg.lu(lax.stop_gradient(a))
    x = lax.custom_linear_solve(
        functools.partial(product, a),
        b,
        lambda _, b: solved(lu, permutation, b),
        # JAX's transposition does not conjugate.
        lambda _, b: jnp.conj(solved(lu, permutation, jnp.conj(b), adjoined=True)),
    )
    return x, zero_pivot(lu)


def _check_solve(A, B, left):
    check_precise(A, "linalg.solve")
    check_square(A, "linalg.solve")
    check_same_type(A, B, "linalg.solve")


@linalg(register=False, returns=("result", "info"))
def solve_ex(A: Tensor, B: Tensor, left: Bool):
    """X with A @ X == B (or X @ A == B), and the position of the first zero pivot, 0 if none."""
    _check_solve(A, B, left)
    vector = B.ndim == 1 or (A.ndim - 1 == B.ndim and B.shape == A.shape[:-1])
    if vector and not left:
        raise RuntimeError(
            "linalg.solve: Vector broadcasting of the left hand side is not supported for "
            "left=False. In this case linalg.solve is equivalent to B / A.squeeze(-1)"
        )
    b = B[..., None] if vector else B
    check_fit(A, b, left, "linalg.solve")
    batch = jnp.broadcast_shapes(A.shape[:-2], b.shape[:-2])
    a = jnp.broadcast_to(A, batch + A.shape[-2:])
    b = jnp.broadcast_to(b, batch + b.shape[-2:])
    if left:
        x, info = solution(a, b)
    else:
        x, info = solution(jnp.swapaxes(a, -1, -2), jnp.swapaxes(b, -1, -2))
        x = jnp.swapaxes(x, -1, -2)
    return (x[..., 0] if vector else x), info


_SINGULAR = "The solver failed because the input matrix is singular."


@composite(name="solve_ex", module="linalg")
def checked_solve_ex(A, B, *, left=True, check_errors=False, out=None):
    """`solve` that tells of singular matrices by a code for each: (result, info).

    Args:
        check_errors: raise instead, as `linalg.solve`.
    """
    result = solve_ex(A, B, left)
    if check_errors:
        check_info(result.info, "torch.linalg.solve_ex", _SINGULAR)
    return result if out is None else into(out, result, "linalg_solve_ex")


@composite(module="linalg")
def solve(A, B, *, left=True, out=None):
    """X with A @ X == B.

    Args:
        A: (*, n, n).
        B: (*, n, k), (*, n) or (n,); batches broadcast.
        left: solve X @ A == B if not set.

    Raises:
        LinAlgError: a matrix is singular.
        RuntimeError: shapes or types do not fit.
    """
    result, info = solve_ex(A, B, left)
    check_info(info, "torch.linalg.solve", _SINGULAR)
    return result if out is None else into(out, result, "linalg_solve")


@linalg(register=False, returns=("inverse", "info"))
def inv_ex(A: Tensor):
    """The inverse of each matrix, and the position of the first zero pivot, 0 if none."""
    check_precise(A, "linalg.inv")
    check_square(A, "linalg.inv")
    return solution(A, identity_like(A))


_NOT_INVERTIBLE = (
    "The diagonal element {} is zero, the inversion could not be completed because the input "
    "matrix is singular."
)


@composite(name="inv_ex", module="linalg")
def checked_inv_ex(A, *, check_errors=False, out=None):
    """`inv` that tells of singular matrices by a code for each: (inverse, info).

    Args:
        check_errors: raise instead, as `linalg.inv`.
    """
    result = inv_ex(A)
    if check_errors:
        check_info(result.info, "linalg.inv_ex", _NOT_INVERTIBLE)
    return result if out is None else into(out, result, "linalg_inv_ex")


@composite(module="linalg")
def inv(A, *, out=None):
    """The inverse of matrices (*, n, n).

    Raises:
        LinAlgError: one is singular.
        RuntimeError: they are not square.
    """
    inverse, info = inv_ex(A)
    check_info(info, "linalg.inv", _NOT_INVERTIBLE)
    return inverse if out is None else into(out, inverse, "linalg_inv")


@composite
def inverse(input, *, out=None):
    """`linalg.inv`."""
    return inv(input, out=out)


# --- triangular systems -------------------------------------------------------------------------


@linalg
def solve_triangular(
    input: Tensor, B: Tensor, *, upper: Bool, left: Bool = True, unitriangular: Bool = False
):
    """X with A @ X == B, where A is triangular.

    Args:
        input: A (*, n, n).
        B: (*, n, k); batches broadcast.
        upper: which triangle of A is read.
        left: solve X @ A == B if not set.
        unitriangular: take the diagonal for ones.

    Raises:
        RuntimeError: shapes or types do not fit.
    """
    check_square(input, "linalg.solve_triangular")
    check_same_type(input, B, "linalg.solve_triangular")
    check_fit(input, B, left, "linalg.solve_triangular")
    return _triangular(input, B, upper, left, unitriangular, False)


def _triangular(a, b, upper, left, unit, transpose):
    batch = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return lax.linalg.triangular_solve(
        jnp.broadcast_to(a, batch + a.shape[-2:]),
        jnp.broadcast_to(b, batch + b.shape[-2:]),
        left_side=left, lower=not upper, unit_diagonal=unit,
        transpose_a=transpose, conjugate_a=transpose,
    )  # fmt: skip


@op(out=True, returns=("solution", "cloned_coefficient"))
def triangular_solve(
    input: Tensor, A: Tensor, upper: Bool = True, transpose: Bool = False,
    unitriangular: Bool = False,
):  # fmt: skip
    """X with A @ X == input, and A; arguments as for `linalg.solve_triangular`.

    Args:
        transpose: take the adjoint of A for A.
    """
    for x, name in ((input, "b"), (A, "A")):
        if x.ndim < 2:
            raise RuntimeError(
                f"torch.triangular_solve: Expected {name} to have at least 2 dimensions, but it "
                f"has {x.ndim} dimensions instead"
            )
    check_square(A, "triangular_solve")
    check_same_type(input, A, "triangular_solve", ("self", "A"))
    check_fit(A, input, True, "triangular_solve")
    x = _triangular(A, input, upper, True, unitriangular, transpose)
    return x, jnp.broadcast_to(A, x.shape[:-2] + A.shape[-2:])


# --- determinants -------------------------------------------------------------------------------


@linalg
def det(A: Tensor):
    """The determinants of matrices (*, n, n).

    Raises:
        RuntimeError: they are not square.
    """
    check_floating(A, "linalg.det")
    check_square(A, "linalg.det")
    check_kind(A, "f" if A.dtype.itemsize == 2 else "", "lu_cpu")
    return jnp.linalg.det(A) if A.shape[-1] else jnp.ones(A.shape[:-2], A.dtype)


composite(name="det")(det)


def _signed_log(x):
    """The sign (or phase) and the logarithm of the absolute value of a determinant."""
    if not x.shape[-1]:
        return jnp.ones(x.shape[:-2], x.dtype), jnp.zeros(x.shape[:-2], x.real.dtype)
    return jnp.linalg.slogdet(x)


@linalg(returns=("sign", "logabsdet"))
def slogdet(A: Tensor):
    """Of determinants, the sign (or phase) and the logarithm of the absolute value.

    Args:
        A: (*, n, n).

    Raises:
        RuntimeError: they are not square.
    """
    check_precise(A, "linalg.slogdet")
    check_square(A, "linalg.slogdet")
    return tuple(_signed_log(A))


_SlogdetResult = result_type("slogdet", ("sign", "logabsdet"))


@composite(name="slogdet")
def main_slogdet(input, *, out=None):
    """`linalg.slogdet`."""
    result = _SlogdetResult._make(slogdet(input))
    return result if out is None else into(out, result, "slogdet")


@op
def logdet(input: Tensor):
    """The logarithm of determinants; NaN where one is negative."""
    check_precise(input, "linalg.slogdet")
    check_square(input, "linalg.slogdet")
    sign, size = _signed_log(input)
    if sign.dtype.kind == "c":
        return jnp.log(sign) + size
    return jnp.where(sign == -1, jnp.nan, size)


# --- tensors as matrices ------------------------------------------------------------------------


@composite(module="linalg")
def tensorinv(input, ind=2, *, out=None):
    """The inverse of a tensor, as that of a matrix whose rows are the first `ind` dimensions.

    Raises:
        RuntimeError: the dimensions do not make a square matrix.
        LinAlgError: it is singular.
    """
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    rows, columns = input.shape[:ind], input.shape[ind:]
    if math.prod(rows) != math.prod(columns):
        raise RuntimeError(
            f"Expected self to satisfy the requirement prod(self.shape[ind:]) == "
            f"prod(self.shape[:ind]), but got {math.prod(columns)} != {math.prod(rows)}"
        )
    flat = input.reshape(math.prod(rows), math.prod(columns))
    inverse = inv(flat).reshape(*columns, *rows)
    return inverse if out is None else into(out, inverse, "linalg_tensorinv")


@composite(module="linalg")
def tensorsolve(input, other, dims=None, *, out=None):
    """x with tensordot(input, x, x.ndim) == other.

    Args:
        input: its first dimensions have as many elements as `other`, as have the rest.
        dims: dimensions of `input` to move to its end first.

    Raises:
        RuntimeError: the sizes do not fit.
        LinAlgError: as a matrix, `input` is singular.
    """
    if dims is not None:
        dims = [dims] if isinstance(dims, int) else list(dims)
        input = input.movedim(dims, list(range(input.ndim - len(dims), input.ndim)))
    shape = input.shape[other.ndim :]
    size = math.prod(shape)
    if size != math.prod(input.shape[: other.ndim]):
        raise RuntimeError(
            f"Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
            f"prod(self.shape[:other.ndim]), but got {size} != "
            f"{math.prod(input.shape[: other.ndim])}"
        )
    x = solve(input.reshape(size, size), other.flatten()).reshape(shape)
    return x if out is None else into(out, x, "linalg_tensorsolve")
