"""What the array API standard does element by element.

Most of it is PyTorch's: `unary` and `binary` give it the standard's signature.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ops.declare import NAMES
from ..tensor.tensor import Tensor
from .named import named
from .types import promoted

_T = NAMES["torch"]


def unary(name: str, ours: str) -> Callable:
    """An elementwise function of one array."""
    run = _T[ours]

    def function(x: Tensor, /) -> Tensor:
        return run(x)

    return named(function, name, ours)


def binary(name: str, ours: str) -> Callable:
    """An elementwise function of two arrays, or of one and a number."""
    run = _T[ours]

    def function(x1: Any, x2: Any, /) -> Tensor:
        return run(*promoted(x1, x2))

    return named(function, name, ours)


def clip(x: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
    """Elements within bounds, which may be numbers or arrays."""
    arrays = [b for b in (x, min, max) if isinstance(b, Tensor)]
    shape = _T["broadcast_shapes"](*[tuple(b.shape) for b in arrays])
    x = x.expand(shape).clone()
    for bound, least in ((min, "maximum"), (max, "minimum")):
        if bound is not None:
            bound = bound if isinstance(bound, Tensor) else _T["tensor"](bound, device=x.device)
            x = _T[least](x, bound.to(x.dtype))
    return x


def sign(x: Tensor, /) -> Tensor:
    """The sign, of complex numbers the direction; NaN of NaN."""
    if x.dtype.is_complex:
        return x.sgn()
    found = x.sign()
    return _T["where"](x.isnan(), x, found) if x.dtype.is_floating_point else found


def round(x: Tensor, /) -> Tensor:
    """The nearest whole numbers, ties to even."""
    if x.dtype.is_complex:
        return _T["complex"](x.real.round(), x.imag.round())
    return x.round()


def positive(x: Tensor, /) -> Tensor:
    """The array."""
    return x.clone()


def conj(x: Tensor, /) -> Tensor:
    """Complex conjugates."""
    return x.conj().resolve_conj() if x.dtype.is_complex else x


def floor_divide(x1: Any, x2: Any, /) -> Tensor:
    """The quotient, rounded down: of floats the rounded true quotient, as the standard has it."""
    x1, x2 = promoted(x1, x2)
    return (x1 / x2).floor() if x1.dtype.is_floating_point else x1 // x2


def where(condition: Tensor, x1: Any, x2: Any, /) -> Tensor:
    """Elements of one array or the other."""
    return _T["where"](condition, *promoted(x1, x2))


__all__ = ["clip", "conj", "floor_divide", "positive", "round", "sign", "where"]
