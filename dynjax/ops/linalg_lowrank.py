"""Decompositions of matrices of low rank, by random projection.

Source: N. Halko, P.-G. Martinsson, J. A. Tropp, Finding structure with randomness,
SIAM Review 53 (2011), algorithms 4.4 and 5.1.
"""

from .declare import composite
from .linalg_qr import qr
from .linalg_spectra import svd
from .matmul import matmul


def _range_basis(a, q, niter):
    """An orthonormal basis (*, m, q) of about the range of matrices, by subspace iteration."""
    draw = a.detach().new_empty((a.shape[-1], q)).normal_()
    basis = qr(matmul(a, draw)).Q
    for _ in range(niter):
        basis = qr(matmul(a, qr(matmul(a.mH, basis)).Q)).Q
    return basis


@composite(method=False)
def svd_lowrank(A, q=6, niter=2, M=None):
    """U (*, m, q), S and V (*, n, q) with U @ diag(S) @ V.mH about A, of rank `q` at most.

    Args:
        A: (*, m, n).
        q: slightly more than the rank.
        niter: steps of subspace iteration.
        M: subtracted from A first.
    """
    q = 6 if q is None else q
    a = A if M is None else A - M
    wide = a.shape[-2] < a.shape[-1]
    a = a.mH if wide else a
    basis = _range_basis(a, q, 2 if niter is None else niter)
    inner, S, Vh = svd(matmul(basis.mH, a), False)
    U, V = matmul(basis, inner), Vh.mH
    return (V, S, U) if wide else (U, S, V)


@composite(method=False)
def pca_lowrank(A, q=None, center=True, niter=2):
    """The principal components V of the rows of A, as `svd_lowrank` of A less their mean.

    Args:
        A: (*, m, n).
        q: slightly more than the rank; min(6, m, n) by default.
        center: whether to subtract the mean.

    Raises:
        ValueError: `q` or `niter` is out of range.
    """
    m, n = A.shape[-2:]
    if q is None:
        q = min(6, m, n)
    elif not 0 <= q <= min(m, n):
        raise ValueError(
            f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}"
        )
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, q, niter)
