"""What of a program had better be done otherwise where equal work is done together (see `batch`).

A sum of many gradients is a chain of additions, one as deep as the other: it is taken apart into
its terms. A table looked up for a list of indices, whose rows then go separate ways, is one kernel
for each length of list: the look-ups of all lists are joined into one of padded length, and so are
their gradients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from .lower import Op

TERMS = 8  # from which on a sum of gradients is taken apart


class RowsIn(NamedTuple):
    """Kernels that compute rows from leaves, each followed by one that splits its rows.

    Attributes:
        others: the leaves that they share.
        leaves: for each, the leaf that its rows come from.
        made: for each, the operation that computes the rows, and ...
        split: ... the one that splits them.
    """

    others: tuple[int, ...]
    leaves: list[int]
    made: list[int]
    split: list[int]


class RowsSum(NamedTuple):
    """The vector-Jacobian products of such kernels, each after one that joins rows.

    Attributes:
        others: the leaves that they share.
        leaves: for each, the leaf that its rows come from.
        joined: for each, the operation that joins the rows, and ...
        made: ... the product, whose result is a term of a sum that `taken_apart` knows.
        total: the operation that completes that sum.
    """

    others: tuple[int, ...]
    leaves: list[int]
    joined: list[int]
    made: list[int]
    total: int


def rows_joined(
    program: Sequence[Op],
    first: Sequence[int],
    uses: Counter[int],
    n_leaves: int,
    terms: dict[int, list[int]],
) -> tuple[list[RowsIn], list[RowsSum]]:
    """The look-ups, and the gradients of look-ups, that can be done together.

    Args:
        program: the operations.
        first: the place of each one's first result.
        uses: how often each place is read.
        n_leaves: places below are leaves.
        terms: of the sums taken apart.
    """
    sum_of = {r: k for k, found in terms.items() for r in found if uses[r] == 1}
    each: dict[int, int] = {}
    joins: dict[int, int] = {}
    ins: dict[tuple, RowsIn] = {}
    sums: dict[tuple, RowsSum] = {}
    for k, (kernel, refs, numbers) in enumerate(program):
        if kernel.rows is None or numbers:
            continue
        place = first[k]
        if kernel.rows.role == "each" and max(refs) < n_leaves and uses[place] == 1:
            each[place] = k
        elif kernel.rows.role == "join" and uses[place] == 1:
            joins[place] = k
        elif kernel.rows.role == "split" and refs[0] in each:
            made = each[refs[0]]
            leaf, *others = program[made][1]
            key = (program[made][0].rows.family, tuple(others))
            found = ins.setdefault(key, RowsIn(tuple(others), [], [], []))
            found.leaves.append(leaf)
            found.made.append(made)
            found.split.append(k)
        elif kernel.rows.role == "product" and refs[-1] in joins and place in sum_of:
            leaf, *others, joined = refs
            if max(refs[:-1]) < n_leaves:
                total = sum_of[place]
                key = (kernel.rows.family, tuple(others), total)
                found = sums.setdefault(key, RowsSum(tuple(others), [], [], [], total))
                found.leaves.append(leaf)
                found.joined.append(joins[joined])
                found.made.append(k)
    return list(ins.values()), list(sums.values())


def taken_apart(
    program: Sequence[Op],
    first: Sequence[int],
    uses: Counter[int],
    wrts: Sequence[tuple[int, ...] | None] = (),
) -> tuple[dict[int, list[int]], set[int]]:
    """Sums of many gradients.

    Args:
        program: the operations.
        first: the place of each one's first result.
        uses: how often each place is read.
        wrts: of each operation, the inputs that gradients flow to, where there is a backward: what
            is to be differentiated is left as it is.

    Returns:
        The terms of each, by the number of the operation that completes it; and the operations
        that are replaced by these.
    """
    adding = {
        first[k]: k
        for k, (kernel, _, _) in enumerate(program)
        if kernel.adds and not (wrts and wrts[k])
    }
    if len(adding) < TERMS - 1:
        return {}, set()
    terms: dict[int, list[int]] = {}
    inner: dict[int, list[int]] = {}  # by the last addition so far, those before it
    for place, k in adding.items():
        found: list[int] = []
        before: list[int] = []
        for r in program[k][1]:
            if uses[r] == 1 and r in terms:
                more, within = terms.pop(r), inner.pop(r)
                within.append(adding[r])
                if len(more) > len(found):  # the long one grows, whichever side it is on
                    found, more, before, within = more, found, within, before
                found += more
                before += within
            else:
                found.append(r)
        terms[place], inner[place] = found, before
    sums, replaced = {}, set()
    for place, found in terms.items():
        if len(found) >= TERMS:
            sums[adding[place]] = found
            replaced.add(adding[place])
            replaced.update(inner[place])
    return sums, replaced
