"""Running ahead: what followed a read the last times is computed with it, in one program.

A read of a value waits for a program; a loop of many small iterations does little else. Where the
same reads followed before, one program computes these too. What it computes is handed out when it
is recorded as foreseen: the same steps of the trie, from the same inputs and numbers. A value of a
trace is a function of these, so that nothing can tell it from one computed when it was recorded. A
wrong forecast is dropped, having cost what it computed: how far to go ahead weighs that against
the waits it saves.
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from math import prod
from operator import is_
from typing import Any

import jax
import numpy as np

from ..core.config import config
from ..core.devices import jax_default
from . import cache
from .executor import Plan, numbers_of, plain, unusual, vectors
from .explain import note as explain_compile
from .looped import Lent, capacity_for
from .loops import chains, source_of, values_looped
from .programs import in_background, programs, quick_options
from .resume import lowered_after
from .trace import Trace
from .trie import path_of
from .value import Value

# Set by autograd: the value that the owner of a leaf has now, None if it is gone or has changed.
owned: Callable[[Any], Value | None] = lambda owner: None  # noqa: E731

_set_array = Value.array.__set__
_SEEN = 2  # times in a row that what is foreseen came with the same inputs
_KNOWN = 8  # traces through a read that are known before a program starts from it
_SMALL_READ = 1e-3  # seconds of a read by itself, below which most of it is taken for waiting
_LONGEST = 512  # operations of a program
_SMALL = 1024  # elements of a leaf that a forecast may hold on to
_STACKED = 1 << 16  # bytes of a value, up to which all of its loop may stay for it
_HELD = 1 << 24  # bytes that a program may compute
_FEWEST = 4  # repetitions of a loop
_STAGES = 4  # programs that start from one read


class Forecast:
    """What is known of what follows a read, and of how it comes about itself.

    Attributes:
        follows: the read that came after it the last time.
        leaves: those that entered since the read before it: their owners, or they themselves; None
            where there is neither.
        numbers: the run-time numbers that were recorded since then.
        steady: how often these were the same in a row.
        stages: programs that run ahead from here, by the last read that they compute.
        missed: seconds that another program would have saved beside those that they did.
        chosen: the one that paid best; again: how often it is taken before that is asked again.
    """

    __slots__ = (
        "follows", "leaves", "numbers", "steady", "stages", "missed", "chosen", "again",
    )  # fmt: skip

    def __init__(self) -> None:
        self.follows: Any = None
        self.leaves: tuple[Any, ...] = ()
        self.numbers: tuple[Any, ...] = ()
        self.steady = 0
        self.stages: dict[int, Stage] = {}
        self.missed = 0.0
        self.chosen: Stage | None = None
        self.again = 0

    def sure(self) -> bool:
        """Whether what the read takes can be foreseen."""
        if not (self.leaves or self.numbers):
            return True
        return self.steady >= _SEEN and not any(source is None for source in self.leaves)


class Stage:
    """A program of a read and those that follow it.

    Attributes:
        reads: they, in order.
        plan: what is computed.
        loops: the loops in it.
        stacks: the arrays that leave as what a loop computed in all its repetitions, by the first
            place of the loop and the number of the result.
        alone: the places that leave as they are.
        where: of every index, the array that it leaves in, and its row; None for all of it.
        places: of every index, where it is in the plan.
        ready: its compile in the background, then None.
        run: the program; None until it is compiled, or where it can't be.
        seconds: the least that it took; compiling: what its compile did.
        tried: how often it ran.
        spent, used: the account: reads that it computed, and those that came as foreseen.
    """

    __slots__ = (
        "reads", "plan", "loops", "stacks", "alone", "where", "places", "ready", "run", "seconds",
        "compiling", "tried", "spent", "used",
    )  # fmt: skip

    def __init__(self, trace: Trace, reads: Sequence[Any]) -> None:
        self.reads = tuple(reads)
        wanted = [idx for read in reads for idx in read.wanted]
        lowered = lowered_after(trace, path_of(reads[-1].step), wanted)
        self.plan = Plan(lowered, wanted, join=False)
        self.loops = chains(lowered.program, len(lowered.leaves), _FEWEST)
        stacks: dict[tuple[int, int], int] = {}
        alone: dict[int, int] = {}
        found: list[tuple[bool, int, Any]] = []
        for k in lowered.outputs:
            place, loop = lowered.results[k], None
            if _as_rows(lowered.out_avals[k]):
                loop = next((x for x in self.loops if x.first <= place < x.end), None)
            if loop is None:
                found.append((False, alone.setdefault(place, len(alone)), None))
            else:
                row, result = divmod(place - loop.first, loop.size)
                number = stacks.setdefault((loop.first, result), len(stacks))
                found.append((True, number, row + 1))
        self.stacks, self.alone = list(stacks), list(alone)
        self.places = {i: lowered.results[k] for i, k in zip(wanted, lowered.outputs)}
        self.where = {
            i: (number if inside else len(stacks) + number, row)
            for i, (inside, number, row) in zip(wanted, found, strict=True)
        }
        self.run: Any = None
        self.seconds, self.compiling, self.tried = float("inf"), 0.0, 0
        self.spent = self.used = 0.0
        self.ready: Future | None = None
        home = jax_default()
        if len(lowered.program) > _LONGEST or any(k.device != home for k in lowered.kinds):
            return
        if config.background:
            self.ready = in_background(self.compile)
        else:
            with contextlib.suppress(Exception):  # as in the background: it runs without, then
                self.compile()

    def wasteful(self) -> bool:
        """Whether too little of what it computed came as foreseen."""
        return self.tried >= _TRIALS and self.used * _WASTE < self.spent

    def compile(self) -> None:
        """Compile the program, unless running it could be noticed."""
        lowered, loops = self.plan.lowered, self.loops
        n = len(lowered.leaves)

        def dynjax_ahead(*args: Any) -> list[Any]:
            with jax.enable_x64(True):
                value, stacks = values_looped(
                    lowered.program, loops, lowered.results, args[:n],
                    *numbers_of(lowered, args[n:]), capacity_for,
                )  # fmt: skip
                return [stacks[key] for key in self.stacks] + [value(p) for p in self.alone]

        given = [k.aval for k in lowered.kinds]
        given += vectors([0.0] * len(lowered.floats), [0] * len(lowered.ints))
        options = quick_options(1) if jax_default().type == "cpu" and loops else None
        began = time.perf_counter()
        with jax.enable_x64(True), cache.persisting():
            run = jax.jit(dynjax_ahead, keep_unused=True, compiler_options=options)
            traced = run.trace(*given)
            if traced.jaxpr.effects:
                return
            traced.lower().compile()
        self.compiling = time.perf_counter() - began
        self.run = run  # finds what was compiled


def _as_rows(aval: Any) -> bool:
    """Whether values of a kind leave as rows of one array, at which the host looks.

    Not 64-bit ones: as rows they are NumPy's, and JAX makes 32-bit arrays of such.
    """
    size = prod(aval.shape) * aval.dtype.itemsize
    return jax_default().type == "cpu" and aval.dtype.itemsize < 8 and size <= _STACKED


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
    before.forecast.follows = plan
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
    if forecast.again and not stage.wasteful():
        forecast.again -= 1
    else:
        stage = forecast.chosen = _stage(trace, plan, first)
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


def _stage(trace: Trace, plan: Any, new: bool) -> Stage | None:
    """The program to run ahead with from a read: the one that pays best.

    Args:
        new: whether to compile another one where that pays more.
    """
    stages = plan.forecast.stages
    new = new and not any(s.ready is not None and not s.ready.done() for s in stages.values())
    if not new and not any(s.ready is not None or s.run is not None for s in stages.values()):
        return None
    reads, size = [plan], plan.size
    while len(reads) <= max(plan.lengths):
        read = reads[-1].forecast.follows
        if read is None or read.step is None or not read.forecast.sure():
            break
        size += read.size
        if size > _HELD:
            break
        reads.append(read)
    chosen, gain, cost = None, 0.0, None
    for stage in list(stages.values()):
        if stage.ready is not None and stage.ready.done():
            _settle(stage, trace)
        n = len(stage.reads)
        if stage.wasteful():
            stage.spent -= n / _AGAIN
            continue
        if stage.run is None or any(a is not b for a, b in zip(stage.reads, reads)):
            continue
        if stage.tried >= _TRIALS:
            cost = max(stage.seconds - plan.seconds, 0.0) / (n - 1)
        own = _gains(plan.lengths, stage.reads, cost)[-1]
        if own > gain:
            chosen, gain = stage, own
        elif own < 0:
            stage.tried -= 1  # it is tried again some day: that it was slow may be others' work
    if not new:
        return chosen
    gains = _gains(plan.lengths, reads, cost)
    best = gains.index(max(gains))
    if gains[best] > max(_BETTER * gain, _WORTH) and reads[best].number not in stages:
        if chosen is not None:
            # Once it has cost as much to do without, it is compiled (the ski-rental rule).
            plan.forecast.missed += (gains[best] - gain) / len(plan.lengths)
            if plan.forecast.missed < chosen.compiling:
                return chosen
            plan.forecast.missed = 0.0
        if len(stages) >= _STAGES:
            stages.pop(next(iter(stages)))
        stages[reads[best].number] = stage = Stage(trace, reads[: best + 1])
        if stage.run is not None:
            _settle(stage, trace)
            return stage
    return chosen


_WASTE = 2.0  # times what is used of what was run ahead, up to which it goes on
_AGAIN = 16  # times that a program which was wasted is passed over before it is tried again
_FORGOTTEN = 500.0  # reads run ahead, of which half are forgotten
_ASKED = 7  # runs of a program before it is asked again whether it pays best
_TRIALS = 8  # runs after which it is believed what a program takes
_WORTH = 5e-3  # seconds to be saved in the last traces, for which a program is compiled
_BETTER = 1.25  # times what another program saves, from which on one is compiled


def _settle(stage: Stage, trace: Trace) -> None:
    """The compile of a program has ended."""
    failed = stage.ready is not None and stage.ready.exception()
    stage.ready = None
    if not failed and stage.run is not None:
        cause = f"{len(stage.reads) - 1} more reads followed this one the last times"
        size = len(stage.plan.lowered.steps)
        explain_compile(cause, trace.cur, stage.compiling, size, len(programs.programs))


def _gains(lengths: Sequence[int], reads: Sequence[Any], cost: float | None) -> list[float]:
    """Seconds that running ahead by so many reads would have saved the last times, from none on.

    Args:
        lengths: how many reads came, each time.
        reads: those foreseen, the first being here.
        cost: seconds of computing one ahead; None if that was never measured.
    """
    # Not of one read alone: that it was slow each time it was timed may be others' work.
    known = sorted([read.seconds for read in reads[1:] if read.seconds < float("inf")])
    alone = known[(len(known) - 1) // 2] if known else 0.0
    if cost is None:
        cost = alone / 8 if alone < _SMALL_READ else alone
    ended = [0] * len(reads)  # traces, by how many of these reads came
    for n in lengths:
        ended[min(n, len(reads) - 1)] += 1
    gains, gain, come = [0.0], 0.0, len(lengths)
    for k in range(1, len(reads)):
        come -= ended[k - 1]
        gain += come * alone - len(lengths) * cost
        gains.append(gain)
    return gains


__all__ = ["Ahead", "Forecast", "Stage", "note", "run"]
