"""Backward of work not yet run, as one step of the open trace, without building the tape.

The walk over the trace finds which leaves get gradients, and whether all that is needed is still
there; what to compute is written out when the trace is lowered (`engine.sweep`). The position
remembers what was found, so that the next backward from there is a look-up.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from ..core.collector import Unhurried
from ..engine.frames import user_place
from ..engine.sweep import sweep_kernel
from ..engine.trace import Trace
from ..engine.trie import Step, Template
from ..engine.value import Kind


class Jump:
    """A recorded backward.

    Attributes:
        end: the position after it.
        leaves: (index of a leaf, index of its gradient, the gradient's kind).
        frees: indices of the values whose graph it consumes.
    """

    __slots__ = ("end", "leaves", "frees")

    def __init__(
        self, end: Step, leaves: tuple[tuple[int, int, Kind], ...], frees: frozenset[int]
    ) -> None:
        self.end, self.leaves, self.frees = end, leaves, frees


def jump_from(
    trace: Trace, keep: bool, roots: tuple[int, ...], seeds: tuple[int | None, ...]
) -> Jump | None:
    """The backward from here, known or found for the first time; the trace does not move.

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
    with Unhurried():
        found = _reached(trace, roots)
    if found is None:
        return None
    targets, frees = found
    end, gradients = start, []
    if targets:
        kinds = tuple([kind.with_grad(False, False) for _, kind in targets])
        kernel = sweep_kernel(
            tuple([seed is not None for seed in seeds]),
            tuple([(kind.shape, kind.dtype.np) for kind in kinds]),
        )
        refs = (*roots, *[s for s in seeds if s is not None], *[idx for idx, _ in targets])
        end = start.next.get((kernel, refs))
        if end is None:
            template = Template(kernel, kinds)
            path = trace.module_path()
            end = trace.extend(template, (kernel, refs), refs, user_place(), path, start.depth + 1)
        gradients = [(idx, end.base + k, kinds[k]) for k, (idx, _) in enumerate(targets)]
    jump = Jump(end, tuple(gradients), frozenset() if keep else frozenset(frees))
    if start.entered:
        if start.jumps is None:
            start.jumps = {}
        elif len(start.jumps) > 64:
            start.jumps.clear()
        start.jumps[key] = jump
    return jump


def _reached(
    trace: Trace, roots: tuple[int, ...]
) -> tuple[list[tuple[int, Kind]], set[int]] | None:
    """The leaves below the roots, and all that a backward consumes; None where some is gone."""
    modified = {
        v.idx if v.trace is trace else trace.leaves[v]
        for v in (*trace.vals, *trace.leaves)
        if v.watch is not None and v.watch[0].now != v.watch[1]
    }
    freed = trace.freed
    whole = not freed and not modified
    reached, targets = set(roots), []
    frees: set[int] = set()
    step = trace.cur
    while step.parent is not None:
        base, wrt, kind = step.base, step.wrt, step.kind
        if wrt and kind is not None and not kind.leaf:
            if base in reached or (
                step.n > base + 1 and not reached.isdisjoint(range(base + 1, step.n))
            ):
                if not (whole or step.kernel.is_alias or _walkable(step, freed, modified)):
                    return None
                refs = step.refs
                if step.kernel.unasked:
                    wrt = _flowing(step, reached)
                for i in wrt:
                    reached.add(refs[i])
                frees.update(range(base, step.n))
        elif kind is not None and (kind.leaf or step.kernel is None):
            targets += [(i, k) for i, k in enumerate(step.kinds, base) if i in reached]
        step = step.parent
    return targets, frees


def _flowing(step: Step, reached: Set[int]) -> tuple[int, ...]:
    """The inputs of a part recorded unasked that gradients flow to by way of its operations."""
    part, base = step.args, step.base
    given = tuple([k for k in range(step.n - base) if base + k in reached])
    key = (id(part), given)
    found = _flows.get(key)
    if found is None:
        if len(_flows) >= _MOST_FLOWS:
            _flows.clear()
        found = _flows[key] = part, tuple(part.leads_from(given, tracked=True))
    return found[1]


# By a part's identity, which it keeps, and its results in question.
_flows: dict[tuple[int, tuple[int, ...]], tuple[Any, tuple[int, ...]]] = {}
_MOST_FLOWS = 4096


def _walkable(step: Step, freed: Set[int], modified: set[int]) -> bool:
    """Whether what a step saved is still there, as it was."""
    kernel = step.kernel
    if kernel.unasked:  # its operations save less than all that goes in and out
        touched = (*step.refs, *range(step.base, step.n))
        return step.base not in freed and modified.isdisjoint(touched)
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
