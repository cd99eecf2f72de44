"""The allow-list: the names that files of PyTorch may hold, and what each stands for."""

from __future__ import annotations

import codecs
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from pickle import UnpicklingError
from types import MappingProxyType
from typing import Any

import numpy as np

from ..core import dtypes
from ..core.devices import device as Device
from ..core.size import Size
from .unpickle import Global, as_key, pairs, refuse, shown

# PyTorch's storages by element type; "Untyped" counts bytes. Types that nothing here can hold are
# known by name, so that the error can say what is missing.
_STORAGES = {
    "BoolStorage": dtypes.bool_, "ByteStorage": dtypes.uint8, "CharStorage": dtypes.int8,
    "ShortStorage": dtypes.int16, "IntStorage": dtypes.int32, "LongStorage": dtypes.int64,
    "HalfStorage": dtypes.float16, "BFloat16Storage": dtypes.bfloat16,
    "FloatStorage": dtypes.float32, "DoubleStorage": dtypes.float64,
    "ComplexFloatStorage": dtypes.complex64, "ComplexDoubleStorage": dtypes.complex128,
}  # fmt: skip
STORAGE_OF = {dtype: name for name, dtype in _STORAGES.items()}
_NO_DTYPES = (
    "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu",
    "float4_e2m1fn_x2", "complex32", "qint8", "quint8", "qint32", "quint4x2", "quint2x4",
)  # fmt: skip
_NO_STORAGES = (
    "QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage",
)  # fmt: skip


class StorageType(Global):
    """A class of storages.

    Args:
        name: as the file says it.
        dtype: the type of the elements; None where they are bytes whose tensors say their types.
    """

    __slots__ = ("dtype",)

    def __init__(self, name: str, dtype: dtypes.dtype | None) -> None:
        super().__init__(name)
        self.dtype = dtype


class Missing(Global):
    """An element type that PyTorch has and dynjax has not."""


def _ordered(items: Any = ()) -> OrderedDict:
    """`OrderedDict()`, with the pairs that Python 2 gave it at once."""
    if type(items) not in (list, tuple):
        raise UnpicklingError("OrderedDict takes a list of pairs")
    return OrderedDict(pairs([part for pair in items for part in _pair(pair)]))


def _pair(pair: Any) -> Any:
    if type(pair) not in (list, tuple) or len(pair) != 2:
        raise UnpicklingError("OrderedDict takes pairs")
    return pair


def _counter(counts: Any = None) -> Counter:
    if counts is not None and type(counts) is not dict:
        raise UnpicklingError("Counter takes a dictionary")
    return Counter(counts)


def _set(items: Any = ()) -> set:
    if type(items) not in (list, tuple):
        raise UnpicklingError("set takes a list")
    return set(map(as_key, items))


def _bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    """How protocol 2 writes bytes: text in which every character is one."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise refuse(f"Unsupported encoding {shown(encoding)} of bytes")
    return codecs.latin_1_encode(text)[0]


def _bytearray(data: Any = b"", encoding: Any = "latin1") -> bytearray:
    return bytearray(data if type(data) is bytes else _bytes(data, encoding))


def _complex(real: Any, imag: Any) -> complex:
    if type(real) is not float or type(imag) is not float:
        raise UnpicklingError("complex takes two floats")
    return complex(real, imag)


def _size(dims: Any = ()) -> Size:
    if type(dims) not in (tuple, list) or not all(type(n) is int for n in dims):
        raise UnpicklingError("Size takes integers")
    return Size(dims)


def _device(kind: Any, index: Any = None) -> Device:
    if type(kind) is not str or type(index) not in (int, type(None)):
        raise UnpicklingError("device takes text and an index")
    return Device(kind) if index is None else Device(kind, index)


class NumpyType:
    """The type of a NumPy number, as a file describes it.

    Args:
        name: kind and bytes: "f8".
        align, copy: arguments of `numpy.dtype` that mean nothing here.
    """

    __slots__ = ("dtype", "name")

    def __init__(self, name: Any, align: Any = False, copy: Any = True) -> None:
        if type(name) is not str or name not in _NUMBERS:
            raise refuse(f"Unsupported NumPy type {shown(name)}")
        self.dtype, self.name = np.dtype(name), "numpy.dtype"

    def build(self, state: Any) -> None:
        """Take the byte order from the rest of the description; nothing else may be in it."""
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise UnpicklingError("a NumPy type's state is a version and a byte order")
        if any(part not in (None, -1, 0) for part in state[2:]):
            raise refuse("Unsupported NumPy type with fields")
        self.dtype = self.dtype.newbyteorder(state[1])


_NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")


def _numpy_number(kind: Any, data: Any) -> np.generic:
    if type(kind) is not NumpyType or type(data) is not bytes:
        raise UnpicklingError("a NumPy number is its type and its bytes")
    if len(data) != kind.dtype.itemsize:
        raise UnpicklingError(f"{len(data)} bytes for a NumPy number of type {kind.dtype}")
    if kind.dtype == bool and data not in (b"\0", b"\1"):
        raise UnpicklingError("a truth value other than 0 and 1")
    return np.frombuffer(data, kind.dtype)[0]


PARAMETER = "torch.nn.parameter.Parameter"
TENSOR = "torch.Tensor"

_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "collections.Counter": _counter,
    "builtins.set": _set,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytearray,
    "builtins.complex": _complex,
    "_codecs.encode": _bytes,
    "numpy.dtype": NumpyType,
    "numpy.core.multiarray.scalar": _numpy_number,
    "numpy._core.multiarray.scalar": _numpy_number,
    "torch.Size": _size,
    "torch.device": _device,
}

# Every name but those that rebuild a tensor, which belong to one file being read.
NAMES: Mapping[str, Any] = MappingProxyType(
    {
        **{name: Global(name, call) for name, call in _CALLS.items()},
        **{name: Global(name) for name in (TENSOR, PARAMETER)},
        **{f"torch.{t.name}": t for t in dtypes.ALL},
        **{f"torch.{name}": Missing(f"torch.{name}") for name in (*_NO_DTYPES, *_NO_STORAGES)},
        **{f"torch.{name}": StorageType(name, dtype) for name, dtype in _STORAGES.items()},
        "torch.storage.UntypedStorage": StorageType("UntypedStorage", None),
    }
)
