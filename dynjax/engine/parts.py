"""Parts of a program that recur: found, compiled once, called wherever they stand.

A trace never seen before need not be compiled whole where its parts are known. The layers of a
deep network, the cells of a loop over a sequence or over a tree, their backwards: the same kernels
follow each other in the same way. They are found by joining neighbours that nearly always are
neighbours (as Re-Pair does, Larsson and Moffat 1999), so that a part ends where what follows
varies. What lies between parts is a part of its own, or runs kernel by kernel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from .kernel import Kernel, Op, evaluate
from .lower import Lowered
from .trace import Step

_LONGEST = 256  # kernels of a part
_FEWEST = 3  # how often neighbours must meet
_FAITHFUL = 0.8  # how much of the time one of them must meet the other
_MOST_PARTS = 4096
_END = None  # in the tree of parts: a part ends here


class Part(NamedTuple):
    """A stretch of kernels with how they are connected; equal for equal parts.

    Attributes:
        ops: (kernel, inputs, numbers): inputs below `n_inputs` come from outside, the others are
            results within; numbers are (is float, position).
        n_inputs: how many values it takes.
        n_floats, n_ints: how many run-time numbers it takes.
    """

    ops: tuple[Op, ...]
    n_inputs: int
    n_floats: int
    n_ints: int

    def function(self, outputs: tuple[int, ...]) -> Callable[..., list[Any]]:
        """The part as a function of its inputs, then its floats and ints if it has any."""

        def part(*args: Any) -> list[Any]:
            packed = iter(args[self.n_inputs :])
            floats = next(packed) if self.n_floats else ()
            ints = next(packed) if self.n_ints else ()
            env = evaluate(self.ops, args[: self.n_inputs], floats, ints)
            return [env[self.n_inputs + k] for k in outputs]

        return part


class Call(NamedTuple):
    """One use of a part.

    Attributes:
        part: what runs.
        inputs: the places of its inputs.
        start: the number of its first kernel in the program.
        first: the place of its first result.
        floats, ints: its numbers' positions among the program's.
        needed: which of its results somebody else reads.
    """

    part: Part
    inputs: tuple[int, ...]
    start: int
    first: int
    floats: tuple[int, ...]
    ints: tuple[int, ...]
    needed: set[int]


class Dictionary:
    """The parts known so far, as a tree of kernels."""

    def __init__(self) -> None:
        self.root: dict = {}
        self.count = 0
        # How often a kernel stood in a new stretch between parts; parts that were compiled.
        self.between: Counter[Kernel] = Counter()
        self.compiled: set[tuple[Kernel, ...]] = set()
        self.outputs: dict[Part, set[int]] = {}

    def add(self, kernels: Sequence[Kernel]) -> None:
        """Learn a part."""
        if self.count >= _MOST_PARTS:
            self.root, self.count = {}, 0
            self.between.clear()
            self.compiled.clear()
        node = self.root
        for kernel in kernels:
            node = node.setdefault(kernel, {})
        self.count += _END not in node
        node[_END] = True

    def cut(self, kernels: Sequence[Kernel]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Where known parts stand, the longest first from the left, and what lies between."""
        known, between, n, i, gap = [], [], len(kernels), 0, 0
        root = self.root
        while i < n:
            node, j, best = root, i, 0
            while j < n:
                node = node.get(kernels[j])
                if node is None:
                    break
                j += 1
                if _END in node:
                    best = j
            if best:
                if gap < i:
                    between.append((gap, i))
                known.append((i, best))
                i = gap = best
            else:
                i += 1
        if gap < n:
            between.append((gap, n))
        return known, between


def recurring(kernels: Sequence[Kernel]) -> list[tuple[Kernel, ...]]:
    """The stretches of kernels that recur in a sequence and belong together."""
    numbers: dict[Kernel, int] = {}
    sequence = [numbers.setdefault(kernel, len(numbers)) for kernel in kernels]
    spelled: list[tuple[Kernel, ...]] = [(kernel,) for kernel in numbers]
    while True:
        pairs = Counter(zip(sequence, islice(sequence, 1, None)))
        alone = Counter(sequence)
        faithful = {
            pair: times
            for pair, times in pairs.items()
            if times >= _FEWEST
            and pair[0] != pair[1]
            and times >= _FAITHFUL * min(alone[pair[0]], alone[pair[1]])
            and len(spelled[pair[0]]) + len(spelled[pair[1]]) <= _LONGEST
        }
        if not faithful:
            break
        # Pairs that could claim the same neighbour would cut the repetitions of a loop at different
        # places: the more frequent, then the earlier, goes first, the other waits.
        chosen: dict[tuple[int, int], int] = {}
        lefts, rights = set(), set()
        for left, right in sorted(faithful, key=faithful.__getitem__, reverse=True):
            if left not in rights and right not in lefts:
                lefts.add(left)
                rights.add(right)
                chosen[left, right] = len(spelled)
                spelled.append(spelled[left] + spelled[right])
        joined, i, n = [], 0, len(sequence)
        while i < n:
            new = chosen.get((sequence[i], sequence[i + 1])) if i + 1 < n else None
            joined.append(sequence[i] if new is None else new)
            i += 1 if new is None else 2
        sequence = joined
    times = Counter(sequence)
    return [
        spelled[symbol] for symbol, n in times.items() if n >= _FEWEST and len(spelled[symbol]) > 1
    ]


