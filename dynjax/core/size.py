"""Size: the shape of a tensor."""

from __future__ import annotations

import math


class Size(tuple):
    """A tuple of dimensions that prints as PyTorch's."""

    __slots__ = ()

    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self)

    def __repr__(self) -> str:
        return f"dynjax.Size({list(self)})"
