"""Programs started before their recording has ended: those that a call ran the last times.

An inference mostly records what it recorded before, and then runs the same program on the same
weights. Where that is to be expected the program starts as the call begins, and the recording goes
on while it runs. Its results are taken if the very same program is then to run on the very same
arrays, and dropped otherwise: a program is a function of its arrays, so that nothing can tell.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterable, Sequence
from operator import is_
from typing import Any

import jax
import numpy as np

from ..core import forks
from ..core.config import config
from .executor import plain, unusual
from .programs import Program
from .trace import state
from .value import Value

_STEADY = 2  # calls in a row that ran the same, after which the next is started early
_MOST_WRONG = 6  # starts in vain, each of which doubles how long it takes until the next
_HOPELESS = 32  # calls that ran something else, after which nothing is noted any more
_SMALL = 1024  # bytes of an array on the host that is known by its content
_MOST_OWNERS, _MOST_KINDS = 256, 8


class Habit:
    """What a call runs first.

    Attributes:
        program: the program; None before anything is known.
        sources: for every array that it takes, which of those given to the call it is; or what
            returns it.
        steady: how often in a row that was true; below zero after a start in vain.
        changes: how often it was not.
        wrong: starts in vain.
    """

    __slots__ = ("program", "sources", "steady", "changes", "wrong")

    def __init__(self, program: Program | None, sources: Sequence[Any]) -> None:
        self.program, self.sources = program, sources
        self.steady = self.changes = self.wrong = 0

    def successor(self, program: Program, sources: Sequence[Any]) -> Habit:
        """What is done in place of this; a new one, as other threads may use the old."""
        new = Habit(program, sources)
        new.steady, new.changes = min(self.steady, 0), self.changes + 1
        new.wrong = self.wrong
        return new

    def arrays(self, given: Sequence[Any]) -> list[Any]:
        """What the program takes in a call that is given these; None for what is gone."""
        return [given[s] if type(s) is int else s() for s in self.sources]


class Start:
    """The beginning of a call, and what was started with it.

    Args:
        habits: of what is called, by how its calls begin.
        key: how this one does.
        given: the arrays that it begins with; None for those still to be computed.
    """

    __slots__ = ("_habits", "_key", "_habit", "_given", "_results")

    def __init__(self, habits: dict[Hashable, Habit], key: Hashable, given: list[Any]) -> None:
        self._habits, self._key = habits, key
        self._habit = habit = habits.get(key) or Habit(None, ())
        # Weakly, as what nobody else holds is free to be donated; but not what is on the host, as a
        # program holds that while it runs: whether it was started early shall change nothing.
        self._given = [
            array if array is None or type(array) is np.ndarray else weakref.ref(array)
            for array in given
        ]
        self._results = None
        if habit.steady >= _STEADY:
            arrays = habit.arrays(given)
            if plain.issuperset(map(type, arrays)) or not unusual(arrays):
                self._run(arrays)

    def _run(self, arrays: list[Any]) -> None:
        try:
            with jax.enable_x64(True):
                self._results = self._habit.program.run(*arrays)
        except Exception:  # an array was donated meanwhile: what is recorded will tell
            self._habit.steady = 0

    def results_of(self, program: Program, arrays: list[Any]) -> Any:
        """What the first program of the call yields if that was started; else None."""
        state.early = None
        habit, results = self._habit, self._results
        given = [g() if type(g) is weakref.ref else g for g in self._given]
        same = program is habit.program and _alike(habit.arrays(given), arrays)
        if results is None:
            if same:
                habit.steady += 1
            elif habit.changes < _HOPELESS:
                self._note(program, arrays, given)
        elif same:
            return results
        else:
            self.drop()
            self._note(program, arrays, given)
        return None

    def drop(self) -> None:
        """Let go of what was started in vain."""
        if self._results is not None:
            habit = self._habit
            habit.wrong = min(habit.wrong + 1, _MOST_WRONG)
            habit.steady = -(1 << habit.wrong)
            self._results = None

    def _note(self, program: Program, arrays: list[Any], given: list[Any]) -> None:
        if program.donate or not program.seconds:
            return  # nothing overlaps with a series of calls, which took no time to compile
        place = {id(a): k for k, a in enumerate(given)}
        sources = [place[id(a)] if id(a) in place else _source(a) for a in arrays]
        if len(self._habits) >= _MOST_KINDS:
            self._habits.clear()
        self._habits[self._key] = self._habit.successor(program, sources)


def begin(owner: Any, values: Iterable[Value]) -> Start | None:
    """Note that a call begins that ends its trace, and start what it ran the last times.

    Args:
        owner: what is called.
        values: the arguments'.

    Returns:
        What to `drop` if the call ends and `state.early` is still it.
    """
    trace = state.trace
    if trace.parent is not None or trace.trie.eager or not config.run_ahead or forks.forked:
        return None
    ident = id(owner)
    known = _known.get(ident)
    if known is None:
        if len(_known) >= _MOST_OWNERS:
            _known.clear()
        known = weakref.ref(owner, lambda gone: _known.pop(ident, None)), {}
        _known[ident] = known
    values = (*trace.leaves, *values)
    key = (trace.cur.path, *[v.kind for v in values])
    state.early = start = Start(known[1], key, [v.array for v in values])
    return start


def _alike(arrays: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether arrays are the same: one by one the same object, or small and equal to the bit."""
    if len(arrays) != len(others):
        return False
    return all(map(is_, arrays, others)) or all(
        a is b
        or (
            type(a) is type(b) is np.ndarray
            and a.nbytes == b.nbytes <= _SMALL
            and a.tobytes() == b.tobytes()
        )
        for a, b in zip(arrays, others, strict=True)
    )


def _source(array: Any) -> Callable[[], Any]:
    """What returns an array as long as somebody else holds it; a small one of the host always."""
    if type(array) is np.ndarray and array.nbytes <= _SMALL:
        return array.copy().view
    return weakref.ref(array)


_known: dict[int, tuple[weakref.ref, dict[Hashable, Habit]]] = {}

__all__ = ["begin"]
