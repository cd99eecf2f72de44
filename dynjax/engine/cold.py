"""The policy for traces not seen before: compile whole, or call parts that recur.

A trace that contains the same parts many times, or parts known from other traces, first runs as
calls of these (see `parts`); so does one of operations that are known, while traces that are
compiled whole never come again. Once that has cost as much as compiling it whole would, or if it
comes again and again, it is compiled whole by a thread in the background, and that program takes
over when it is ready: never more than about twice the better choice in hindsight.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from functools import partial
from math import inf
from typing import Any, NamedTuple

import jax

from ..core.collector import Unhurried
from ..core.config import config
from ..core.devices import jax_default
from . import explain
from .background import compile_for, compile_plan, improve
from .batch import GAIN, Batched, NotWorthIt
from .executor import POLICIES, Plan, compile_whole, flush, interpret
from .fusion import Fused, NotOfAnyLength
from .kernel import Kernel
from .looped import Lent, Looped, LoopUse
from .lower import Lowered
from .padding.buckets import padded
from .parts import Dictionary, Part, Parted
from .programs import Program, compile_better, first_run, in_background, programs, quick_options
from .quick import SHORT, in_vain, lately, little, quickly
from .trace import Trace
from .trie import Step

_WORTH = 0.6  # parts are worth it where this share of the kernels, or less, is to be compiled
_CALL = 25e-6  # seconds that a call of a part costs
_COMPILE = 4e-3  # seconds a kernel that compiling whole costs
_FRESH = 35e-3  # seconds that compiling a part takes, on all processors
_TRIES = 3  # stretches between parts with a kernel, past which it runs alone between parts
_OFTEN, _IN_A_ROW = 8, 4  # runs among the last 16 from which on a trace counts as one that stays
_recent: deque[int] = deque(maxlen=16)
_wholes: deque[Program] = deque(maxlen=4)  # the last that were compiled before anything else ran

_dictionary = Dictionary()
_lock = threading.Lock()


def automatic(plan: Plan, donate: tuple[int, ...], trace: Trace) -> Program:
    """The policy in force by default."""
    return _cold(plan, donate, trace, lambda: _together(plan, trace.computed is not None))


def _stays(number: int) -> bool:
    """Whether a plan has come again and again of late."""
    last = list(_recent)
    return last.count(number) >= _OFTEN or last[-_IN_A_ROW:] == [number] * _IN_A_ROW


def _together(plan: Plan, resumed: bool) -> Batched | Parted | None:
    """The trace as calls of groups, or of parts; loops first where it follows reads, since those
    are mostly iterations, of which none can run with another, and where one that began and ended
    alike was the same loops of another length."""
    program = plan.lowered.program
    ends = (program[0][0], program[-1][0]) if program else None
    parted = _parted(plan.whole) if resumed or ends in _looped else None
    loops = _loops(parted)
    if loops is not None and (resumed or loops == _looped[ends]):
        return parted
    if (groups := _batched(plan.lowered)) is not None:
        return groups
    parted = parted or _parted(plan.whole)
    loops = _loops(parted)
    if loops is not None and ends is not None:
        if len(_looped) >= _MOST_LOOPED:
            _looped.clear()
        _looped[ends] = loops
    return parted


def _loops(parted: Parted | None) -> tuple[int, int] | None:
    """How many calls and loops a trace in parts is; None without any loop."""
    if parted is None:
        return None
    loops = sum([isinstance(use, LoopUse) for use in parted.uses])
    return (len(parted.uses), loops) if loops else None


# By first and last kernel, what graphs were that ran as loops, having nothing to run in groups.
_looped: dict[tuple[Kernel, Kernel], tuple[int, int]] = {}
_MOST_LOOPED = 64


def in_parts(plan: Plan, donate: tuple[int, ...], trace: Trace) -> Program:
    """A policy: as by default, but never in groups."""
    return _cold(plan, donate, trace, lambda: _parted(plan.whole))


def in_groups(plan: Plan, donate: tuple[int, ...], trace: Trace) -> Program:
    """A policy: in groups wherever two operations can run together, however often that comes."""
    if plan.parted is None:
        plan.parted = _batched(plan.lowered, 1.0)
    if plan.parted is None:
        return compile_whole(plan, donate, trace)
    return _by_parts(plan, trace)


def _cold(
    plan: Plan,
    donate: tuple[int, ...],
    trace: Trace,
    parted: Callable[[], Batched | Parted | None],
) -> Program:
    # Asked at every run of parts: the key, as long as the program, is only hashed at the first.
    if donate not in plan.programs and (whole := programs.peek(plan.key(donate))) is not None:
        return whole
    if plan.parted is None:
        if (ready := padded(plan, donate, trace)) is not None:
            return ready
        plan.parted = parted()
        effort = _effort(plan)
        if effort and (wide := padded(plan, donate, trace, effort)) is not None:
            plan.parted = None
            return wide
        if plan.parted is None:
            whole = quickly(plan, donate, trace) or compile_whole(plan, donate, trace)
            if whole.seconds is None:
                _wholes.append(whole)
                if len(plan.whole.program) >= SHORT:
                    lately.append(whole)
            return whole
    _recent.append(plan.number)
    plan.parted_runs += 1
    parts = _by_parts(plan, trace)
    spent = plan.parted_runs * len(plan.parted.uses) * _CALL
    if spent < plan.lowered.size * _COMPILE and not _stays(plan.number):
        return parts
    if not config.background:
        return compile_whole(plan, donate, trace)
    return _meanwhile(plan, donate, trace, parts)


def _effort(plan: Plan) -> float:
    """The seconds that the first run of a plan takes, as calls, for what is yet to be compiled."""
    if plan.parted is None:
        return inf
    found = _fusion_of(plan)
    if found is not None and (program := found[1].program) and program.seconds is not None:
        return 0.0  # it runs as one call, whichever of its parts were never compiled
    return len(plan.parted.fresh) * _FRESH


def _by_parts(plan: Plan, trace: Trace) -> Program:
    """A program of calls, for one run."""
    run = plan.parted.run
    if type(plan.parted) is Parted:
        found = None if trace.computed is None else trace.computed.ahead
        lent = None if found is None else found.lent(plan, trace)
        run = _fused(plan, trace, lent)
        if run is None:
            run = plan.parted.run if lent is None else partial(plan.parted.run, lent=lent)
    elif type(plan.parted) is Batched:

        def run(*args: Any) -> list[Any]:
            try:
                return plan.parted.run(*args)
            except Exception:  # alone it may work; if not, it is known who failed
                plan.parted = None
                return interpret(plan, (), trace).run(*args)

    return Program(run, (), 0.0, left=1, joined=False)


class _Fusion:
    """Calls of any length that are to be one program.

    Attributes:
        runs: how often they ran as calls.
        program: they as one.
        future: its compile; None before, and when it was told of.
    """

    __slots__ = ("runs", "program", "future")

    def __init__(self) -> None:
        self.runs = 0
        self.program: Program | None = None
        self.future: Future | None = None


_fusions: OrderedDict[Hashable, _Fusion] = OrderedDict()
_FUSED = 32  # runs as calls, of whatever length, after which they are compiled as one program, ...
_FUSED_ONE = 1000  # ... and where there is one loop, which hands its stacks to no other
_MOST_FUSIONS = 64


def _fusion_of(plan: Plan) -> tuple[Fused, _Fusion] | None:
    """A trace with loops as one call, and what is known of such; None where it can't be one."""
    parted = plan.parted
    if type(parted) is not Parted or not config.background:
        return None
    if parted.fused is None:
        parted.fused = False
        home = jax_default()
        if all(kind.device == home for kind in plan.whole.kinds):
            with contextlib.suppress(NotOfAnyLength):
                fused = Fused(
                    parted.pieces,
                    parted.uses,
                    parted.results,
                    plan.whole.avals()[: parted.n_leaves],
                )
                fusion = _fusions.get(fused.key)
                if fusion is None:
                    fusion = _fusions[fused.key] = _Fusion()
                    if len(_fusions) > _MOST_FUSIONS:
                        _fusions.popitem(last=False)
                parted.fused = fused, fusion
    return parted.fused or None