def calls(lowered: Lowered, ranges: Sequence[tuple[int, int]]) -> list[Call]:
    """The uses of parts that make up a program, given where each begins and ends."""
    program = lowered.program
    place = len(lowered.leaves)
    owner: list[int] = [-1] * place
    found: list[Call] = []
    for number, (start, stop) in enumerate(ranges):
        first, inputs, floats, ints, ops = place, {}, {}, {}, []
        for kernel, refs, numbers in program[start:stop]:
            ops.append((kernel, refs, numbers))
            place += len(kernel.out_avals)
            for r in refs:
                if r < first and r not in inputs:
                    inputs[r] = len(inputs)
                    if owner[r] >= 0:
                        call = found[owner[r]]
                        call.needed.add(r - call.first)
            for is_float, j in numbers:
                pool = floats if is_float else ints
                pool.setdefault(j, len(pool))
        owner += [number] * (place - first)
        inner = len(inputs) - first
        part = Part(
            tuple(
                [
                    (
                        kernel,
                        tuple([inputs[r] if r < first else r + inner for r in refs]),
                        tuple([(f, (floats if f else ints)[j]) for f, j in numbers])
                        if numbers
                        else (),
                    )
                    for kernel, refs, numbers in ops
                ]
            ),
            len(inputs),
            len(floats),
            len(ints),
        )
        found.append(Call(part, tuple(inputs), start, first, tuple(floats), tuple(ints), set()))
    for r in lowered.results:
        if owner[r] >= 0:
            call = found[owner[r]]
            call.needed.add(r - call.first)
    return found


class Parted:
    """A program as calls of parts.

    Args:
        lowered: the program.
        ranges: where each part begins and ends.
        program_of: gives the compiled program of a part for some of its outputs.
    """

    def __init__(
        self,
        lowered: Lowered,
        ranges: Sequence[tuple[int, int]],
        dictionary: Dictionary,
        program_of: Callable[[Part, tuple[int, ...], Step], Any],
    ) -> None:
        self.n_leaves, self.results = len(lowered.leaves), lowered.results
        self.n_floats, self.n_ints = len(lowered.floats), len(lowered.ints)
        uses = [call for call in calls(lowered, ranges) if call.needed]
        # Parts are long tuples: each use is looked up once, and its part known by a number then.
        numbers: dict[Part, int] = {}
        which = [numbers.setdefault(call.part, len(numbers)) for call in uses]
        wanted: list[set[int]] = [set() for _ in numbers]
        starts: list[int] = [0] * len(numbers)
        for number, call in zip(reversed(which), reversed(uses)):
            starts[number] = call.start
            wanted[number] |= call.needed
        outputs = dictionary.outputs
        made = []
        for part, needed, start in zip(numbers, wanted, starts):
            # What any use needed before is given to all: one program for a part.
            needed |= outputs.get(part, set())
            if len(outputs) > _MOST_PARTS:
                outputs.clear()
            outputs[part] = needed
            places = tuple(sorted(needed))
            made.append((places, program_of(part, places, lowered.steps[start])))
        last: dict[int, int] = {}
        for k, call in enumerate(uses):
            for r in call.inputs:
                last[r] = k
        kept = set(self.results)
        drops: list[list[int]] = [[] for _ in uses]
        for r, k in last.items():
            if r not in kept:
                drops[k].append(r)
        self.uses = [
            (made[number][1], call.inputs, call.floats, call.ints,
             [call.first + k for k in made[number][0]], drop)
            for number, call, drop in zip(which, uses, drops)
        ]  # fmt: skip

    def run(self, *args: Any) -> list[Any]:
        """The distinct outputs, from leaf arrays, then the floats and ints if there are any."""
        env: dict[int, Any] = dict(enumerate(args[: self.n_leaves]))
        packed = iter(args[self.n_leaves :])
        all_floats = np.asarray(next(packed)) if self.n_floats else None
        all_ints = np.asarray(next(packed)) if self.n_ints else None
        for program, inputs, floats, ints, outputs, drop in self.uses:
            given = [env[r] for r in inputs]
            if floats:
                given.append(all_floats[list(floats)])
            if ints:
                given.append(all_ints[list(ints)])
            env.update(zip(outputs, program.run(*given)))
            for r in drop:
                del env[r]
        return [env[r] for r in self.results]


__all__ = ["Call", "Dictionary", "Part", "Parted", "calls", "recurring"]
