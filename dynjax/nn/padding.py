"""Layers that pad: `padding` is an int for all sides, or (left, right, top, bottom, ...)."""

from __future__ import annotations

from collections.abc import Sequence

from ..tensor.tensor import Tensor
from . import functional as F
from .module import Module
from .sizes import _ntuple

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class _Pad(Module):
    """Padding of `_ndim` dimensions in the way `_mode` of `F.pad`."""

    __constants__ = ["padding"]
    _ndim: int
    _mode: str
    padding: Sequence[int]

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        self.padding = _ntuple(2 * self._ndim)(padding)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _CircularPad(_Pad):
    _mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        low, ndim = self._ndim + 1, len(input.shape)
        if ndim not in (low, low + 1):
            raise ValueError(f"expected {low}D or {low + 1}D input (got {ndim}D input)")
        return super().forward(input)


class CircularPad1d(_CircularPad):
    """Continues the last dimension from its other end."""

    _ndim = 1


class CircularPad2d(_CircularPad):
    """Continues the last two dimensions from their other ends."""

    _ndim = 2


class CircularPad3d(_CircularPad):
    """Continues the last three dimensions from their other ends."""

    _ndim = 3


class _ConstantPad(_Pad):
    __constants__ = ["padding", "value"]
    value: float

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """Continues the last dimension with `value`."""

    _ndim = 1


class ConstantPad2d(_ConstantPad):
    """Continues the last two dimensions with `value`."""

    _ndim = 2


class ConstantPad3d(_ConstantPad):
    """Continues the last three dimensions with `value`."""

    _ndim = 3


class ReflectionPad1d(_Pad):
    """Continues the last dimension by its mirror image, the edge left out."""

    _ndim, _mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Continues the last two dimensions by their mirror image, the edge left out."""

    _ndim, _mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Continues the last three dimensions by their mirror image, the edge left out."""

    _ndim, _mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """Continues the last dimension with its edge."""

    _ndim, _mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """Continues the last two dimensions with their edges."""

    _ndim, _mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """Continues the last three dimensions with their edges."""

    _ndim, _mode = 3, "replicate"


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_ZeroPad, ConstantPad1d):
    """Continues the last dimension with zeros."""


class ZeroPad2d(_ZeroPad, ConstantPad2d):
    """Continues the last two dimensions with zeros."""


class ZeroPad3d(_ZeroPad, ConstantPad3d):
    """Continues the last three dimensions with zeros."""
