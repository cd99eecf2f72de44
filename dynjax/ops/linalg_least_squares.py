"""Rank, pseudo-inverse and least squares: what singular values decide.

Source: https://pytorch.org/docs/stable/linalg.html
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..autograd.dispatch import into
from ..tensor.tensor import Tensor as Array
from .checks import broadcast_shapes, check_kind, type_name
from .declare import Bool, Operand, Str, Tensor, composite, op, result_type
from .linalg_common import LinAlgError, adjoint, check_ndim, first_failure, linalg, product
from .linalg_common import hermitian as whole
from .linalg_spectra import singular_values, thin_svd

# --- tolerances ---------------------------------------------------------------------------------


def _threshold(shape, largest, atol, rtol):
    """Below what singular values count as 0: max(atol, rtol * the largest)."""
    if rtol is None:
        used = atol is not None
        eps = jnp.finfo(largest.dtype).eps * max(shape[-2:])
        rtol = jnp.where(atol > 0, 0, eps) if used else eps
    atol = 0 if atol is None else atol
    return jnp.maximum(atol, rtol * largest)


def _number_or_tensor(name, atol, rtol):
    """Refuse one tolerance as a tensor and the other as a number. Raises TypeError."""
    given = [isinstance(x, Array) for x in (atol, rtol) if x is not None]
    if len(set(given)) > 1:
        raise TypeError(f"{name}() received an invalid combination of arguments: atol and rtol "
                        "must both be tensors or both be numbers")  # fmt: skip


def _sizes(a, hermitian):
    """The absolute eigenvalues or the singular values."""
    if not a.shape[-1] or not a.shape[-2]:
        return jnp.zeros((*a.shape[:-2], 1), a.real.dtype)
    if hermitian:
        return jnp.abs(jnp.linalg.eigvalsh(whole(a, False), symmetrize_input=False))
    return singular_values(a)


# --- rank ---------------------------------------------------------------------------------------


@linalg(register=False)
def rank_of(input: Tensor, atol: Operand | None, rtol: Operand | None, hermitian: Bool):
    """The number of singular values above the tolerance."""
    check_ndim(input, "torch.linalg.matrix_rank", "input")
    if input.dtype.kind in "biu" or input.dtype.itemsize == 2:
        raise RuntimeError("This function doesn't handle types other than float and double")
    sizes = _sizes(lax.stop_gradient(input), hermitian)
    limit = _threshold(input.shape, sizes.max(-1), atol, rtol)
    return (sizes > limit[..., None]).sum(-1, dtype=np.int64)


@composite(module="linalg")
def matrix_rank(input, tol=None, hermitian=False, *, atol=None, rtol=None, out=None):
    """The rank of matrices (*, m, n), as int64.

    Args:
        tol: as `atol`, with `rtol` 0.
        atol, rtol: numbers or tensors (*,): singular values up to max(atol, rtol * the largest)
            count as 0. By default `rtol` is max(m, n) * eps, or 0 where `atol` is given.
        hermitian: the matrices are Hermitian, of which the lower triangle is read.

    Raises:
        RuntimeError: no floating matrix.
    """
    if isinstance(tol, bool):  # the overload (input, hermitian)
        tol, hermitian = None, tol
    if tol is not None:
        atol, rtol = tol, tol * 0
    _number_or_tensor("linalg_matrix_rank", atol, rtol)
    rank = rank_of(input, atol, rtol, hermitian)
    return rank if out is None else into(out, rank, "linalg_matrix_rank")


# --- pseudo-inverse -----------------------------------------------------------------------------


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _pinv(a, atol, rtol, hermitian):
    u, s, vh = thin_svd(whole(a, False) if hermitian else a)
    large = s > _threshold(a.shape, s[..., 0], atol, rtol)[..., None]
    inverse = jnp.where(large, 1 / jnp.where(large, s, 1), 0).astype(a.dtype)
    return product(adjoint(vh) * inverse[..., None, :], adjoint(u))


@_pinv.defjvp
def _pinv_jvp(hermitian, primals, tangents):
    # G. H. Golub, V. Pereyra, SIAM J. Numer. Anal. 10 (1973), equation 4.12.
    a, t = primals[0], tangents[0]
    p = _pinv(*primals, hermitian)
    ph, th = adjoint(p), adjoint(t)
    left, right = product(p, product(ph, th)), product(th, product(ph, p))
    change = left - product(left, product(a, p)) + right - product(p, product(a, right))
    return p, change - product(p, product(t, p))


def pseudo_inverse(a, atol, rtol, hermitian=False):
    """The pseudo-inverse of matrices, of singular values above a tolerance."""
    return _pinv(a, atol, rtol, hermitian) if a.size else jnp.swapaxes(a, -1, -2)


@op(name="linalg_pinv", method=False, function=False)
def pinv_of(input: Tensor, atol: Operand | None, rtol: Operand | None, hermitian: Bool):
    """The pseudo-inverse of matrices."""
    if input.ndim < 2 or input.dtype.kind in "biu" or input.dtype.itemsize == 2:
        raise RuntimeError(
            f"linalg.pinv({type_name(input.dtype)}{{{list(input.shape)}}}): expected a tensor "
            "with 2 or more dimensions of float, double, cfloat or cdouble types"
        )
    return pseudo_inverse(input, atol, rtol, hermitian)


@composite(module="linalg")
def pinv(input, rcond=None, hermitian=False, *, atol=None, rtol=None, out=None):
    """The pseudo-inverse (*, n, m) of matrices (*, m, n).

    Args:
        rcond: as `rtol`.
        hermitian: the matrices are Hermitian, of which the lower triangle is read.
        atol, rtol: as for `matrix_rank`.

    Raises:
        RuntimeError: no floating matrix.
    """
    if isinstance(rcond, bool):  # the overload (input, hermitian)
        rcond, hermitian = None, rcond
    rtol = rcond if rtol is None else rtol
    _number_or_tensor("linalg_pinv", atol, rtol)
    inverse = pinv_of(input, atol, rtol, hermitian)
    return inverse if out is None else into(out, inverse, "linalg_pinv")


@composite
def pinverse(input, rcond=1e-15):
    """`linalg.pinv` with another default."""
    return pinv(input, rcond)


# --- least squares ------------------------------------------------------------------------------


def _check_lstsq(a, b, driver):
    name = "torch.linalg.lstsq"
    if a.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    if b.ndim < 1:
        raise RuntimeError(f"{name}: other must have at least 1 dimension.")
    if a.ndim - b.ndim not in (0, 1):
        raise RuntimeError(
            f"{name}: input.dim() must be greater or equal to other.dim() and (input.dim() - "
            "other.dim()) <= 1"
        )
    vector = _is_vector(a, b)
    if a.shape[-2] != (b.shape[-1] if vector else b.shape[-2]):
        position = "-1" if vector else "-2"
        raise RuntimeError(f"{name}: input.size(-2) should match other.size({position})")
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"{name}: Expected input and other to have the same dtype, but got input's dtype "
            f"{type_name(a.dtype)} and other's dtype {type_name(b.dtype)}"
        )
    check_kind(a, "bi", "linalg_lstsq")
    if driver not in ("gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError(
            f"{name}: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)"
        )


def _is_vector(a, b):
    return a.ndim - 1 == b.ndim and a.shape[:-1] == b.shape


@op(name="linalg_lstsq", method=False, function=False,
    returns=("solution", "residuals", "rank", "singular_values"))  # fmt: skip
def solve_least_squares(input: Tensor, b: Tensor, rcond: Operand | None, driver: Str):
    """All four results, as if every matrix had full rank."""
    _check_lstsq(input, b, driver)
    m, n = input.shape[-2:]
    vector = _is_vector(input, b)
    given = b[..., None] if vector else b
    batch = broadcast_shapes(input.shape[:-2], given.shape[:-2])
    a = jnp.broadcast_to(input, (*batch, m, n))
    given = jnp.broadcast_to(given, (*batch, m, given.shape[-1]))
    if not a.size:
        sizes, rank = jnp.zeros((*batch, 0), a.real.dtype), jnp.zeros(batch, np.int64)
        x = jnp.zeros((*batch, n, given.shape[-1]), a.dtype)
    else:
        sizes = singular_values(lax.stop_gradient(a))
        default = jnp.finfo(a.dtype).eps * max(m, n)
        rcond = default if rcond is None else rcond
        rank = (sizes > rcond * sizes[..., :1]).sum(-1, dtype=np.int64)
        x = product(pseudo_inverse(a, None, rcond), given)
    error = product(a, x) - given
    residuals = jnp.square(jnp.abs(error)).sum(-2)
    return (x[..., 0] if vector else x), residuals, rank, sizes


_NOT_FULL_RANK = (
    "torch.linalg.lstsq: {}The least squares solution could not be computed because the input "
    "matrix does not have full rank (error code: {})."
)


@composite(module="linalg")
def lstsq(input, b, rcond=None, *, driver=None, out=None):
    """The X of least norm for which the norm of input @ X - b is least.

    Args:
        input: (*, m, n).
        b: (*, m, k) or (*, m).
        rcond: singular values up to `rcond` times the largest count as 0.
        driver: "gels" (full rank), "gelsy" (the default), "gelsd" or "gelss"; decides which of
            the results are given, as in PyTorch: the method is the same.

    Returns:
        (solution, residuals, rank, singular_values). Residuals are given where m > n and all
        ranks are full, except with "gelsy"; the rank except with "gels"; singular values with
        "gelsd" and "gelss". What is not given is empty.

    Raises:
        LinAlgError: "gels" and a matrix without full rank.
        RuntimeError: shapes, types or the driver don't fit.
    """
    driver = "gelsy" if driver is None else driver
    result = solve_least_squares(input, b, rcond, driver)
    m, n = input.shape[-2:]
    if driver == "gels":
        failure = first_failure((result.rank < min(m, n)) * result.rank.new_full((), min(m, n)))
        if failure is not None:
            raise LinAlgError(_NOT_FULL_RANK.format(failure[1], failure[0]))
    full = driver == "gels" or (driver != "gelsy" and first_failure(result.rank < n) is None)
    nothing = result.singular_values.detach().new_empty(0)
    result = _Lstsq(
        result.solution,
        result.residuals if m > n and full else result.residuals.flatten()[:0],
        result.rank.new_empty(0) if driver == "gels" else result.rank,
        result.singular_values.detach() if driver in ("gelsd", "gelss") else nothing,
    )
    return result if out is None else into(out, result, "linalg_lstsq")


_Lstsq = result_type("linalg_lstsq", ("solution", "residuals", "rank", "singular_values"))
