"""Backward of work not yet run: the open trace walked in reverse, without building the tape.

The first backward from a position records every vector-Jacobian product; the position remembers
where that ended, so that the next one is a jump: one look-up, and a few operations a parameter.
"""

from __future__ import annotations

from collections.abc import Hashable, Set
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp

from ..core.collector import Unhurried
from ..core.dtypes import of as dtype_of
from ..engine.kernel import Kernel, kernels
from ..engine.trace import Step, Template, Trace
from ..engine.value import Kind, kind_of


class Jump:
    """A recorded backward.

    Attributes:
        end: the position after it.
        leaves: (index of a leaf, index of its gradient, the gradient's kind).
        numbers: (position, position it is copied from) of the run-time numbers it takes.
        frees: indices of the values whose graph it consumes.
    """

    __slots__ = ("end", "leaves", "numbers", "frees")

    def __init__(
        self,
        end: Step,
        leaves: tuple[tuple[int, int, Kind], ...],
        numbers: tuple[tuple[int, int], ...],
        frees: frozenset[int],
    ) -> None:
        self.end, self.leaves, self.numbers, self.frees = end, leaves, numbers, frees


def jump_from(
    trace: Trace, keep: bool, roots: tuple[int, ...], seeds: tuple[int | None, ...]
) -> Jump | None:
    """The backward from here, known or swept for the first time; the trace does not move.

    Args:
        trace: the open trace.
        keep: whether the graph may be walked again.
        roots: indices of what is differentiated.
        seeds: indices of their cotangents; None for ones.

    Returns:
        None where only the general walk will do: graphs that reach into earlier traces, that are
        freed, or whose saved values were modified since.
    """
    start = trace.cur
    key = (keep, roots, seeds)
    if start.jumps is not None:
        jump = start.jumps.get(key)
        if jump is not None:
            return jump
    if any(not callable(owner) for owner in trace.owners.values()):
        return None
    sweep = _Sweep(trace)
    try:
        with Unhurried():
            jump = sweep.run(start, keep, roots, seeds)
    finally:
        trace.cur = start
    if jump is not None:
        if start.jumps is None:
            start.jumps = {}
        elif len(start.jumps) > 64:
            start.jumps.clear()
        start.jumps[key] = jump
    return jump


