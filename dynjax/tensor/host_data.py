"""What a program hands in, numbers, sequences, arrays, as NumPy arrays typed as PyTorch types them.

Tensors are known here by their `_host()`: this file stands below them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.dtypes import dtype as DType
from ..core.dtypes import get_default_complex_dtype, get_default_dtype
from ..core.dtypes import of as dtype_of


def to_host(data: Any, dtype: DType | None = None) -> np.ndarray:
    """Numbers, nested sequences, NumPy arrays or tensors as a fresh NumPy array, typed as PyTorch.

    Raises:
        ValueError: ragged sequences. TypeError, RuntimeError: entries that are not numbers.
    """
    if hasattr(data, "_host"):
        return np.array(data._host(), dtype.np if dtype else None)
    if isinstance(data, (np.ndarray, np.generic)) or hasattr(data, "__array__"):
        host = np.array(data)
        if host.dtype.kind in "OUSMm":
            raise TypeError(
                f"can't convert np.ndarray of type numpy.{host.dtype.name}_. The only supported "
                "types are: float64, float32, float16, complex64, complex128, int64, int32, int16, "
                "int8, uint64, uint32, uint16, uint8, and bool."
            )
        return host.astype(dtype.np) if dtype else host
    flat: list = []
    shape = _shape(data, flat)
    if dtype is None:
        dtype = _infer(flat)
    if any(hasattr(x, "_host") for x in flat):
        flat = [x.item() if hasattr(x, "_host") else x for x in flat]
    try:
        return np.array(flat, dtype=dtype.np).reshape(shape)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, OverflowError) or "out of bounds" in str(error):
            raise RuntimeError(
                f"value cannot be converted to type {dtype} without overflow"
            ) from None
        bad = next((x for x in flat if not isinstance(x, (int, float, complex, np.generic))), None)
        raise TypeError(f"new(): invalid data type '{type(bad).__name__}'") from None


def _shape(data: Any, flat: list) -> tuple[int, ...]:
    """The shape of nested sequences, whose entries are appended to `flat`."""
    if isinstance(data, (bool, int, float, complex, np.generic)):
        flat.append(data)
        return ()
    if hasattr(data, "_host"):
        flat.extend(data._host().reshape(-1).tolist())
        return tuple(data.shape)
    if isinstance(data, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    try:
        items = list(data)
    except TypeError:
        if data is None:
            raise RuntimeError("Could not infer dtype of NoneType") from None
        raise RuntimeError(f"Could not infer dtype of {type(data).__name__}") from None
    inner: tuple[int, ...] | None = None
    for item in items:
        if isinstance(item, np.ndarray):
            flat.extend(item.reshape(-1).tolist())
            shape = item.shape
        else:
            shape = _shape(item, flat)
        if inner is None:
            inner = shape
        elif shape != inner:
            if len(shape) != len(inner) and not (shape and inner):
                raise TypeError(
                    "only length-1 arrays can be converted to Python scalars"
                    if not isinstance(item, (list, tuple))
                    else "must be real number, not list"
                )
            raise ValueError(
                f"expected sequence of length {inner[0] if inner else 1} at dim 1 "
                f"(got {shape[0] if shape else 1})"
            )
    return (len(items), *(inner or ()))


def _infer(flat: list) -> DType:
    kinds = {type(x) for x in flat}
    if any(issubclass(k, (complex, np.complexfloating)) for k in kinds):
        return get_default_complex_dtype()
    if not kinds or any(issubclass(k, (float, np.floating)) for k in kinds):
        return get_default_dtype()
    if kinds <= {bool, np.bool_}:
        return dtype_of(np.dtype(bool))
    return dtype_of(np.dtype(np.int64))