def _fused(plan: Plan, trace: Trace, lent: Lent | None) -> Callable[..., list[Any]] | None:
    """A trace with loops as one call, if the program for it is ready."""
    found, parted = _fusion_of(plan), plan.parted
    if found is None:
        return None
    fused, fusion = found
    fusion.runs += 1
    if fusion.runs == 1 and fused.loops > 1 and _all_fresh(parted):
        # As one program it takes little longer to compile than in parts, and once instead of twice.
        program = fusion.program = Program(parted.run)
        with contextlib.suppress(Exception):  # part by part it fails again, where it is known whose
            _compile_fused(program, fused, alone=True)
            _note_fused(trace, parted, program)
    elif fusion.program is None:
        if fusion.runs == (_FUSED if fused.loops > 1 else _FUSED_ONE):
            program = fusion.program = Program(parted.run)
            fusion.future = compile_better(_compile_fused, program, fused)
        return None
    program = fusion.program
    if fusion.future is not None:
        if not fusion.future.done():
            return None
        fusion.future = None
        if program.seconds is not None:
            _note_fused(trace, parted, program)
    if program.seconds is None:
        return None

    def run(*args: Any) -> list[Any]:
        with jax.enable_x64(True):
            return program.run(*fused.arguments(args, *parted.numbers(args), lent))

    return run


