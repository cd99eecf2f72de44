"""Axes of padded arrays: what they are where arrays meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .extents import Axis, Size, Unpaddable, varies
from .walk import Padded


def together(given: Sequence[Padded]) -> tuple[tuple[Axis, ...], frozenset[int]]:
    """The axes of what arrays give element by element, and along which it is even."""
    rank = max([len(x.axes) for x in given])
    full = [x for x in given if len(x.axes) == rank]
    if any(x.axes for x in given if len(x.axes) != rank):
        raise Unpaddable("arrays of several ranks")
    axes = tuple([common(full, d) for d in range(rank)])
    even = [d for d in range(rank) if varies(axes[d])]
    return axes, frozenset([d for d in even if all(d in x.even or not x.axes[d] for x in full)])


def common(given: Sequence[Padded], d: int) -> Axis:
    """What an axis is on which arrays meet, some of which may be one there."""
    long = [x for x in given if x.axes[d]]
    sure = {x.axes[d] for x in long if d not in x.even}
    if len(sure) > 1:
        raise Unpaddable(f"axes {sure}")
    return sure.pop() if sure else long[0].axes[d] if long else ()


def guessed(x: Padded, d: int) -> bool:
    """Whether the order of an axis's factors is a guess."""
    return d in x.even and len(x.axes[d]) > 1


def picked(x: Padded, value: Any, order: Sequence[int]) -> Padded:
    """An array that has the axes of another, in some order."""
    even = frozenset([k for k, d in enumerate(order) if d in x.even])
    return Padded(value, tuple([x.axes[d] for d in order]), even)


def simple(axis: Axis) -> bool:
    """Whether the data of an axis are its first places."""
    return len(axis) <= 1 or not varies(axis) or not any(type(f) is Size for f in axis[1:])
