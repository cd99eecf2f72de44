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


class Piece(NamedTuple):
    """A part within a stretch of operations, by positions among that stretch's.

    Attributes:
        part: what it runs.
        inputs, results, floats, ints: the positions of its own.
        members: its operations.
        wrts: of each, the inputs that gradients flow to, where there is a backward.
        reversed: by which results have a cotangent, its backward (see `reverse`).
    """

    part: Part
    inputs: tuple[int, ...]
    results: tuple[int, ...]
    floats: tuple[int, ...]
    ints: tuple[int, ...]
    members: tuple[int, ...]
    wrts: tuple[tuple[int, ...] | None, ...]
    reversed: dict[tuple[int, ...], Any]


_MOST_FORMS = 4096
_forms: dict[tuple, list[Piece]] = {}  # how stretches of equal form fall apart
_parts: dict[Part, Part] = {}


def the_one(part: Part) -> Part:
    """The part that stands for all equal ones: these need not be compared then."""
    return _parts.setdefault(part, part)


def units(
    program: Sequence[Op],
    first: Sequence[int],
    chosen: Sequence[int],
    between: Sequence[int],
    wrts: Sequence[tuple[int, ...] | None] = (),
) -> list[tuple[Piece, Unit]]:
    """Operations as uses of parts that recur.

    Of a stretch that recurs, what does not depend on each other is apart: what runs in groups had
    better not wait for what happens to stand beside it.

    Args:
        program: all operations.
        first: the place of each one's first result.
        chosen: the numbers of those that are wanted, in order.
        between: numbers of others, in order, that come when what they wait for is there: no part
            may hold that as well as what waits for them.
        wrts: of each operation, the inputs that gradients flow to, where there is a backward.
    """
    kernels = [program[k][0] for k in chosen]
    with _lock:
        known, gaps = _dictionary.divide(kernels, longest=_LONGEST, elsewhere=_ELSEWHERE)
        n_parts = _dictionary.count
        found = _found(program, first, chosen, between, known, gaps, wrts)
        if _dictionary.count != n_parts:  # what is a part by itself may stand alone elsewhere
            known, gaps = _dictionary.cut(kernels)
            found = _found(program, first, chosen, between, known, gaps, wrts)
    return found


def _found(
    program: Sequence[Op],
    first: Sequence[int],
    chosen: Sequence[int],
    between: Sequence[int],
    known: Sequence[tuple[int, int]],
    gaps: Sequence[tuple[int, int]],
    wrts: Sequence[tuple[int, ...] | None],
) -> list[tuple[Piece, Unit]]:
    ranges = [(k, k + 1) for start, stop in gaps for k in range(start, stop)]
    for start, stop in known:
        inside = between[bisect(between, chosen[start]) : bisect(between, chosen[stop - 1])]
        waiting = {r for k in inside for r in results_of(program, first, k)}
        if any(not waiting.isdisjoint(program[k][1]) for k in chosen[start:stop] if inside):
            ranges += [(k, k + 1) for k in range(start, stop)]
        else:
            ranges.append((start, stop))
    ranges.sort()
    found: list[tuple[Piece, Unit]] = []
    for start, stop in ranges:
        inputs: list[int] = []
        results: list[int] = []
        places: dict[int, int] = {}  # inputs count down from -1, results up from 0
        floats: dict[int, int] = {}
        ints: dict[int, int] = {}
        form: list[Any] = []  # equal for equal stretches
        for k in chosen[start:stop]:
            kernel, refs, numbers = program[k]
            form.append(kernel)
            if wrts:
                form.append(wrts[k])
            for r in refs:
                place = places.get(r)
                if place is None:
                    place = places[r] = -1 - len(inputs)
                    inputs.append(r)
                form.append(place)
            for real, j in numbers:
                pool = floats if real else ints
                form.append((real, pool.setdefault(j, len(pool))))
            at = first[k]
            for r in range(at, at + len(kernel.out_avals)):
                places[r] = len(results)
                results.append(r)
        key = tuple(form)
        pieces = _forms.get(key)
        if pieces is None:
            ops = [program[k] for k in chosen[start:stop]]
            flow = [wrts[k] for k in chosen[start:stop]] if wrts else [()] * len(ops)
            if len(_forms) >= _MOST_FORMS:
                _forms.clear()
                _parts.clear()
            pieces = _forms[key] = _pieces(ops, places, list(floats), list(ints), flow)
            _learn(pieces)
        if len(pieces) == 1:
            unit = Unit(tuple(inputs), results, tuple(floats), tuple(ints), chosen[start])
            found.append((pieces[0], unit))
            continue
        real, whole = list(floats), list(ints)
        for piece in pieces:
            unit = Unit(
                tuple([inputs[j] for j in piece.inputs]),
                [results[j] for j in piece.results],
                tuple([real[j] for j in piece.floats]),
                tuple([whole[j] for j in piece.ints]),
                chosen[start + piece.members[0]],
            )
            found.append((piece, unit))
    return found


