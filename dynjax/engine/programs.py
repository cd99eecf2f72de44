"""Compiled programs: what runs, the cache that they are found in, and their first compile."""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import jax

from ..core.config import config
from . import cache


class Program:
    """A compiled computation.

    Attributes:
        run: the function, taking leaf arrays, then the floats and ints if there are any; compiles
            when first called.
        donate: positions of arguments that it consumes.
        seconds: what compiling took, None before.
        left: runs after which the policy is asked again; below zero, never.
        joined: whether small results leave joined, as the plan says.
        jitted: until it has run, what to compile should that be done ahead (see `compile_ahead`).
        ahead: seconds that this took.
        widen, narrow: what makes of arrays those that it takes, and of its results those that are
            meant; None where they are the same.
    """

    __slots__ = (
        "run", "donate", "seconds", "left", "joined", "jitted", "ahead", "widen", "narrow",
    )  # fmt: skip

    def __init__(
        self,
        run: Callable[..., Sequence[Any]],
        donate: tuple[int, ...] = (),
        seconds: float | None = None,
        left: int = -1,
        joined: bool = True,
    ) -> None:
        self.run, self.donate, self.seconds = run, donate, seconds
        self.left, self.joined = left, joined
        self.jitted: Any = None
        self.ahead = 0.0
        self.widen: Callable[[list[Any]], list[Any]] | None = None
        self.narrow: Callable[[Sequence[Any]], Sequence[Any]] | None = None


class ProgramCache:
    """Compiled programs by what they compute, bounded: least recently used goes."""

    def __init__(self) -> None:
        self.programs: OrderedDict[Hashable, Program] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Program]) -> Program:
        with self.lock:
            program = self.programs.get(key)
            if program is not None:
                self.programs.move_to_end(key)
                return program
        program = make()
        with self.lock:
            self.programs[key] = program
            while len(self.programs) > config.max_programs:
                self.programs.popitem(last=False)
        return program

    def peek(self, key: Hashable) -> Program | None:
        """The program of this key that has been compiled, if there is one."""
        program = self.programs.get(key)
        return program if program is not None and program.seconds is not None else None


programs = ProgramCache()


def first_run(program: Program, arrays: Sequence[Any]) -> Sequence[Any]:
    """Run a program that has yet to be compiled; returns its results.

    Compiling takes long enough to be interrupted, so it is given copies of what it may donate.
    """
    given = list(arrays)
    with jax.enable_x64(True), cache.persisting():
        copies = jax.device_put([given[k] for k in program.donate], may_alias=False)
        for k, copy in zip(program.donate, copies, strict=True):
            given[k] = copy
        began = time.perf_counter()
        results = program.run(*given)
        program.seconds = time.perf_counter() - began
    return results


def quick_options(level: int, alone: bool = False) -> dict[str, Any] | None:
    """Options under which XLA compiles for a CPU in less than half the time; None if it has none.

    Its newer code generator (the fusion emitters), and splitting a module for many threads, take
    longer than what they generate will ever run here.

    Args:
        level: of optimisation, 0 to 3.
        alone: whether nothing else runs meanwhile, so that all processors may compile.
    """
    known = _known_options()
    options = known and {**known, _LEVEL: level}
    if alone and options and _SPLIT in options:
        options[_SPLIT] = _processors()
    return options


_LEVEL = "xla_backend_optimization_level"
_SPLIT = "xla_cpu_parallel_codegen_split_count"
_QUICK = {"xla_cpu_use_fusion_emitters": False, _SPLIT: 1}
_ASKED = (0, 10)  # the JAX whose XLA is known to know all of them: asking costs a compile


@functools.cache
def _known_options() -> dict[str, Any] | None:
    """Those of them that this XLA knows, at some level."""
    if jax.__version_info__[:2] == _ASKED:
        return {_LEVEL: 0, **_QUICK}
    return _options_found()


def _options_found() -> dict[str, Any] | None:
    """As `_known_options`, by a compile."""
    for options in ({_LEVEL: 0, **_QUICK}, {_LEVEL: 0}):
        try:
            jax.jit(int, compiler_options=options).lower().compile()
        except jax.errors.JaxRuntimeError:  # another XLA, which does not know one of them
            continue
        return options
    return None


def compile_ahead(programs: Sequence[tuple[Program, Sequence[Any]]]) -> None:
    """Compile programs that have not run yet, at once on all processors.

    What fails is left: it fails again, with what is known there, where it runs.

    Args:
        programs: each with the shapes and types of its arguments, or arguments.
    """

    def one(program: Program, given: Sequence[Any]) -> None:
        began = time.perf_counter()
        with jax.enable_x64(True), cache.persisting():
            program.jitted.lower(*given).compile()
        program.ahead = time.perf_counter() - began

    workers = min(len(programs), _processors())
    if workers < 2:
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="dynjax compiles")
    try:
        wait([pool.submit(one, *each) for each in programs])
    finally:
        pool.shutdown(cancel_futures=True)


_pool: ThreadPoolExecutor | None = None


def in_background(work: Callable[..., Any], *args: Any) -> Future:
    """Have the thread that compiles while others run do something."""
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(1, thread_name_prefix="dynjax compiles")
    return _pool.submit(_giving_way, work, *args)


def compile_better(work: Callable[..., Any], *args: Any) -> Future:
    """Have that thread compile something that runs already, and warn if it can't."""
    future = in_background(work, *args)
    future.add_done_callback(_told)
    return future


def _told(future: Future) -> None:
    error = None if future.cancelled() else future.exception()
    if error is not None:
        warnings.warn(
            f"dynjax could not compile a program better in the background: {error}. It goes on "
            "running as it was compiled first.",
            RuntimeWarning,
            stacklevel=2,
        )


_BRIEF = 5e-4  # seconds


def _giving_way(work: Callable[..., Any], *args: Any) -> Any:
    """Do something that others are not to wait for.

    Whenever another thread comes back from XLA, it has to wait until this one lets go of the
    interpreter: 5 ms where Python is left to itself, and it comes back a dozen times in a step.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _BRIEF))
    brief = sys.getswitchinterval()
    try:
        return work(*args)
    finally:
        if sys.getswitchinterval() == brief:  # else somebody has set it meanwhile
            sys.setswitchinterval(before)


def _processors() -> int:
    """How many processors this process may use."""
    known = getattr(os, "sched_getaffinity", None)
    return len(known(0)) if known is not None else os.cpu_count() or 1
