"""`Parameter` and `Buffer`, and how layers make theirs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.devices import as_device
from ..core.dtypes import get_default_dtype
from ..tensor.parameter import Buffer, Parameter
from ..tensor.tensor import Tensor, from_host

__all__ = ["Buffer", "Parameter"]


def filled(
    shape: tuple[int, ...], value: float = 0.0, device: Any = None, dtype: Any = None
) -> Tensor:
    """Return a constant Tensor made on the host: no work for the device.

    Raises:
        TypeError: a size is no int.
        RuntimeError: a size is negative.
    """
    for i, size in enumerate(shape):
        if isinstance(size, bool) or not hasattr(size, "__index__"):
            raise TypeError(
                "empty(): argument 'size' (position 1) must be tuple of ints, but found element "
                f"of type {type(size).__name__} at pos {i}"
            )
        if size < 0:
            raise RuntimeError(
                f"Trying to create tensor with negative dimension {size}: {list(shape)}"
            )
    host = np.full(shape, value, (get_default_dtype() if dtype is None else dtype).np)
    return from_host(host, None if device is None else as_device(device))


def empty_parameter(
    shape: tuple[int, ...], device: Any = None, dtype: Any = None, requires_grad: bool = True
) -> Parameter:
    """Return a Parameter for `nn.init` to fill; `filled` says what it raises."""
    return Parameter(filled(shape, 0.0, device, dtype), requires_grad)
