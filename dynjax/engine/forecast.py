"""What will follow a read of a value, and which program computes that best.

A program computes a read and those that followed it before (see `ahead`). How many of them, weighs
the waits that it saves against what it computes in vain: both are measured, in the traces that went
before.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import Future
from math import prod
from typing import Any

import jax

from ..core.config import config
from ..core.devices import jax_default
from . import cache
from .executor import Plan, numbers_of, vectors
from .explain import note as explain_compile
from .looped import capacity_for
from .loops import chains, values_looped
from .programs import in_background, programs, quick_options
from .resume import lowered_after
from .trace import Trace
from .trie import path_of

_SEEN = 2  # times in a row that what is foreseen came with the same inputs
_SMALL_READ = 1e-3  # seconds of a read by itself, below which most of it is taken for waiting
_LONGEST = 512  # operations of a program
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


def stage_for(trace: Trace, plan: Any, new: bool) -> Stage | None:
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


__all__ = ["Forecast", "Stage", "stage_for"]
