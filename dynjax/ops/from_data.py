"""Tensors from what a program has: numbers, sequences, NumPy arrays, DLPack, jax.Arrays."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np

from ..core.devices import as_device
from ..core.dtypes import dtype as DType
from ..core.dtypes import get_default_dtype
from ..engine.frames import user_stacklevel
from ..tensor.tensor import Tensor, from_host, from_jax, host_value, to_host, wrap
from .conversion import to
from .declare import composite


@composite(method=False)
def tensor(
    data: Any,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A new leaf tensor holding a copy of `data`.

    Args:
        data: a number, nested sequences of numbers, a NumPy array, a jax.Array or a tensor.
        dtype: element type; inferred as PyTorch does if None.
        device: where it lives; the default device if None.
        requires_grad: whether gradients are computed for it.
        pin_memory: accepted; there is nothing to pin.

    Raises:
        ValueError: ragged sequences. TypeError, RuntimeError: entries that are not numbers.
    """
    if isinstance(data, Tensor):
        warnings.warn(
            "To copy construct from a tensor, it is recommended to use sourceTensor.detach()."
            "clone() or sourceTensor.detach().clone().requires_grad_(True), rather than "
            "torch.tensor(sourceTensor).",
            UserWarning,
            stacklevel=user_stacklevel(),
        )
    host = to_host(data, dtype)
    made = wrap(host_value(host, None if device is None else as_device(device)))
    return made.requires_grad_() if requires_grad else made


@composite(method=False)
def as_tensor(data: Any, dtype: DType | None = None, device: Any = None) -> Tensor:
    """`data` as a tensor: itself if it is one of that type and device, else as `tensor` does."""
    if isinstance(data, Tensor):
        return to(data, dtype=dtype, device=device)
    if isinstance(data, jax.Array):
        return to(from_jax(data), dtype=dtype, device=device)
    return tensor(data, dtype=dtype, device=device)


@composite(method=False)
def asarray(
    obj: Any,
    *,
    dtype: DType | None = None,
    device: Any = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """`obj` as a tensor; `copy=True` makes a new one in any case."""
    made = as_tensor(obj, dtype, device)
    if copy and made is obj:
        made = made.detach().clone()
    elif made is obj and made.requires_grad != requires_grad:
        made = made.detach()
    return made.requires_grad_() if requires_grad and not made.requires_grad else made


@composite(method=False)
def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A tensor with a copy of a NumPy array: memory is not shared, unlike PyTorch.

    Raises:
        TypeError: not an array, or of a type that tensors don't have.
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    return from_host(to_host(ndarray))


@composite(method=False)
def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor of anything that speaks DLPack."""
    with jax.enable_x64(True):
        made = from_jax(jax.dlpack.from_dlpack(ext_tensor, copy=copy))
    return to(made, as_device(device)) if device is not None else made


@composite(method=False)
def scalar_tensor(
    s: Any, *, dtype: DType | None = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A 0-dim tensor of a number."""
    dtype = dtype or get_default_dtype()
    return tensor(s, dtype=dtype, device=device, requires_grad=requires_grad)


@composite(method=False)
def is_tensor(obj: Any) -> bool:
    """Whether an object is a Tensor."""
    return isinstance(obj, Tensor)


@composite(method=False)
def numel(input: Tensor) -> int:
    """Number of elements."""
    return input.numel()


@composite(method=False)
def is_floating_point(input: Tensor) -> bool:
    """Whether the type is a real floating one."""
    return input.is_floating_point()


@composite(method=False)
def is_complex(input: Tensor) -> bool:
    """Whether the type is complex."""
    return input.is_complex()


@composite(method=False)
def detach(input: Tensor) -> Tensor:
    """A tensor that shares the storage and is cut from the tape."""
    return input.detach()
