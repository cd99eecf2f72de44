"""Running ahead: what followed a read the last times is computed with it, in one program.

A read of a value waits for a program; a loop of many small iterations does little else. Where the
same reads followed before, one program computes these too. What it computes is handed out when it
is recorded as foreseen: the same steps of the trie, from the same inputs and numbers. A value of a
trace is a function of these, so that nothing can tell it from one computed when it was recorded. A
wrong forecast is dropped, having cost what it computed: how far to go ahead weighs that against
the waits it saves.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import Any

import jax
import numpy as np

from ..core.config import config
from .executor import Plan, plain, unusual
from .forecast import Stage, stage_for
from .looped import Lent
from .loops import source_of
from .trace import Trace
from .value import Value

# Set by autograd: the value that the owner of a leaf has now, None if it is gone or has changed.
owned: Callable[[Any], Value | None] = lambda owner: None  # noqa: E731

_set_array = Value.array.__set__
_FORGOTTEN = 500.0  # reads run ahead, of which half are forgotten
_ASKED = 7  # runs of a program before it is asked again whether it pays best
_KNOWN = 8  # traces through a read that are known before a program starts from it
_SMALL = 1024  # elements of a leaf that a forecast may hold on to


class Ahead:
    """What a stage has computed for a trace.

    A read that comes as foreseen is given the value that it asks for, and nothing else: what a loop
    does at every iteration is to cost next to nothing. The rest is put in place, and noted, when
    something else than such a read comes (see `catch_up`).

    Attributes:
        stage: it.
        at: the number of the read that is next.
        noted: how many of the reads are among what the trace has computed.
        arrays: its results, the stacks on the host; stacks: they on the device.
        first, given: where in what the trace has computed its values begin, and how many they are.
        leaves: those that were foreseen for each read; numbers: those that were, by their places.
    """

    __slots__ = (
        "stage", "at", "noted", "arrays", "stacks", "first", "given", "leaves", "numbers",
    )  # fmt: skip

    def __init__(
        self,
        stage: Stage,
        results: Sequence[Any],
        leaves: Sequence[tuple[Value, ...]],
        numbers: Mapping[int, Any],
        first: int,
    ) -> None:
        self.stage, self.at, self.noted = stage, 1, 1
        n = len(stage.stacks)
        self.stacks = results[:n]
        self.arrays = [*map(np.asarray, self.stacks), *results[n:]]
        self.leaves, self.numbers = leaves, numbers
        self.first, self.given = first, len(stage.reads[0].wanted)

    def came(self, trace: Trace, value: Value) -> bool:
        """Hand out what a read asks for, if it is the one that was foreseen.

        The trace holds what else was computed, and can do so again: what has come for a read is a
        function of its step alone, whoever holds which values.
        """
        at, reads = self.at, self.stage.reads
        if at >= len(reads):
            return False
        read, cur = reads[at], trace.cur
        if cur is not read.step or value.idx not in read.wanted:
            return False
        before = reads[at - 1].step
        if cur.nnum > before.nnum:
            numbers, foreseen = trace.numbers, self.numbers
            for i in range(before.nnum, cur.nnum):
                number = numbers[i]
                if number is not foreseen[i] and not _identical(number, foreseen[i]):
                    return False
        if cur.inputs > before.inputs:
            entered = list(trace.leaves)[before.inputs : cur.inputs]
            if any(a is not b for a, b in zip(entered, self.leaves[at - 1], strict=True)):
                return False
        self.at = at + 1
        trace.miss = None
        trace.sure = read.sure()
        trace.looked = len(trace.vals)
        array, row = self.stage.where[value.idx]
        value.array = self.arrays[array] if row is None else self.arrays[array][row, ...]
        return True

    def catch_up(self, trace: Trace) -> None:
        """Put the results of the reads that came in place, and add them to what is computed."""
        first, end = self.noted, self.at
        if first == end:
            return
        stage, computed = self.stage, trace.computed
        reads = stage.reads[first:end]
        wanted = [idx for read in reads for idx in read.wanted]
        values = trace.values_at(wanted)
        before = computed.plan
        for read in reads:
            before.forecast.follows = before = read
        stage.used += end - first
        self.hand_out(wanted, values)
        size = sum([read.size for read in reads])
        new = computed.more(before, before.step, values, wanted, end - first, size)
        given = self.given + len(wanted)
        # No call in this line: an interrupt sees all of it or nothing.
        trace.computed, self.noted, self.given = new, end, given

    def hand_out(self, wanted: Sequence[int], values: Sequence[Value]) -> None:
        """Put results in place; in C, so that an interrupt comes before or after all of it."""
        arrays = self.arrays
        places = map(self.stage.where.__getitem__, wanted)
        found = [arrays[j] if row is None else arrays[j][row, ...] for j, row in places]
        deque(map(_set_array, values, found), 0)

    def lent(self, plan: Plan, trace: Trace) -> Lent | None:
        """The stacks that the calls of a plan need not make, as they lie here; None for none."""
        key = self.stage, self.first, self.given
        known = plan.parted.lent
        if known is None or known[0] != key:
            # A plan belongs to what the trace has computed: the rest is the same at each run.
            plan.parted.lent = known = key, self._sources(plan, trace)
        return Lent(self.stacks, known[1]) if known[1] else None

    def _sources(self, plan: Plan, trace: Trace) -> dict[tuple[int, ...], tuple[int, int, int]]:
        stage, leaves, indices = self.stage, plan.lowered.leaves, trace.computed.indices
        numbers = {stack: number for number, stack in enumerate(stage.stacks)}
        begin = len(trace.leaves) + self.first
        ours = range(begin, begin + self.given)
        found = {}
        for places in plan.parted.made_stacks():
            if max(places) >= len(leaves) or any(leaves[p] not in ours for p in places):
                continue
            at = [stage.places[indices[leaves[p] - len(trace.leaves)]] for p in places]
            source = source_of(at, stage.loops)
            if source is not None and (source.first, source.result) in numbers:
                number = numbers[source.first, source.result]
                found[places] = number, source.start, source.stride
        return found


def _numbers_since(trace: Trace, before: Any) -> tuple[Any, ...]:
    return tuple([trace.numbers[i] for i in range(before.nnum, trace.cur.nnum)])


def _equal(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Whether numbers are the same, zeros by their signs too."""
    return len(a) == len(b) and all(map(_identical, a, b))


