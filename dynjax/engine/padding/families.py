"""Families: graphs that differ in nothing but the shapes of their data."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from ..lower import Lowered

_MOST = 64  # families, ...
_MOST_OPERATIONS = 1 << 13  # ... and operations of their graphs: Python's collector looks at all
_FEWEST = 4  # families that are kept whatever their size
_families: OrderedDict[Hashable, Family] = OrderedDict()
_operations = 0
_lock = threading.Lock()


class _Recorded:
    """What is kept of a step whose kernel stands for a recorded part."""

    __slots__ = ("args",)

    def __init__(self, args: Any) -> None:
        self.args = args


class Family:
    """Graphs of the same operations, on parameters of the same shapes.

    Args:
        first: the one that came first; of its steps only what it takes to write it out, as each
            leads to all of the trace.

    Attributes:
        shapes: those of its data.
        buckets: the programs on padded data that serve the others, see `buckets`.
    """

    __slots__ = ("first", "shapes", "buckets")

    def __init__(self, first: Lowered) -> None:
        parts: dict[int, _Recorded] = {}
        steps: list[Any] = [None] * len(first.steps)
        for k, (kernel, _, _) in enumerate(first.program):
            if kernel.unasked:
                args = first.steps[k].args
                steps[k] = parts.setdefault(id(args), _Recorded(args))
        self.first, self.shapes = first._replace(steps=tuple(steps)), shapes_of(first)
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
    global _operations
    with _lock:
        family = _families.get(outline)
        if family is None:
            family = _families[outline] = Family(lowered)
            _operations += len(lowered.program)
            while len(_families) > _MOST or (
                _operations > _MOST_OPERATIONS and len(_families) > _FEWEST
            ):
                _operations -= len(_families.popitem(last=False)[0][0])
        else:
            _families.move_to_end(outline)
    return family


def forget() -> None:
    """Forget all families."""
    global _operations
    with _lock:
        _families.clear()
        _operations = 0
