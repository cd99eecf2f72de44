"""Python's operators on tensors, each bound to the operation of the same meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..autograd.dispatch import assign, check_inplace
from ..tensor.tensor import Tensor
from .declare import NAMES
from .indexing import getitem, rows_at_hand, setitem

_TORCH = NAMES["torch"]
_NUMBERS = (bool, int, float, complex)
_OPERANDS = (*_NUMBERS, Tensor)

# operator -> (operation, whether it has a reflected form, in-place form)
_BINARY = {
    "add": ("add", True, True),
    "sub": ("sub", True, True),
    "mul": ("mul", True, True),
    "truediv": ("true_divide", True, True),
    "floordiv": ("floor_divide", True, True),
    "mod": ("remainder", True, True),
    "pow": ("pow", True, True),
    "matmul": ("matmul", True, False),
    "and": ("bitwise_and", True, True),
    "or": ("bitwise_or", True, True),
    "xor": ("bitwise_xor", True, True),
    "lshift": ("bitwise_left_shift", True, True),
    "rshift": ("bitwise_right_shift", True, True),
    "eq": ("eq", False, False),
    "ne": ("ne", False, False),
    "lt": ("lt", False, False),
    "le": ("le", False, False),
    "gt": ("gt", False, False),
    "ge": ("ge", False, False),
}
_UNARY = {"neg": "neg", "abs": "abs", "invert": "bitwise_not"}
_COMMUTE = {"add", "mul", "and", "or", "xor"}


def _reflected(front: Callable) -> Callable:
    def operator(self: Tensor, other: Any) -> Any:
        return front(other, self) if isinstance(other, _OPERANDS) else NotImplemented

    return operator


def _rsub(self: Tensor, other: Any) -> Any:
    return _TORCH["rsub"](self, other)


def _inplace(name: str) -> Callable:
    method = getattr(Tensor, name + "_", None)
    front = _TORCH[name]
    if method is not None:
        return method

    def operator(self: Tensor, other: Any) -> Tensor:
        check_inplace(self)
        return assign(self, front(self, other), name)

    return operator


def _compare(front: Callable) -> Callable:
    """Equality with something that is no tensor is False, as for any Python object."""

    def operator(self: Tensor, other: Any) -> Any:
        if other.__class__ is not Tensor and not isinstance(other, (Tensor, *_NUMBERS)):
            if not hasattr(other, "__array__") and not hasattr(other, "__jax_array__"):
                return NotImplemented
        return front(self, other)

    return operator


def _iterate(self: Tensor) -> Iterator[Tensor]:
    if not self.shape:
        raise TypeError("iteration over a 0-d tensor")
    # Rows of data that is there already are inputs of the same programs, however many there are.
    rows = []
    for k in range(self.shape[0]):
        row = rows_at_hand(self, (k,))
        if row is None:
            return iter(_TORCH["unbind"](self, 0))
        row._alias.many = ("UnbindBackward0", k)
        rows.append(row)
    return iter(rows)


def _bind() -> None:
    for name, (operation, reflects, inplace) in _BINARY.items():
        front = _TORCH[operation]
        compares = name in ("eq", "ne", "lt", "le", "gt", "ge")
        setattr(Tensor, f"__{name}__", _compare(front) if compares else front)
        if reflects:
            reflected = front if name in _COMMUTE else _reflected(front)
            setattr(Tensor, f"__r{name}__", _rsub if name == "sub" else reflected)
        if inplace:
            setattr(Tensor, f"__i{name}__", _inplace(operation))
    for name, operation in _UNARY.items():
        setattr(Tensor, f"__{name}__", _TORCH[operation])
    Tensor.real, Tensor.imag = property(_TORCH["real"]), property(_TORCH["imag"])
    Tensor.__rdiv__ = Tensor.__rtruediv__
    Tensor.__pos__ = lambda self: self
    Tensor.__getitem__ = getitem
    Tensor.__setitem__ = setitem
    Tensor.__iter__ = _iterate
    # __eq__ was set after the class was made, so hashing by identity stays as it is.


_bind()
