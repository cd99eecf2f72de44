"""The QR factorization and products with its reflectors.

Source: https://pytorch.org/docs/stable/linalg.html
"""

import jax
import jax.numpy as jnp
from jax import lax

from .checks import check_floating, type_name
from .declare import Bool, Str, Tensor, composite, op
from .linalg_common import adjoint, check_kernel, check_ndim, linalg, not_differentiable, product

# --- factorization ------------------------------------------------------------------------------


def _reduced(a):
    """Q and R of the reduced form; JAX differentiates it where there are enough rows."""
    m, n = a.shape[-2:]
    if m >= n:
        return lax.linalg.qr(a, full_matrices=False)
    q, r = lax.linalg.qr(a[..., :m], full_matrices=False)
    return q, jnp.concatenate([r, product(adjoint(q), a[..., m:])], -1)


@jax.custom_jvp
def _complete(a):
    return lax.linalg.qr(a, full_matrices=True)


@_complete.defjvp
def _complete_jvp(primals, tangents):
    raise RuntimeError(
        "The QR decomposition is not differentiable when mode='complete' and nrows > ncols"
    )


@linalg(returns=("Q", "R"))
def qr(A: Tensor, mode: Str = "reduced"):
    """Q with orthonormal columns and R, upper triangular: Q @ R == A.

    Args:
        A: (*, m, n).
        mode: "reduced": Q (*, m, k) and R (*, k, n), k = min(m, n); "complete": Q (*, m, m) and
            R (*, m, n); "r": Q is empty.

    Raises:
        RuntimeError: another mode, no matrix; the gradient of the complete form where m > n.
    """
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', "
            "or 'complete'"
        )
    check_ndim(A, "linalg.qr")
    check_floating(A, "linalg.qr")
    check_kernel(A, "geqrf_cpu")
    m, n = A.shape[-2:]
    q, r = _complete(A) if mode == "complete" and m > n else _reduced(A)
    return (jnp.zeros(0, A.dtype) if mode == "r" else q), r


@op(name="qr", out=True, returns=("Q", "R"), grad_name="LinalgQrBackward0")
def deprecated_qr(input: Tensor, some: Bool = True):
    """`linalg.qr`, reduced or (with `some=False`) complete."""
    return qr.__wrapped__(input, "reduced" if some else "complete")


# --- reflectors ---------------------------------------------------------------------------------


@not_differentiable("geqrf")
def _raw_qr(a):
    rows, tau = jnp.linalg.qr(a, mode="raw")
    return jnp.swapaxes(rows, -1, -2), tau


@op(out=True, returns=("a", "tau"))
def geqrf(input: Tensor):
    """The reflectors below and R in the upper triangle of `a` (*, m, n), and their factors `tau`.

    Not differentiable.
    """
    check_ndim(input, "torch.geqrf", "input")
    check_kernel(input, "geqrf_cpu")
    return _raw_qr(input)


def _reflected(v, tau, x, adjoined=False):
    """Q @ x, where Q = H_1 ... H_k is the product of reflectors H_i = 1 - tau_i v_i v_i^H.

    As Q = 1 - V T V^H with T = (1 + D S)^-1 D, D = diag(tau), S = the strict upper part of V^H V
    (Joffrain et al., ACM TOMS 32, 2006), which is a few products and has JAX's gradient.

    Args:
        v: (*, m, k), below its diagonal the vectors (their head is 1).
        tau: (*, k) or less.
        x: (*, m, n).
        adjoined: take Q^H for Q.
    """
    k = tau.shape[-1]
    if not k:
        return x
    v = jnp.tril(v[..., :k], -1) + jnp.eye(v.shape[-2], k, dtype=v.dtype)
    scale = tau[..., None] * jnp.eye(k, dtype=tau.dtype)
    inverse = jnp.eye(k, dtype=tau.dtype) + product(scale, jnp.triu(product(adjoint(v), v), 1))
    t = lax.linalg.triangular_solve(inverse, scale, left_side=True, unit_diagonal=True)
    t = adjoint(t) if adjoined else t
    return x - product(v, product(t, product(adjoint(v), x)))


