"""The Cholesky factorization and what is solved with it.

Source: https://pytorch.org/docs/stable/linalg.html
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..autograd.dispatch import into
from .checks import check_floating
from .declare import Bool, Tensor, composite, op
from .linalg_common import (
    adjoint,
    check_info,
    check_kernel,
    check_ndim,
    check_same_type,
    check_square,
    hermitian,
    identity_like,
    linalg,
    product,
)

_NOT_POSITIVE = (
    "The factorization could not be completed because the input is not positive-definite (the "
    "leading minor of order {} is not positive-definite)."
)


def _first_bad_minor(a):
    """The order of the first leading minor that is not positive, by elimination; 0 if none."""

    def eliminate(k, carry):
        a, info = carry
        pivot, column = a[..., k, k].real, a[..., :, k]
        info = jnp.where((info == 0) & ~(pivot > 0), k + 1, info)
        outer = column[..., :, None] * jnp.conj(column)[..., None, :]
        return a - outer / pivot[..., None, None], info

    start = jnp.zeros(a.shape[:-2], np.int32)
    return lax.fori_loop(0, a.shape[-1], eliminate, (a, start))[1].astype(np.int32)


@linalg(register=False, returns=("L", "info"))
def cholesky_ex(input: Tensor, upper: Bool):
    """The triangular factor of each matrix, and the order of the first bad minor, 0 if none."""
    check_square(input, "linalg.cholesky")
    check_floating(input, "linalg.cholesky")
    check_kernel(input, "cholesky_cpu")
    whole = hermitian(input, upper)
    factor = lax.linalg.cholesky(whole, symmetrize_input=False)
    # JAX fills with NaN what fails. Only then is it worth finding out where.
    failed = jnp.isnan(lax.stop_gradient(factor)).any((-1, -2))
    if not input.shape[-1]:
        return factor, failed.astype(np.int32)
    info = lax.cond(
        failed.any(),
        lambda a: jnp.where(failed, jnp.maximum(_first_bad_minor(a), 1), 0),
        lambda a: jnp.zeros(a.shape[:-2], np.int32),
        lax.stop_gradient(whole),
    )
    return (adjoint(factor) if upper else factor), info.astype(np.int32)


@composite(name="cholesky_ex", module="linalg")
def checked_cholesky_ex(input, *, upper=False, check_errors=False, out=None):
    """The Cholesky factor and, instead of an error, a code for each matrix: (L, info).

    Args:
        input: (*, n, n) Hermitian positive definite; one triangle is read.
        upper: whether that is the upper one, and the factor too.
        check_errors: raise as `linalg.cholesky`.
    """
    result = cholesky_ex(input, upper)
    if check_errors:
        check_info(result.info, "linalg.cholesky_ex", _NOT_POSITIVE)
    return result if out is None else into(out, result, "linalg_cholesky_ex")


def _factor(name, text, **options):
    @composite(name=name, **options)
    def cholesky(input, upper=False, *, out=None):
        """The triangular L with L @ L.mH == input; with `upper` its adjoint.

        Args:
            input: (*, n, n) Hermitian positive definite; one triangle is read.

        Raises:
            LinAlgError: a matrix is not positive definite.
        """
        factor, info = cholesky_ex(input, bool(upper))
        check_info(info, text, _NOT_POSITIVE)
        return factor if out is None else into(out, factor, f"{text.replace('.', '_')}")

    return cholesky


linalg_cholesky = _factor("cholesky", "linalg.cholesky", module="linalg")
_factor("cholesky", "cholesky")


# --- solving with a factor ----------------------------------------------------------------------


def _solved(factor, b, upper):
    """(L L^H)^-1 b."""
    low = functools.partial(lax.linalg.triangular_solve, left_side=True, lower=not upper)
    if upper:  # A = U^H U
        return low(factor, low(factor, b, transpose_a=True, conjugate_a=True))
    return low(factor, low(factor, b), transpose_a=True, conjugate_a=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _cholesky_solve(factor, b, upper):
    return _solved(factor, b, upper)


@_cholesky_solve.defjvp
def _cholesky_solve_jvp(upper, primals, tangents):
    # PyTorch's gradient does not keep to the triangle; JAX's would.
    (factor, b), (t, tb) = primals, tangents
    x = _cholesky_solve(factor, b, upper)
    half = product(adjoint(t), factor) if upper else product(t, adjoint(factor))
    change = product(half + adjoint(half), x)
    return x, _cholesky_solve(factor, tb - change, upper)


@op(out=True)
def cholesky_solve(input: Tensor, L: Tensor, upper: Bool = False):
    """X with A @ X == input, where A == L @ L.mH (with `upper`: L.mH @ L).

    Args:
        input: (*, n, k), the right-hand sides.
        L: (*, n, n), a Cholesky factor; batches broadcast.
    """
    for x, name in ((input, "b"), (L, "u")):
        if x.ndim < 2:
            raise RuntimeError(
                f"{name} should have at least 2 dimensions, but has {x.ndim} dimensions instead"
            )
    check_square(L, "cholesky_solve")
    check_same_type(input, L, "cholesky_solve", ("self", "A"))
    batch = jnp.broadcast_shapes(input.shape[:-2], L.shape[:-2])
    b = jnp.broadcast_to(input, batch + input.shape[-2:])
    return _cholesky_solve(jnp.broadcast_to(L, batch + L.shape[-2:]), b, upper)


@op(out=True)
def cholesky_inverse(input: Tensor, upper: Bool = False):
    """The inverse of A, of which `input` (*, n, n) is a Cholesky factor."""
    check_ndim(input, "cholesky_inverse")
    check_square(input, "cholesky_inverse")
    return _cholesky_solve(input, identity_like(input), upper)
