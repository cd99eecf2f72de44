"""What the arguments of an operation are, and how a caller's are brought into canonical form."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np

from ..core import dtypes
from ..engine.random import Generator
from ..tensor.tensor import Tensor as TensorHandle
from ..tensor.tensor import from_jax


class ArgKind:
    """What an argument of an operation is; `kind | None` makes it optional."""

    def __init__(self, name: str, optional: bool = False) -> None:
        self.name, self.optional = name, optional

    def __or__(self, other: None) -> ArgKind:
        return ArgKind(self.name, True)

    def __repr__(self) -> str:
        return self.name + (" | None" if self.optional else "")


Tensor = ArgKind("Tensor")
Operand = ArgKind("Operand")
Tensors = ArgKind("Tensors")
Number = ArgKind("Number")
Int = ArgKind("Int")
Ints = ArgKind("Ints")
Size = ArgKind("Size")
Bool = ArgKind("Bool")
Float = ArgKind("Float")
Str = ArgKind("Str")
Dtype = ArgKind("Dtype")
Static = ArgKind("Static")
Key = ArgKind("Key")


class Param:
    """One parameter of an operation."""

    __slots__ = ("name", "kind", "optional", "default", "keyword")

    def __init__(self, parameter: inspect.Parameter, kind: ArgKind) -> None:
        self.name = parameter.name
        self.kind = kind.name
        self.default = parameter.default
        self.optional = kind.optional or parameter.default is None
        self.keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY


_TYPE_NAMES = {
    "Int": "int", "Bool": "bool", "Float": "float", "Str": "str", "Ints": "tuple of ints",
    "Size": "tuple of ints", "Dtype": "torch.dtype",
}  # fmt: skip


def tidy(name: str, position: int, p: Param, arg: Any) -> Any:
    """An argument in its canonical form; refuses wrong types as PyTorch does."""
    kind = p.kind
    if kind == "Tensor" or kind == "Operand":
        if isinstance(arg, TensorHandle):
            return arg
        if arg is None and p.optional:
            return None
        if kind == "Operand" and isinstance(arg, (bool, int, float, complex)):
            return arg
        if isinstance(arg, np.generic) and kind == "Operand":
            return arg.item()
        if isinstance(arg, jax.Array):
            return from_jax(arg)
        raise wrong_type(name, position, p, arg, "Tensor")
    if kind == "Tensors":
        if arg is None and p.optional:
            return None
        if isinstance(arg, (list, tuple)):
            for k, t in enumerate(arg):
                if not isinstance(t, TensorHandle):
                    raise TypeError(
                        f"expected Tensor as element {k} in argument {position}, "
                        f"but got {type(t).__name__}"
                    )
            return arg
        raise wrong_type(name, position, p, arg, "tuple of Tensors")
    if kind == "Key":
        if arg is None or isinstance(arg, Generator):
            return arg
        raise wrong_type(name, position, p, arg, "torch.Generator")
    if kind == "Number":
        if arg is None and p.optional:
            return None
        if isinstance(arg, TensorHandle):
            return arg.item()
        if isinstance(arg, np.generic):
            return arg.item()
        if isinstance(arg, (bool, int, float, complex)):
            return arg
        raise wrong_type(name, position, p, arg, "Number")
    if arg is None:
        if p.optional or p.default is None:
            return None
        if kind in ("Static", "Ints", "Size", "Dtype"):
            return None
        raise wrong_type(name, position, p, arg, _TYPE_NAMES.get(kind, kind))
    return _TIDY[kind](name, position, p, arg)


def wrong_type(name: str, position: int, p: Param, arg: Any, expected: str) -> TypeError:
    """The error for an argument of the wrong type, in PyTorch's words."""
    where = "" if p.keyword else f" (position {position + 1})"
    return TypeError(
        f"{name}(): argument '{p.name}'{where} must be {expected}, not {type(arg).__name__}"
    )


def typed(item: Any) -> Hashable:
    """A static value that does not equal one of another type (1, 1.0 and True do)."""
    if isinstance(item, tuple):
        return tuple([typed(x) for x in item])
    return (type(item), item)


def number_key(x: Any) -> Hashable:
    """How a Python number enters a key: float or int for a run-time input, else the constant.

    Raises:
        RuntimeError: an int beyond 64 bits.
    """
    kind = type(x)
    if kind is float:
        if x == 1.0 or (x == 0.0 and math.copysign(1.0, x) > 0):
            return (float, x)
        return float
    if kind is int:
        if x == 0 or x == 1:
            return (int, x)
        if not -(1 << 63) <= x < (1 << 63):
            raise RuntimeError("value cannot be converted to type int64_t without overflow")
        return int
    if isinstance(x, bool):
        return (bool, x)
    if isinstance(x, complex):
        return (complex, repr(x))
    return number_key(float(x) if isinstance(x, float) else int(x))


def _int(name: str, position: int, p: Param, arg: Any) -> int:
    if isinstance(arg, bool):
        return int(arg)
    if isinstance(arg, float) or isinstance(arg, (str, bytes)):
        raise wrong_type(name, position, p, arg, "int")
    try:
        return arg.__index__()
    except (AttributeError, TypeError):
        raise wrong_type(name, position, p, arg, "int") from None


def _ints(name: str, position: int, p: Param, arg: Any) -> Any:
    if isinstance(arg, (tuple, list)):
        found = []
        for k, x in enumerate(arg):
            if isinstance(x, float) or not hasattr(x, "__index__"):
                raise TypeError(
                    f"{name}(): argument '{p.name}' must be tuple of ints, but found element "
                    f"of type {type(x).__name__} at pos {k}"
                )
            found.append(x.__index__())
        return tuple(found)
    return _int(name, position, p, arg)


def _size(name: str, position: int, p: Param, arg: Any) -> tuple:
    sizes = _ints(name, position, p, arg)
    return sizes if isinstance(sizes, tuple) else (sizes,)


def _bool(name: str, position: int, p: Param, arg: Any) -> bool:
    if isinstance(arg, (bool, np.bool_)) or arg == 0 or arg == 1:
        return bool(arg)
    raise wrong_type(name, position, p, arg, "bool")


def _float(name: str, position: int, p: Param, arg: Any) -> float:
    if isinstance(arg, (str, bytes, list, tuple)):
        raise wrong_type(name, position, p, arg, "float")
    return float(arg)


def _str(name: str, position: int, p: Param, arg: Any) -> str:
    if not isinstance(arg, str):
        raise wrong_type(name, position, p, arg, "str")
    return arg


def _dtype(name: str, position: int, p: Param, arg: Any) -> Any:
    if not isinstance(arg, dtypes.dtype):
        raise wrong_type(name, position, p, arg, "torch.dtype")
    return arg


def _static(name: str, position: int, p: Param, arg: Any) -> Hashable:
    if isinstance(arg, list):
        return tuple([_static(name, position, p, x) for x in arg])
    hash(arg)
    return arg


_TIDY: dict[str, Callable] = {
    "Int": _int, "Ints": _ints, "Size": _size, "Bool": _bool, "Float": _float, "Str": _str,
    "Dtype": _dtype, "Static": _static,
}  # fmt: skip
