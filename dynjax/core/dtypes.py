"""Element types: what they are, how they promote, and the default one.

Everything here is plain data over NumPy and ml_dtypes: importing it starts no JAX backend.

The module ends by giving the types PyTorch's names ``bool``, ``int`` and ``float``. Inside this
file those names therefore mean element types, and the Python types are ``builtins.bool`` etc.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from functools import cache
from typing import Any, NoReturn

import ml_dtypes
import numpy as np

__all__ = [
    "DIMENSIONED",
    "NUMBER",
    "ZERO_DIM",
    "as_dtype",
    "can_cast",
    "dtype",
    "finfo",
    "get_default_complex_dtype",
    "get_default_dtype",
    "iinfo",
    "number_dtype",
    "of",
    "promote_types",
    "result_dtype",
    "set_default_dtype",
]

# The kinds in the order of promotion: a value of a later kind decides over an earlier one.
_BOOL, _INTEGER, _FLOATING, _COMPLEX = range(4)


class dtype:
    """The type of a tensor's elements. There is one instance a type: compare with ``is`` or ``==``.

    Attributes:
        name: PyTorch's name for it, ``"float32"``.
        type_name: PyTorch's internal name, which its error messages use, ``"Float"``.
        abbr: short name, ``"f32"``.
        np: the same type as a ``numpy.dtype`` (ml_dtypes for ``bfloat16``).
        itemsize: bytes an element.
        is_floating_point, is_complex, is_signed: as in PyTorch; complex is not floating.
        is_integer: whether it counts as integral, ``bool`` excluded.
    """

    __slots__ = (
        "_kind",
        "abbr",
        "is_complex",
        "is_floating_point",
        "is_integer",
        "is_signed",
        "itemsize",
        "name",
        "np",
        "type_name",
    )

    name: str
    type_name: str
    abbr: str
    np: np.dtype
    itemsize: builtins.int
    is_floating_point: builtins.bool
    is_complex: builtins.bool
    is_signed: builtins.bool
    is_integer: builtins.bool

    def __new__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("cannot create 'dynjax.dtype' instances")

    def __init_subclass__(cls) -> None:
        raise TypeError("type 'dynjax.dtype' is not an acceptable base type")

    def to_real(self) -> dtype:
        """The type of this type's real part; real types answer themselves."""
        return _REAL.get(self, self)

    def to_complex(self) -> dtype:
        """The complex type whose parts hold this type.

        XLA has no half-precision complex type: ``float16`` answers ``complex64``, where PyTorch
        answers ``complex32``.

        Raises:
            RuntimeError: for integers and ``bool``.
        """
        if self not in _TO_COMPLEX:
            raise RuntimeError(f"Unknown Complex ScalarType for {self.type_name}")
        return _TO_COMPLEX[self]

    def __repr__(self) -> str:
        return f"dynjax.{self.name}"

    def __reduce__(self) -> str:
        # By name: copies and unpickled instances are the same object.
        return self.name


def _declare(name: str, type_name: str, abbr: str, numpy_type: Any) -> dtype:
    self = object.__new__(dtype)
    self.name, self.type_name, self.abbr = name, type_name, abbr
    self.np = np.dtype(numpy_type)
    self.itemsize = self.np.itemsize
    self._kind = {"b": _BOOL, "i": _INTEGER, "u": _INTEGER, "c": _COMPLEX}.get(
        self.np.kind, _FLOATING
    )
    self.is_complex = self._kind == _COMPLEX
    self.is_floating_point = self._kind == _FLOATING
    self.is_integer = self._kind == _INTEGER
    self.is_signed = self.np.kind not in "bu"
    return self


