"""Loops of run-time length among the parts of a program: one program serves all lengths."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .kernel import Kernel, Op, size_of
from .loops import Form, Loop, chain, fitted, settled, source_of, starts_of
from .programs import quick_options
from .slices import row

_FEWEST = 3  # repetitions of a loop that is not known yet
_MOST = 3  # values that may be stacked for a repetition, or taken from it, where each is a call
_CAPACITY = 64  # repetitions that stacks have room for, and ...
_ROOM = 1 << 20  # ... bytes that they may take for that
_MOST_FORMS = 8  # loops known of the same kernels


class Looped(NamedTuple):
    """A loop as a part of a program: of whatever length, which is a run-time number.

    Attributes:
        form: what is repeated.
        capacity: for how many repetitions there is room in the stacks that leave, and in those
            that are made for it.
        lengths: how long the stacks are that it takes.
    """

    form: Form
    capacity: int
    lengths: tuple[int, ...]

    @property
    def ops(self) -> tuple[Op, ...]:
        """The kernels of a repetition."""
        return self.form.ops

    def function(self, outputs: tuple[int, ...]) -> Callable[..., list[Any]]:
        """It as a function of its schedule, inputs, then its floats and ints if it has any.

        The schedule: how often, then where in every stack the first repetition reads, then how far
        on the next one does. Returns what is carried out, then the results `outputs` as stacks.
        """
        form = self.form
        last = 1 + form.n_inputs - form.n_stacks

        def loop(schedule: Any, *args: Any) -> list[Any]:
            packed = iter(args[form.n_inputs :])
            floats = next(packed) if form.n_floats else ()
            ints = next(packed) if form.n_ints else ()
            starts, strides = schedule[1 : 1 + form.n_stacks], schedule[1 + form.n_stacks :]
            carries, stacks = form.run(
                schedule[0], self.capacity, outputs, args[: form.n_consts],
                args[form.n_consts : last - 1],
                list(zip(args[last - 1 : form.n_inputs], starts, strides)), floats, ints,
            )  # fmt: skip
            return [*carries, *stacks]

        return loop


def capacity_for(loop: Loop) -> int:
    """The room of the stacks of a loop: few different ones, so that programs are few."""
    largest = max(map(size_of, loop.form.results()))
    capacity = _CAPACITY
    while capacity < loop.times:
        capacity *= 4
    if capacity * largest <= _ROOM:
        return capacity
    return 1 << (loop.times - 1).bit_length()


def in_ranges(
    program: Sequence[Op],
    n_leaves: int,
    results: Iterable[int],
    ranges: Sequence[tuple[int, int]],
    forms: dict[tuple[Kernel, ...], list[Form]],
    plain: set[tuple[Kernel, ...]],
) -> list[Loop]:
    """The loops that consecutive equal ranges are, where they pay.

    Args:
        program, n_leaves, results: the whole.
        ranges: stretches of it, in order.
        forms: the loops known so far, by the kernels of a repetition; new ones are added.
        plain: kernels of parts at hand, which few repetitions run by themselves.
    """
    places, candidates, i = starts_of(program, n_leaves), [], 0
    while i < len(ranges):
        start, stop = ranges[i]
        kernels = tuple([kernel for kernel, _, _ in program[start:stop]])
        period, times = stop - start, 1
        while i + times < len(ranges) and _repeats(program, kernels, ranges[i + times]):
            times += 1
        i += times
        if times < _FEWEST and kernels in plain:
            continue
        known = forms.get(kernels, ())
        for late in (0, 1):  # the first repetition is often wired in a way of its own
            at, left = start + late * period, times - late
            tried = [fitted(form, program, at, left, places[at]) for form in known if left]
            loop = next(filter(None, tried), None)
            if loop is None and left >= _FEWEST:
                loop = chain(program, at, period, left, places[at])
            if loop is not None:
                candidates.append(loop)
                break
    loops = settled(program, n_leaves, results, candidates, 1, _MOST)
    for loop in loops:
        known = forms.setdefault(tuple([kernel for kernel, _, _ in loop.form.ops]), [])
        if loop.form not in known and len(known) < _MOST_FORMS:
            known.append(loop.form)
    return loops


def _repeats(program: Sequence[Op], kernels: Sequence[Kernel], at: tuple[int, int]) -> bool:
    return at[1] - at[0] == len(kernels) and all(
        op[0] is kernel for op, kernel in zip(program[slice(*at)], kernels, strict=True)
    )


class LoopUse(NamedTuple):
    """A loop as it runs; the place of a stack is below zero.

    Attributes:
        program: what runs.
        schedule: as it takes it.
        inputs: constants and what is carried in.
        stacks: the place of each stack, or the places of what is to be stacked.
        capacity: for how many repetitions there is room in a stack that is made here.
        floats, ints: positions of the numbers of every repetition, a row each; None for none.
        outputs: places of what is carried out, then of stacks.
        picked: (place, the stack that it is in, where).
        drop: what is not read again.
    """

    program: Any
    schedule: np.ndarray
    inputs: tuple[int, ...]
    stacks: tuple[int | tuple[int, ...], ...]
    capacity: int
    floats: np.ndarray | None
    ints: np.ndarray | None
    outputs: tuple[int, ...]
    picked: list[tuple[int, int, int]]
    drop: list[int]

    def reads(self) -> Iterable[int]:
        """The places that it takes."""
        stacks = [(s,) if isinstance(s, int) else s for s in self.stacks]
        return [*self.inputs, *(r for places in stacks for r in places)]

    def shapes(self, avals: dict[int, Any]) -> list[Any]:
        """Shapes and types of what the program takes; `avals` are those of places."""
        given = [self.schedule, *[avals[r] for r in self.inputs]]
        for stack in self.stacks:
            given.append(avals[stack] if isinstance(stack, int) else self._stack(avals[stack[0]]))
        both = (self.floats, np.float64), (self.ints, np.int64)
        return given + [jax.ShapeDtypeStruct(n.shape, t) for n, t in both if n is not None]

    def stack_shapes(self, avals: dict[int, Any]) -> dict[int, Any]:
        """Shapes and types of the stacks that it makes, by place."""
        return {place: self._stack(avals[-1 - place]) for place in self.outputs if place < 0}

    def _stack(self, aval: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self.capacity + 1, *aval.shape), aval.dtype)

    def run(self, env: dict[int, Any], floats: Any, ints: Any, lent: Lent | None = None) -> None:
        """Run it on the values at hand, to which it adds its own."""
        schedule = self.schedule if lent is None else self.schedule.copy()
        given = [schedule, *[env[r] for r in self.inputs]]
        for k, stack in enumerate(self.stacks, 1):
            if isinstance(stack, int):
                given.append(env[stack])
                continue
            array, start, stride = stack_of(stack, self.capacity, env, lent)
            given.append(array)
            if lent is not None:
                schedule[k], schedule[k + len(self.stacks)] = start, stride
        if self.floats is not None:
            given.append(floats[self.floats])
        if self.ints is not None:
            given.append(ints[self.ints])
        env.update(zip(self.outputs, self.program.run(*given)))
        for place, stack, k in self.picked:
            env[place] = _picker(env[stack].device.platform)(env[stack], k)


@functools.cache
def _picker(platform: str) -> Callable[[jax.Array, int], jax.Array]:
    return jax.jit(row, compiler_options=quick_options(0) if platform == "cpu" else None)


_stack = jax.jit(lambda arrays: jnp.stack(arrays))


class Lent(NamedTuple):
    """Stacks that are there, of which rows are values that would be stacked.

    Attributes:
        arrays: they.
        sources: by the places of what would be stacked: which of them it lies in, in which row the
            first, and how far on the next.
    """

    arrays: Sequence[Any]
    sources: Mapping[tuple[int, ...], tuple[int, int, int]]


def stack_of(
    places: tuple[int, ...], capacity: int, values: Any, lent: Lent | None
) -> tuple[Any, int, int]:
    """Values as a stack, as long as those that loops leave: one that is there, or a new one.

    Returns the stack, in which row the first lies, and how far on the next.
    """
    found = None if lent is None else lent.sources.get(places)
    if found is not None:
        stack = lent.arrays[found[0]]
        if stack.shape[0] == capacity + 1:
            return stack, found[1], found[2]
    return _stacked([values[place] for place in places], capacity + 1), 0, 1


def _stacked(arrays: list[Any], length: int) -> Any:
    """Arrays as one of that length; on the host where they lie there anyway. Nothing is known of
    its last rows."""
    if all(type(a) is np.ndarray or getattr(a.device, "platform", None) == "cpu" for a in arrays):
        stack = np.empty((length, *arrays[0].shape), arrays[0].dtype)
        for k, array in enumerate(arrays):
            stack[k] = array
        return stack
    return _stack(arrays + arrays[:1] * (length - len(arrays)))


def loop_use(
    loop: Loop,
    loops: Sequence[Loop],
    program: Any,
    stacked: tuple[int, ...],
    capacity: int,
    single: set[int],
) -> LoopUse:
    """A loop ready to run; `single` are the places that are read one by one."""
    finals = loop.finals()
    sources = [source_of(places, loops) for places in loop.stacks]
    schedule = [loop.times, *[0 if s is None else s.start for s in sources]]
    schedule += [1 if s is None else s.stride for s in sources]
    stacks = tuple(
        [
            places if s is None else _place_of_stack(s.first + s.result)
            for s, places in zip(sources, loop.stacks)
        ]
    )
    picked = []
    for place in sorted(single):
        if loop.has(place) and place not in finals:
            k, result = divmod(place - loop.first, loop.size)
            picked.append((place, _place_of_stack(loop.first + result), k + 1))
    carried = [loop.end - loop.size + k for k in loop.form.carried]

    def rows(numbers: tuple[tuple[int, ...], ...]) -> np.ndarray | None:
        if not numbers[0]:
            return None
        return np.array([*numbers, *numbers[:1] * (capacity - loop.times)])

    return LoopUse(
        program, np.array(schedule), loop.consts + loop.begins, stacks, capacity,
        rows(loop.floats), rows(loop.ints),
        (*carried, *[_place_of_stack(loop.first + k) for k in stacked]), picked, [],
    )  # fmt: skip


def _place_of_stack(first: int) -> int:
    """The place of the stack whose first element has this place."""
    return -1 - first


__all__ = ["Lent", "LoopUse", "Looped", "capacity_for", "in_ranges", "loop_use", "stack_of"]
