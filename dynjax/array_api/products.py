"""Products of matrices and vectors in the array API standard."""

from __future__ import annotations

from typing import Any

from ..ops.declare import NAMES
from ..tensor.tensor import Tensor
from .elementwise import conj
from .types import promoted

_T = NAMES["torch"]


def matmul(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The product of matrices."""
    return _T["matmul"](*promoted(x1, x2))


def tensordot(x1: Tensor, x2: Tensor, /, *, axes: Any = 2) -> Tensor:
    """The sum of products over axes."""
    return _T["tensordot"](*promoted(x1, x2), dims=axes)


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """The dot product of vectors, the first conjugated."""
    x1, x2 = promoted(x1, x2)
    return (conj(x1) * x2).sum(axis, dtype=x1.dtype)


__all__ = ["matmul", "tensordot", "vecdot"]
