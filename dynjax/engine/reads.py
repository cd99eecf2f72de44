"""Reads of values in the middle of a graph, after which the trace stays open.

`while change > tolerance:` reads a value at every iteration, and the graph leads on from there.
Such a trace is not closed (see `resume`), and reads that came next before are run ahead (see
`ahead`). Whether a graph leads on is learnt: the first time a trace is closed by its read, and what
comes after tells.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from itertools import islice
from math import prod
from sys import getrefcount
from typing import Any

import jax
import numpy as np

from ..core.collector import Unhurried
from ..core.config import config
from . import ahead, executor
from .executor import POLICIES, Plan, call, plain, remember, settle, unusual
from .forecast import Forecast
from .resume import Computed, lowered_after, lowered_since, saved, steps_since
from .trace import Trace, state
from .trie import Step, path_of
from .value import Value

_DEAD_RESULT = 3  # trace.vals, the loop variable, getrefcount's argument
_SURE = 4  # the most that is known for a graph that leads on
_MOST = 64  # reads of one trace
_BRANCHES = 4  # ways on from a read that are taken for ones that come again
_HELD = 1 << 24  # bytes that an open trace may hold


class Read(Plan):
    """How a read is run, and what is known of what follows it.

    Attributes:
        step: where the trace stands then; None where none like it would come there.
        led: how often what came next went on from there, less how often it did not, of late; the
            trace stays open above zero.
        apart: whether it does not go on from what the trace has computed.
        size: bytes of what it computes.
        after: the read before it, if that left the trace open.
        forecast: see `forecast.Forecast`.
        lengths: how many reads came after it in its trace, the last times.
        seconds: the least that it took by itself.
        runs: how often it ran by itself.
        branches: ways on from here that entered the trie when they were new.
    """

    __slots__ = (
        "step", "led", "apart", "size", "after", "forecast", "lengths", "seconds", "runs",
        "branches",
    )  # fmt: skip

    def __init__(self, trace: Trace, live: Sequence[Value]) -> None:
        steps, computed = steps_since(trace), trace.computed
        graph = saved(trace, steps, live)
        wanted = [v.idx for v in live] + (graph[0] if graph else [])
        lowered = None if computed is None else lowered_since(trace, steps, wanted)
        if lowered is None:
            lowered = lowered_after(trace, path_of(trace.cur), wanted)
        super().__init__(lowered, wanted, join=False)
        self.step: Step | None = trace.cur if trace.cur.entered else None
        self.size = sum([prod(a.shape) * a.dtype.itemsize for a in self.lowered.out_avals])
        self.after = computed.plan if computed else None
        self.forecast = Forecast()
        self.lengths: deque[int] = deque(maxlen=16)
        self.seconds, self.runs, self.branches = float("inf"), 0, 0
        self.led, self.brief = 0, True
        self.apart = False
        if computed is not None:
            n = len(trace.leaves)
            self.apart = not (graph and graph[1] or any(k >= n for k in self.lowered.leaves))
            self.led = 1

    def sure(self) -> Read | None:
        """Itself if a new way on from it is taken for one that comes again, see `Trace.sure`."""
        return self if self.step is not None and self.branches < _BRANCHES else None


def read(trace: Trace, value: Value) -> bool:
    """Compute what is live of a trace and leave it open.

    Returns whether that was done; where not, the trace is to be closed.
    """
    found, last = trace.ahead, state.read
    if found is not None:
        if found.came(trace, value):
            return True
        found.catch_up(trace)
        if value.array is not None:
            return True
    computed = trace.computed
    if last is not None:
        state.read = None
        if not last[1].isdisjoint(map(id, trace.leaves)):
            last[0].led = min(last[0].led + 1, _SURE)
    if (
        trace.parent is not None or trace.python or trace.nodes is not None or trace.freed
        or trace.unasked
        or trace.trie.eager or config.policy == "interpret"
        or (not trace.cur.entered if computed is None else computed.reads >= _MOST)
    ):  # fmt: skip
        return False
    vals = islice(trace.vals, trace.looked, None)
    live = [v for v in vals if getrefcount(v) > _DEAD_RESULT and v.array is None]
    key = Read, config.policy, computed and computed.plan.number, *[v.idx for v in live]
    plan = trace.cur.programs.get(key)
    if plan is None:
        with Unhurried():
            plan = Read(trace, live)
        remember(trace.cur, key, plan)
    if computed is not None:
        before = computed.plan
        before.led = before.led - 1 if plan.apart else min(before.led + 1, _SURE)
    if plan.apart or plan.led <= 0:
        state.read = plan, set(map(id, live))
        return False
    if value not in live or plan.size + (computed.size if computed else 0) > _HELD:
        return False
    return _advance(trace, plan, live)


def _advance(trace: Trace, plan: Read, live: list[Value]) -> bool:
    """Compute what a read wants, and note it; False where only a flush will do."""
    computed = trace.computed
    values = live
    if len(plan.wanted) > len(live):
        values = live + trace.values_at(plan.wanted[len(live) :])
    if not (ahead.run(trace, plan, values) or _run(trace, plan, values)):
        return False
    if computed is None:
        new = Computed(plan, trace.cur, values, plan.wanted, 1, plan.size, [], trace.ahead)
    else:
        new = computed.more(plan, trace.cur, values, plan.wanted, 1, plan.size, trace.ahead)
        if plan.step is not None:
            ahead.note(trace, plan)
    new.starts.append((plan, new.reads))
    trace.computed, trace.looked, trace.miss = new, len(trace.vals), None
    trace.sure = plan.sure()
    return True


def _run(trace: Trace, plan: Read, values: list[Value]) -> bool:
    """Run a read by itself; False where only a flush will do."""
    computed = trace.computed
    inputs = list(trace.leaves)
    n = len(inputs)
    if computed is not None:
        inputs += computed.values
    used = plan.lowered.leaves
    arrays = [inputs[k].array for k in used]
    types = set(map(type, arrays))
    if not plain.issuperset(types) and unusual(arrays):
        return False
    if np.ndarray in types:
        settle([inputs[k] if k < n else None for k in used], arrays)
    program: Any = plan.programs.get(())
    try:
        if program is None or program.left == 0:
            program = POLICIES[plan.policy](plan, (), trace)
            plan.programs[()] = program if program.left != 1 else None
        program.left -= 1
        compiled = program.seconds is not None
        began = time.perf_counter()
        call(program, plan, arrays, trace, trace.numbers, values, trace)
    except Exception:  # a flush meets it again, and says where it comes from
        return False
    plan.runs += 1
    if compiled and (plan.runs < _TIMED or plan.runs % _TIMED_AGAIN == 0):
        jax.block_until_ready([v.array for v in values])
        plan.seconds = min(plan.seconds, time.perf_counter() - began)
    return True


_TIMED = 8  # first runs that are waited for
_TIMED_AGAIN = 32  # runs of which one is, later


executor.read = read
__all__ = ["Read", "read"]