bool_ = _declare("bool", "Bool", "b8", np.bool_)
uint8 = _declare("uint8", "Byte", "u8", np.uint8)
int8 = _declare("int8", "Char", "i8", np.int8)
int16 = _declare("int16", "Short", "i16", np.int16)
int32 = _declare("int32", "Int", "i32", np.int32)
int64 = _declare("int64", "Long", "i64", np.int64)
uint16 = _declare("uint16", "UInt16", "u16", np.uint16)
uint32 = _declare("uint32", "UInt32", "u32", np.uint32)
uint64 = _declare("uint64", "UInt64", "u64", np.uint64)
float16 = _declare("float16", "Half", "f16", np.float16)
bfloat16 = _declare("bfloat16", "BFloat16", "bf16", ml_dtypes.bfloat16)
float32 = _declare("float32", "Float", "f32", np.float32)
float64 = _declare("float64", "Double", "f64", np.float64)
complex64 = _declare("complex64", "ComplexFloat", "c64", np.complex64)
complex128 = _declare("complex128", "ComplexDouble", "c128", np.complex128)

ALL: tuple[dtype, ...] = (
    *(bool_, uint8, int8, int16, int32, int64, uint16, uint32, uint64),
    *(float16, bfloat16, float32, float64, complex64, complex128),
)

_REAL = {complex64: float32, complex128: float64}
_TO_COMPLEX = {
    float16: complex64,
    bfloat16: complex64,
    float32: complex64,
    float64: complex128,
    complex64: complex64,
    complex128: complex128,
}
# PyTorch promotes these only with themselves and with floating types.
_BAREBONES = frozenset({uint16, uint32, uint64})


# --- from and to other libraries' types ---------------------------------------------------------

_FROM_NUMPY = {t.np: t for t in ALL}
_FROM_PYTHON = {
    builtins.bool: bool_,
    builtins.int: int64,
    builtins.float: float64,
    builtins.complex: complex128,
}


def of(numpy_type: Any) -> dtype:
    """The element type of a NumPy or JAX array.

    Args:
        numpy_type: a ``numpy.dtype``, or what makes one (``numpy.float32``, ``jnp.bfloat16``).

    Raises:
        TypeError: there is no such tensor (objects, strings, dates, PRNG keys).
    """
    try:
        return _FROM_NUMPY[numpy_type]
    except (KeyError, TypeError):
        pass
    try:
        converted = np.dtype(numpy_type)
        # The native twin: big-endian arrays are converted by whoever copies them in.
        return _FROM_NUMPY[converted.newbyteorder("=")]
    except (KeyError, TypeError):
        kind = getattr(numpy_type, "type", numpy_type)
        name = f"{kind.__module__}.{kind.__name__}" if isinstance(kind, type) else repr(numpy_type)
        raise TypeError(
            f"can't convert np.ndarray of type {name}. The only supported types are: float64, "
            "float32, float16, complex64, complex128, int64, int32, int16, int8, uint64, uint32, "
            "uint16, uint8, and bool."
        ) from None


def as_dtype(obj: Any, function: str = "tensor") -> dtype:
    """What a user passed as ``dtype=``.

    Args:
        obj: a dtype, or Python's ``bool``, ``int``, ``float`` or ``complex`` as in PyTorch;
            NumPy's and JAX's types are taken as well.
        function: name of the function called, for the message.

    Raises:
        TypeError: it is none of these.
    """
    if type(obj) is dtype:
        return obj
    if isinstance(obj, type) and obj in _FROM_PYTHON:
        return _FROM_PYTHON[obj]
    if isinstance(obj, np.dtype) or (isinstance(obj, type) and issubclass(obj, np.generic)):
        return of(obj)
    if not isinstance(obj, str) and isinstance(getattr(obj, "dtype", None), np.dtype):
        return of(obj.dtype)  # jnp.float32 and its like: callables that carry a dtype
    raise TypeError(
        f"{function}(): argument 'dtype' must be dynjax.dtype, not {type(obj).__name__}"
    )


# --- the default type ---------------------------------------------------------------------------

_default = float32


def get_default_dtype() -> dtype:
    """The type of new floating-point tensors, at first ``float32``."""
    return _default


def get_default_complex_dtype() -> dtype:
    """The complex type that goes with :func:`get_default_dtype`."""
    return _TO_COMPLEX[_default]