def _all_fresh(parted: Parted) -> bool:
    """Whether all that a trace calls is small, and yet to be compiled."""
    return all(
        use.program.jitted is not None and little(part.ops)
        for use, (part, _) in zip(parted.uses, parted.pieces, strict=True)
    )


def _note_fused(trace: Trace, parted: Parted, program: Program) -> None:
    cause = "parts and loops that recur, as one program for any length"
    size = sum([len(part.ops) for part, _ in parted.pieces])
    explain.note(cause, trace.cur, program.seconds, size, len(programs.programs))


def _compile_fused(program: Program, fused: Fused, alone: bool = False) -> None:
    """Compile the calls of a trace as one program."""
    options = quick_options(1, alone) if jax_default().type == "cpu" else None
    program.run = jax.jit(fused.function(), keep_unused=True, compiler_options=options)
    compile_for(program, fused.given)


def _batched(lowered: Lowered, gain: float = GAIN) -> Batched | None:
    """The trace as calls of groups; None where it has too little that is equal."""
    try:
        with Unhurried():
            return Batched(lowered, _batch_program_of, gain)
    except NotWorthIt:
        return None


def _parted(lowered: Lowered) -> Parted | None:
    """The trace as calls of parts; None where compiling it whole costs no more."""
    kernels = [kernel for kernel, _, _ in lowered.program]
    short = len(kernels) < SHORT
    with _lock:
        known, between = (_dictionary.cut if short else _dictionary.divide)(kernels)
        new = {tuple(kernels[start:stop]) for start, stop in known}
        effort = sum(len(part) for part in new if part not in _dictionary.compiled)
        effort += sum(stop - start for start, stop in between)
        most = 0 if short else _WORTH * len(kernels)
        alone = effort > most
        if alone:
            rest = [kernel for start, stop in between for kernel in kernels[start:stop]]
            seen = sum(_dictionary.between[kernel] >= _TRIES for kernel in rest)
            _dictionary.between.update(set(rest))
            if not in_vain(_wholes if short else lately) or effort - seen > most:
                return None
        _dictionary.compiled |= new
        ranges = list(known)
        for start, stop in between:
            run = kernels[start:stop]
            if alone or all(_dictionary.between[kernel] >= _TRIES for kernel in run):
                ranges += [(i, i + 1) for i in range(start, stop)]
            else:
                _dictionary.between.update(set(run))
                _dictionary.add(run)
                ranges.append((start, stop))
        ranges.sort()
        return Parted(lowered, ranges, _dictionary, _program_of)


