"""The linear algebra of the array API standard."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from ..core.dtypes import dtype as DType
from ..ops.declare import NAMES
from ..tensor.tensor import Tensor
from .products import matmul, tensordot, vecdot
from .reductions import axes_of, sum
from .shapes import matrix_transpose
from .types import promoted

_L = NAMES["linalg"]

EighResult = namedtuple("EighResult", "eigenvalues eigenvectors")
EigResult = namedtuple("EigResult", "eigenvalues eigenvectors")
QRResult = namedtuple("QRResult", "Q R")
SlogdetResult = namedtuple("SlogdetResult", "sign logabsdet")
SVDResult = namedtuple("SVDResult", "U S Vh")


def cholesky(x: Tensor, /, *, upper: bool = False) -> Tensor:
    """The Cholesky factor."""
    return _L["cholesky"](x, upper=upper)


def cross(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """The cross product of vectors of three."""
    if x1.shape[axis] != 3 or x2.shape[axis] != 3:
        raise ValueError("cross() is of vectors of length three")
    return _L["cross"](*NAMES["torch"]["broadcast_tensors"](*promoted(x1, x2)), dim=axis)


def det(x: Tensor, /) -> Tensor:
    """The determinant."""
    return _L["det"](x)


def diagonal(x: Tensor, /, *, offset: int = 0) -> Tensor:
    """The diagonal of matrices."""
    return x.diagonal(offset, -2, -1)


def eig(x: Tensor, /) -> Any:
    """Eigenvalues and eigenvectors."""
    return EigResult(*_L["eig"](x))


def eigh(x: Tensor, /) -> Any:
    """Eigenvalues and eigenvectors of symmetric matrices."""
    return EighResult(*_L["eigh"](x))


def eigvals(x: Tensor, /) -> Tensor:
    """Eigenvalues."""
    return _L["eigvals"](x)


def eigvalsh(x: Tensor, /) -> Tensor:
    """Eigenvalues of symmetric matrices."""
    return _L["eigvalsh"](x)


def inv(x: Tensor, /) -> Tensor:
    """The inverse."""
    return _L["inv"](x)


def matrix_norm(x: Tensor, /, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """Norms of matrices."""
    return _L["matrix_norm"](x, ord, keepdim=keepdims)


def matrix_power(x: Tensor, n: int, /) -> Tensor:
    """Powers of matrices."""
    return _L["matrix_power"](x, n)


def matrix_rank(x: Tensor, /, *, rtol: Any = None) -> Tensor:
    """The rank."""
    return _L["matrix_rank"](x, rtol=rtol)


def outer(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The product of every element with every other."""
    x1, x2 = promoted(x1, x2)
    return x1[:, None] * x2


def pinv(x: Tensor, /, *, rtol: Any = None) -> Tensor:
    """The pseudo-inverse."""
    return _L["pinv"](x, rtol=rtol)


def qr(x: Tensor, /, *, mode: str = "reduced") -> Any:
    """The QR decomposition."""
    return QRResult(*_L["qr"](x, mode))


def slogdet(x: Tensor, /) -> Any:
    """Sign and logarithm of the determinant."""
    return SlogdetResult(*_L["slogdet"](x))


def solve(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The solution of a system; a right side of one dimension is a vector."""
    x1, x2 = promoted(x1, x2)
    if x2.ndim == 1:
        return _L["solve"](x1, x2[:, None])[..., 0]
    shape = NAMES["torch"]["broadcast_shapes"](x1.shape[:-2], x2.shape[:-2])
    return _L["solve"](x1.expand((*shape, *x1.shape[-2:])), x2.expand((*shape, *x2.shape[-2:])))


def svd(x: Tensor, /, *, full_matrices: bool = True) -> Any:
    """The singular value decomposition."""
    return SVDResult(*_L["svd"](x, full_matrices=full_matrices))


def svdvals(x: Tensor, /) -> Tensor:
    """Singular values."""
    return _L["svdvals"](x)


def trace(x: Tensor, /, *, offset: int = 0, dtype: DType | None = None) -> Tensor:
    """The sum of the diagonal."""
    return sum(diagonal(x, offset=offset), axis=-1, dtype=dtype)


def vector_norm(x: Tensor, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Tensor:
    """Norms of vectors along one axis or several."""
    axes = axes_of(x, axis)
    if not axes:
        return (x != 0).to(x.abs().dtype) if ord == 0 else x.abs()
    return _L["vector_norm"](x, ord, axes, keepdim=keepdims)


__all__ = [
    "cholesky", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "inv", "matmul",
    "matrix_norm", "matrix_power", "matrix_rank", "matrix_transpose", "outer", "pinv", "qr",
    "slogdet", "solve", "svd", "svdvals", "tensordot", "trace", "vecdot", "vector_norm",
]  # fmt: skip