def set_default_dtype(d: dtype) -> None:
    """Sets the type of new floating-point tensors.

    Args:
        d: one of ``float16``, ``bfloat16``, ``float32``, ``float64``.

    Raises:
        TypeError: it is not a floating-point type.
    """
    global _default
    if type(d) is not dtype:
        raise TypeError(
            "invalid dtype object: only floating-point types are supported as the default type"
        )
    if not d.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    _default = d


# --- promotion ----------------------------------------------------------------------------------

# An operand's category: a later one's kind decides, and its width too where the kinds are equal.
NUMBER, ZERO_DIM, DIMENSIONED = range(3)


def number_dtype(value: Any) -> dtype:
    """The type a Python number has as an operand: ``True`` bool, ``2`` int64, ``2.0`` the default
    type, ``2j`` the default complex type.

    Raises:
        TypeError: it is not a number.
    """
    if isinstance(value, builtins.bool | np.bool_):
        return bool_
    if isinstance(value, builtins.int | np.integer):
        return int64
    if isinstance(value, builtins.float | np.floating):
        return _default
    if isinstance(value, builtins.complex | np.complexfloating):
        return get_default_complex_dtype()
    raise TypeError(f"expected a Python number, got {type(value).__name__}")


@cache
def _promote(a: dtype, b: dtype) -> dtype:
    if a is b:
        return a
    low, high = sorted((a, b), key=lambda t: t._kind)
    if _BAREBONES & {a, b}:
        other = high if low in _BAREBONES else low
        if not other.is_floating_point:
            raise RuntimeError(
                "Promotion for uint16, uint32, uint64 types is not supported, attempted to "
                f"promote {a.type_name} and {b.type_name}"
            )
        return other
    if high.is_complex:
        # Only float64 is wider than the parts of complex64.
        return complex128 if complex128 in (a, b) or low is float64 else complex64
    if low._kind < high._kind:
        return high
    if high.is_floating_point:
        return float32 if {a, b} == {float16, bfloat16} else max(a, b, key=lambda t: t.itemsize)
    if a.is_signed == b.is_signed:
        return max(a, b, key=lambda t: t.itemsize)
    signed = a if a.is_signed else b  # the other one is uint8
    return int16 if signed is int8 else signed


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest type that holds both, by PyTorch's table: any integer with ``float16`` is
    ``float16``, ``uint8`` with ``int8`` is ``int16``, ``float16`` with ``bfloat16`` is ``float32``.

    Raises:
        RuntimeError: unsigned types wider than a byte, with another integer or complex type.
        TypeError: an argument is not a dtype.
    """
    _check("promote_types", type1=type1, type2=type2)
    return _promote(type1, type2)


def result_dtype(operands: Iterable[tuple[dtype, builtins.int]]) -> dtype:
    """The type in which an operation on these operands computes.

    A category settles only the kind of the result: ``int32`` tensor + ``2.5`` gives the default
    type, but ``float16`` tensor + ``2.5`` stays ``float16``, and ``float32`` tensor + 0-dim
    ``float64`` tensor stays ``float32``.

    Args:
        operands: pairs of the operand's type and its category ``NUMBER``, ``ZERO_DIM`` or
            ``DIMENSIONED``. A number's floating or complex type is read as the default one.

    Raises:
        ValueError: there are no operands.
        RuntimeError: as :func:`promote_types`.
    """
    widest: list[dtype | None] = [None, None, None]
    for t, category in operands:
        if category == NUMBER and t._kind >= _FLOATING:
            t = get_default_complex_dtype() if t.is_complex else _default
        seen = widest[category]
        widest[category] = t if seen is None or seen is t else _promote(seen, t)
    result = None
    for t in widest:
        if t is not None:
            result = t if result is None else _combine(t, result)
    if result is None:
        raise ValueError("result_dtype() needs at least one operand")
    return result


def _combine(higher: dtype, lower: dtype) -> dtype:
    """The type of operands of two categories: the higher one's unless the lower one's kind is."""
    if higher is lower or higher.is_complex:
        return higher
    if lower.is_complex:
        return higher.to_complex() if higher.is_floating_point else lower
    if higher.is_floating_point:
        return higher
    if higher is bool_ or lower.is_floating_point:
        return _promote(higher, lower)
    return higher


def can_cast(from_: dtype, to: dtype) -> builtins.bool:
    """Whether a result of type ``from_`` may be stored as ``to``: the kind may widen (bool,
    integer, floating, complex) and not narrow; the width does not matter."""
    _check("can_cast", from_=from_, to=to)
    return from_._kind <= to._kind


def _check(function: str, **arguments: Any) -> None:
    for position, (name, value) in enumerate(arguments.items(), 1):
        if type(value) is not dtype:
            raise TypeError(
                f"{function}(): argument '{name}' (position {position}) must be dynjax.dtype, "
                f"not {type(value).__name__}"
            )


# --- limits -------------------------------------------------------------------------------------


class _Limits:
    """What finfo and iinfo share: they are values, equal when their types are."""

    __slots__ = ("bits", "dtype", "max", "min")

    bits: builtins.int
    dtype: str

    def __eq__(self, other: object) -> builtins.bool:
        return type(self) is type(other) and self.dtype == other.dtype

    def __hash__(self) -> builtins.int:
        return hash((type(self), self.dtype))

    def _show(self, *fields: str) -> str:
        # Integers as well go through C's six-digit "%g", so that this prints as PyTorch does.
        shown = ", ".join(f"{f}={builtins.float(getattr(self, f)):g}" for f in fields)
        return f"{type(self).__name__}({shown}, dtype={self.dtype})"


class finfo(_Limits):
    """Numerical limits of a floating-point type (of its parts, for a complex one).

    Args:
        type: a floating-point or complex type; the default type if not given.

    Attributes:
        bits, eps, max, min, resolution, smallest_normal, tiny, dtype (its name).

    Raises:
        TypeError: the type is integral or no type.
    """

    __slots__ = ("eps", "resolution", "smallest_normal", "tiny")

    def __init__(self, type: dtype | None = None) -> None:
        type = _default if type is None else type
        _check("finfo", type=type)
        if not (type.is_floating_point or type.is_complex):
            raise TypeError(
                "dynjax.finfo() requires a floating point input type. "
                "Use dynjax.iinfo to handle 'dynjax.finfo'"
            )
        real = type.to_real()
        limits = ml_dtypes.finfo(real.np)
        self.bits = real.itemsize * 8
        self.dtype = real.name
        self.max, self.min = builtins.float(limits.max), builtins.float(limits.min)
        self.eps = builtins.float(limits.eps)
        self.smallest_normal = self.tiny = builtins.float(limits.smallest_normal)
        self.resolution = 10.0**-limits.precision

    def __repr__(self) -> str:
        return self._show("resolution", "min", "max", "eps", "smallest_normal", "tiny")


class iinfo(_Limits):
    """Numerical limits of an integer type.

    Args:
        type: an integer type.

    Attributes:
        bits, max, min, dtype (its name).

    Raises:
        TypeError: the type is not an integer type.
    """

    __slots__ = ()

    def __init__(self, type: dtype) -> None:
        _check("iinfo", type=type)
        if type is bool_:
            raise TypeError("dynjax.bool is not supported by dynjax.iinfo")
        if not type.is_integer:
            raise TypeError(
                "dynjax.iinfo() requires an integer input type. "
                "Use dynjax.finfo to handle 'dynjax.iinfo'"
            )
        limits = np.iinfo(type.np)
        self.bits, self.dtype = limits.bits, type.name
        self.max, self.min = builtins.int(limits.max), builtins.int(limits.min)

    def __repr__(self) -> str:
        return self._show("min", "max")


# PyTorch's other names. Last, because three of them hide Python's types from here on.
short, int, long = int16, int32, int64
half, float, double = float16, float32, float64
cfloat, cdouble = complex64, complex128
bool = bool_
