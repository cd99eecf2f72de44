"""What stands beside models and optimizers, as `torch.utils`."""

from typing import TYPE_CHECKING

from . import data
from .progress import progress

if TYPE_CHECKING:
    from .summaries import summary

__all__ = ["data", "progress", "summary"]


def __getattr__(name: str) -> object:
    if name != "summary":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .summaries import summary  # needs JAX, which the workers of loaders do without

    return summary