class _Sweep:
    """One walk over the steps of a trace, in reverse."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.pending: dict[int, int] = {}  # value -> its cotangent
        self.numbers: list[tuple[int, int]] = []
        self.depth = trace.cur.depth + 1

    def run(
        self,
        start: Step,
        keep: bool,
        roots: tuple[int, ...],
        seeds: tuple[int | None, ...],
    ) -> Jump | None:
        trace, pending = self.trace, self.pending
        wanted = set(roots)
        kinds = {i: v.kind for v, i in trace.leaves.items() if i in wanted}
        kinds.update((v.idx, v.kind) for v in trace.vals if v.idx in wanted)
        for root, seed in zip(roots, seeds, strict=True):
            if seed is None:
                seed = self.extend(_ones(kinds[root]), (), None).base
            self.give(root, seed, kinds[root])
        modified = {
            v.idx if v.trace is trace else trace.leaves[v]
            for v in (*trace.vals, *trace.leaves)
            if v.watch is not None and v.watch[0].now != v.watch[1]
        }
        freed, frees, leaves = trace.freed, set(), []
        step = start
        while step.parent is not None and pending:
            if step.kernel is None or (step.kinds and step.kind.leaf):
                for idx, kind in enumerate(step.kinds, step.base):
                    if idx in pending:
                        leaves.append((idx, pending.pop(idx), kind.with_grad(False, False)))
            elif step.wrt:
                given = tuple([k for k in range(len(step.kinds)) if step.base + k in pending])
                if given:
                    kernel = step.kernel
                    if kernel.is_alias:
                        self.give(step.refs[0], pending.pop(step.base), step.kind)
                    elif not _walkable(step, freed, modified):
                        return None
                    else:
                        self.differentiate(step, given)
                    frees.update(range(step.base, step.n))
            step = step.parent
        return Jump(
            trace.cur, tuple(leaves), tuple(self.numbers), frozenset() if keep else frozenset(frees)
        )

    def differentiate(self, step: Step, given: tuple[int, ...]) -> None:
        """Record the vector-Jacobian product of a step."""
        pending, base, refs = self.pending, step.base, step.refs
        needs = step.kernel.needs(step.wrt)
        product = self.extend(
            _product(step, given),
            (*[refs[i] for i in needs], *[pending.pop(base + k) for k in given]),
            step,
        )
        for k, i in enumerate(step.wrt):
            self.give(refs[i], product.base + k, product.kinds[k])

    def give(self, idx: int, cotangent: int, kind: Kind) -> None:
        """Add to the cotangent of a value."""
        other = self.pending.get(idx)
        if other is not None:
            cotangent = self.extend(_sum(kind), (other, cotangent), None).base
        self.pending[idx] = cotangent

    def extend(self, template: Template, refs: tuple[int, ...], origin: Step | None) -> Step:
        """Record a step that comes from `origin`, whose run-time numbers it takes too."""
        trace = self.trace
        key: Hashable = (template.kernel, False, None, refs)
        step = trace.cur.next.get(key)
        if step is None:
            place, path = (None, "") if origin is None else (origin.place, origin.module_path)
            step = trace.extend(template, key, refs, place, path, self.depth)
        if origin is not None and origin.numbers:
            self.numbers += zip(step.numbers, origin.numbers)
        trace.cur = step
        return step


def _walkable(step: Step, freed: Set[int], modified: set[int]) -> bool:
    """Whether what a step saved is still there, as it was."""
    kernel = step.kernel
    needs = kernel.needs(step.wrt)
    if not needs and kernel.saves not in ("number", "result"):
        return True
    if step.base in freed:
        return False
    if not modified:
        return True
    saves_result = kernel.saves == "result"
    saved = range(step.base, step.n) if saves_result else [step.refs[i] for i in needs]
    return modified.isdisjoint(saved)


def _product(step: Step, given: tuple[int, ...]) -> Template:
    kernel = step.kernel
    made = (step.wrt, given, step.kind.device)
    template = kernel.products.get(made)
    if template is None:
        product = kernel.vjp(step.wrt, given)
        template = kernel.products[made] = Template(product, _kinds(product, step.kind.device))
    return template


def fill_kernel(shape: tuple[int, ...], dtype: Any, number: float) -> Kernel:
    """The kernel that makes an array of one number."""
    key = ("fill", tuple(shape), dtype, number)
    return kernels.get(
        key,
        lambda: Kernel(
            "ones" if number else "zeros", key, lambda: (jnp.full(shape, number, dtype),), (),
            out_avals=(jax.ShapeDtypeStruct(tuple(shape), dtype),),
        ),
    )  # fmt: skip


def sum_kernel(kind: Kind) -> Kernel:
    """The kernel that adds two gradients of one kind."""
    aval = jax.ShapeDtypeStruct(kind.shape, kind.dtype.np)
    key = ("sum of gradients", kind.shape, kind.dtype)

    def make() -> Kernel:
        add = Kernel(
            "add", key, lambda x, y: (x + y,), [aval, aval], out_avals=(aval,), fleeting=True
        )
        add.adds = True
        return add

    return kernels.get(key, make)


def _kinds(kernel: Kernel, device: Any) -> tuple[Kind, ...]:
    return tuple(kind_of(a.shape, dtype_of(a.dtype), device) for a in kernel.out_avals)


@lru_cache(1024)
def _ones(kind: Kind) -> Template:
    return _like(fill_kernel(kind.shape, kind.dtype.np, 1), kind)


@lru_cache(1024)
def _sum(kind: Kind) -> Template:
    return _like(sum_kernel(kind), kind)


def _like(kernel: Kernel, kind: Kind) -> Template:
    """What records a kernel whose result is of a kind but for its gradient."""
    template = kernel.products.get(kind)
    if template is None:
        template = kernel.products[kind] = Template(kernel, (kind.with_grad(False, False),))
    return template
