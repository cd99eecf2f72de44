"""Eigenvalues and singular values.

Eigenvectors and singular vectors are defined up to a phase: gradients are those of functions that
don't depend on it. Values that are not finite give NaN, where PyTorch raises an error: asking
would wait for the device at every call.

Source: https://pytorch.org/docs/stable/linalg.html
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from ..autograd.dispatch import into
from .checks import check_floating, check_kind
from .declare import Bool, Static, Str, Tensor, composite, op, result_type
from .linalg_common import (
    adjoint,
    check_kernel,
    check_ndim,
    check_square,
    hermitian,
    linalg,
    product,
)

# --- eigenvalues of any matrix ------------------------------------------------------------------


def _gaps(values):
    """values[j] - values[i] at (i, j), and 1 on the diagonal."""
    gaps = values[..., None, :] - values[..., :, None]
    return gaps + jnp.eye(values.shape[-1], dtype=gaps.dtype)


@jax.custom_jvp
def _eig(a):
    return tuple(lax.linalg.eig(a, compute_left_eigenvectors=False))


@_eig.defjvp
def _eig_jvp(primals, tangents):
    # JAX differentiates the eigenvalues only. Vectors of norm 1: C. Boeddeker et al.,
    # arXiv:1701.00392, section 4.3.
    values, vectors = _eig(*primals)
    inner = jnp.linalg.solve(vectors, product(tangents[0].astype(vectors.dtype), vectors))
    d_values = jnp.diagonal(inner, axis1=-2, axis2=-1)
    eye = jnp.eye(values.shape[-1], dtype=vectors.dtype)
    turned = product(vectors, inner * (1 - eye) / _gaps(values))
    along = (jnp.conj(vectors) * turned).sum(-2, keepdims=True).real
    return (values, vectors), (d_values, turned - vectors * along)


def _check_eig(a, name):
    check_square(a, name)
    check_kernel(a, "linalg_eig_out_cpu")
    if a.dtype.kind in "biu":
        check_floating(a, name)


@linalg(returns=("eigenvalues", "eigenvectors"))
def eig(input: Tensor):
    """Eigenvalues (*, n) and eigenvectors (*, n, n), complex, of matrices; in no order.

    Raises:
        RuntimeError: the matrices are not square.
    """
    _check_eig(input, "linalg.eig")
    return _eig(input)


@linalg(grad_name="LinalgEigBackward0")
def eigvals(input: Tensor):
    """The eigenvalues (*, n), complex, of matrices; in no order."""
    _check_eig(input, "linalg.eigvals")
    return _eig(input)[0]


# --- eigenvalues of Hermitian matrices ----------------------------------------------------------


def _eigh(a, uplo):
    check_square(a, "linalg.eigh")
    check_kind(a, "bi", "linalg_eigh_cpu")
    check_kernel(a, "linalg_eigh_cpu")
    if uplo.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {uplo}")
    whole = hermitian(a, uplo.upper() == "U")
    vectors, values = lax.linalg.eigh(whole, symmetrize_input=False)
    return values, vectors


@linalg(returns=("eigenvalues", "eigenvectors"))
def eigh(input: Tensor, UPLO: Str = "L"):
    """Ascending real eigenvalues (*, n) and eigenvectors (*, n, n) of Hermitian matrices.

    Args:
        UPLO: "L" or "U": the triangle that is read.

    Raises:
        RuntimeError: the matrices are not square.
    """
    return _eigh(input, UPLO)


@linalg(grad_name="LinalgEighBackward0")
def eigvalsh(input: Tensor, UPLO: Str = "L"):
    """The ascending real eigenvalues (*, n) of Hermitian matrices; `UPLO` as for `eigh`."""
    return _eigh(input, UPLO)[0]


# --- singular values ----------------------------------------------------------------------------


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _full_svd(a, k):
    """The complete decomposition; k is the number of singular values."""
    return tuple(lax.linalg.svd(a, full_matrices=True))


@_full_svd.defjvp
def _full_svd_jvp(k, primals, tangents):
    # As PyTorch: of the leading singular vectors; the others are taken as constant.
    (a,), (t,) = primals, tangents
    u, s, vh = _full_svd(a, k)
    v = adjoint(vh)
    lead, trail = u[..., :k], v[..., :k]
    inner = product(adjoint(lead), product(t, trail))
    ds = jnp.diagonal(inner, axis1=-2, axis2=-1).real
    wide = s[..., None, :].astype(a.dtype)
    eye = jnp.eye(k, dtype=a.dtype)
    gaps = _gaps(jnp.square(wide[..., 0, :]))
    mixed, flipped = inner * wide, jnp.swapaxes(wide, -1, -2) * inner
    around = (mixed + adjoint(mixed)) * (1 - eye) / gaps
    around_v = (flipped + adjoint(flipped)) * (1 - eye) / gaps
    phase = eye * (inner - adjoint(inner)) / (2 * wide)
    du = product(lead, around + phase)
    dv = product(trail, around_v)
    rest_u = product(t, trail) - product(lead, inner)
    rest_v = product(adjoint(t), lead) - product(trail, adjoint(inner))
    du, dv = du + rest_u / wide, dv + rest_v / wide
    extra_u = jnp.zeros_like(u[..., k:])
    extra_v = jnp.zeros_like(vh[..., k:, :])
    return (u, s, vh), (
        jnp.concatenate([du, extra_u], -1), ds, jnp.concatenate([adjoint(dv), extra_v], -2),
    )  # fmt: skip


def _check_svd(a):
    check_ndim(a, "linalg.svd")
    check_floating(a, "linalg.svd")
    check_kernel(a, "linalg_svd_cpu")


def thin_svd(a):
    """U, S and V^H of the reduced decomposition."""
    _check_svd(a)
    return tuple(lax.linalg.svd(a, full_matrices=False))


def singular_values(a):
    """The singular values, descending."""
    _check_svd(a)
    return lax.linalg.svd(a, compute_uv=False)


def _check_driver(name, driver):
    if driver is not None:
        raise RuntimeError(
            f"torch.{name}: keyword argument `driver=` is only supported on CUDA inputs with "
            "cuSOLVER backend."
        )


def _svd(a, full):
    m, n = a.shape[-2:]
    _check_svd(a)
    return _full_svd(a, min(m, n)) if full and m != n else thin_svd(a)


@linalg(returns=("U", "S", "Vh"))
def svd(A: Tensor, full_matrices: Bool = True, *, driver: Static = None):
    """U, S and Vh with U @ diag(S) @ Vh == A, S descending.

    Args:
        A: (*, m, n).
        full_matrices: whether U (*, m, m) and Vh (*, n, n) are complete, or have min(m, n)
            columns and rows.

    Raises:
        RuntimeError: no matrix; a `driver`, which only CUDA has.
    """
    _check_driver("linalg.svd", driver)
    return _svd(A, full_matrices)


@linalg(grad_name="LinalgSvdBackward0")
def svdvals(A: Tensor, *, driver: Static = None):
    """The singular values, descending, of matrices."""
    _check_driver("linalg.svd", driver)
    return singular_values(A)


@op(name="svd", function=False, method=False, returns=("U", "S", "V"),
    grad_name="LinalgSvdBackward0")  # fmt: skip
def _factors(input: Tensor, full: Bool):
    u, s, vh = _svd(input, full)
    return u, s, adjoint(vh)


_Svd = result_type("svd", ("U", "S", "V"))


@composite(name="svd")
def main_svd(input, some=True, compute_uv=True, *, out=None):
    """U, S and V with U @ diag(S) @ V.mH == input; `linalg.svd` with V instead of Vh.

    Args:
        some: the reduced form.
        compute_uv: if not set, U and V are full of zeros.
    """
    if compute_uv:
        result = _factors(input, not some)
    else:
        *batch, m, n = input.shape
        U, V = input.new_zeros((*batch, m, m)), input.new_zeros((*batch, n, n))
        result = _Svd(U, svdvals(input), V)
    return result if out is None else into(out, result, "svd")
