"""Repetition in a program: a chain of equal stretches becomes one loop of XLA's.

The cell of a Python loop over a sequence, its backward, an iteration until something converges:
the same kernels follow each other many times, wired the same way. What one repetition hands to the
next is carried, what all read is constant, what differs is taken from a stack, and what others
read of more than the last repetition leaves as a stack, which a later loop (the backward) reads as
it is. Compiling takes as long as for one repetition.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .kernel import Kernel, Op, evaluate, size_of
from .repeat import Given, Kept, Stack, repeat
from .slices import rows

_LONGEST = 256  # kernels of a repetition
_GATHERED = 0.5  # of the bytes that a repetition touches, how much may be stacked for it


class Form(NamedTuple):
    """One repetition and how it is connected; equal for equal loops of whatever length.

    Attributes:
        ops: (kernel, inputs, numbers): inputs are numbered constants first, then what is carried,
            then what comes from stacks, then results within.
        n_consts, n_stacks: how many there are.
        carried: the result that becomes each carried input of the next repetition.
        n_floats, n_ints: how many run-time numbers a repetition takes.
    """

    ops: tuple[Op, ...]
    n_consts: int
    n_stacks: int
    carried: tuple[int, ...]
    n_floats: int
    n_ints: int

    @property
    def n_inputs(self) -> int:
        """How many values a repetition takes."""
        return self.n_consts + len(self.carried) + self.n_stacks

    def results(self) -> list[jax.ShapeDtypeStruct]:
        """Shapes and types of what a repetition computes."""
        return [aval for kernel, _, _ in self.ops for aval in kernel.out_avals]

    def before(self, result: int, begins: Sequence[Any]) -> Any:
        """Of what is carried into the first repetition, what a result becomes for the next; None
        where it becomes nothing, or several things. The stack of the result begins with it."""
        return begins[self.carried.index(result)] if self.carried.count(result) == 1 else None

    def run(
        self,
        times: Any,
        capacity: int,
        stacked: Sequence[int],
        consts: Sequence[Any],
        begins: Sequence[Any],
        stacks: Sequence[tuple[Any, Any, Any]],
        floats: Any,
        ints: Any,
    ) -> tuple[list[Any], list[Any]]:
        """All repetitions.

        Args:
            times: how many there are; may be a run-time number.
            capacity: for how many repetitions the stacks that leave have room, at least `times`.
            stacked: the results that leave as stacks.
            consts, begins: what is constant; what the first repetition is given.
            stacks: as (stack, where the first repetition reads, how far on the next does).
            floats, ints: the numbers of every repetition, a row each; () for none.

        Returns:
            What is carried out of the last repetition, and the stacks: in row i + 1 what
            repetition i computed, in row 0 what is carried into the first.
        """
        avals = self.results()
        rows = [numbers for numbers in (floats, ints) if len(numbers)]

        def repetition(
            consts: list[Any], carries: list[Any], slices: list[Any], rows: list[Any]
        ) -> list[Any]:
            numbers = iter(rows)
            env = evaluate(
                self.ops,
                [*consts, *carries, *slices],
                next(numbers) if self.n_floats else (),
                next(numbers) if self.n_ints else (),
            )
            return [env[self.n_inputs + k] for k in (*self.carried, *stacked)]

        given = Given(consts, begins, [Stack(*stack) for stack in stacks], rows)
        kept = [Kept(avals[k], self.before(k, begins)) for k in stacked]
        return repeat(repetition, times, capacity, given, kept)


class Source(NamedTuple):
    """Where a loop reads a stack that another has left: result `result` of the loop whose first
    place is `first`, from row `start` on, every `stride`-th."""

    first: int
    result: int
    start: int
    stride: int


class Loop(NamedTuple):
    """A chain in a program.

    Attributes:
        form: what is repeated.
        start, times: the number of its first kernel in the program; how many repetitions.
        first: the place of its first result.
        size: how many results a repetition has.
        consts, begins: the places of the constants and of what the first repetition is given.
        stacks: for every input from a stack, its place in each repetition.
        floats, ints: for every repetition, its numbers' positions among the program's.
    """

    form: Form
    start: int
    times: int
    first: int
    size: int
    consts: tuple[int, ...]
    begins: tuple[int, ...]
    stacks: tuple[tuple[int, ...], ...]
    floats: tuple[tuple[int, ...], ...]
    ints: tuple[tuple[int, ...], ...]

    @property
    def stop(self) -> int:
        """The number of the kernel after it."""
        return self.start + self.times * len(self.form.ops)

    @property
    def end(self) -> int:
        """The place after its last result."""
        return self.first + self.times * self.size

    def reads(self) -> set[int]:
        """The places that it takes from outside."""
        return {*self.consts, *self.begins, *(p for places in self.stacks for p in places)}

    def finals(self) -> dict[int, int]:
        """Of the last repetition: the places that are carried out, by which carry."""
        last = self.end - self.size
        return {last + k: number for number, k in enumerate(self.form.carried)}

    def stacked(self, single: set[int], stacks: set[tuple[int, int]]) -> tuple[int, ...]:
        """The results to leave as stacks, where others read these places, and stacks (of a loop
        by its first place, and the number of a result)."""
        finals = self.finals()
        picked = {p - self.first for p in single if self.has(p) and p not in finals}
        whole = {result for first, result in stacks if first == self.first}
        return tuple(sorted({k % self.size for k in picked} | whole))

    def has(self, place: int) -> bool:
        """Whether it computes what is at a place."""
        return self.first <= place < self.end

    def source(self, places: Sequence[int]) -> Source | None:
        """The stack of this loop that has just these places in order, if there is one."""
        results = {(p - self.first) % self.size for p in places if self.has(p)}
        if len(results) != 1:
            return None
        (result,) = results
        before = self.form.before(result, self.begins)
        rows = []
        for p in places:
            if self.has(p):
                rows.append((p - self.first) // self.size + 1)
            elif p == before:
                rows.append(0)
            else:
                return None
        stride = rows[1] - rows[0] if len(rows) > 1 else 1
        if any(b - a != stride for a, b in zip(rows, rows[1:])):
            return None
        return Source(self.first, result, rows[0], stride)

    def shortened(self, front: int, back: int) -> Loop:
        """It without some repetitions at either end; None is carried in from a lost front."""
        keep = slice(front, self.times - back)
        before = self.first + (front - 1) * self.size
        return self._replace(
            start=self.start + front * len(self.form.ops),
            times=self.times - front - back,
            first=self.first + front * self.size,
            begins=tuple(before + k for k in self.form.carried) if front else self.begins,
            stacks=tuple(places[keep] for places in self.stacks),
            floats=self.floats[keep],
            ints=self.ints[keep],
        )


def chain(program: Sequence[Op], start: int, period: int, times: int, first: int) -> Loop | None:
    """The loop that equal stretches of kernels are, if they are wired as one.

    Args:
        program: the whole.
        start, period, times: where the first stretch begins, its kernels, how many stretches.
        first: the place of the first result.
    """
    body = program[start : start + period]
    size = sum(len(kernel.out_avals) for kernel, _, _ in body)
    slots: dict[tuple, list[tuple[int, int]]] = {}
    wiring: dict[tuple[int, int], Any] = {}
    for j, (_, refs, _) in enumerate(body):
        for k in range(len(refs)):
            places = [program[start + t * period + j][1][k] for t in range(times)]
            if places[0] >= first:
                if any(p != places[0] + t * size for t, p in enumerate(places)):
                    return None
                wiring[j, k] = places[0] - first
                continue
            if len(set(places)) == 1:
                slot: tuple = (0, places[0])
            else:
                of = places[1] - first
                if 0 <= of < size and all(
                    p == first + t * size + of for t, p in enumerate(places[1:])
                ):
                    slot = (1, places[0], of)
                elif max(places) < first:
                    slot = (2, tuple(places))
                else:
                    return None
            slots.setdefault(slot, []).append((j, k))
    ordered = sorted(slots, key=lambda slot: slot[0])
    for number, slot in enumerate(ordered):
        for use in slots[slot]:
            wiring[use] = number - len(ordered)
    counts: list[int] = [0, 0]
    ops = []
    for j, (kernel, refs, numbers) in enumerate(body):
        own = []
        for is_float, _ in numbers:
            own.append((is_float, counts[is_float]))
            counts[is_float] += 1
        ops.append(
            (kernel, tuple(wiring[j, k] + len(ordered) for k in range(len(refs))), tuple(own))
        )
    consts, begins, stacks = ([slot for slot in ordered if slot[0] == n] for n in range(3))
    form = Form(
        tuple(ops), len(consts), len(stacks), tuple(slot[2] for slot in begins),
        counts[True], counts[False],
    )  # fmt: skip
    return Loop(
        form, start, times, first, size,
        tuple(slot[1] for slot in consts),
        tuple(slot[1] for slot in begins),
        tuple(slot[1] for slot in stacks),
        *_numbers(program, start, period, times),
    )  # fmt: skip


def fitted(form: Form, program: Sequence[Op], start: int, times: int, first: int) -> Loop | None:
    """The loop of a known form that stretches of its kernels are, if they are wired like it."""
    period, inner = len(form.ops), form.n_inputs
    size = len(form.results())
    found: list[list[int | None]] = [[None] * times for _ in range(inner)]
    for t in range(times):
        base = first + t * size
        for j, (_, refs, _) in enumerate(form.ops):
            for r, p in zip(refs, program[start + t * period + j][1], strict=True):
                if r >= inner:
                    if p != base + r - inner:
                        return None
                elif found[r][t] is None and p < base:
                    found[r][t] = p
                elif found[r][t] != p:
                    return None
    last = form.n_consts + len(form.carried)
    consts, carries, stacks = found[: form.n_consts], found[form.n_consts : last], found[last:]
    fits = (
        all(len(set(places)) == 1 for places in consts)
        and all(max(places) < first for places in (*consts, *stacks))
        and all(
            places[0] < first and all(p == first + t * size + k for t, p in enumerate(places[1:]))
            for places, k in zip(carries, form.carried, strict=True)
        )
    )
    if not fits:
        return None
    return Loop(
        form, start, times, first, size,
        tuple(places[0] for places in consts),
        tuple(places[0] for places in carries),
        tuple(map(tuple, stacks)),
        *_numbers(program, start, period, times),
    )  # fmt: skip


def _numbers(
    program: Sequence[Op], start: int, period: int, times: int
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """For every repetition, the positions of its floats and of its ints."""
    floats, ints = [], []
    for t in range(times):
        begin = start + t * period
        both = [n for _, _, numbers in program[begin : begin + period] for n in numbers]
        floats.append(tuple(j for is_float, j in both if is_float))
        ints.append(tuple(j for is_float, j in both if not is_float))
    return tuple(floats), tuple(ints)


def periods(kernels: Sequence[Kernel], fewest: int) -> list[tuple[int, int, int]]:
    """Stretches of a sequence that repeat at once, `fewest` times or more: (start, period, times).

    They do not overlap; the ones that cover most go first.
    """
    following: dict[Kernel, int] = {}
    distance = [0] * len(kernels)
    for i in range(len(kernels) - 1, -1, -1):
        distance[i] = following.get(kernels[i], i) - i
        following[kernels[i]] = i
    found, n, i = [], len(kernels), 0
    while i < n:
        best, step = (0, 0), 0
        at = i
        for _ in range(4):  # the same kernel may stand a few times in one repetition
            if not distance[at]:
                break
            at += distance[at]
            step = at - i
            if step > _LONGEST:
                break
            j = i
            while j + step < n and kernels[j] is kernels[j + step]:
                j += 1
            times = (j - i) // step + 1
            if times >= fewest and times * step > best[0] * best[1]:
                best = step, times
        if best[1]:
            found.append((i, *best))
            i += best[0] * best[1]
        else:
            i += 1
    return found


def find(program: Sequence[Op], n_leaves: int, results: Iterable[int], fewest: int) -> list[Loop]:
    """The loops of a program that pay when it is compiled whole."""
    candidates = chains(program, n_leaves, fewest)
    return settled(program, n_leaves, results, candidates, fewest)


def starts_of(program: Sequence[Op], n_leaves: int) -> list[int]:
    """The place of the first result of every kernel."""
    places, place = [], n_leaves
    for kernel, _, _ in program:
        places.append(place)
        place += len(kernel.out_avals)
    return places


def settled(
    program: Sequence[Op],
    n_leaves: int,
    results: Iterable[int],
    loops: Sequence[Loop],
    fewest: int,
    most: int | None = None,
) -> list[Loop]:
    """Of these loops in order those that pay; a repetition that reads apart from others is alone.

    Args:
        program, n_leaves, results: the whole.
        loops: candidates, in order.
        fewest: the fewest repetitions.
        most: how many values a repetition may take or leave one by one, stacked for it or taken
            from its stacks; None for any number.
    """
    results, kept = list(results), list(loops)
    while True:
        read = outside(program, n_leaves, results, kept)
        changed = []
        for loop in kept:
            changed += [
                piece
                for piece in _without_strays(loop, kept)
                if piece.times >= fewest and _pays(piece, kept, read, most)
            ]
        if changed == kept:
            return kept
        kept = changed


def outside(
    program: Sequence[Op], n_leaves: int, results: Iterable[int], loops: Sequence[Loop]
) -> tuple[set[int], set[tuple[int, int]]]:
    """What is read: by kernels in no loop, or as a result, or to be stacked; and the stacks that
    loops read, as (first place of the loop that leaves it, number of the result)."""
    single, stacks = set(results), set()
    i = 0
    for loop in [*loops, None]:
        for _, refs, _ in program[i : len(program) if loop is None else loop.start]:
            single.update(refs)
        if loop is not None:
            single.update(loop.consts, loop.begins)
            for places in loop.stacks:
                source = source_of(places, loops)
                if source is None:
                    single.update(places)
                else:
                    stacks.add((source.first, source.result))
            i = loop.stop
    return single, stacks


def _owner(place: int, loops: Sequence[Loop]) -> Loop | None:
    k = bisect_right(loops, place, key=lambda loop: loop.first) - 1
    return loops[k] if k >= 0 and place < loops[k].end else None


def source_of(places: Sequence[int], loops: Sequence[Loop]) -> Source | None:
    """The stack among those of the loops that has these places in order, if there is one."""
    owner = _owner(places[0], loops) or _owner(places[-1], loops)
    return None if owner is None else owner.source(places)


def _without_strays(loop: Loop, loops: Sequence[Loop]) -> list[Loop]:
    """It, or if its first or last repetition alone reads from elsewhere, that one by itself."""
    for places in loop.stacks:
        if len(places) > 2 and source_of(places, loops) is None:
            if source_of(places[:-1], loops) is not None:
                return [loop.shortened(0, 1), loop.shortened(loop.times - 1, 0)]
            if source_of(places[1:], loops) is not None:
                return [loop.shortened(0, loop.times - 1), loop.shortened(1, 0)]
    return [loop]


def _pays(loop: Loop, loops: Sequence[Loop], read: tuple[set[int], Any], most: int | None) -> bool:
    """Whether little enough is stacked for it, or taken one by one from what it stacks."""
    form = loop.form
    shapes = form.results()
    inputs: dict[int, Any] = {}
    for kernel, refs, _ in form.ops:
        inputs.update(zip(refs, kernel.in_avals))
    last = form.n_inputs - form.n_stacks
    apart = [
        inputs[last + k] for k, places in enumerate(loop.stacks) if source_of(places, loops) is None
    ]
    finals = loop.finals()
    picked = [p for p in read[0] if loop.has(p) and p not in finals]
    moved = (
        sum(map(size_of, apart))
        + sum(size_of(shapes[(p - loop.first) % loop.size]) for p in picked) / loop.times
    )
    touched = sum(map(size_of, shapes)) + sum(size_of(inputs[r]) for r in range(last))
    few = most is None or len(apart) + 2 * len(picked) / loop.times <= most
    return few and moved <= _GATHERED * touched


def evaluate_looped(
    program: Sequence[Op],
    loops: Sequence[Loop],
    results: Sequence[int],
    arrays: Sequence[Any],
    floats: Any,
    ints: Any,
) -> list[Any]:
    """The results of a program, with its loops as loops of a length known when it is compiled."""
    value, _ = values_looped(program, loops, results, arrays, floats, ints)
    return [value(r) for r in results]


def values_looped(
    program: Sequence[Op],
    loops: Sequence[Loop],
    results: Sequence[int],
    arrays: Sequence[Any],
    floats: Any,
    ints: Any,
    room: Callable[[Loop], int] | None = None,
) -> tuple[Callable[[int], Any], dict[tuple[int, int], Any]]:
    """As `evaluate_looped`: what gives the value of a place that is read, and the stacks that the
    loops leave, by the first place of a loop and the number of a result.

    Args:
        room: for how many repetitions the stacks of a loop have room; by default for its own.
    """
    env: dict[int, Any] = dict(enumerate(arrays))
    stacks: dict[tuple[int, int], Any] = {}
    read = outside(program, len(arrays), results, loops)

    def value(place: int) -> Any:
        if place not in env:
            owner = _owner(place, loops)
            rep, result = divmod(place - owner.first, owner.size)
            env[place] = stacks[owner.first, result][rep + 1]
        return env[place]

    def ops(begin: int, end: int, place: int) -> None:
        for kernel, refs, numbers in program[begin:end]:
            scalars = [floats[j] if is_float else ints[j] for is_float, j in numbers]
            for result in kernel.fn(*map(value, refs), *scalars):
                env[place] = result
                place += 1

    i, place = 0, len(arrays)
    for loop in loops:
        ops(i, loop.start, place)
        given = []
        for places in loop.stacks:
            source = source_of(places, loops)
            if source is None:
                given.append((jnp.stack([value(p) for p in places]), 0, 1))
            else:
                stack = stacks[source.first, source.result]
                given.append((stack, source.start, source.stride))
        stacked = loop.stacked(*read)
        carries, left = loop.form.run(
            loop.times, room(loop) if room else loop.times, stacked,
            [value(p) for p in loop.consts], [value(p) for p in loop.begins], given,
            _picked(floats, loop.floats) if loop.form.n_floats else (),
            _picked(ints, loop.ints) if loop.form.n_ints else (),
        )  # fmt: skip
        stacks.update({(loop.first, k): stack for k, stack in zip(stacked, left, strict=True)})
        env.update({p: carries[number] for p, number in loop.finals().items()})
        i, place = loop.stop, loop.end
    ops(i, len(program), place)
    return value, stacks


def _picked(numbers: Any, places: Any) -> Any:
    """Numbers of each repetition, by their places."""
    table = np.array(places)
    return rows(numbers, table.ravel()).reshape(table.shape)


def chains(program: Sequence[Op], n_leaves: int, fewest: int) -> list[Loop]:
    """The loops of a program, whether or not they pay."""
    places, found = starts_of(program, n_leaves), []
    for start, period, times in periods([kernel for kernel, _, _ in program], fewest):
        for late in (0, 1):  # the first repetition is often wired to what precedes in its own way
            at = start + late * period
            if times - late < fewest:
                break
            loop = chain(program, at, period, times - late, places[at])
            if loop is not None:
                found.append(loop)
                break
    return found


__all__ = [
    "Form",
    "Loop",
    "Source",
    "chain",
    "chains",
    "evaluate_looped",
    "find",
    "fitted",
    "settled",
    "values_looped",
]
