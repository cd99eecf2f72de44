"""`Parameter` and `Buffer`, those whose shapes are not known yet, and how layers make theirs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.devices import as_device
from ..core.dtypes import get_default_dtype
from ..tensor.parameter import Buffer, Parameter
from ..tensor.tensor import Tensor, from_host, value_of, wrap

__all__ = [
    "Buffer",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "UninitializedTensorMixin",
    "is_lazy",
]


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


class UninitializedTensorMixin:
    """A tensor that has a type and a device, and no shape yet."""

    __slots__ = ()
    cls_to_become: type[Tensor]

    def materialize(self, shape: tuple[int, ...], device: Any = None, dtype: Any = None) -> None:
        """Become a tensor of this shape, on its device and of its type unless told otherwise."""
        made = filled(tuple(shape), 0.0, device or self.device, dtype or self.dtype)
        self.data = made
        self.__class__ = self.cls_to_become

    @property
    def shape(self) -> Any:
        """It has none.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This usually happens "
            "in `load_state_dict` when an uninitialized parameter is loaded into an initialized "
            "one. Call `forward` to initialize the parameters before accessing their attributes."
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return memo.setdefault(id(self), type(self)(self.requires_grad, self.device, self.dtype))

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return type(self), (self.requires_grad, None, self.dtype)


def is_lazy(param: Any) -> bool:
    """Whether it is a tensor that waits for its shape."""
    return isinstance(param, UninitializedTensorMixin)


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A parameter that waits for its shape.

    Args:
        requires_grad: whether gradients are computed for it.
        device: where it will live.
        dtype: its type, by default the default dtype.
    """

    __slots__ = ()
    cls_to_become = Parameter

    def __new__(
        cls, requires_grad: bool = True, device: Any = None, dtype: Any = None
    ) -> UninitializedParameter:
        return Parameter.__new__(cls, filled((0,), 0.0, device, dtype), requires_grad)


class UninitializedBuffer(UninitializedTensorMixin, Tensor):
    """A buffer that waits for its shape; arguments as of `UninitializedParameter`."""

    __slots__ = ()
    cls_to_become = Tensor

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None
    ) -> UninitializedBuffer:
        return wrap(value_of(filled((0,), 0.0, device, dtype)), cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass
