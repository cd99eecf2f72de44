"""A whole backward as one operation of a program, and how it is written out.

Recorded, a backward is a single step that names what is differentiated and with respect to what.
What it consists of follows from the operations before it: a walk over these in reverse, a
vector-Jacobian product each. It is written out when the program is compiled, or not at all where
the program runs in groups, which are differentiated as groups (see `units`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .kernel import Kernel, Op, kernels


class Sweep(NamedTuple):
    """What the inputs of a whole backward are: the roots, the cotangents of some, the targets.

    Attributes:
        seeded: for every root, whether its cotangent is given; else it is ones.
    """

    seeded: tuple[bool, ...]

    def sorted(self, refs: Sequence[int]) -> tuple[Sequence[int], list[int | None], Sequence[int]]:
        """The inputs as roots, the cotangent of each or None, and targets."""
        n = len(self.seeded)
        left = iter(refs[n:])
        seeds = [next(left) if given else None for given in self.seeded]
        return refs[:n], seeds, tuple(left)


def sweep_kernel(
    seeded: tuple[bool, ...], targets: tuple[tuple[tuple[int, ...], Any], ...]
) -> Kernel:
    """The operation that gives the gradients of roots with respect to targets.

    Args:
        seeded: see `Sweep`.
        targets: shape and type of each.
    """
    key = ("sweep", seeded, targets)

    def make() -> Kernel:
        avals = tuple([jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in targets])
        kernel = Kernel("backward", key, _unwritten, (), fleeting=True, out_avals=avals)
        kernel.sweep = Sweep(seeded)
        return kernel

    return kernels.get(key, make)


def _unwritten(*args: Any) -> tuple:
    raise AssertionError("a backward runs as what it is written out to")


def written_out(
    program: Sequence[Op],
    wrts: Sequence[tuple[int, ...] | None],
    avals: Sequence[Any],
    results: Sequence[int],
) -> tuple[list[Op], list[int], list[int]]:
    """A program with every backward in it written out, without what `results` do not need.

    Args:
        program: operations on places, inputs first.
        wrts: of each, the inputs that gradients flow to; None where they end at its result.
        avals: shapes and types of the program's inputs.
        results: the places asked for.

    Returns:
        The operations, for each the number of the one it comes from, and the places of the results.
    """
    writer = Writer(avals)
    moved = list(range(len(avals)))  # of every place in the program, the place in what is written
    for number, (kernel, refs, numbers) in enumerate(program):
        refs = tuple([moved[r] for r in refs])
        if kernel.sweep is None:
            op = kernel, refs, numbers
            at = writer.add(op, number)
            moved += range(at, at + len(kernel.out_avals))
            if wrts[number]:
                writer.walked.append((op, wrts[number], at, number))
        else:
            roots, seeds, targets = kernel.sweep.sorted(refs)
            gradients = writer.backward(roots, seeds, number)
            moved += [gradients[t] for t in targets]
    return writer.pruned(len(avals), [moved[r] for r in results])


class Writer:
    """A program that is being written.

    Args:
        avals: shapes and types of its inputs.

    Attributes:
        walked: the operations that a backward walks: each one, the inputs that gradients flow to,
            the place of its first result, and the number it is known by.
    """

    def __init__(self, avals: Sequence[Any]) -> None:
        self.ops: list[Op] = []
        self.origins: list[int] = []
        self.first: list[int] = []
        self.avals = list(avals)
        self.walked: list[tuple[Op, tuple[int, ...], int, int]] = []
        self.pending: dict[int, int] = {}

    def add(self, op: Op, origin: int) -> int:
        """Write an operation; returns the place of its first result."""
        at = len(self.avals)
        self.ops.append(op)
        self.origins.append(origin)
        self.first.append(at)
        self.avals += op[0].out_avals
        return at

    def backward(
        self, roots: Sequence[int], seeds: Sequence[int | None], origin: int
    ) -> dict[int, int]:
        """Write a backward; returns the places of the gradients, by what they are gradients of."""
        self.pending = pending = {}
        flows: dict[Any, list[tuple[int, ...]]] = {}
        for root, seed in zip(roots, seeds, strict=True):
            if seed is None:
                aval = self.avals[root]
                seed = self.add((fill_kernel(aval.shape, aval.dtype, 1), (), ()), origin)
            self.give(root, seed, origin)
        for (kernel, refs, numbers), wrt, at, number in reversed(self.walked):
            given = tuple([j for j in range(len(kernel.out_avals)) if at + j in pending])
            wrt = given and kernel.flowing(wrt, given)
            if not wrt:
                continue
            cotangents = [pending.pop(at + j) for j in given]
            # The last of operations that are alike may find no gradient asked for where others
            # did: it gives it all the same, and is a repetition of the same loop.
            known = flows.setdefault((kernel, given), [])
            wider = next((w for w in known if set(w) > set(wrt)), wrt)
            if wider is wrt and wrt not in known:
                known.append(wrt)
            read = (*[refs[i] for i in kernel.needs(wider)], *cotangents)
            at = self.add((kernel.vjp(wider, given), read, numbers), number)
            for j, i in enumerate(wider):
                if i in wrt:
                    self.give(refs[i], at + j, number)
        return pending

    def give(self, place: int, cotangent: int, origin: int) -> None:
        """Add to the cotangent of a value."""
        other = self.pending.get(place)
        if other is not None:
            aval = self.avals[place]
            total = sum_kernel(aval.shape, aval.dtype)
            cotangent = self.add((total, (other, cotangent), ()), origin)
        self.pending[place] = cotangent

    def pruned(
        self, n_inputs: int, results: Sequence[int]
    ) -> tuple[list[Op], list[int], list[int]]:
        """What the results need, see `written_out`."""
        same: dict[int, int] = {}
        for (kernel, refs, _), at in zip(self.ops, self.first, strict=True):
            if kernel.is_alias:
                same[at] = same.get(refs[0], refs[0])
        goals = [same.get(r, r) for r in results]
        needed, chosen = set(goals), []
        for k in reversed(range(len(self.ops))):
            kernel, refs, numbers = self.ops[k]
            at = self.first[k]
            if at in same or needed.isdisjoint(range(at, at + len(kernel.out_avals))):
                continue
            refs = tuple([same.get(r, r) for r in refs])
            needed.update(refs)
            chosen.append((k, (kernel, refs, numbers)))
        places = list(range(n_inputs))
        moved = dict(enumerate(places))
        ops, origins, n = [], [], n_inputs
        for k, (kernel, refs, numbers) in reversed(chosen):
            ops.append((kernel, tuple([moved[r] for r in refs]), numbers))
            origins.append(self.origins[k])
            for r in range(self.first[k], self.first[k] + len(kernel.out_avals)):
                moved[r] = n
                n += 1
        return ops, origins, [moved[g] for g in goals]


def from_zeros(
    program: Sequence[Op], origins: Sequence[int], n_inputs: int, results: Sequence[int]
) -> tuple[list[Op], list[int], list[int]]:
    """A program in which sums of the gradients of equal operations begin with zeros.

    The operation that gives the first gradient is then followed by an addition as all others are,
    and can be a repetition of the same loop. XLA leaves such an addition out.

    Args:
        program: operations on places, inputs first.
        origins: of each, a number that it is known by.
        n_inputs: how many inputs there are.
        results: the places asked for.

    Returns:
        As `written_out`.
    """
    maker, starts = [-1] * n_inputs, []  # of every place, and of every operation
    for k, (kernel, _, _) in enumerate(program):
        starts.append(len(maker))
        maker += [k] * len(kernel.out_avals)

    def origin(place: int) -> tuple[Kernel, int] | None:
        k = maker[place]
        return None if k < 0 else (program[k][0], place - starts[k])

    # An addition of two results of equal operations is the first.
    begins = [
        (refs[0], k)
        for k, (kernel, refs, _) in enumerate(program)
        if kernel.adds
        and (first := origin(refs[0])) is not None
        and first == origin(refs[1])
        and not first[0].adds
    ]
    if not begins:
        return list(program), list(origins), list(results)
    # The zeros come with the seed of the backward, the last before it that takes nothing.
    after: dict[int, list[tuple[int, int]]] = {}
    for first, k in sorted(begins):
        after.setdefault(maker[first], []).append((first, k))
    seed, seeds = 0, {}
    for k, (_, refs, numbers) in enumerate(program):
        seed = seed if refs or numbers else k
        if k in after:
            seeds.setdefault(seed, []).extend(after[k])
    ops: list[Op] = []
    numbers_of: list[int] = []
    avals: list[Any] = []
    moved, begun = list(range(n_inputs)), {}

    def add(op: Op, origin: int) -> int:
        ops.append(op)
        numbers_of.append(origin)
        at = n_inputs + len(avals)
        avals.extend(op[0].out_avals)
        return at

    for k, (kernel, refs, numbers) in enumerate(program):
        zeros: dict[Kernel, int] = {}
        for _, reader in seeds.get(k, ()):
            (aval,) = program[reader][0].out_avals
            fill = fill_kernel(aval.shape, aval.dtype, 0)
            if fill not in zeros:
                zeros[fill] = add((fill, (), ()), origins[k])
            begun[reader] = zeros[fill]
        places = [moved[r] for r in refs]
        if k in begun:
            places[0] = begun[k]
        at = add((kernel, tuple(places), numbers), origins[k])
        moved += range(at, at + len(kernel.out_avals))
        for first, reader in after.get(k, ()):
            total = program[reader][0]
            begun[reader] = add((total, (begun[reader], moved[first]), ()), origins[k])
    return ops, numbers_of, [moved[r] for r in results]


def fill_kernel(shape: Sequence[int], dtype: Any, number: float) -> Kernel:
    """The kernel that makes an array of one number."""
    key = ("fill", tuple(shape), dtype, number)
    return kernels.get(
        key,
        lambda: Kernel(
            "ones" if number else "zeros", key, lambda: (jnp.full(shape, number, dtype),), (),
            out_avals=(jax.ShapeDtypeStruct(tuple(shape), dtype),),
        ),
    )  # fmt: skip


def sum_kernel(shape: Sequence[int], dtype: Any) -> Kernel:
    """The kernel that adds two gradients."""
    key = ("sum of gradients", tuple(shape), dtype)

    def make() -> Kernel:
        aval = jax.ShapeDtypeStruct(tuple(shape), dtype)
        add = Kernel(
            "add", key, lambda x, y: (x + y,), [aval, aval], out_avals=(aval,), fleeting=True
        )
        add.adds = True
        return add

    return kernels.get(key, make)
