"""Moving a module's parameters and buffers to another dtype or device."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Self

from ..autograd.modes import no_grad
from ..core.dtypes import dtype as Dtype
from ..tensor.tensor import Tensor

_TO_SIGNATURES = (
    "\n * (torch.device device = None, torch.dtype dtype = None, bool non_blocking = False, "
    "bool copy = False, *, torch.memory_format memory_format = None)"
    "\n * (torch.dtype dtype, bool non_blocking = False, bool copy = False, *, "
    "torch.memory_format memory_format = None)"
    "\n * (Tensor tensor, bool non_blocking = False, bool copy = False, *, "
    "torch.memory_format memory_format = None)\n"
)


def _parse_to(*args: Any, **kwargs: Any) -> tuple[Any, Dtype | None]:
    """Return the device and the dtype that arguments of `to` ask for, None for as it is.

    `non_blocking` and `memory_format` are accepted and mean nothing here.
    """
    if "copy" in kwargs:
        raise RuntimeError(".to() does not accept copy argument")
    got = [type(arg).__name__ for arg in args]
    got += [f"{name}={type(value).__name__}" for name, value in kwargs.items()]
    problem = TypeError(
        f"to() received an invalid combination of arguments - got ({', '.join(got)}), but "
        f"expected one of:{_TO_SIGNATURES}"
    )
    first = args[0] if args else None
    if isinstance(first, Dtype):
        names = ("dtype", "non_blocking")
    elif isinstance(first, Tensor):
        names = ("tensor", "non_blocking")
    else:
        names = ("device", "dtype", "non_blocking")
    if len(args) > len(names):
        raise problem
    given = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name in given or name not in (*names, "tensor", "memory_format"):
            raise problem
        given[name] = value
    tensor = given.get("tensor")
    if tensor is not None:
        if not isinstance(tensor, Tensor) or "device" in given or "dtype" in given:
            raise problem
        return tensor.device, tensor.dtype
    dtype = given.get("dtype")
    if dtype is not None and not isinstance(dtype, Dtype):
        raise problem
    return given.get("device"), dtype


class ConversionMixin:
    """The part of `Module` that converts everything it holds, in place."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replace the values of parameters, their gradients and buffers by `fn` of them.

        The parameters stay the same objects, so optimizers keep them.
        """
        if recurse:
            for module in self.children():
                module._apply(fn)
        with no_grad():
            for param in self._parameters.values():
                if param is None:
                    continue
                grad = param.grad
                converted = fn(param)
                converted_grad = None if grad is None else fn(grad)
                # The old gradient would not fit the new dtype or device.
                param.grad = None
                param.data = converted
                if grad is not None:
                    grad.data = converted_grad
                    param.grad = grad
            for name, buf in self._buffers.items():
                if buf is not None:
                    self._buffers[name] = fn(buf)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Convert in place: `to(device)`, `to(dtype)`, `to(device, dtype)` or `to(tensor)`.

        The dtype, which must be floating point or complex, applies to floating point and complex
        parameters and buffers; others only move.

        Raises:
            TypeError: another dtype, or arguments that fit none of the forms.
        """
        device, dtype = _parse_to(*args, **kwargs)
        if dtype is not None:
            if not (dtype.is_floating_point or dtype.is_complex):
                raise TypeError(
                    "nn.Module.to only accepts floating point or complex dtypes, but got "
                    f"desired dtype={dtype}"
                )
            if dtype.is_complex:
                warnings.warn(
                    "Complex modules are a new feature under active development whose design "
                    "may change, and some modules might not work as expected when using complex "
                    "tensors as parameters or buffers.",
                    stacklevel=2,
                )

        def convert(tensor: Tensor) -> Tensor:
            numeric = tensor.is_floating_point() or tensor.is_complex()
            return tensor.to(device, dtype if numeric else None)

        return self._apply(convert)

    def type(self, dst_type: Dtype | str) -> Self:
        """Convert all parameters and buffers to `dst_type`, integers included."""
        return self._apply(lambda tensor: tensor.type(dst_type))

    def float(self) -> Self:
        """Convert floating point parameters and buffers to float32."""
        return self._apply(lambda t: t.float() if t.is_floating_point() else t)

    def double(self) -> Self:
        """Convert floating point parameters and buffers to float64."""
        return self._apply(lambda t: t.double() if t.is_floating_point() else t)

    def half(self) -> Self:
        """Convert floating point parameters and buffers to float16."""
        return self._apply(lambda t: t.half() if t.is_floating_point() else t)

    def bfloat16(self) -> Self:
        """Convert floating point parameters and buffers to bfloat16."""
        return self._apply(lambda t: t.bfloat16() if t.is_floating_point() else t)

    def cpu(self) -> Self:
        """Move all parameters and buffers to the CPU."""
        return self._apply(lambda tensor: tensor.cpu())

    def cuda(self, device: Any = None) -> Self:
        """Move all parameters and buffers to a CUDA device."""
        return self._apply(lambda tensor: tensor.cuda(device))

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """Move to `device` without the values, which are zeros afterwards."""
        return self._apply(lambda tensor: tensor.new_zeros(tensor.shape, device=device), recurse)

    def share_memory(self) -> Self:
        """Not available: array memory belongs to JAX, which shares none between processes.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(
            f"{type(self).__name__}.share_memory() is not supported: parameters live in JAX "
            "arrays, which processes cannot share. Pass the state_dict() to the other process."
        )
