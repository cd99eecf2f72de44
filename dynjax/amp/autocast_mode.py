"""Regions in which operations compute in a lower type where that is safe, as `torch.autocast`."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..autograd import mixed
from ..core.devices import device_count
from ..core.dtypes import bfloat16, dtype, float16, float64
from ..tensor.tensor import Tensor

__all__ = ["autocast", "autocast_decorator", "custom_bwd", "custom_fwd", "is_autocast_available"]

is_autocast_available = mixed.is_autocast_available
_LOWER = (bfloat16, float16)


def autocast_decorator(autocast_instance: autocast, func: Callable) -> Callable:
    """A function whose calls run inside an autocast region."""

    @functools.wraps(func)
    def inside(*args: Any, **kwargs: Any) -> Any:
        with autocast_instance:
            return func(*args, **kwargs)

    return inside


def _check_device_type(device_type: Any) -> None:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")


class autocast:
    """A region in which operations choose their type. Context manager and decorator.

    Products and convolutions compute in the lower type, losses, decompositions and the like in
    float32, `cat` and `stack` in the widest type of their arguments; all others in the types that
    they are given. The lists are PyTorch's for the device. Gradients come back in the types of what
    they belong to. A recorded operation includes its conversions, so that a compiled step
    converts each parameter once.

    Args:
        device_type: "cpu", "cuda" or "tpu": arguments elsewhere stay as they are.
        dtype: the lower type, bfloat16 or float16; what `set_autocast_dtype` set by default.
        enabled: whether the region is one; False makes a hole in a larger region.
        cache_enabled: accepted for compatibility.

    Raises:
        ValueError: a device type that is no string. RuntimeError: an unknown one.

    Source: torch.amp.autocast; Micikevicius et al., https://arxiv.org/abs/1710.03740.
    """

    def __init__(
        self,
        device_type: str,
        dtype: dtype | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        _check_device_type(device_type)
        self.fast_dtype = mixed.get_autocast_dtype(device_type) if dtype is None else dtype
        self.device = device_type
        if not is_autocast_available(device_type):
            raise RuntimeError(
                f"User specified an unsupported autocast device_type '{device_type}'"
            )
        self._cache_enabled = (
            mixed.is_autocast_cache_enabled() if cache_enabled is None else cache_enabled
        )
        if enabled and device_type == "cuda" and not device_count("cuda"):
            warnings.warn("CUDA is not available. Disabling autocast.", stacklevel=2)
            enabled = False
        elif enabled and self.fast_dtype not in _LOWER:
            name = device_type.upper()
            warnings.warn(
                f"In {name} autocast, but the target dtype is not supported. Disabling autocast.\n"
                f"{name} Autocast only supports dtypes of {', '.join(map(str, _LOWER))} currently.",
                stacklevel=2,
            )
            enabled = False
        self._enabled = enabled
        self._outer: list[tuple[bool, Any, bool]] = []

    def __enter__(self) -> autocast:
        device = self.device
        before = (
            mixed.is_autocast_enabled(device),
            mixed.get_autocast_dtype(device),
            mixed.is_autocast_cache_enabled(),
        )
        self._outer.append(before)
        mixed.autocast_increment_nesting()
        self._set(self._enabled, self.fast_dtype, self._cache_enabled)
        return self

    def __exit__(self, *exc: Any) -> bool:
        mixed.autocast_decrement_nesting()
        self._set(*self._outer.pop())
        return False

    def _set(self, enabled: bool, lower: Any, cache: bool) -> None:
        mixed.set_autocast_dtype(self.device, lower)
        mixed.set_autocast_enabled(self.device, enabled)
        mixed.set_autocast_cache_enabled(cache)

    def __call__(self, func: Callable) -> Callable:
        if not callable(func):
            raise TypeError(
                f"autocast()(func) requires a callable, but got {type(func).__name__}. "
                "Did you mean to use autocast as a context manager? For example:\n"
                "    with dynjax.autocast(device_type=...):\n"
                "        output = model(input)"
            )
        return autocast_decorator(self, func)


def _cast(value: Any, device_type: str, to: dtype) -> Any:
    """Tensors of nested containers, converted if autocast would."""
    if isinstance(value, Tensor):
        eligible = (
            value.is_floating_point()
            and value.device.type == device_type
            and value.dtype is not float64
        )
        return value.to(to) if eligible else value
    if isinstance(value, (str, bytes, np.ndarray)):
        return value
    if isinstance(value, Mapping):
        return {_cast(k, device_type, to): _cast(v, device_type, to) for k, v in value.items()}
    if isinstance(value, Iterable):
        members = (_cast(v, device_type, to) for v in value)
        return type(value)(members) if isinstance(value, (list, tuple)) else members
    return value


def custom_fwd(
    fwd: Callable | None = None, *, device_type: str, cast_inputs: dtype | None = None
) -> Callable:
    """Decorates `forward` of a Function that is used under autocast.

    Args:
        fwd: the method.
        device_type: whose autocast is meant.
        cast_inputs: convert floating tensors to this type and run without autocast; None runs
            in the state of the caller.

    Raises:
        ValueError: a device type that is no string.
    """
    _check_device_type(device_type)
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def inside(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        enabled = mixed.is_autocast_enabled(device_type)
        ctx._dtype = mixed.get_autocast_dtype(device_type)
        ctx._fwd_used_autocast = enabled and cast_inputs is None
        if cast_inputs is None or not enabled:
            return fwd(ctx, *args, **kwargs)
        with autocast(device_type, enabled=False):
            return fwd(
                ctx,
                *_cast(args, device_type, cast_inputs),
                **_cast(kwargs, device_type, cast_inputs),
            )

    return inside


def custom_bwd(bwd: Callable | None = None, *, device_type: str) -> Callable:
    """Decorates `backward` of a Function whose `forward` is `custom_fwd`: runs in its state.

    Raises:
        ValueError: a device type that is no string.
    """
    _check_device_type(device_type)
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def inside(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, enabled=ctx._fwd_used_autocast, dtype=ctx._dtype):
            return bwd(ctx, *args, **kwargs)

    return inside
