"""dynjax: PyTorch-style tensors, modules and autograd that run on XLA.

    import dynjax as torch

The names are PyTorch's. What differs on purpose is in the README.
"""

from typing import TYPE_CHECKING

from .core import later as _later

if TYPE_CHECKING:
    from ._front import *  # noqa: F403


def __getattr__(name: str) -> object:
    return _later.attribute(name)


if not _later.in_worker():
    _later.load()
