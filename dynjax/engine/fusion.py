"""Parts and loops as one program, of any length.

A trace that runs as parts and loops (see `parts`, `looped`) is a few calls, each sent and waited
for by itself. Traces that differ in nothing but how often their loops run have the same calls,
connected the same way: they share one program, to which the lengths are numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from .looped import Lent, LoopUse, stack_of
from .slices import row

_MOST = 16  # calls


class _Numbers(NamedTuple):
    """Where the numbers of a call are among those of a type, and in which form it takes them."""

    begin: int
    shape: tuple[int, ...]

    def of(self, given: Any) -> Any:
        """They, out of all of the type."""
        return given[self.begin : self.begin + int(np.prod(self.shape))].reshape(self.shape)


class _Step(NamedTuple):
    """A call; values are known by slots, in the order in which they come up.

    Attributes:
        part, outputs: what runs, and the results that it gives.
        inputs: slots of what it takes, but for stacks.
        schedule: where a loop's schedule is; None where it is none.
        stacks: for each, whether it is in a slot, and which, or which of those that are made.
        floats, ints: its numbers; None for none.
        gives: the slots of what it gives.
        picked: (slot of a stack, slot of one of its rows, where it is said which).
    """

    part: Any
    outputs: tuple[int, ...]
    inputs: tuple[int, ...]
    schedule: _Numbers | None
    stacks: tuple[tuple[bool, int], ...]
    floats: _Numbers | None
    ints: _Numbers | None
    gives: tuple[int, ...]
    picked: tuple[tuple[int, int, int], ...]


class NotOfAnyLength(Exception):
    """The calls of a trace are connected in a way that depends on how many there are."""


class Fused:
    """The calls of a trace as one.

    Args:
        pieces: the part or loop of every call, with the results that it gives.
        uses: the calls.
        results: the places of the results.
        avals: shapes and types of the leaves.

    Attributes:
        loops: how many of the calls are loops.
        key: equal where one program serves.
        given: shapes and types of what that takes.

    Raises:
        NotOfAnyLength: no program serves traces of other lengths.
    """

    def __init__(
        self,
        pieces: Sequence[tuple[Any, tuple[int, ...]]],
        uses: Sequence[Any],
        results: Sequence[int],
        avals: Sequence[Any],
    ) -> None:
        self.loops = sum([isinstance(use, LoopUse) for use in uses])
        if len(uses) > _MOST or not self.loops:
            raise NotOfAnyLength
        self._slots: dict[int, int] = {}
        self._n = len(avals)
        self.leaves: list[int] = []
        self.stacks: list[tuple[tuple[int, ...], int, int, int]] = []
        numbers: tuple[list[int], list[int], list[int]] = [], [], []
        steps = tuple([self._step(*piece, use, *numbers) for piece, use in zip(pieces, uses)])
        self.steps, self.results = steps, tuple(map(self._read, results))
        floats, ints, schedule = numbers
        self.floats, self.ints = np.array(floats, int), np.array(ints, int)
        self.schedule = np.array(schedule, np.int32)
        slots = tuple([self._slots[place] for place in self.leaves])
        shapes = [(avals[p].shape, avals[p].dtype) for p in self.leaves]
        stacks = [(n + 1, avals[of[0]]) for of, n, *_ in self.stacks]
        shapes += [((n, *aval.shape), aval.dtype) for n, aval in stacks]
        shapes.append((self.schedule.shape, self.schedule.dtype))
        shapes += [((len(n),), t) for n, t in ((floats, np.float64), (ints, np.int64)) if n]
        self.given = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
        self.key: Hashable = "fused", steps, self.results, slots, tuple(map(_hashable, shapes))

    def _step(
        self,
        part: Any,
        outputs: tuple[int, ...],
        use: Any,
        floats: list[int],
        ints: list[int],
        schedule: list[int],
    ) -> _Step:
        inputs = tuple(map(self._read, use.inputs))
        own = _put(use.floats, floats), _put(use.ints, ints)
        if not isinstance(use, LoopUse):
            gives = tuple(map(self._give, use.outputs))
            return _Step(part, outputs, inputs, None, (), *own, gives, ())
        stacks, start, n = [], len(schedule), len(use.stacks)
        for k, stack in enumerate(use.stacks, 1):
            if isinstance(stack, int):
                stacks.append((True, self._slots[stack]))
            elif max(stack) < self._n:
                stacks.append((False, len(self.stacks)))
                self.stacks.append((stack, use.capacity, start + k, start + n + k))
            else:
                raise NotOfAnyLength
        sized = _put(use.schedule, schedule)
        gives = tuple(map(self._give, use.outputs))
        picked = []
        for place, stack, k in use.picked:
            picked.append((self._slots[stack], self._give(place), len(schedule)))
            schedule.append(k)
        return _Step(part, outputs, inputs, sized, tuple(stacks), *own, gives, tuple(picked))

    def _read(self, place: int) -> int:
        if place not in self._slots:
            self.leaves.append(place)
        return self._slots.setdefault(place, len(self._slots))

    def _give(self, place: int) -> int:
        return self._slots.setdefault(place, len(self._slots))

    def function(self) -> Callable[..., list[Any]]:
        """The program, of what `given` says."""
        steps, results = self.steps, self.results
        slots = [self._slots[place] for place in self.leaves]
        n_stacks, has_floats, has_ints = len(self.stacks), len(self.floats), len(self.ints)

        def dynjax_fused(*args: Any) -> list[Any]:
            packed = iter(args[len(slots) :])
            env: dict[int, Any] = dict(zip(slots, args))
            made = [next(packed) for _ in range(n_stacks)]
            schedule = next(packed)
            floats = next(packed) if has_floats else ()
            ints = next(packed) if has_ints else ()
            for step in steps:
                given = [] if step.schedule is None else [step.schedule.of(schedule)]
                given += [env[slot] for slot in step.inputs]
                given += [env[k] if inside else made[k] for inside, k in step.stacks]
                both = (step.floats, floats), (step.ints, ints)
                given += [numbers.of(of) for numbers, of in both if numbers is not None]
                env.update(zip(step.gives, step.part.function(step.outputs)(*given)))
                for stack, slot, k in step.picked:
                    env[slot] = row(env[stack], schedule[k])
            return [env[slot] for slot in results]

        return dynjax_fused

    def arguments(
        self, leaves: Sequence[Any], floats: Any, ints: Any, lent: Lent | None
    ) -> list[Any]:
        """What the program takes, from the leaves' arrays and the trace's numbers."""
        given = [leaves[place] for place in self.leaves]
        schedule = self.schedule if lent is None else self.schedule.copy()
        for places, capacity, first, next_one in self.stacks:
            array, start, stride = stack_of(places, capacity, leaves, lent)
            given.append(array)
            if lent is not None:
                schedule[first], schedule[next_one] = start, stride
        given.append(schedule)
        if len(self.floats):
            given.append(floats[self.floats])
        if len(self.ints):
            given.append(ints[self.ints])
        return given


def _put(numbers: Any, into: list[int]) -> _Numbers | None:
    """Add numbers to those of their type; returns where they are."""
    if numbers is None or not len(numbers):
        return None
    found = np.asarray(numbers)
    begin = len(into)
    into.extend(found.ravel().tolist())
    return _Numbers(begin, found.shape)


def _hashable(shape: tuple[Sequence[int], Any]) -> Hashable:
    return tuple(shape[0]), np.dtype(shape[1])


__all__ = ["Fused", "NotOfAnyLength"]
