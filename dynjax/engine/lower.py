"""From a recorded path to one JAX function."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import jax

from . import loops
from .kernel import Kernel, Op, evaluate, is_inexact
from .kernel import kernels as known
from .loops import starts_of
from .sweep import from_zeros, written_out
from .trie import Step
from .value import Kind

_TIMES = 8  # repetitions from which on a chain is compiled as a loop


class Lowered(NamedTuple):
    """A path reduced to what its outputs need.

    Attributes:
        leaves: which leaves it takes, as positions in order of entry.
        kinds: the kinds of those leaves.
        floats, ints: which of the trace's numbers it takes, by type.
        outputs: for every value asked for, its position among the distinct outputs.
        out_avals: shapes and types of the distinct outputs.
        key: equal for equal computations, whatever was recorded beside them.
        steps: the kernel steps that run, in order.
        program: the same as operations on places; a whole backward may be one of them.
        wrts: which inputs of each gradients flow to, if there is a backward; None where they end.
        results: the place of every distinct output.
        origins: the kernel that computes each of them; None for a leaf.
        cut: whether it is to be differentiated.
        flat: whether it is written out already.
    """

    leaves: tuple[int, ...]
    kinds: tuple
    floats: tuple[int, ...]
    ints: tuple[int, ...]
    outputs: tuple[int, ...]
    out_avals: tuple
    key: Hashable
    steps: tuple[Step, ...]
    program: tuple[Op, ...]
    wrts: tuple[tuple[int, ...] | None, ...]
    results: tuple[int, ...]
    origins: tuple[Kernel | None, ...]
    cut: bool = False
    flat: bool = False

    @property
    def size(self) -> int:
        """About how many operations there are: a backward has as many as what is before it."""
        return len(self.program) * (2 if self.wrts else 1)

    def avals(self) -> list[jax.ShapeDtypeStruct]:
        """Shapes and types of all places."""
        avals = [k.aval for k in self.kinds]
        for kernel, _, _ in self.program:
            avals += kernel.out_avals
        return avals

    def evaluate(self, arrays: Sequence[Any], floats: Any, ints: Any) -> list:
        """The distinct outputs, from the leaves' arrays and the numbers."""
        whole = self.written_out()
        found = [] if self.cut else loops.find(whole.program, len(arrays), whole.results, _TIMES)
        if found:
            return loops.evaluate_looped(whole.program, found, whole.results, arrays, floats, ints)
        env = evaluate(whole.program, arrays, floats, ints)
        return [env[r] for r in whole.results]

    def read_by_vjp(self, wrt: Sequence[int]) -> tuple[int, ...]:
        """The leaves that a vector-Jacobian product with respect to some of them reads: those from
        which it computes what the products of the operations read. An operation counts as computed
        from all that it takes, so that there may be more than by the jaxpr, never fewer."""
        n = len(self.leaves)
        flowing, read = set(wrt), set()
        first = starts_of(self.program, n)
        for (kernel, refs, _), start in zip(self.program, first, strict=True):
            inner = tuple([k for k, r in enumerate(refs) if r in flowing])
            if inner:
                read.update([refs[k] for k in kernel.needs(inner)])
                avals = enumerate(kernel.out_avals, start)
                flowing.update([r for r, aval in avals if is_inexact(aval.dtype)])
        for (kernel, refs, _), start in zip(reversed(self.program), reversed(first), strict=True):
            if not read.isdisjoint(range(start, start + len(kernel.out_avals))):
                read.update(refs)
        return tuple([k for k in range(n) if k in read])

    def leads_from(self, given: Iterable[int], tracked: bool = False) -> frozenset[int]:
        """The leaves from which some of its values (as `outputs` counts them) are computed.

        Args:
            given: the values.
            tracked: count only what gradients were recorded to flow through.
        """
        _, places = self._upstream(given, tracked)
        return frozenset([k for k in range(len(self.leaves)) if k in places])

    def leading_to(self, given: Iterable[int]) -> set[int]:
        """The operations by which some of its values (as `outputs` counts them) are computed."""
        return self._upstream(given, False)[0]

    def _upstream(self, given: Iterable[int], tracked: bool) -> tuple[set[int], set[int]]:
        """The operations that lead to some of its values, and the places that these read."""
        places = {self.results[self.outputs[j]] for j in given}
        found = set()
        starts = starts_of(self.program, len(self.leaves))
        for k in reversed(range(len(starts))):
            kernel, refs, _ = self.program[k]
            if not places.isdisjoint(range(starts[k], starts[k] + len(kernel.out_avals))):
                wrt = (_wrt(self.steps[k]) or ()) if tracked else range(len(refs))
                places.update([refs[i] for i in wrt])
                found.add(k)
        return found, places

    def written_out(self) -> Lowered:
        """The same with every backward, and what was recorded unasked, written out as the
        operations that it consists of."""
        if self.flat:
            return self
        opened = self._opened()
        program, results, n = opened.program, opened.results, len(self.leaves)
        origins: Sequence[int] = range(len(program))
        if opened.wrts:
            avals = self.avals()[:n]
            program, origins, results = written_out(program, opened.wrts, avals, results)
        program, origins, results = from_zeros(program, origins, n, results)
        steps = tuple([opened.steps[k] for k in origins])
        return self._replace(
            program=tuple(program), steps=steps, wrts=(), results=tuple(results), flat=True
        )

    def _opened(self) -> Lowered:
        """The same with the operations of parts that were recorded unasked in their place."""
        if True not in [kernel.unasked for kernel, _, _ in self.program]:
            return self
        program: list[Op] = []
        steps: list[Step] = []
        wrts: list[tuple[int, ...] | None] = []
        n = len(self.leaves)
        places = list(range(n))
        for number, ((kernel, refs, numbers), step) in enumerate(
            zip(self.program, self.steps, strict=True)
        ):
            env = [places[r] for r in refs]
            if not kernel.unasked:
                program.append((kernel, tuple(env), numbers))
                steps.append(step)
                wrts += self.wrts[number : number + 1]
                places += range(n, n + len(kernel.out_avals))
                n += len(kernel.out_avals)
                continue
            part: Lowered = step.args  # equal kernels may have been recorded elsewhere
            n_floats = len(part.floats)
            for (inner, inner_refs, taken), inner_step in zip(
                part.program, part.steps, strict=True
            ):
                own = tuple([numbers[j if real else n_floats + j] for real, j in taken])
                program.append((inner, tuple([env[r] for r in inner_refs]), own))
                if self.wrts:
                    wrts.append(_wrt(inner_step))
                env += range(n, n + len(inner.out_avals))
                n += len(inner.out_avals)
            steps += part.steps
            places += [env[part.results[k]] for k in part.outputs]
        return self._replace(
            program=tuple(program), steps=tuple(steps), wrts=tuple(wrts),
            results=tuple([places[r] for r in self.results]),
        )  # fmt: skip