def _check_reflectors(name, input, tau):
    check_ndim(input, name, "input")
    m, n = input.shape[-2:]
    if m < n:
        raise RuntimeError(
            f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1]"
        )
    if n < tau.shape[-1]:
        raise RuntimeError(
            f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]"
        )
    if input.ndim - tau.ndim != 1:
        raise RuntimeError(
            f"{name}: Expected tau to have one dimension less than input, but got tau.ndim equal "
            f"to {tau.ndim} and input.ndim is equal to {input.ndim}"
        )
    if input.shape[:-2] != tau.shape[:-1]:
        raise RuntimeError(
            f"{name}: Expected batch dimensions of tau to be equal to input.shape[:-2], but got "
            f"{list(tau.shape[:-1])}"
        )
    _check_one_type(name, input, tau)


def _check_one_type(name, input, tau):
    if tau.dtype != input.dtype:
        raise RuntimeError(
            f"{name}: tau dtype {type_name(tau.dtype)} does not match input dtype "
            f"{type_name(input.dtype)}"
        )


@linalg
def householder_product(input: Tensor, tau: Tensor):
    """The first n columns of the product of the reflectors that `geqrf` returns.

    Args:
        input: (*, m, n), m >= n: the reflectors below the diagonal.
        tau: (*, k), k <= n: their factors.

    Raises:
        RuntimeError: shapes or types do not fit.
    """
    _check_reflectors("torch.linalg.householder_product", input, tau)
    eye = jnp.eye(*input.shape[-2:], dtype=input.dtype)
    return _reflected(input, tau, jnp.broadcast_to(eye, input.shape))


composite(name="orgqr")(householder_product)


@op(out=True)
def ormqr(input: Tensor, tau: Tensor, other: Tensor, left: Bool = True, transpose: Bool = False):
    """Q @ other, where Q (mn, mn) is the product of the reflectors that `geqrf` returns.

    Args:
        input: (*, mn, k), the reflectors.
        tau: (*, k) or less, their factors.
        other: (*, m, n), with mn = m, or n if not `left`.
        left: whether Q stands on the left.
        transpose: whether to take the adjoint of Q.

    Raises:
        RuntimeError: shapes or types do not fit.
    """
    _check_ormqr(input, tau, other, left)
    if left:
        return _reflected(input, tau, other, transpose)
    # The adjoint of Q^H @ other^H.
    return adjoint(_reflected(input, tau, adjoint(other), not transpose))


def _check_ormqr(input, tau, other, left):
    name, side = "torch.ormqr", -2 if left else -1
    check_ndim(input, name, "input")
    check_ndim(other, name, "other")
    if other.shape[side] < tau.shape[-1]:
        raise RuntimeError(
            f"{name}: other.shape[{side}] must be greater than or equal to tau.shape[-1]"
        )
    if other.shape[side] != input.shape[-2]:
        raise RuntimeError(f"{name}: other.shape[{side}] must be equal to input.shape[-2]")
    if tau.shape[-1] > input.shape[-1]:
        raise RuntimeError(f"{name}: tau.shape[-1] must be less than or equal to input.shape[-1]")
    if input.ndim - tau.ndim != 1:
        raise RuntimeError(
            f"{name}: Expected tau to have one dimension less than input, but got tau.ndim equal "
            f"to {tau.ndim} and input.ndim is equal to {input.ndim}"
        )
    if input.ndim != other.ndim:
        raise RuntimeError(
            f"{name}: Expected other to have the same number of dimensions as input, but got "
            f"other.ndim equal to {other.ndim} and input.ndim is equal to {input.ndim}"
        )
    for argument, batch in (("tau", tau.shape[:-1]), ("other", other.shape[:-2])):
        if batch != input.shape[:-2]:
            raise RuntimeError(
                f"{name}: Expected batch dimensions of {argument} to be equal to "
                f"input.shape[:-2], but got {list(batch)}"
            )
    for argument, x in (("tau", tau), ("other", other)):
        if x.dtype != input.dtype:
            raise RuntimeError(
                f"{name}: Expected input and {argument} to have the same dtype, but input has "
                f"dtype {type_name(input.dtype)} and {argument} has dtype {type_name(x.dtype)}"
            )