def _program_of(part: Part, outputs: tuple[int, ...], step: Step) -> Program:
    """The program of a part, found or made."""
    ops = [kernel.op for kernel, _, _ in part.ops]
    cause = f"a part to be used again, {ops[0]} to {ops[-1]}" if ops[1:] else ops[0]

    # A loop runs what is in it many times: with optimisation at once.
    level = 1 if isinstance(part, Looped) else 0

    def options() -> dict[str, Any] | None:
        quick = step.kind.device.type == "cpu" and little(part.ops)
        return quick_options(level) if quick else None

    key, make = (part, outputs), lambda: part.function(outputs)
    return _noted(key, make, 0, cause, len(ops), step, options, again=not level)


def _batch_program_of(
    key: Hashable, make: Callable[[], Callable], donated: int, op: str, step: Step
) -> Program:
    """The program of a group."""

    def options() -> dict[str, Any] | None:
        return quick_options(0) if step.kind.device.type == "cpu" else None

    return _noted(key, make, donated, f"{op}, many at once", 1, step, options)


def _noted(
    key: Hashable,
    function: Callable[[], Callable],
    donated: int,
    cause: str,
    size: int,
    step: Step,
    options_of: Callable[[], dict[str, Any] | None],
    again: bool = True,
) -> Program:
    """A program that `explain` is told of when it is compiled, at its first run.

    Where there are options for it, it is compiled quickly, and `again`, in the background, once it
    has run often.
    """

    def make() -> Program:
        body = function()
        options = options_of()
        run = jax.jit(
            body, donate_argnums=range(donated), keep_unused=True, compiler_options=options
        )
        program, runs = Program(run), 0

        def first(*args: Any) -> Any:
            trial = Program(run)
            results = first_run(trial, args)
            program.run, program.jitted = counted if options and again else run, None
            program.seconds = trial.seconds + program.ahead
            explain.note(cause, step, program.seconds, size, len(programs.programs))
            return results

        def counted(*args: Any) -> Any:
            nonlocal runs
            runs += 1
            if runs == _HOT:
                program.run = run
                if config.background:
                    given = [(a.shape, a.dtype) for a in args]
                    compile_better(improve, program, body, donated, given)
            return run(*args)

        program.run, program.jitted = first, run
        return program

    return programs.get(key, make)


_HOT = 1000  # runs after which what it costs to compile is little


class _Job(NamedTuple):
    """A compile in the background."""

    program: Program
    future: Future


_jobs: dict[Hashable, _Job] = {}


def _meanwhile(plan: Plan, donate: tuple[int, ...], trace: Trace, parts: Program) -> Program:
    """The whole program if its compile has ended; else `parts` for one more run."""
    key = plan.key(donate)
    job = _jobs.get(key)
    if job is None:
        if any(not job.future.done() for job in _jobs.values()):
            return parts  # one at a time
        whole = compile_whole(plan, donate, trace, keep=False)
        if len(_jobs) > 256:
            _jobs.clear()
        _jobs[key] = _Job(whole, in_background(compile_plan, whole, plan))
        return parts
    if not job.future.done():
        return parts
    error = job.future.exception()
    if error is not None:
        warnings.warn(
            f"dynjax could not compile a recurring trace in the background: {error}. It goes on "
            "running part by part.",
            RuntimeWarning,
            stacklevel=2,
        )
        return Program(parts.run, (), 0.0, joined=False)
    del _jobs[key]
    whole = programs.get(key, lambda: job.program)
    _wholes.append(whole)
    explain.report(trace, plan.whole, whole.seconds or 0.0, len(programs.programs))
    return whole


class batching:
    """Context manager: graphs run in groups of equal operations wherever there are two (True), or
    never (False). By default they do where it pays: in graphs not seen before with many equal
    operations that do not depend on each other. A setting of the process, as `config.policy` is.

    Args:
        mode: whether to.
    """

    def __init__(self, mode: bool = True) -> None:
        self.policy = "batch" if mode else "parts"

    def __enter__(self) -> batching:
        flush()
        self._before, config.policy = config.policy, self.policy
        return self

    def __exit__(self, *exc: Any) -> None:
        try:
            flush()
        finally:
            config.policy = self._before


POLICIES.update({"auto": automatic, "parts": in_parts, "batch": in_groups})
__all__ = ["batching"]