def lower(
    path: Sequence[Step],
    wanted: Sequence[int],
    cut: bool = False,
    known: Mapping[int, tuple[int, Kind]] | None = None,
) -> Lowered:
    """Reduce a path to the function that yields the `wanted` value indices.

    Args:
        path: from the root of a trie, or the end of such a path.
        wanted: the indices.
        cut: whether the function is to be differentiated, so that gradients must stop where the
            path was recorded without them (`detach`, `no_grad`).
        known: by index, the values that are there: the number that each is a leaf by, and its
            kind. They are taken in the order of use: the same work is the same program, whatever
            of it was there before. By default the path's inputs, in the order of entry.

    Raises:
        KeyError: something of it is not on the path, and not known.
    """
    kernels, passes = _with_cuts(path) if cut else ({}, _always)
    alias: dict[int, int] = {}
    inputs, renamed, swept = [], [], False
    for step in path:
        kernel = step.kernel
        if kernel is None:
            if step.kind is not None:
                inputs.append(step)
        elif kernel.is_alias:
            renamed.append(step)
        elif kernel.sweep is not None:
            swept = True
    for step in renamed:
        # Where a backward is to be written out, what ends gradients is no mere name.
        if passes(step) and not (swept and (step.kind.leaf or not step.wrt)):
            source = step.refs[0]
            alias[step.base] = alias.get(source, source)
    goals = [alias.get(i, i) for i in wanted]
    needed, steps = set(goals), []
    for step in reversed(path):
        if step.kernel is None or step.base in alias or step.n == step.base:
            continue
        if step.base in needed or not needed.isdisjoint(range(step.base + 1, step.n)):
            steps.append(step)
            needed.update([alias.get(i, i) for i in step.refs] if alias else step.refs)
    steps.reverse()

    if known is None:
        leaves = tuple(k for k, s in enumerate(inputs) if s.base in needed)
        entries = [inputs[k].base for k in leaves]
        kinds = tuple(inputs[k].kind for k in leaves)
    else:
        used = chain(*[[alias.get(i, i) for i in step.refs] for step in steps], goals)
        entries = list(dict.fromkeys([i for i in used if i in known]))
        leaves = tuple([known[i][0] for i in entries])
        kinds = tuple([known[i][1] for i in entries])
    place = {base: k for k, base in enumerate(entries)}
    floats: dict[int, int] = {}
    ints: dict[int, int] = {}
    program = []
    for step in steps:
        numbers: Any = ()
        if step.numbers:
            for position, kind in zip(step.numbers, step.kernel.numbers, strict=True):
                pool = floats if kind is float else ints
                numbers += ((kind is float, pool.setdefault(position, len(pool))),)
        if alias:
            refs = tuple([place[alias.get(i, i)] for i in step.refs])
        else:
            refs = tuple([place[i] for i in step.refs])
        first, base = len(place), step.base
        place[base] = first
        for i in range(base + 1, step.n):
            place[i] = first + i - base
        program.append((kernels.get(step, step.kernel), refs, numbers))
    order = _updated_first(steps, place, len(leaves))
    results = tuple(sorted({place[g] for g in goals}, key=order))
    positions = {p: k for k, p in enumerate(results)}
    outputs = tuple(positions[place[g]] for g in goals)
    firsts = [place[step.base] for step in steps]

    def aval(p: int) -> jax.ShapeDtypeStruct:
        if p < len(leaves):
            return kinds[p].aval
        k = bisect_right(firsts, p) - 1
        return steps[k].kernel.out_avals[p - firsts[k]]

    def origin(p: int) -> Kernel | None:
        return None if p < len(leaves) else steps[bisect_right(firsts, p) - 1].kernel

    wrts = tuple(map(_wrt, steps)) if swept else ()
    key = (
        tuple((k.shape, k.dtype, k.device) for k in kinds),
        tuple(program),
        wrts,
        results,
    )

    return Lowered(
        leaves, kinds, tuple(floats), tuple(ints), outputs, tuple(map(aval, results)), key,
        tuple(steps), tuple(program), wrts, results, tuple(map(origin, results)), cut,
    )  # fmt: skip