def results_of(program: Sequence[Op], first: Sequence[int], k: int) -> range:
    """The places of an operation's results."""
    return range(first[k], first[k] + len(program[k][0].out_avals))


def _pieces(
    ops: Sequence[Op],
    places: dict[int, int],
    floats: list[int],
    ints: list[int],
    wrts: Sequence[tuple[int, ...] | None],
) -> list[Piece]:
    """The parts of a stretch that do not depend on each other.

    Args:
        ops: its operations.
        places: where they take and leave values: inputs from -1 downward, results from 0 upward.
        floats, ints: their numbers.
        wrts: of each, the inputs that gradients flow to.
    """
    members: list[list[int]] = []
    made_by: dict[int, int] = {}  # by place, the operation
    starts: list[int] = []
    n_results = 0
    for i, (kernel, refs, _) in enumerate(ops):
        mine = [i]
        for source in [m for m in members if any(made_by.get(places[r]) in m for r in refs)]:
            mine = sorted([*mine, *source])
            members.remove(source)
        members.append(mine)
        starts.append(n_results)
        made_by.update(dict.fromkeys(range(n_results, n_results + len(kernel.out_avals)), i))
        n_results += len(kernel.out_avals)
    return [_piece(ops, places, starts, floats, ints, wrts, mine) for mine in sorted(members)]


def _piece(
    ops: Sequence[Op],
    places: dict[int, int],
    starts: list[int],
    floats: list[int],
    ints: list[int],
    wrts: Sequence[tuple[int, ...] | None],
    members: list[int],
) -> Piece:
    inputs: dict[int, int] = {}  # by place
    results: list[int] = []
    real: dict[int, int] = {}
    whole: dict[int, int] = {}
    for i in members:
        kernel, refs, numbers = ops[i]
        for r in refs:
            if places[r] < 0:
                inputs.setdefault(-1 - places[r], len(inputs))
        for is_float, j in numbers:
            pool = real if is_float else whole
            pool.setdefault((floats if is_float else ints).index(j), len(pool))
        results += range(starts[i], starts[i] + len(kernel.out_avals))
    local = {-1 - place: k for place, k in inputs.items()}
    local |= {place: len(inputs) + k for k, place in enumerate(results)}
    own = []
    for i in members:
        kernel, refs, numbers = ops[i]
        taken = [(f, (real if f else whole)[(floats if f else ints).index(j)]) for f, j in numbers]
        own.append((kernel, tuple([local[places[r]] for r in refs]), tuple(taken)))
    part = the_one(Part(tuple(own), len(inputs), len(real), len(whole)))
    return Piece(
        part, tuple(inputs), tuple(results), tuple(real), tuple(whole), tuple(members),
        tuple([wrts[i] for i in members]), {},
    )  # fmt: skip


def _learn(pieces: Sequence[Piece]) -> None:
    """Make parts of what was found within a part, wherever it stands in a row."""
    if len(pieces) > 1:
        for piece in pieces:
            members = piece.members
            if len(members) > 1 and members[-1] - members[0] == len(members) - 1:
                _dictionary.add([kernel for kernel, _, _ in piece.part.ops])