def _identical(a: Any, b: Any) -> bool:
    return a is b or type(a) is type(b) and a == b and repr(a) == repr(b)


def note(trace: Trace, plan: Any) -> None:
    """Remember that a read came after the one before it, and from what."""
    before = trace.computed.plan
    if before.step is None:
        return
    forecast = plan.forecast
    step = trace.cur
    leaves = forecast.leaves
    if step.inputs > before.step.inputs:
        entered = list(trace.leaves)[before.step.inputs : step.inputs]
        leaves = tuple([_source(v) for v in entered])
    numbers = forecast.numbers
    if step.nnum > before.step.nnum:
        numbers = _numbers_since(trace, before.step)
    # Weak references compare what they lead to: tensors, whose `==` is an operation.
    same = len(forecast.leaves) == len(leaves) and all(map(is_, forecast.leaves, leaves))
    if same and _equal(forecast.numbers, numbers):
        forecast.steady += 1
    else:
        forecast.leaves, forecast.numbers, forecast.steady = leaves, numbers, 1
    before.forecast.follows = plan  # last: of what is foreseen all is known, whatever interrupts


def _source(value: Value) -> Any:
    """How to find a leaf the next time: by its owner, or by itself if it is small."""
    if value.kind.leaf and isinstance(value.node, weakref.ref):
        return value.node
    return value if value.trace is None and value.kind.shape.numel() <= _SMALL else None


def _found(source: Any) -> Value | None:
    """The leaf that a source leads to now, if its array is here."""
    value = owned(source) if isinstance(source, weakref.ref) else source
    return None if value is None or value.array is None else value


def run(trace: Trace, plan: Any, values: Sequence[Value]) -> bool:
    """Run a read together with those that will follow; False where it is to run by itself."""
    before, trace.ahead = trace.ahead, None
    if not config.run_ahead or plan.step is None or len(plan.lengths) < _KNOWN:
        return False
    # A program for what a longer one is to compute would be waste.
    first = trace.computed is None or before is not None and before.at == len(before.stage.reads)
    forecast = plan.forecast
    stage = forecast.chosen
    if stage is not None and forecast.again and not stage.wasteful():
        forecast.again -= 1
    else:
        stage = forecast.chosen = stage_for(trace, plan, first)
        forecast.again = _ASKED
    if stage is None or stage.run is None:
        forecast.again = 0
        return False
    leaves: list[tuple[Value, ...]] = []
    numbers, place = dict(trace.numbers), plan.step.nnum
    inputs = list(trace.leaves)
    for read in stage.reads[1:]:
        foreseen = read.forecast
        entered = tuple(map(_found, foreseen.leaves)) if foreseen.leaves else ()
        if None in entered:
            return False
        leaves.append(entered)
        inputs += entered
        for number in foreseen.numbers:
            numbers[place] = number
            place += 1
    if trace.computed is not None:
        inputs += trace.computed.values
    lowered = stage.plan.lowered
    arrays = [inputs[k].array for k in lowered.leaves]
    types = set(map(type, arrays))
    if not plain.issuperset(types) and unusual(arrays):
        return False
    if lowered.floats or lowered.ints:
        arrays += stage.plan.vectors.of(
            [numbers[i] for i in lowered.floats], [numbers[i] for i in lowered.ints]
        )
    began = time.perf_counter()
    try:
        with jax.enable_x64(True):
            results = stage.run(*arrays)
        for result in results[len(stage.stacks) :]:
            result.block_until_ready()
        first = 0 if trace.computed is None else len(trace.computed.values)
        found = Ahead(stage, results, leaves, numbers, first)
    except Exception:  # whether that would ever have been reached is not known
        stage.run = None
        return False
    stage.seconds = min(stage.seconds, time.perf_counter() - began)
    stage.tried += 1
    stage.spent += len(stage.reads) - 1
    if stage.spent > _FORGOTTEN:
        stage.spent, stage.used = stage.spent / 2, stage.used / 2
    found.hand_out(plan.wanted, values)
    trace.ahead = found
    return True


__all__ = ["Ahead", "note", "run"]
