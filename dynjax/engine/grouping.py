"""Which units of a program are at equal depth, and so can run together."""

from __future__ import annotations

from collections.abc import Sequence, Set
from itertools import chain
from typing import NamedTuple

from . import rows
from .parts import Part
from .regroup import RowsIn, RowsSum
from .reverse import Item, Tables
from .units import Unit, results_of


class Group(NamedTuple):
    """Uses of a part at equal depth, or what `regroup` found.

    Attributes:
        depth: units on the longest way to them.
        part: what they run; None for what `regroup` found.
        units: the uses.
        found: rows that are made, or added up, together.
        total: the operation that completes a sum of many gradients.
    """

    depth: int
    part: Part | None
    units: list[Unit]
    found: RowsIn | RowsSum | None = None
    total: int = -1


class Grouping:
    """Takes what is to be done, in order, and puts it into groups.

    Args:
        tables: the program.
        shared: places of values that many read, as parameters are.

    Attributes:
        single: how many calls it would be, were nothing done together.
    """

    def __init__(self, tables: Tables, shared: Set[int]) -> None:
        self.tables = tables
        self.depth = [0] * len(tables.avals)
        # What tells units apart beside their parts: shared values that they read; else -1.
        self.told = [-1] * len(tables.avals)
        for r in shared:
            self.told[r] = r
        self.groups: list[Group] = []
        self.by_key: dict[tuple, tuple[int, Part, list[Unit]]] = {}
        self.single = 0

    def all(self, items: Sequence[Item]) -> None:
        """Take what a backward consists of."""
        new = len(self.tables.avals) - len(self.depth)
        self.depth += [0] * new
        self.told += [-1] * new
        for item in items:
            if type(item) is tuple:
                self.use(*item)
            elif type(item) is int:
                self.total(item)
            else:
                self.rows_sum(item)

    def use(self, part: Part, unit: Unit) -> None:
        """Take a use of a part."""
        depth, inputs = self.depth, unit.inputs
        at = 1 + max(map(depth.__getitem__, inputs), default=0)
        key = (at, id(part), *map(self.told.__getitem__, inputs))
        found = self.by_key.get(key)
        if found is None:
            self.by_key[key] = at, part, [unit]
        else:
            found[2].append(unit)
        for r in unit.results:
            depth[r] = at
        self.single += 1

    def total(self, number: int) -> None:
        """Take a sum of many gradients."""
        terms = self.tables.terms[number]
        at = 1 + max([self.depth[r] for r in terms])
        self.depth[self.tables.first[number]] = at
        self.groups.append(Group(at, None, [], None, number))
        self.single += len(terms)

    def rows_in(self, found: RowsIn) -> None:
        """Take rows that are looked up."""
        for k in found.split:
            for r in results_of(self.tables.program, self.tables.first, k):
                self.depth[r] = 1
        self.groups.append(Group(1, None, [], found))
        self.single += 2 * len(found.split)

    def rows_sum(self, found: RowsSum) -> None:
        """Take gradients of rows that are looked up."""
        read = chain.from_iterable([self.tables.program[k][1] for k in found.joined])
        at = 1 + max([self.depth[r] for r in read])
        for k in found.made:
            self.depth[self.tables.first[k]] = at
        self.groups.append(Group(at, None, [], found))
        self.single += 2 * len(found.made)

    def all_groups(self) -> list[Group]:
        """The groups, in an order in which they can run."""
        groups = self.groups
        for at, part, members in self.by_key.values():
            for start in range(0, len(members), rows.WIDEST):
                groups.append(Group(at, part, members[start : start + rows.WIDEST]))
        groups.sort(key=lambda group: group.depth)
        return groups
