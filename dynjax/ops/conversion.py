"""Types and devices: `to` and its short forms."""

from __future__ import annotations

from typing import Any

import jax

from ..autograd.dispatch import cast
from ..autograd.function import Function
from ..core import dtypes
from ..core.devices import as_device
from ..core.devices import device as Device
from ..engine.trace import runner
from ..engine.value import concrete
from ..tensor.tensor import Tensor, value_of, wrap
from .declare import composite


class ToDevice(Function):
    """A copy on another device; the gradient comes back to the first."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, device: Device) -> Tensor:
        """The copy."""
        ctx.device = x.device
        array = runner.materialize(value_of(x))
        with jax.enable_x64(True):
            moved = jax.device_put(array, device.jax)
        kind = x._v.kind
        return wrap(concrete(moved, kind.on(device)))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The gradient, on the input's device."""
        return ToDevice.apply(grad, ctx.device), None


@composite
def to(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The tensor with another type or on another device; itself if it has them already.

    Args:
        args: a dtype; or a device and perhaps a dtype; or a tensor to be like.
        kwargs: `dtype`, `device`, `copy` (make a copy in any case); `non_blocking` and
            `memory_format` are accepted.
    """
    dtype, device = kwargs.pop("dtype", None), kwargs.pop("device", None)
    copy = kwargs.pop("copy", False)
    kwargs.pop("non_blocking", None), kwargs.pop("memory_format", None)
    other = kwargs.pop("other", None)
    if kwargs:
        raise TypeError(f"to() got an unexpected keyword argument '{next(iter(kwargs))}'")
    for arg in args:
        if isinstance(arg, Tensor):
            other = arg
        elif isinstance(arg, dtypes.dtype):
            dtype = arg
        elif isinstance(arg, (str, Device, int)) and not isinstance(arg, bool):
            device = arg
        elif isinstance(arg, bool) or arg is None:
            continue
        else:
            raise TypeError(
                "to() received an invalid combination of arguments - got "
                f"({type(arg).__name__}), but expected one of:\n * (torch.device device = None, "
                "torch.dtype dtype = None, bool non_blocking = False, bool copy = False, *, "
                "torch.memory_format memory_format = None)\n * (torch.dtype dtype, bool "
                "non_blocking = False, bool copy = False, *, torch.memory_format memory_format = "
                "None)\n * (Tensor tensor, bool non_blocking = False, bool copy = False, *, "
                "torch.memory_format memory_format = None)\n"
            )
    if other is not None:
        dtype, device = other.dtype, other.device
    result = input
    if device is not None:
        device = as_device(device)
        if device != input.device:
            result = ToDevice.apply(result, device)
    if dtype is not None and dtype is not result.dtype:
        result = wrap(cast(value_of(result), dtype))
    return result.clone() if copy and result is input else result


@composite
def type_as(input: Tensor, other: Tensor) -> Tensor:
    """The tensor with the type of another."""
    return to(input, other.dtype)


@composite(function=False)
def cpu(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor on the CPU."""
    return to(input, Device("cpu"))


@composite(function=False)
def cuda(input: Tensor, device: Any = None, non_blocking: bool = False) -> Tensor:
    """The tensor on a GPU.

    Raises:
        RuntimeError: JAX sees none.
    """
    return to(input, device if device is not None else Device("cuda"))


@composite(function=False, name="type")
def type_(input: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The tensor with another type, or, without an argument, PyTorch's name of its type."""
    if dtype is None:
        return f"torch.{input.dtype.type_name}Tensor"
    if isinstance(dtype, str):
        name = dtype.removeprefix("torch.").removesuffix("Tensor")
        dtype = next((d for d in _SHORT.values() if d.type_name == name), None)
        if dtype is None:
            raise ValueError(f"invalid type: '{name}'")
    return to(input, dtype)


_SHORT = {
    "float": dtypes.float32, "double": dtypes.float64, "half": dtypes.float16,
    "bfloat16": dtypes.bfloat16, "int": dtypes.int32, "long": dtypes.int64,
    "short": dtypes.int16, "char": dtypes.int8, "byte": dtypes.uint8, "bool": dtypes.bool,
    "cfloat": dtypes.complex64, "cdouble": dtypes.complex128,
}  # fmt: skip


def _short_form(name: str, dtype: Any) -> None:
    def method(input: Tensor, memory_format: Any = None) -> Tensor:
        return to(input, dtype)

    method.__doc__ = f"The tensor as {dtype.name}."
    method.__name__ = name
    composite(name=name, function=False)(method)


for _name, _dtype in _SHORT.items():
    _short_form(_name, _dtype)


__all__ = ["to"]
