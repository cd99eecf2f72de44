"""The policy for traces not seen before: compile whole, or call parts that recur.

A trace that contains the same parts many times, or parts known from other traces, first runs as
calls of these (see `parts`). Once that has cost as much as compiling it whole would, or if it comes
again and again, it is compiled whole by a thread in the background, and that program takes over
when it is ready: never more than about twice the better choice in hindsight.
"""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..core.config import config
from . import explain
from .executor import POLICIES, Plan, Program, compile_whole, first_run, programs, vectors
from .lower import Lowered
from .parts import Dictionary, Part, Parted, recurring
from .trace import Step, Trace

_SHORTEST = 24  # kernels, below which a trace is compiled whole unless all its parts are at hand
_WORTH = 0.6  # parts are worth it where this share of the kernels, or less, is to be compiled
_CALL = 25e-6  # seconds that a call of a part costs
_COMPILE = 4e-3  # seconds a kernel that compiling whole costs
_TRIES = 3  # stretches between parts with a kernel, past which it runs alone between parts
_OFTEN = 4  # runs among the last eight from which on a trace counts as one that stays
_recent: deque[int] = deque(maxlen=8)

_dictionary = Dictionary()
_lock = threading.Lock()


def automatic(plan: Plan, donate: tuple[int, ...], trace: Trace) -> Program:
    """The policy in force by default."""
    # Asked at every run of parts: the key, as long as the program, is only hashed at the first.
    if donate not in plan.programs and (whole := programs.peek(plan.key(donate))) is not None:
        return whole
    if plan.parted is None:
        plan.parted = _parted(plan.lowered)
        if plan.parted is None:
            return compile_whole(plan, donate, trace)
    _recent.append(id(plan))
    plan.parted_runs += 1
    parts = Program(plan.parted.run, (), 0.0, left=1, joined=False)
    spent = plan.parted_runs * len(plan.parted.uses) * _CALL
    if spent < len(plan.lowered.program) * _COMPILE and _recent.count(id(plan)) < _OFTEN:
        return parts
    if not config.background:
        return compile_whole(plan, donate, trace)
    return _in_background(plan, donate, trace, parts)


def _parted(lowered: Lowered) -> Parted | None:
    """The trace as calls of parts; None where compiling it whole costs no more."""
    kernels = [kernel for kernel, _, _ in lowered.program]
    short = len(kernels) < _SHORTEST
    with _lock:
        known, between = _dictionary.cut(kernels)
        if not short and 2 * sum(stop - start for start, stop in known) < len(kernels):
            found = recurring(kernels)
            if found:
                for part in found:
                    _dictionary.add(part)
                known, between = _dictionary.cut(kernels)
        new = {tuple(kernels[start:stop]) for start, stop in known}
        effort = sum(len(part) for part in new if part not in _dictionary.compiled)
        effort += sum(stop - start for start, stop in between)
        if effort > (0 if short else _WORTH * len(kernels)):
            return None
        _dictionary.compiled |= new
        ranges = list(known)
        for start, stop in between:
            run = kernels[start:stop]
            if all(_dictionary.between[kernel] >= _TRIES for kernel in run):
                ranges += [(i, i + 1) for i in range(start, stop)]
            else:
                _dictionary.between.update(set(run))
                _dictionary.add(run)
                ranges.append((start, stop))
        ranges.sort()
        return Parted(lowered, ranges, _dictionary, _program_of)


def _program_of(part: Part, outputs: tuple[int, ...], step: Step) -> Program:
    """The program of a part, found or made; it notes its compile when first run."""

    def make() -> Program:
        run = jax.jit(part.function(outputs), keep_unused=True)
        program = Program(run)

        def first(*args: Any) -> Any:
            trial = Program(run)
            results = first_run(trial, args)
            program.run, program.seconds = run, trial.seconds
            ops = [kernel.op for kernel, _, _ in part.ops]
            cause = f"a part to be used again, {ops[0]} to {ops[-1]}" if ops[1:] else ops[0]
            explain.note(cause, step, program.seconds, len(ops), len(programs.programs))
            return results

        program.run = first
        return program

    return programs.get((part, outputs), make)


class _Job(NamedTuple):
    """A compile in the background."""

    program: Program
    future: Future


_pool: ThreadPoolExecutor | None = None
_jobs: dict[Hashable, _Job] = {}


def _in_background(plan: Plan, donate: tuple[int, ...], trace: Trace, parts: Program) -> Program:
    """The whole program if its compile has ended; else `parts` for one more run."""
    global _pool
    key = plan.key(donate)
    job = _jobs.get(key)
    if job is None:
        if any(not job.future.done() for job in _jobs.values()):
            return parts  # one at a time
        if _pool is None:
            _pool = ThreadPoolExecutor(1, thread_name_prefix="dynjax compiles")
        whole = compile_whole(plan, donate, trace, keep=False)
        if len(_jobs) > 256:
            _jobs.clear()
        _jobs[key] = _Job(whole, _pool.submit(_compile, whole, plan))
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
        return Program(plan.parted.run, (), 0.0, joined=False)
    del _jobs[key]
    whole = programs.get(key, lambda: job.program)
    explain.report(trace, plan.lowered, whole.seconds or 0.0, len(programs.programs))
    return whole


def _compile(program: Program, plan: Plan) -> None:
    """Compile by running on zeros."""
    lowered = plan.lowered
    with jax.enable_x64(True):
        args: list[Any] = [
            jax.device_put(jnp.zeros(k.shape, k.dtype.np), k.device.jax) for k in lowered.kinds
        ]
    args += vectors([0.0] * len(lowered.floats), [0] * len(lowered.ints))
    jax.block_until_ready(first_run(program, args))


POLICIES["auto"] = automatic
__all__ = ["automatic"]