def _wrt(step: Step) -> tuple[int, ...] | None:
    """Which inputs gradients flow to from a step's results; None where they end at these."""
    return None if step.kinds and step.kind.leaf else step.wrt


def _always(step: Step) -> bool:
    return True


def _with_cuts(
    path: Sequence[Step],
) -> tuple[dict[Step, Kernel], Callable[[Step], bool]]:
    """Kernels that let no gradient through where none was recorded, for the steps that need it,
    and whether a step that yields its input unchanged passes gradients on as they are."""
    tracked: set[int] = set()
    cuts = {}
    for step in path:
        tracked.update(i for i, k in zip(range(step.base, step.n), step.kinds) if k.requires_grad)
        if step.kernel is None or not any(i in tracked for i in step.refs):
            continue
        open_ends = tuple(k.requires_grad and not k.leaf for k in step.kinds)
        if not all(open_ends):
            cuts[step] = _cut(step.kernel, open_ends)
    return cuts, lambda step: step not in cuts


def _cut(kernel: Kernel, open_ends: tuple[bool, ...]) -> Kernel:
    """A kernel whose results, but for those that `open_ends` names, pass no gradient on."""

    def fn(*args: Any) -> tuple:
        results = kernel.fn(*args)
        return tuple(
            r if on else jax.lax.stop_gradient(r) for r, on in zip(results, open_ends, strict=True)
        )

    key = ("cut", kernel.key, open_ends)
    return known.get(
        key,
        lambda: Kernel(
            kernel.op, key, fn, kernel.in_avals, kernel.numbers, updates=kernel.updates,
            fleeting=kernel.fleeting, out_avals=kernel.out_avals, by_python=kernel.by_python,
        ),
    )  # fmt: skip


def _updated_first(
    steps: Sequence[Step], place: dict[int, int], n_leaves: int
) -> Callable[[int], tuple[int, int]]:
    """The order of outputs: new contents of inputs first, in the order of those inputs.

    JAX pairs donated inputs with outputs of their shape in order; any other pairing makes XLA copy
    every parameter before it may be overwritten.
    """
    updates = {}
    for step in steps:
        if step.kernel.updates:
            for k, i in enumerate(range(step.base, step.n)):
                source = place.get(step.refs[k], n_leaves)
                if source < n_leaves:
                    updates[place[i]] = source
    return lambda position: (0, updates[position]) if position in updates else (1, position)
