"""Mixed precision as a mode of the trace: a thread's settings, and a grad mode that carries them.

While autocast is on, `trace.grad` is a `Mixed`: as true as the grad mode itself, but another
object, so that every key of recorded work differs by itself. While it is off, nothing asks for it.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable
from typing import Any

from ..core.devices import device as Device
from ..core.dtypes import bfloat16, dtype, float16
from ..engine.trace import state


class Mixed:
    """A grad mode while autocast is on; equal ones are one object.

    Attributes:
        grad: whether the tape is recorded, which is also its truth.
        dtypes: the lower type for each type of device where autocast is on.
    """

    __slots__ = ("grad", "dtypes")

    def __init__(self, grad: bool, dtypes: dict[str, dtype]) -> None:
        self.grad, self.dtypes = grad, dtypes

    def __bool__(self) -> bool:
        return self.grad


@functools.cache
def _mixed(grad: bool, dtypes: tuple[tuple[str, dtype], ...]) -> Mixed:
    return Mixed(grad, dict(dtypes))


def graded(mode: bool | Mixed, grad: bool) -> bool | Mixed:
    """A mode with recording on or off, and autocast as it is."""
    return grad if mode.__class__ is bool else _mixed(grad, tuple(mode.dtypes.items()))


class _Settings(threading.local):
    """What one thread has set.

    Attributes:
        dtypes: lower types that were set, by type of device.
        enabled: types of devices where autocast is on.
        cache: accepted for compatibility: within a program, a conversion is made once anyway.
        nesting: how many regions are open.
    """

    def __init__(self) -> None:
        self.dtypes: dict[str, dtype] = {}
        self.enabled: frozenset[str] = frozenset()
        self.cache = True
        self.nesting = 0


settings = _Settings()


def _apply() -> None:
    """Make the settings the trace's mode."""
    trace = state.trace
    grad = bool(trace.grad)
    pairs = tuple((name, get_autocast_dtype(name)) for name in sorted(settings.enabled))
    trace.grad = _mixed(grad, pairs) if pairs else grad


def _device_type(device_type: Any) -> str:
    return Device(device_type).type


def is_autocast_available(device_type: str) -> bool:
    """Whether autocast knows this type of device."""
    return _device_type(device_type) != "meta"


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is on for a type of device.

    Raises:
        RuntimeError: an unknown type.
    """
    return _device_type(device_type) in settings.enabled


def set_autocast_enabled(device_type: str | bool, enabled: bool | None = None) -> None:
    """Turn autocast on or off for a type of device; `set_autocast_enabled(enabled)` for "cuda".

    Raises:
        TypeError: `enabled` is no bool. RuntimeError: an unknown type of device.
    """
    if enabled is None:
        device_type, enabled = "cuda", device_type
    if not isinstance(enabled, bool):
        raise TypeError(
            "set_autocast_enabled(): argument 'enabled' (position 2) must be bool, not "
            f"{type(enabled).__name__}"
        )
    change = settings.enabled.union if enabled else settings.enabled.difference
    settings.enabled = change({_device_type(device_type)})
    _apply()


def get_autocast_dtype(device_type: str) -> dtype:
    """The lower type that autocast uses on a type of device."""
    name = _device_type(device_type)
    return settings.dtypes.get(name, float16 if name == "cuda" else bfloat16)


def set_autocast_dtype(device_type: str, dtype: dtype) -> None:
    """Set the lower type that autocast uses on a type of device.

    Raises:
        TypeError: no type. RuntimeError: an unknown type of device.
    """
    if not isinstance(dtype, _Dtype):
        raise TypeError(
            "set_autocast_dtype(): argument 'dtype' (position 2) must be dynjax.dtype, not "
            f"{type(dtype).__name__}"
        )
    settings.dtypes[_device_type(device_type)] = dtype
    _apply()


_Dtype = dtype


def is_autocast_cache_enabled() -> bool:
    """What was set by `set_autocast_cache_enabled`."""
    return settings.cache


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Accepted for compatibility: within a program, a conversion is made once anyway."""
    if not isinstance(enabled, bool):
        raise TypeError(f"enabled must be a bool (got {type(enabled).__name__})")
    settings.cache = enabled


def clear_autocast_cache() -> None:
    """Does nothing: conversions are not kept."""


def autocast_increment_nesting() -> int:
    """Count one more region; returns how many are open."""
    settings.nesting += 1
    return settings.nesting


def autocast_decrement_nesting() -> int:
    """Count one region less; returns how many are open."""
    settings.nesting -= 1
    return settings.nesting


def _deprecated(name: str, instead: Callable, *first: str) -> Callable:
    """PyTorch's old name of a function, for one type of device."""

    def function(*args: Any) -> Any:
        given = "".join(f"'{device}'" for device in first) + (", ..." if args else "")
        warnings.warn(
            f"dynjax.{name}() is deprecated. "
            f"Please use dynjax.{instead.__name__}({given}) instead.",
            DeprecationWarning,
            stacklevel=2,
        )
        return instead(*first, *args)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Deprecated: `{instead.__name__}` of {first[0]!r}."
    return function


OLD_NAMES = {
    name: _deprecated(name, instead, device)
    for middle, device in (("cpu", "cpu"), ("gpu", "cuda"))
    for name, instead in (
        (f"get_autocast_{middle}_dtype", get_autocast_dtype),
        (f"set_autocast_{middle}_dtype", set_autocast_dtype),
        (f"is_autocast_{middle}_enabled", is_autocast_enabled),
        (f"set_autocast_{middle}_enabled", set_autocast_enabled),
    )
    if name not in ("is_autocast_gpu_enabled", "set_autocast_gpu_enabled")
}

__all__ = [
    "Mixed",
    "autocast_decrement_nesting",
    "autocast_increment_nesting",
    "clear_autocast_cache",
    "get_autocast_dtype",
    "graded",
    "is_autocast_available",
    "is_autocast_cache_enabled",
    "is_autocast_enabled",
    "set_autocast_cache_enabled",
    "set_autocast_dtype",
    "set_autocast_enabled",
]
