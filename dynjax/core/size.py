"""Size: the shape of a tensor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import index
from typing import Any, SupportsIndex


class Size(tuple):
    """A tuple of dimensions that prints as PyTorch's and stays a Size when sliced or extended.

    Args:
        dims: whole numbers.

    Raises:
        TypeError: an entry is not a whole number.
    """

    __slots__ = ()

    def __new__(cls, dims: Iterable[SupportsIndex] = (), /) -> Size:
        dims = tuple(dims)
        for dim in dims:
            if type(dim) is not int:
                dims = _as_ints(dims)
                break
        return super().__new__(cls, dims)

    def numel(self) -> int:
        """Number of elements of a tensor of this shape."""
        return math.prod(self)

    def __add__(self, other: Any) -> Size:
        if not isinstance(other, tuple):
            raise TypeError(
                f"can only concatenate tuple (not {type(other).__name__}) to dynjax.Size"
            )
        return Size(tuple.__add__(self, other))

    def __radd__(self, other: Any) -> Size:
        return Size(other + tuple(self)) if isinstance(other, tuple) else NotImplemented

    def __mul__(self, times: SupportsIndex) -> Size:
        return Size(tuple.__mul__(self, times))

    __rmul__ = __mul__

    def __getitem__(self, key: Any) -> Any:
        item = tuple.__getitem__(self, key)
        return Size(item) if isinstance(key, slice) else item

    def __reduce__(self) -> tuple[type, tuple[tuple[int, ...]]]:
        return Size, (tuple(self),)

    def __repr__(self) -> str:
        return f"dynjax.Size({list(self)})"


def _as_ints(dims: tuple[Any, ...]) -> list[int]:
    checked = []
    for position, dim in enumerate(dims):
        try:
            checked.append(int(index(dim)))  # index(True) is True, and would print so
        except TypeError:
            raise TypeError(
                "dynjax.Size() takes an iterable of 'int' "
                f"(item {position} is '{type(dim).__name__}')"
            ) from None
    return checked
