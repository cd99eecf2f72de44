"""PyTorch's `torch.linalg`: the names that the operations declare for it."""

from __future__ import annotations

from . import ops  # noqa: F401  (declares the operations)
from .core.suggest import missing
from .ops.declare import NAMES

globals().update(NAMES["linalg"])

__all__ = sorted(NAMES["linalg"])


def __getattr__(name: str) -> object:
    raise missing(__name__, name, globals())
