"""Parameter and Buffer: tensors that a Module finds among its attributes."""

from __future__ import annotations

from typing import Any

from . import tensor as _tensor
from .storage import detached
from .tensor import Tensor, from_host, value_of, wrap


class Parameter(Tensor):
    """A tensor that a Module registers as its parameter when assigned as an attribute.

    Args:
        data: the values; shared, not copied. None for an empty tensor.
        requires_grad: whether gradients are computed for it.
    """

    __slots__ = ()

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = Tensor()
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter data must be a Tensor, not {type(data).__name__}")
        new = wrap(detached(value_of(data)), cls)
        if data._alias is not None:
            new._alias = data.detach()._alias
        if requires_grad:
            new.requires_grad_()
        return new

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass


class Buffer(Tensor):
    """A tensor that a Module registers as its buffer when assigned as an attribute.

    Args:
        data: the values; shared, not copied.
        persistent: whether it belongs to the Module's state_dict.
    """

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Buffer:
        new = wrap(value_of(data if data is not None else Tensor()), cls)
        new.persistent = persistent
        return new

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass


_tensor._parameter_types = (Parameter,)
__all__ = ["Buffer", "Parameter", "from_host"]
