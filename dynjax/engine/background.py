"""Compiling while others run: programs ready for arrays that are yet to come."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from ..core.devices import jax_default
from . import cache
from .executor import Plan, vectors
from .lower import Lowered
from .programs import Program, quick_options


def compile_for(program: Program, given: Sequence[Any]) -> None:
    """Compile a program for arguments of these shapes and types; its run finds what was made."""
    began = time.perf_counter()
    with jax.enable_x64(True), cache.persisting():
        program.run.lower(*given).compile()
    program.seconds = time.perf_counter() - began


def improve(
    program: Program, body: Callable, donated: int, given: Sequence[tuple[tuple[int, ...], Any]]
) -> None:
    """Put a program compiled with optimisation in place of one that has been run often.

    Such programs are small: what XLA's newer code generator makes of them takes up to six times as
    long to compile, and runs no faster.
    """
    options = quick_options(1)
    run = jax.jit(body, donate_argnums=range(donated), keep_unused=True, compiler_options=options)
    with jax.enable_x64(True), cache.persisting():
        # Run, on zeros: what is compiled ahead takes no other shapes, such as of a grown arena.
        jax.block_until_ready(run(*[jnp.zeros(shape, dtype) for shape, dtype in given]))
    program.run = run


def compile_plan(program: Program, plan: Plan) -> None:
    """Compile ahead of the first run, for whatever arrays of the right types will come."""
    given = given_of(plan.lowered)
    began = time.perf_counter()
    with jax.enable_x64(True), cache.persisting():
        program.run = program.run.lower(*given).compile()
        if _harmless(plan.whole):
            linked(program.run, given)
    program.seconds = time.perf_counter() - began


def linked(run: Callable[..., Any], given: Sequence[Any]) -> None:
    """Run a program on zeros: XLA links what it compiled for a CPU when that first runs, which
    takes as long as some twenty runs and would keep somebody waiting."""
    if jax_default().type != "cpu" or sum(prod(a.shape) * a.dtype.itemsize for a in given) > _ZEROS:
        return
    with contextlib.suppress(Exception):  # it will fail again, where it is known for whom
        jax.block_until_ready(run(*[np.zeros(a.shape, a.dtype) for a in given]))


_ZEROS = 1 << 27  # bytes


def _harmless(lowered: Lowered) -> bool:
    """Whether a computation may run on any numbers, as all of it is dynjax's: it ends, and has no
    effects."""
    return all(
        _harmless(kernel.parts) if kernel.parts is not None else not kernel.by_python
        for kernel, _, _ in lowered.program
    )


def given_of(lowered: Lowered) -> list[Any]:
    """Shapes and types of what the program of a graph takes."""
    given: list[Any] = []
    for kind in lowered.kinds:
        home = None if kind.device == jax_default() else SingleDeviceSharding(kind.device.jax)
        given.append(jax.ShapeDtypeStruct(kind.shape, kind.dtype.np, sharding=home))
    return given + vectors([0.0] * len(lowered.floats), [0] * len(lowered.ints))


_MANY, _SELDOM = 1000, 8  # runs after which a program is compiled well, at most and at least
_LONGER = 3e-9  # seconds that it runs longer until then, for every element that it computes
_WELL = 12e-3  # seconds that compiling well takes, a kernel


def often(kernels: int, elements: int) -> int:
    """Runs after which what was compiled quickly has cost as much as compiling it well (the
    ski-rental rule)."""
    runs = _WELL * kernels / (_LONGER * max(elements, 1))
    return int(min(max(runs, _SELDOM), _MANY))
