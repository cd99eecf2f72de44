"""`autocast` and `GradScaler` under the names that PyTorch deprecated: one pair a device type."""

from __future__ import annotations

import warnings
from typing import Any

from ..core import dtypes
from .autocast_mode import autocast
from .grad_scaler import GradScaler


def _warn(device: str, name: str) -> None:
    warnings.warn(
        f"`torch.{device}.amp.{name}(args...)` is deprecated. "
        f"Please use `torch.amp.{name}('{device}', args...)` instead.",
        FutureWarning,
        stacklevel=3,
    )


def forms(device: str, lower: dtypes.dtype) -> tuple[type[autocast], type[GradScaler]]:
    """The classes of `torch.<device>.amp`.

    Args:
        device: their device type.
        lower: the type that `autocast` computes in by default.
    """

    class FormerAutocast(autocast):
        __doc__ = f'`autocast("{device}", ...)`; deprecated under this name.'

        def __init__(
            self, enabled: bool = True, dtype: dtypes.dtype = lower, cache_enabled: bool = True
        ) -> None:
            _warn(device, "autocast")
            super().__init__(device, dtype, enabled, cache_enabled)

    class FormerGradScaler(GradScaler):
        __doc__ = f'`GradScaler("{device}", ...)`; deprecated under this name.'

        def __init__(
            self,
            init_scale: float = 2.0**16,
            growth_factor: float = 2.0,
            backoff_factor: float = 0.5,
            growth_interval: int = 2000,
            enabled: bool = True,
        ) -> None:
            _warn(device, "GradScaler")
            settings = init_scale, growth_factor, backoff_factor, growth_interval, enabled
            super().__init__(device, *settings)

    made: tuple[Any, ...] = FormerAutocast, FormerGradScaler
    for cls, name in zip(made, ("autocast", "GradScaler"), strict=True):
        cls.__name__ = cls.__qualname__ = name
        cls.__module__ = f"{__name__.partition('.')[0]}.{device}.amp"  # where pickle finds it
    return made
