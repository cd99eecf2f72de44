"""`torch.cpu`: what `torch.cuda` has, for code that takes either; no streams, no events."""

from __future__ import annotations

from typing import Any

from ..engine import flush
from . import amp

__all__ = [
    "amp", "current_device", "device_count", "is_available", "is_initialized", "set_device",
    "synchronize",
]  # fmt: skip


def is_available() -> bool:
    """Always True."""
    return True


def is_initialized() -> bool:
    """Always True."""
    return True


def device_count() -> int:
    """One, as in PyTorch, whatever JAX makes of the processor."""
    return 1


def current_device() -> str:
    """The text "cpu"."""
    return "cpu"


def set_device(device: Any) -> None:
    """Does nothing."""


def synchronize(device: Any = None) -> None:
    """Begins what is recorded; whoever reads a result waits for it."""
    flush()
