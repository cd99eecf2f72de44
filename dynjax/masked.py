"""PyTorch's `torch.masked`: reductions and normalisations of what a mask keeps.

Its masked tensors are not there: a mask is an argument.
"""

from __future__ import annotations

from typing import Any

from . import ops  # noqa: F401  (declares the operations)
from .core.suggest import missing
from .ops.declare import NAMES

globals().update(NAMES["masked"])

__all__ = sorted(NAMES["masked"])


def __getattr__(name: str) -> Any:
    raise missing(__name__, name, NAMES["masked"])
