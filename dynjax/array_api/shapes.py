"""Shapes and axes in the array API standard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core import dtypes
from ..ops.declare import NAMES
from ..tensor.tensor import Tensor
from .types import promoted

_T = NAMES["torch"]
_all = all
_any = any


def broadcast_to(x: Tensor, /, shape: Sequence[int]) -> Tensor:
    """The array in a wider shape."""
    return x.expand(tuple(shape))


def broadcast_arrays(*arrays: Tensor) -> list[Tensor]:
    """Arrays in the shape of all."""
    return list(_T["broadcast_tensors"](*arrays))


def concat(arrays: Sequence[Tensor], /, *, axis: int | None = 0) -> Tensor:
    """Arrays one after another; flattened first for no axis."""
    same = promoted(*arrays)
    return _T["cat"]([x.reshape(-1) for x in same] if axis is None else same, axis or 0)


def stack(arrays: Sequence[Tensor], /, *, axis: int = 0) -> Tensor:
    """Arrays along a new axis."""
    return _T["stack"](promoted(*arrays), axis)


def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The parts of an array along an axis."""
    return tuple(x.unbind(axis))


def expand_dims(x: Tensor, /, axis: int | Sequence[int] = 0) -> Tensor:
    """An array with further axes of length one."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    n = x.ndim + len(axes)
    if not _all(-n <= a < n for a in axes):
        raise IndexError(f"axis {axis} is out of range for {n} dimensions")
    for a in sorted(a % n for a in axes):
        x = x.unsqueeze(a)
    return x


def squeeze(x: Tensor, /, axis: int | Sequence[int]) -> Tensor:
    """An array without axes of length one.

    Raises:
        ValueError: an axis is longer.
    """
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    if _any(x.shape[a] != 1 for a in axes):
        raise ValueError(f"axes {axes} of shape {tuple(x.shape)} are not all of length one")
    return x.squeeze(axes)


def flip(x: Tensor, /, *, axis: int | Sequence[int] | None = None) -> Tensor:
    """An array in reverse order."""
    return x.flip(tuple(range(x.ndim)) if axis is None else axis)


def roll(x: Tensor, /, shift: Any, *, axis: Any = None) -> Tensor:
    """An array with its elements moved round."""
    return x.roll(shift, axis)


def moveaxis(x: Tensor, source: Any, destination: Any, /) -> Tensor:
    """An array with axes moved."""
    return x.movedim(source, destination)


def permute_dims(x: Tensor, /, axes: Sequence[int]) -> Tensor:
    """An array with its axes in another order."""
    return x.permute(tuple(axes))


def matrix_transpose(x: Tensor, /) -> Tensor:
    """Matrices transposed."""
    if x.ndim < 2:
        raise ValueError(f"a matrix has two dimensions, not {x.ndim}")
    return x.mT


def reshape(x: Tensor, /, shape: Sequence[int], *, copy: bool | None = None) -> Tensor:
    """An array in another shape."""
    if copy:
        x = x.clone()
    return x.view(tuple(shape)) if copy is False else x.reshape(tuple(shape))


def repeat(x: Tensor, repeats: Any, /, *, axis: int | None = None) -> Tensor:
    """Every element several times."""
    if isinstance(repeats, Tensor):
        n = x.numel() if axis is None else x.shape[axis]
        repeats = repeats.to(dtypes.int64).expand(n)
    return x.repeat_interleave(repeats, axis)


def tile(x: Tensor, repetitions: Sequence[int], /) -> Tensor:
    """The array several times."""
    return x.tile(tuple(repetitions))


__all__ = [
    "broadcast_arrays",
    "broadcast_to",
    "concat",
    "expand_dims",
    "flip",
    "matrix_transpose",
    "moveaxis",
    "permute_dims",
    "repeat",
    "reshape",
    "roll",
    "squeeze",
    "stack",
    "tile",
    "unstack",
]
