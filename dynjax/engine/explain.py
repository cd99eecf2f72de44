"""Why each program was compiled."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..core.config import config
from .frames import Source, source_of, user_place
from .kernel import Kernel
from .trie import Step
from .value import Kind


@dataclass(frozen=True)
class Compile:
    """One compile.

    Attributes:
        cause: what differed from the nearest trace known before.
        source: the user's line that recorded the difference.
        flushed_at: the user's line that needed the values.
        module_path: the Module that was running there.
        milliseconds: time to lower and compile.
        operations: how many operations the program runs.
        programs: how many programs exist, this one included.
    """

    cause: str
    source: Source | None
    flushed_at: Source | None
    module_path: str
    milliseconds: float
    operations: int
    programs: int

    def __str__(self) -> str:
        where = f" at {self.source}" if self.source else ""
        return (
            f"dynjax compiled program {self.programs} ({self.operations} operations, "
            f"{self.milliseconds:.0f} ms): {self.cause}{where}"
        )


class Explanation(list):
    """The compiles of one stretch of a program, in order; prints as a readable list."""

    def __str__(self) -> str:
        total = sum(c.milliseconds for c in self)
        return "\n".join([*map(str, self), f"{len(self)} compiles, {total:.0f} ms"])

    def __repr__(self) -> str:
        return str(self)


_history: deque[Compile] = deque(maxlen=1000)
_watching: list[Explanation] = []


@contextlib.contextmanager
def _watch() -> Iterator[Explanation]:
    seen = Explanation()
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching[:] = [w for w in _watching if w is not seen]


class explain:
    """What was compiled and why.

    As a context manager it collects the compiles of its block::

        with dynjax.explain() as compiles:
            train_step()
        print(compiles)

    Called outside of `with`, `explain().history` has the last thousand compiles.
    """

    def __init__(self) -> None:
        self._watch = _watch()

    @property
    def history(self) -> Explanation:
        """The last thousand compiles of this process."""
        return Explanation(_history)

    def __enter__(self) -> Explanation:
        return self._watch.__enter__()

    def __exit__(self, *exc: Any) -> None:
        self._watch.__exit__(*exc)

    def __str__(self) -> str:
        return str(self.history)

    __repr__ = __str__


def report(trace: Any, lowered: Any, seconds: float, programs: int, how: str = "") -> None:
    """Note a compile, and how; prints it where `config.explain` is set."""
    cause, step = _cause(trace)
    note(cause + how, step, seconds, len(lowered.steps), programs)


def note(cause: str, step: Step | None, seconds: float, operations: int, programs: int) -> None:
    """Note a compile that a step caused."""
    event = Compile(
        cause,
        step.source if step is not None else None,
        source_of(user_place()),
        step.module_path if step is not None else "",
        seconds * 1e3,
        operations,
        programs,
    )
    _history.append(event)
    for seen in _watching:
        seen.append(event)
    if config.explain:
        print(event, file=sys.stderr)


def _cause(trace: Any) -> tuple[str, Step | None]:
    step = trace.miss
    if step is None:
        return "the same operations, but other results are still held", trace.cur
    known = [s for s in step.parent.next.values() if s is not step]
    place = step if step.source is not None else _next_with_source(trace.cur, step)
    if not known:
        if step.parent.parent is None:
            return "the first trace of this mode", place
        return f"the trace goes on past any known one with {_event(step)}", place
    nearest = min(reversed(known), key=lambda s: _distance(s.key, step.key))
    return _difference(nearest, step), place


def _next_with_source(cur: Step, step: Step) -> Step:
    found = step
    while cur is not None and cur is not step:
        if cur.source is not None:
            found = cur
        cur = cur.parent
    return found


def _event(step: Step) -> str:
    if step.kernel is not None:
        return step.kernel.op
    return f"an input {step.kind!r}" if step.kind is not None else str(step.key[0])


def _distance(a: Any, b: Any) -> int:
    if isinstance(a, Kind) and isinstance(b, Kind):
        if len(a.shape) == len(b.shape):
            # Batches differ more often than features: leading dimensions count least.
            pairs = zip(a.shape, b.shape, strict=True)
            apart = sum(d for d, (m, n) in enumerate(pairs, 1) if m != n)
        else:
            apart = 50
        return apart + (a.dtype != b.dtype) + (a.requires_grad != b.requires_grad)
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        return sum(x != y for x, y in zip(a, b, strict=True))
    return 99


def _difference(old: Step, new: Step) -> str:
    if new.kernel is None and old.kernel is None and new.kind is not None and old.kind is not None:
        if new.kind.shape != old.kind.shape:
            return f"an input has shape {tuple(new.kind.shape)}, known: {tuple(old.kind.shape)}"
        if new.kind.dtype != old.kind.dtype:
            return f"an input has type {new.kind.dtype}, known: {old.kind.dtype}"
        return f"an input is {new.kind!r}, known: {old.kind!r}"
    if isinstance(new.kernel, Kernel) and isinstance(old.kernel, Kernel):
        if new.kernel.op != old.kernel.op:
            return f"{new.kernel.op} was recorded where {old.kernel.op} is known"
        if new.args != old.args:
            return f"{new.kernel.op} has arguments {new.args}, known: {old.args}"
        if new.refs != old.refs:
            return f"{new.kernel.op} takes other inputs than known"
        return f"{new.kernel.op} in another mode or with other settings"
    return f"{_event(new)} where {_event(old)} is known"
