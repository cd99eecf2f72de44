"""The backward of a program whose operations are uses of parts: of each use as a whole.

What the backward of a part consists of is found once; then a use of it is differentiated in one go,
however many operations it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .kernel import Kernel, is_inexact
from .loops import starts_of
from .lower import Lowered
from .parts import Part
from .regroup import TERMS, RowsIn, RowsSum
from .sweep import Writer, fill_kernel, sum_kernel
from .trie import Step
from .units import Piece, Unit, results_of, the_one


class Tables:
    """The operations of a program, those that its backward adds included.

    Attributes:
        program, steps: the operations (None for what `reserve` makes), and the step of each.
        first: the place of each one's first result.
        avals: shapes and types of all places.
        terms: of sums of many gradients, by the operation that completes it.
    """

    def __init__(self, lowered: Lowered) -> None:
        self.program: list[Any] = list(lowered.program)
        self.steps: list[Step] = list(lowered.steps)
        self.first = starts_of(lowered.program, len(lowered.leaves))
        self.avals = lowered.avals()
        self.terms: dict[int, list[int]] = {}

    def add(self, kernel: Kernel, refs: tuple[int, ...], origin: int) -> int:
        """A further operation; returns its number."""
        number = self.reserve(kernel.out_avals, origin)
        self.program[number] = kernel, refs, ()
        return number

    def reserve(self, avals: Sequence[Any], origin: int) -> int:
        """A number, and places for results, of what is no operation by itself."""
        self.program.append(None)
        self.steps.append(self.steps[origin])
        self.first.append(len(self.avals))
        self.avals += avals
        return len(self.program) - 1


class Reversed(NamedTuple):
    """The backward of a piece.

    Attributes:
        part: what it runs, on what was saved and then the cotangents.
        given: the results of the piece that these belong to.
        saved: what of the piece it reads: inputs (counted down from -1) and results (from 0).
        floats, ints: which of the piece's numbers it takes.
        gradients: (input or result of the piece, counted so too; result of the part).
        avals: shapes and types of the part's results.
    """

    part: Part
    given: tuple[int, ...]
    saved: tuple[int, ...]
    floats: tuple[int, ...]
    ints: tuple[int, ...]
    gradients: tuple[tuple[int, int], ...]
    avals: tuple[Any, ...]


# A use of a part, the number of a sum, or products of rows that are added up.
Item = tuple[Part, Unit] | int | RowsSum


class Reverse:
    """One backward of a program.

    Args:
        tables: the program, which grows.
        number: which of its operations is the backward.
        wrts: of each operation, the inputs that gradients flow to.

    Attributes:
        items: what is to be done, in order.
        same: where the backward's results are, by their places in the program.
    """

    def __init__(self, tables: Tables, number: int, wrts: Sequence[tuple[int, ...] | None]) -> None:
        self.tables, self.number, self.wrts = tables, number, wrts
        self.items: list[Item] = []
        self.same: dict[int, int] = {}
        self.pending: dict[int, list[int]] = {}  # the terms of cotangents
        self.ends: set[int] = set()
        self.zeros: dict[tuple, int] = {}  # by shape and type

    def run(self, uses: Sequence[tuple[Piece, Unit]], ins: Sequence[RowsIn]) -> None:
        """Find what is to be done.

        Args:
            uses: the program before the backward.
            ins: look-ups of rows, which come before all of these.
        """
        tables, pending = self.tables, self.pending
        kernel, refs, _ = tables.program[self.number]
        roots, seeds, targets = kernel.sweep.sorted(refs)
        self.ends.update(targets)
        for root, seed in zip(roots, seeds, strict=True):
            if seed is None:
                aval = tables.avals[root]
                seed = self._alone(fill_kernel(aval.shape, aval.dtype, 1), (), self.number)
            pending.setdefault(root, []).append(seed)
        for piece, unit in reversed(uses):
            self._use(piece, unit)
        products = self._products(ins)
        for j, target in enumerate(targets):
            terms = pending[target]
            mine = [products.pop(r) for r in terms if r in products]
            if len(terms) >= TERMS:
                total = self._total(terms)
                self._rows(mine, total)
                self.items.append(total)
                place = tables.first[total]
            else:
                for joined, made, _ in mine:
                    self.items += [self._by_itself(joined), self._by_itself(made)]
                place = self._added(terms, self.number)
            self.same[tables.first[self.number] + j] = place

    def _use(self, piece: Piece, unit: Unit) -> None:
        """Differentiate a use of a part."""
        pending, ends, results = self.pending, self.ends, unit.results
        given = tuple([j for j, r in enumerate(results) if r in pending and r not in ends])
        if not given:
            return
        tables, inputs = self.tables, unit.inputs
        back = piece.reversed.get(given)
        if back is None:
            everything = _with_zeros(piece.part, given)
            back = _reversed(piece, everything, [tables.avals[r] for r in inputs])
            piece.reversed[given] = back
        cotangents = [
            self._added(pending.pop(r), unit.at)
            if (r := results[j]) in pending and r not in ends
            else self._zeros(r)
            for j in back.given
        ]
        if not back.gradients:
            return
        read = [inputs[-1 - k] if k < 0 else results[k] for k in back.saved]
        start = len(tables.avals)
        use = Unit(
            (*read, *cotangents),
            list(range(start, start + len(back.avals))),
            tuple([unit.floats[k] for k in back.floats]),
            tuple([unit.ints[k] for k in back.ints]),
            tables.reserve(back.avals, unit.at),
        )
        self.items.append((back.part, use))
        for k, j in back.gradients:
            target = inputs[-1 - k] if k < 0 else results[k]
            pending.setdefault(target, []).append(start + j)

    def _zeros(self, like: int) -> int:
        """The place of zeros of the shape and type of another place."""
        aval = self.tables.avals[like]
        key = aval.shape, aval.dtype
        if key not in self.zeros:
            self.zeros[key] = self._alone(fill_kernel(*key, 0), (), self.number)
        return self.zeros[key]

    def _products(self, ins: Sequence[RowsIn]) -> dict[int, tuple[int, int, RowsIn]]:
        """The gradients of looked up rows: by the place of each, the operation that joins the rows
        of cotangents, the product, and where the rows came from."""
        tables, pending = self.tables, self.pending
        found = {}
        for rows_in in ins:
            for made, split in zip(rows_in.made, rows_in.split, strict=True):
                places = results_of(tables.program, tables.first, split)
                given = tuple([j for j, r in enumerate(places) if r in pending])
                if not given:
                    continue
                cotangents = [self._added(pending.pop(places[j]), split) for j in given]
                kernel, refs, _ = tables.program[split]
                read = [refs[i] for i in kernel.needs((0,))]
                joined = tables.add(kernel.vjp((0,), given), (*read, *cotangents), split)
                kernel, refs, _ = tables.program[made]
                wrt = self.wrts[made]
                read = [refs[i] for i in kernel.needs(wrt)]
                product = kernel.vjp(wrt, (0,))
                number = tables.add(product, (*read, tables.first[joined]), made)
                for j, i in enumerate(wrt):
                    pending.setdefault(refs[i], []).append(tables.first[number] + j)
                found[tables.first[number]] = joined, number, rows_in
        return found

    def _rows(self, products: Sequence[tuple[int, int, RowsIn]], total: int) -> None:
        """Add gradients of looked up rows up together, where it is known how."""
        tables = self.tables
        groups: dict[tuple, RowsSum] = {}
        for joined, made, rows_in in products:
            kernel, (leaf, *others, _), _ = tables.program[made]
            if kernel.rows is None or leaf not in rows_in.leaves:
                self.items += [self._by_itself(joined), self._by_itself(made)]
                continue
            key = kernel.rows.family, tuple(others)
            found = groups.setdefault(key, RowsSum(tuple(others), [], [], [], total))
            found.leaves.append(leaf)
            found.joined.append(joined)
            found.made.append(made)
        self.items += groups.values()

    def _added(self, terms: list[int], origin: int) -> int:
        """The place of a sum of cotangents."""
        if len(terms) >= TERMS:
            total = self._total(terms)
            self.items.append(total)
            return self.tables.first[total]
        place, *others = terms
        for other in others:
            aval = self.tables.avals[place]
            place = self._alone(sum_kernel(aval.shape, aval.dtype), (place, other), origin)
        return place

    def _total(self, terms: list[int]) -> int:
        aval = self.tables.avals[terms[0]]
        number = self.tables.add(sum_kernel(aval.shape, aval.dtype), (), self.number)
        self.tables.terms[number] = terms
        return number

    def _alone(self, kernel: Kernel, refs: tuple[int, ...], origin: int) -> int:
        """Do an operation by itself; returns the place of its result."""
        number = self.tables.add(kernel, refs, origin)
        self.items.append(self._by_itself(number))
        return self.tables.first[number]

    def _by_itself(self, number: int) -> tuple[Part, Unit]:
        kernel, refs, _ = self.tables.program[number]
        inputs = {r: k for k, r in enumerate(dict.fromkeys(refs))}
        part = Part(((kernel, tuple([inputs[r] for r in refs]), ()),), len(inputs), 0, 0)
        results = list(results_of(self.tables.program, self.tables.first, number))
        return the_one(part), Unit(tuple(inputs), results, (), (), number)


def _with_zeros(part: Part, given: tuple[int, ...]) -> tuple[int, ...]:
    """The results with a cotangent, and those that had better have one of zeros.

    What leads to another result of the same recorded part, all of which has a cotangent by itself,
    gets nothing but an addition of zero. So all uses of a part are alike: those at the root of a
    tree, where only one of two states is read, and those below.
    """
    found, at = set(given), 0
    for kernel, _, _ in part.ops:
        results = range(at, at + len(kernel.out_avals))
        at = results.stop
        if kernel.parts is None or found.isdisjoint(results):
            continue
        reached = kernel.parts.leading_to([j - results.start for j in results if j in found])
        for j, aval in zip(results, kernel.out_avals, strict=True):
            ops = kernel.parts.leading_to([j - results.start])
            if is_inexact(aval.dtype) and ops and ops <= reached:
                found.add(j)
    return tuple(sorted(found))


def _reversed(piece: Piece, given: tuple[int, ...], avals: Sequence[Any]) -> Reversed:
    """The backward of a piece whose results `given` have cotangents; `avals` are its inputs'."""
    part = piece.part
    n_inputs, made = part.n_inputs, [a for kernel, _, _ in part.ops for a in kernel.out_avals]
    n = n_inputs + len(made)
    writer = Writer([*avals, *made, *[made[j] for j in given]])
    at = n_inputs
    for k, (op, wrt) in enumerate(zip(part.ops, piece.wrts, strict=True)):
        if wrt:
            writer.walked.append((op, wrt, at, k))
        at += len(op[0].out_avals)
    roots = [n_inputs + j for j in given]
    found = writer.backward(roots, range(n, n + len(given)), 0)
    ends = list(found)
    n += len(given)
    ops, _, places = writer.pruned(n, [found[r] for r in ends])
    read = {r for _, refs, _ in ops for r in refs}
    saved = [r for r in range(n - len(given)) if r in read]
    local = {r: k for k, r in enumerate((*saved, *range(n - len(given), n)))}
    inner = len(local) - n
    taken = {pair for _, _, numbers in ops for pair in numbers}
    floats, ints = (sorted([j for real, j in taken if real == kind]) for kind in (True, False))
    own = [
        (
            kernel,
            tuple([local[r] if r < n else r + inner for r in refs]),
            tuple([(real, (floats if real else ints).index(j)) for real, j in numbers]),
        )
        for kernel, refs, numbers in ops
    ]
    return Reversed(
        the_one(Part(tuple(own), len(local), len(floats), len(ints))),
        given,
        tuple([-1 - r if r < n_inputs else r - n_inputs for r in saved]),
        tuple(floats), tuple(ints),
        tuple([
            (-1 - r if r < n_inputs else r - n_inputs, place - n)
            for r, place in zip(ends, places, strict=True)
        ]),
        tuple([aval for kernel, _, _ in ops for aval in kernel.out_avals]),
    )  # fmt: skip
