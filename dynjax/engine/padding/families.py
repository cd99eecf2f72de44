"""Families: graphs that differ in nothing but the shapes of their data."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from ..lower import Lowered

_MOST = 64
_families: OrderedDict[Hashable, Family] = OrderedDict()
_lock = threading.Lock()


class Family:
    """Graphs of the same operations, on parameters of the same shapes.

    Args:
        first: the one that came first.

    Attributes:
        shapes: those of its data.
        buckets: the programs on padded data that serve the others, see `buckets`.
    """

    __slots__ = ("first", "shapes", "buckets")

    def __init__(self, first: Lowered) -> None:
        self.first, self.shapes = first, shapes_of(first)
        self.buckets: Any = None


def shapes_of(lowered: Lowered) -> tuple[tuple[int, ...], ...]:
    """The shapes of a graph's data and parameters."""
    return tuple([tuple(kind.shape) for kind in lowered.kinds])


def family_of(lowered: Lowered) -> Family:
    """The family that a graph belongs to, which it founds if it is the first."""
    outline = (
        tuple([(kernel.op, refs, numbers) for kernel, refs, numbers in lowered.program]),
        tuple([(k.dtype, k.shape if k.leaf and k.requires_grad else None) for k in lowered.kinds]),
        lowered.results, lowered.wrts, len(lowered.floats), len(lowered.ints),
    )  # fmt: skip
    with _lock:
        family = _families.get(outline)
        if family is None:
            family = _families[outline] = Family(lowered)
            if len(_families) > _MOST:
                _families.popitem(last=False)
        else:
            _families.move_to_end(outline)
    return family


def forget() -> None:
    """Forget all families."""
    with _lock:
        _families.clear()
