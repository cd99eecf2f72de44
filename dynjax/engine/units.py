"""A program as uses of parts that recur, and single operations between."""

from __future__ import annotations

import threading
from bisect import bisect
from collections.abc import Sequence
from typing import Any, NamedTuple

from .lower import Op
from .parts import Dictionary, Part

_LONGEST = 64  # kernels of a part
_ELSEWHERE = 0.25  # a cell of another tree that often follows is no part of this one
_dictionary = Dictionary()
_lock = threading.Lock()


class Unit(NamedTuple):
    """One use of a part: operations that follow each other, or a single one.

    Attributes:
        inputs: places of its inputs.
        results: places of its results.
        floats, ints: its numbers' positions among the program's.
        at: its first operation's number in the program.
    """

    inputs: tuple[int, ...]
    results: list[int]
    floats: tuple[int, ...]
    ints: tuple[int, ...]
    at: int


def units(
    program: Sequence[Op], first: Sequence[int], chosen: Sequence[int], between: Sequence[int]
) -> list[tuple[Part, Unit]]:
    """Operations as uses of parts that recur.

    Args:
        program: all operations.
        first: the place of each one's first result.
        chosen: the numbers of those that are wanted, in order.
        between: numbers of others, in order, that no part may reach across: what they wait for may
            be in it, and what waits for them.
    """
    kernels = [program[k][0] for k in chosen]
    with _lock:
        known, gaps = _dictionary.divide(kernels, longest=_LONGEST, elsewhere=_ELSEWHERE)
    whole = []
    for start, stop in known:
        if bisect(between, chosen[start]) == bisect(between, chosen[stop - 1]):
            whole.append((start, stop))
        else:
            gaps.append((start, stop))
    ranges = sorted([*whole, *[(k, k + 1) for start, stop in gaps for k in range(start, stop)]])
    parts: dict[tuple, Part] = {}
    found = []
    for start, stop in ranges:
        inputs: list[int] = []
        results: list[int] = []
        places: dict[int, int] = {}  # inputs count down from -1, results up from 0
        floats: dict[int, int] = {}
        ints: dict[int, int] = {}
        form: list[Any] = []  # equal for equal parts
        for k in chosen[start:stop]:
            kernel, refs, numbers = program[k]
            form.append(kernel)
            for r in refs:
                place = places.get(r)
                if place is None:
                    place = places[r] = -1 - len(inputs)
                    inputs.append(r)
                form.append(place)
            for real, j in numbers:
                pool = floats if real else ints
                form.append((real, pool.setdefault(j, len(pool))))
            for r in range(first[k], first[k] + len(kernel.out_avals)):
                places[r] = len(results)
                results.append(r)
        key = tuple(form)
        part = parts.get(key)
        if part is None:
            n = len(inputs)
            ops = []
            for k in chosen[start:stop]:
                kernel, refs, numbers = program[k]
                local = [places[r] for r in refs]
                taken = [(real, (floats if real else ints)[j]) for real, j in numbers]
                ops.append(
                    (kernel, tuple([-1 - p if p < 0 else n + p for p in local]), tuple(taken))
                )
            part = parts[key] = Part(tuple(ops), n, len(floats), len(ints))
        unit = Unit(tuple(inputs), results, tuple(floats), tuple(ints), chosen[start])
        found.append((part, unit))
    return found
