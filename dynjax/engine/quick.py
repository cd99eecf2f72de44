"""Programs that may not come again: compiled quickly first, and well once they have run often.

XLA without optimisation compiles in a fifth of the time, and what it makes runs two to three times
as long. So that is for what a read waits for, if it is little, and for graphs that vary: which are
known but for the shapes of their data, or of which the last were compiled in vain. By the time that
it has cost as much as compiling well would, that begins in the background (the ski-rental rule).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import prod
from typing import Any

import jax

from ..core.config import config
from ..core.devices import jax_default
from .background import compile_plan, often
from .batch import LARGEST
from .executor import Plan, body_of, compile_whole
from .lower import Lowered, Op
from .padding.families import family_of, shapes_of
from .programs import Program, compile_better, programs, quick_options
from .trace import Trace

SHORT = 24  # kernels, below which a trace is

lately: deque[Program] = deque(maxlen=2)  # the last that were compiled of graphs that aren't short


def quickly(plan: Plan, donate: tuple[int, ...], trace: Trace) -> Program | None:
    """The whole of a plan as a program that is compiled quickly first; None where that had better
    not be, or can't."""
    lowered, home = plan.lowered, jax_default()
    if not (config.background and home.type == "cpu" and lowered.leaves):
        return None
    if any(kind.device != home for kind in lowered.kinds):
        return None
    brief = plan.brief and len(lowered.program) < SHORT and little(lowered.program)
    if not brief and not _varies(plan.lowered):
        return None

    def make() -> Program:
        whole, runs = compile_whole(plan, donate, trace, keep=False), 0
        often_run = _runs(plan.whole)
        quick = jax.jit(
            body_of(plan), donate_argnums=whole.donate, keep_unused=True,
            compiler_options=quick_options(0),
        )  # fmt: skip

        def counted(*args: Any) -> Any:
            nonlocal runs
            runs += 1
            if runs == often_run:
                compile_better(improve)
            return quick(*args)

        def improve() -> None:
            compile_plan(whole, plan)
            program.run = whole.run

        program = Program(counted, whole.donate)
        return program

    return programs.get(plan.key(donate), make)


def in_vain(last: deque[Program]) -> bool:
    """Whether of programs that were compiled one after the other none came again."""
    return len(last) == last.maxlen and all(program.left >= -2 for program in last)


def little(ops: Sequence[Op]) -> bool:
    """Whether what operations compute is little, so that their code need not be good."""
    return all(prod(aval.shape) <= LARGEST for kernel, _, _ in ops for aval in kernel.out_avals)


def _varies(lowered: Lowered) -> bool:
    """Whether a graph is one that came before, but for the shapes of its data; or the last that
    were compiled never came again."""
    return family_of(lowered).shapes != shapes_of(lowered) or in_vain(lately)


def _runs(lowered: Lowered) -> int:
    kernels = [kernel for kernel, _, _ in lowered.program]
    elements = sum(prod(aval.shape) for kernel in kernels for aval in kernel.out_avals)
    return often(len(kernels), elements)
