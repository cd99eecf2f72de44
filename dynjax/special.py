"""PyTorch's `torch.special`: the names that the operations declare for it."""

from . import ops as _ops  # noqa: F401  (declares the operations)
from .core.suggest import missing as _missing
from .ops.declare import NAMES as _NAMES

globals().update(_NAMES["special"])

__all__ = sorted(_NAMES["special"])


def __getattr__(name: str) -> object:
    raise _missing(__name__, name, __all__)
