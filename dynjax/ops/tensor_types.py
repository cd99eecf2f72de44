"""PyTorch's old types of tensors, `FloatTensor` and its like: each stands for an element type."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..core import dtypes
from ..engine.frames import user_stacklevel
from ..tensor.host_data import to_host
from ..tensor.tensor import Tensor, host_value, wrap
from .declare import composite, register


class TensorType(type):
    """The type of these: an instance is a tensor of the element type, wherever it comes from."""

    dtype: dtypes.dtype

    def __instancecheck__(cls, obj: Any) -> bool:
        return isinstance(obj, Tensor) and obj.dtype is cls.dtype

    def __call__(cls, *data: Any, device: Any = None) -> Tensor:
        """A tensor of sizes (filled with zeros), of data, or empty.

        Raises:
            TypeError: a tensor of another type, or a number that is no size.
        """
        if len(data) == 1 and isinstance(data[0], Tensor):
            if data[0].dtype is not cls.dtype:
                raise TypeError(
                    f"expected a tensor of {cls.dtype} (got one of {data[0].dtype}); convert it "
                    f"with `.to({cls.dtype})`"
                )
            return data[0].detach()
        sizes = data[0] if len(data) == 1 and type(data[0]).__name__ == "Size" else data
        if all(isinstance(n, int) and not isinstance(n, bool) for n in sizes):
            array = np.zeros(tuple(sizes) or (0,), cls.dtype.np)
        elif len(data) == 1 and hasattr(data[0], "__len__"):
            array = to_host(data[0], cls.dtype)
        else:
            kind = type(data[0]).__name__
            raise TypeError(f"new(): data must be a sequence (got {kind})")
        made = wrap(host_value(array))
        return made if device is None else made.to(device)


def _declare(dtype: dtypes.dtype) -> type:
    name = f"{dtype.type_name}Tensor"
    made = TensorType(name, (), {"dtype": dtype, "__doc__": f"A tensor of {dtype}."})
    made.__module__ = "dynjax"
    register("torch", name, made)
    return made


TYPES = {
    made.__name__: made
    for made in map(
        _declare,
        (
            dtypes.float32, dtypes.float64, dtypes.float16, dtypes.bfloat16, dtypes.uint8,
            dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64, dtypes.bool,
        ),
    )
}  # fmt: skip


@composite(method=False)
def set_default_tensor_type(t):
    """Deprecated: `set_default_dtype`.

    Args:
        t: such a type, or its name.

    Raises:
        TypeError: it is of no floating type, or no type.
    """
    warnings.warn(
        "set_default_tensor_type() is deprecated, please use set_default_dtype() and "
        "set_default_device() as alternatives.",
        stacklevel=user_stacklevel(),
    )
    if isinstance(t, str):
        t = TYPES.get(t.rpartition(".")[2], t)
    if not isinstance(t, TensorType):
        raise TypeError("invalid type object: only floating-point types are supported as the "
                        "default type")  # fmt: skip
    if not t.dtype.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    dtypes.set_default_dtype(t.dtype)
