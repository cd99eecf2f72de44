"""Which parts of a program run together, where their values lie, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain
from math import prod
from typing import Any, NamedTuple
from weakref import WeakSet

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding

from ..core.devices import jax_default
from . import rows
from .grouping import Group, Grouping
from .joining import joined
from .kernel import Kernel
from .lower import Lowered
from .parts import Part
from .regroup import RowsIn, RowsSum, rows_joined, taken_apart
from .reverse import Reverse, Tables
from .rows import Row, Spec
from .trie import Step
from .units import results_of, units

_FEWEST = 48  # kernels of a trace, below which nothing is gained
GAIN = 3.0  # kernels a group, on average, from which on batching pays
LARGEST = 1 << 15  # elements of an array in a group: larger ones are no faster together
_MOST_BYTES = 1 << 28  # of all arenas of a trace
_SHARED = 8  # uses from which on a leaf is taken for one that all share, as parameters are, ...
_PARAMETER = 1024  # ... and a value of so many elements
_AT_ONCE = 8  # terms of a sum that one call adds

ProgramOf = Callable[[Any, Callable[[], Callable[..., tuple]], int, str, Step], Any]


class NotWorthIt(Exception):
    """Batching gains too little for this trace."""


class Use(NamedTuple):
    """One call of a program.

    Attributes:
        program: what runs: takes arenas, values, an index, and numbers if there are any.
        written, read: the arenas.
        given: places of the values that it takes, and ...
        own: ... of those that it returns after the arenas written to.
        index: see the functions of `rows`.
        floats, ints: its numbers' positions among the program's; None without any.
        part: what it is a group of.
        drop: places that nobody reads afterwards.
    """

    program: Any
    written: tuple[Row, ...]
    read: tuple[Row, ...]
    given: tuple[int, ...]
    own: tuple[int, ...]
    index: np.ndarray
    floats: np.ndarray | None = None
    ints: np.ndarray | None = None
    part: Part | None = None
    drop: tuple[int, ...] = ()


class Schedule:
    """Finds the groups of a program, and what each of them has to do.

    Args:
        lowered, program_of, gain: as for `Batched`.

    Attributes:
        device: where all is; None for where JAX puts it unasked.
        capacity: of the arenas it uses.
        entering: the leaves that are read as rows: (program, arena, leaves, index).
        joined: values made of rows of several leaves: (place, leaves, which rows).
        zeros: sums, to be begun at zero: (place, shape and type).
        uses: the calls, in order.
        fresh: programs to be compiled, and their arguments or the shapes and types of these.
    """

    def __init__(self, lowered: Lowered, program_of: ProgramOf, gain: float) -> None:
        program, n = lowered.program, len(lowered.leaves)
        devices = {kind.device for kind in lowered.kinds}
        if len(devices) != 1 or (gain > 1 and lowered.size < _FEWEST):
            raise NotWorthIt
        device = devices.pop()
        # Committed to a device or not is part of what a program is compiled for.
        self.device = None if device == jax_default() else device.jax
        self.tables = tables = Tables(lowered)
        self.program, self.steps, self.n_leaves = tables.program, tables.steps, n
        self.first, self.avals, self.terms = tables.first, tables.avals, tables.terms
        self.program_of, self.results, self.wrts = program_of, lowered.results, lowered.wrts
        self.uses_of = Counter(chain.from_iterable([refs for _, refs, _ in program]))
        self.uses_of.update(lowered.results)
        self.shared = {r for r, times in self.uses_of.items() if self._is_shared(r, times)}
        self.shared.update(
            [r for r, kind in enumerate(lowered.kinds) if kind.requires_grad and kind.leaf]
        )
        self.groups = self._grouped()
        self.joined: list[tuple[int, list[int], np.ndarray]] = []
        if self.single <= gain * len(self.groups):
            raise NotWorthIt
        self.together = self._done_together()
        self._alone()
        self._locate()
        self._allocate()
        self.uses: list[Use] = []
        for group in self.groups:
            if group.part is not None:
                self._group(group)
            elif group.found is None:
                self._sum(group.total)
            elif type(group.found) is RowsIn:
                self._rows_in(group.found)
            else:
                self._rows_sum(group.found)
        for r in dict.fromkeys(self.results):
            if r in self.row:
                row = self._kind(r)
                key = ("take", row, self.capacity[row])
                step = self.steps[-1]
                found = self.program_of(key, lambda: rows.take, 0, "result", step)
                self.uses.append(Use(found, (), (row,), (), (r,), np.int32(self.row[r])))
        self._drop()
        self.fresh = self._fresh()

    def _is_shared(self, place: int, times: int) -> bool:
        if times < _SHARED:
            return False
        return place < self.n_leaves or prod(self.avals[place].shape) >= _PARAMETER

    def _grouped(self) -> list[Group]:
        """Units by depth and part, and by the shared values that they read."""
        program, first = self.program, self.first
        terms, replaced = taken_apart(program, first, self.uses_of, self.wrts)
        self.terms.update(terms)
        ins, sums = rows_joined(program, first, self.uses_of, self.n_leaves, terms)
        replaced.update(*[(*r.made, *r.split) for r in ins], *[(*r.made, *r.joined) for r in sums])
        sweeps = [k for k, (kernel, _, _) in enumerate(program) if kernel.sweep is not None]
        replaced.update(sweeps)
        last_of = {max(found.made): found for found in sums}  # by the last it waits for
        waiting = sorted([*terms, *last_of, *sweeps])
        chosen = [k for k in range(len(program)) if k not in replaced]
        all_units = units(program, first, chosen, waiting, self.wrts)
        grouping = Grouping(self.tables, self.shared)
        for found in ins:
            grouping.rows_in(found)
        same: dict[int, int] = {}
        for n, (piece, unit) in enumerate(chain(all_units, [(None, None)])):
            while waiting and (unit is None or waiting[0] < unit.at):
                k = waiting.pop(0)
                if k in last_of:
                    grouping.rows_sum(last_of[k])
                elif k in terms:
                    grouping.total(k)
                else:
                    reverse = Reverse(self.tables, k, self.wrts)
                    reverse.run(all_units[:n], ins)
                    grouping.all(reverse.items)
                    same.update(reverse.same)
                    for number in terms:
                        self.terms[number] = [same.get(r, r) for r in self.terms[number]]
            if unit is None:
                break
            if same and not same.keys().isdisjoint(unit.inputs):
                unit = unit._replace(inputs=tuple([same.get(r, r) for r in unit.inputs]))
            grouping.use(piece.part, unit)
        self.results = [same.get(r, r) for r in self.results]
        self.single = grouping.single
        return grouping.all_groups()

    def _done_together(self) -> set[Part]:
        """The parts that run in groups; they always do, that programs be few."""
        able: dict[Part, bool] = {}
        together: set[Part] = set()
        for group in self.groups:
            part = group.part
            if part is None or part in together:
                continue
            if len(group.units) < 2 and part not in _together_before:
                continue
            fits = able.get(part)
            if fits is None:
                fits = able[part] = all(_batchable(kernel) for kernel, _, _ in part.ops)
            if fits and not self.shared.issuperset(group.units[0].inputs):
                together.add(part)
        # What is shared is no row, and what is made in groups is.
        made = {r for r in self.shared if r >= self.n_leaves}
        if made:
            for group in self.groups:
                if any(not made.isdisjoint(unit.results) for unit in group.units):
                    together.discard(group.part)
        if len(_together_before) > _MOST_PARTS:
            _together_before.clear()
        _together_before.update(together)
        return together

    def _alone(self) -> None:
        """Equal units that do not run together run one by one, or as one if nothing that they wait
        for comes between."""
        groups, self.groups = self.groups, []
        row: list[Group] = []  # units in a row, ...
        later: set[int] = set()  # ... and what is made after the first of them, by others
        place = 0  # of the first
        for group in groups:
            if group.part is None or group.part in self.together:
                later.update(self._made(group))
                self.groups.append(group)
                continue
            for unit in group.units:
                if not later.isdisjoint(unit.inputs):
                    self.groups[place:place] = _as_one(row)
                    row, later = [], set()
                if not row:
                    place = len(self.groups)
                row.append(Group(group.depth, group.part, [unit]))
        self.groups[place:place] = _as_one(row)

    def _made(self, group: Group) -> Iterable[int]:
        """The places of what a group makes."""
        if group.part is not None:
            return chain.from_iterable([unit.results for unit in group.units])
        if group.found is None:
            return (self.first[group.total],)
        numbers = group.found.split if type(group.found) is RowsIn else group.found.made
        return chain.from_iterable([self._results_of(k) for k in numbers])

    def _locate(self) -> None:
        """Which values are read as rows, and which are added up by the group that makes them."""
        program, first, uses_of = self.program, self.first, self.uses_of
        # What a backward adds is read once, and not counted.
        sum_of = {r: first[k] for k, terms in self.terms.items() for r in terms if uses_of[r] < 2}
        # Read by somebody beside the unit that makes it:
        self.read = set(self.results)
        self.read.update(*self.terms.values())
        self.as_rows: set[int] = set()
        self.added: dict[int, int] = {}  # terms that their groups add, and to which sum
        for group in self.groups:
            inputs = list(chain.from_iterable([unit.inputs for unit in group.units]))
            self.read.update(inputs)
            if group.part in self.together:
                self.as_rows.update(inputs)
            elif type(group.found) is RowsSum:
                for k in group.found.joined:
                    self.as_rows.update(program[k][1])
                self.added.update((first[k], first[group.found.total]) for k in group.found.made)
            elif type(group.found) is RowsIn:
                for k in group.found.split:
                    self.as_rows.update(self._results_of(k))
        self.read |= self.as_rows
        for group in self.groups:
            if group.part not in self.together:
                continue
            for places in zip(*[unit.results for unit in group.units]):
                sums = set(map(sum_of.get, places))
                if len(sums) == 1 and None not in sums:
                    self.added.update(dict.fromkeys(places, sums.pop()))
                else:
                    self.as_rows.update(self.read.intersection(places))
        self.as_rows -= self.shared
        # What any group of a part needs, now or before, all make: one program for all.
        if len(_wanted_before) > _MOST_PARTS:
            _wanted_before.clear()
        self.wanted: dict[Part, set[int]] = {}
        for group in self.groups:
            if group.part in self.together:
                wanted = _wanted_before.setdefault(group.part, set())
                columns = enumerate(zip(*[unit.results for unit in group.units]))
                wanted.update([j for j, places in columns if not self.as_rows.isdisjoint(places)])
                self.wanted[group.part] = wanted

    def _allocate(self) -> None:
        """Give every value that is read as a row its place in an arena, group by group."""
        self.row: dict[int, int] = {}
        self.blocks: dict[int, list[int]] = {}  # by a group's first operation
        needed: dict[Row, int] = {}

        def block(row: Row, n: int) -> int:
            start = needed.get(row, 0)
            needed[row] = start + n
            return start

        def lay(places: list[int], size: int) -> int:
            start = block(self._kind(places[0]), size)
            self.row.update(zip(places, range(start, start + len(places))))
            return start

        entering: dict[Row, list[int]] = {}
        for r in range(self.n_leaves):
            if r in self.as_rows:
                entering.setdefault(self._kind(r), []).append(r)
        starts = {row: lay(leaves, padded(len(leaves))) for row, leaves in entering.items()}
        for group in self.groups:
            if group.part is None:
                if type(group.found) is RowsIn:
                    rows_in = [r for k in group.found.split for r in self._results_of(k)]
                    lay(rows_in, rows.room_for(len(rows_in)))
                elif group.found is None and self.first[group.total] in self.as_rows:
                    lay([self.first[group.total]], 1)
                continue
            # A chunk of uses has its results of one kind beside each other.
            n = len(group.units)
            size = rows.chunk_of(rows.width_of(n)) if group.part in self.together else 1
            outputs: dict[Row, list[int]] = {}
            for j, r in enumerate(group.units[0].results):
                if self._read_as_rows(group, j):
                    outputs.setdefault(self._kind(r), []).append(j)
            self.blocks[group.units[0].at] = begins = []
            for row, js in outputs.items():
                start = block(row, -(-n // size) * size * len(js))
                begins.append(start)
                for i in range(0, n, size):
                    for j in js:
                        some = group.units[i : i + size]
                        self.row.update(zip([u.results[j] for u in some], range(start, start + n)))
                        start += size
        if sum(n * rows.size_of(row) for row, n in needed.items()) > _MOST_BYTES:
            raise NotWorthIt
        self.capacity = {row: rows.arenas.capacity(row, n) for row, n in needed.items()}
        self.entering = []
        for row, leaves in entering.items():
            size = padded(len(leaves))
            key = ("put", row, self.capacity[row], size)
            found = self.program_of(key, lambda: rows.put, 1, "input", self.steps[0])
            again = leaves + leaves[:1] * (size - len(leaves))
            self.entering.append((found, row, again, np.int32(starts[row])))
        self.zeros = [(self.first[k], self.avals[self.first[k]]) for k in self.terms]

    def _results_of(self, k: int) -> range:
        return results_of(self.program, self.first, k)

    def _read_as_rows(self, group: Group, j: int) -> bool:
        if group.units[0].results[j] in self.added:
            return False
        if group.part in self.together:
            return j in self.wanted[group.part]
        return group.units[0].results[j] in self.as_rows

    def _kind(self, place: int) -> Row:
        aval = self.avals[place]
        return aval.shape, aval.dtype

    def _group(self, group: Group) -> None:
        """The call of a group, or of a unit that runs alone."""
        part, units = group.part, group.units
        n = len(units)
        width = rows.width_of(n) if part in self.together else 0
        written: list[Row] = []
        outputs: list[tuple[int, int]] = []
        sums, own = [], []
        for j, place in enumerate(units[0].results):
            if place in self.added:
                outputs.append((j, rows.SUM))
                sums.append(self.added[place])
            elif self._read_as_rows(group, j):
                row = self._kind(place)
                if row not in written:
                    written.append(row)
                outputs.append((j, written.index(row)))
            elif place in self.read and not width:
                outputs.append((j, rows.OWN))
                own.append(place)
        touched = list(written)
        inputs: list[int] = []
        given: list[int] = []
        columns: list[list[int]] = []
        for places in zip(*[unit.inputs for unit in units]):
            r = places[0]
            if r not in self.row:
                inputs.append(-1)
                given.append(r)
                continue
            row = self._kind(r)
            if row not in touched:
                touched.append(row)
            inputs.append(touched.index(row))
            columns.append(list(map(self.row.__getitem__, places)))
        begins = self.blocks[units[0].at]
        index = np.empty(len(begins) + 1 + len(columns) * max(1, width), np.int32)
        index[: len(begins)] = begins
        index[len(begins)] = n
        if columns:
            _fill(index[len(begins) + 1 :].reshape(len(columns), -1).T, np.transpose(columns))
        spec = Spec(
            part, width, tuple(inputs), tuple(outputs),
            tuple([(row, self.capacity[row]) for row in touched]), len(written),
        )  # fmt: skip
        step = self.steps[units[0].at]
        name = part.ops[0][0].op + (f" to {part.ops[-1][0].op}" if part.ops[1:] else "")
        found = self.program_of(spec, spec.function, len(written), name, step)
        numbers: list[Any] = []
        for each in ([unit.floats for unit in units], [unit.ints for unit in units]):
            if not each[0]:
                numbers.append(None)
            elif not width:
                numbers.append(np.array(each[0]))
            else:
                numbers.append(np.empty((width, len(each[0])), np.intp))
                _fill(numbers[-1], np.array(each))
        self.uses.append(
            Use(found, tuple(written), tuple(touched[len(written) :]), (*sums, *given),
                (*sums, *own), index, *numbers, part if width else None)
        )  # fmt: skip

    def _rows_in(self, found: RowsIn) -> None:
        """Compute all rows at once, into the arena where they are read one by one."""
        place = self.first[found.split[0]]
        row, start = self._kind(place), self.row[place]
        pick = list(range(sum([len(self._results_of(k)) for k in found.split])))
        size = rows.room_for(len(pick))
        kernel = self.program[found.made[0]][0]
        key = (kernel.rows.family, "rows in", row, self.capacity[row], size)
        step = self.steps[found.made[0]]
        run = self.program_of(key, lambda: rows.computed(kernel.body), 1, kernel.op, step)
        given = (self._concatenated(found.leaves, pick, size), *found.others)
        self.uses.append(Use(run, (row,), (), given, (), np.int32(start)))

    def _rows_sum(self, found: RowsSum) -> None:
        """Add up the products of all rows at once."""
        cotangents: list[int] = []
        pick: list[int] = []
        begin = 0
        for k in found.joined:
            kernel, refs, _ = self.program[k]
            cotangents += [self.row[r] for r in refs]
            pick += [begin + i for i in kernel.rows.given]
            begin += kernel.out_avals[0].shape[0]
        size = rows.room_for(len(pick))
        row = self._kind(self.program[found.joined[0]][1][0])
        kernel = self.program[found.made[0]][0]
        total = self.first[found.total]
        key = (kernel.rows.family, "sum over rows", row, self.capacity[row], size)
        step = self.steps[found.made[0]]
        run = self.program_of(key, lambda: rows.products_added(kernel.body), 0, kernel.op, step)
        index = [len(pick), *cotangents, *cotangents[:1] * (size - len(pick))]
        given = (total, self._concatenated(found.leaves, pick, size), *found.others)
        self.uses.append(Use(run, (), (row,), given, (total,), np.array(index, np.int32)))

    def _concatenated(self, leaves: list[int], pick: list[int], size: int) -> int:
        """The place of rows of leaves, one after another: all those that `pick` says."""
        place = -1 - len(self.joined)
        self.joined.append((place, leaves, np.array(pick + pick[:1] * (size - len(pick)))))
        return place

    def _sum(self, k: int) -> None:
        """Add the terms that no group adds; put the sum where it is read."""
        place, step = self.first[k], self.steps[k]
        row = self._kind(place)
        in_rows = [self.row[r] for r in self.terms[k] if r in self.row]
        alone = [r for r in self.terms[k] if r not in self.row and r not in self.added]
        if in_rows:
            size = rows.room_for(len(in_rows))
            key = ("sum of rows", row, self.capacity[row], size)
            found = self.program_of(key, lambda: rows.sum_of_rows, 0, "sum", step)
            index = [len(in_rows), *in_rows, *in_rows[:1] * (size - len(in_rows))]
            self.uses.append(Use(found, (), (row,), (place,), (place,), np.array(index, np.int32)))
        for start in range(0, len(alone), _AT_ONCE):
            terms = alone[start : start + _AT_ONCE]
            found = self.program_of(("sum", row, len(terms)), lambda: rows.sum_of, 0, "sum", step)
            self.uses.append(Use(found, (), (), (place, *terms), (place,), _NO_INDEX))
        if place in self.row:
            key = ("put one", row, self.capacity[row])
            found = self.program_of(key, lambda: rows.put_one, 1, "sum", step)
            self.uses.append(Use(found, (row,), (), (place,), (), np.int32(self.row[place])))

    def _fresh(self) -> list[tuple[Any, list[Any]]]:
        joined = {place: (leaves[0], len(pick)) for place, leaves, pick in self.joined}
        home = None if self.device is None else SingleDeviceSharding(self.device)

        def array(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(shape, dtype, sharding=home)

        def arena(row: Row) -> jax.ShapeDtypeStruct:
            return array((self.capacity[row], *row[0]), row[1])

        def value(place: int) -> jax.ShapeDtypeStruct:
            if place >= 0:
                return array(self.avals[place].shape, self.avals[place].dtype)
            leaf, n = joined[place]
            return jax.ShapeDtypeStruct((n, *self.avals[leaf].shape[1:]), self.avals[leaf].dtype)

        found: dict[int, tuple[Any, list[Any]]] = {}
        for program, row, leaves, start in self.entering:
            if program.jitted is not None:
                block = jax.ShapeDtypeStruct((len(leaves), *row[0]), row[1])
                found.setdefault(id(program), (program, [arena(row), block, start]))
        for use in self.uses:
            if use.program.jitted is not None and id(use.program) not in found:
                given = [*map(arena, (*use.written, *use.read)), *map(value, use.given), use.index]
                if use.floats is not None:
                    given.append(jax.ShapeDtypeStruct(use.floats.shape, np.float64))
                if use.ints is not None:
                    given.append(jax.ShapeDtypeStruct(use.ints.shape, np.int64))
                found[id(use.program)] = use.program, given
        # What takes much is mostly what takes long: it begins first.
        return sorted(found.values(), key=lambda each: -len(each[1]))

    def _drop(self) -> None:
        """Let go of values after their last use."""
        last: dict[int, int] = {}
        for number, use in enumerate(self.uses):
            for r in chain(use.given, use.own):
                last[r] = number
        drops: dict[int, list[int]] = {}
        kept = set(self.results)
        for r, number in last.items():
            if r not in kept:
                drops.setdefault(number, []).append(r)
        for number, places in drops.items():
            self.uses[number] = self.uses[number]._replace(drop=tuple(places))


def _as_one(groups: list[Group]) -> list[Group]:
    """Units that run one after another, as one of a part of all of them if that is wanted."""
    one = joined([(group.part, group.units[0]) for group in groups])
    return groups if one is None else [Group(groups[0].depth, one[0], [one[1]])]


_MOST_PARTS = 1024
_together_before: set[Part] = set()
_wanted_before: dict[Part, set[int]] = {}
_NO_INDEX = np.int32(0)


def _batchable(kernel: Kernel) -> bool:
    """Whether a kernel may run in groups: not what updates its inputs, not what is large."""
    return not (
        kernel.updates
        or kernel.kept
        or kernel in unable
        or any(prod(aval.shape) > LARGEST for aval in kernel.out_avals)
    )


unable: WeakSet[Kernel] = WeakSet()  # kernels that failed in a group


def _fill(table: np.ndarray, uses: np.ndarray) -> None:
    """Write uses, and the first of them where there are no more: what is computed of it and does
    not count is finite."""
    table[: len(uses)] = uses
    table[len(uses) :] = uses[0]


def padded(n: int) -> int:
    """To how many rows `n` are padded that come from outside: a copy, which many are no faster."""
    size = 4
    while size < n:
        size *= 4
    return size
