"""Parts of a program that recur: found, compiled once, called wherever they stand.

A trace never seen before need not be compiled whole where its parts are known. The layers of a
deep network, the cells of a loop over a sequence or over a tree, their backwards: the same kernels
follow each other in the same way. They are found by joining neighbours that nearly always are
neighbours (as Re-Pair does, Larsson and Moffat 1999), so that a part ends where what follows
varies. What lies between parts is a part of its own, or runs kernel by kernel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import jax
import numpy as np

from ..core.devices import jax_default
from .kernel import Kernel, Op, evaluate
from .looped import Lent, Looped, LoopUse, capacity_for, in_ranges, loop_use
from .loops import Form, Loop, outside, source_of
from .lower import Lowered
from .programs import compile_ahead
from .trie import Step

_LONGEST = 256  # kernels of a part
_FEWEST = 3  # how often neighbours must meet
_FAITHFUL = 0.8  # how much of the time one of them must meet the other
_GROWN = 4  # kernels from which on a stretch counts as grown together
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
        self.outputs: dict[Part | Looped, set[int]] = {}
        # Loops by the kernels of a repetition; kernels of parts that run by themselves.
        self.forms: dict[tuple[Kernel, ...], list[Form]] = {}
        self.plain: set[tuple[Kernel, ...]] = set()

    def add(self, kernels: Sequence[Kernel]) -> None:
        """Learn a part."""
        if self.count >= _MOST_PARTS:
            self.root, self.count = {}, 0
            self.between.clear()
            self.compiled.clear()
            self.forms.clear()
            self.plain.clear()
        node = self.root
        for kernel in kernels:
            node = node.setdefault(kernel, {})
        self.count += _END not in node
        node[_END] = True

    def divide(
        self, kernels: Sequence[Kernel], **joining: Any
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """`cut`, after the parts that recur were learnt where few are known; `joining` is for
        `recurring`."""
        known, between = self.cut(kernels)
        if 2 * sum(stop - start for start, stop in known) < len(kernels):
            found = recurring(kernels, **joining)
            if found:
                for part in found:
                    self.add(part)
                known, between = self.cut(kernels)
        return known, between

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


def recurring(
    kernels: Sequence[Kernel], longest: int = _LONGEST, elsewhere: float = 0.0
) -> list[tuple[Kernel, ...]]:
    """The stretches of kernels that recur in a sequence and belong together.

    Args:
        kernels: the sequence.
        longest: kernels of a stretch.
        elsewhere: the share of its uses below which what has grown together takes in no neighbour.
    """
    numbers: dict[Kernel, int] = {}
    sequence = [numbers.setdefault(kernel, len(numbers)) for kernel in kernels]
    spelled: list[tuple[Kernel, ...]] = [(kernel,) for kernel in numbers]
    while True:
        pairs = Counter(zip(sequence, islice(sequence, 1, None)))
        alone = Counter(sequence)
        # What has grown together and mostly stands elsewhere is a part of its own.
        apart = {x for x in alone if len(spelled[x]) >= _GROWN}
        faithful = {
            pair: times
            for pair, times in pairs.items()
            if times >= _FEWEST
            and pair[0] != pair[1]
            and not any(x in apart and times < elsewhere * alone[x] for x in pair)
            and times >= _FAITHFUL * min(alone[pair[0]], alone[pair[1]])
            and len(spelled[pair[0]]) + len(spelled[pair[1]]) <= longest
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
    # A kernel alone is one where it mostly follows itself: the recorded cell of a loop.
    again = Counter(a for a, b in zip(sequence, islice(sequence, 1, None)) if a == b)
    return [
        spelled[symbol]
        for symbol, n in Counter(sequence).items()
        if n >= _FEWEST
        and (len(spelled[symbol]) > 1 or again[symbol] >= max(_FEWEST, _FAITHFUL * n))
    ]


def calls(
    lowered: Lowered, ranges: Sequence[tuple[int, int]], loops: Sequence[Loop] = ()
) -> list[Call | Loop]:
    """The uses of parts, and the loops, that make up a program; `ranges` says where each is."""
    program = lowered.program
    place = len(lowered.leaves)
    owner: list[Call | None] = [None] * place
    found: list[Call | Loop] = []
    at = {(loop.start, loop.stop): loop for loop in loops}
    for start, stop in ranges:
        loop = at.get((start, stop))
        if loop is not None:
            found.append(loop)
            _need(owner, loop.reads())
            place = loop.end
            owner += [None] * (place - loop.first)
            continue
        first, inputs, floats, ints, ops = place, {}, {}, {}, []
        for kernel, refs, numbers in program[start:stop]:
            ops.append((kernel, refs, numbers))
            place += len(kernel.out_avals)
            for r in refs:
                if r < first and r not in inputs:
                    inputs[r] = len(inputs)
            for is_float, j in numbers:
                pool = floats if is_float else ints
                pool.setdefault(j, len(pool))
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
        _need(owner, inputs)
        call = Call(part, tuple(inputs), start, first, tuple(floats), tuple(ints), set())
        owner += [call] * (place - first)
        found.append(call)
    _need(owner, lowered.results)
    return found


def _need(owner: Sequence[Call | None], places: Iterable[int]) -> None:
    """Note with the calls that own these places that somebody reads them."""
    for place in places:
        call = owner[place]
        if call is not None:
            call.needed.add(place - call.first)


class _Use(NamedTuple):
    """A call as it runs: from `inputs` to `outputs`, after which `drop` is not read again."""

    program: Any
    inputs: tuple[int, ...]
    floats: tuple[int, ...]
    ints: tuple[int, ...]
    outputs: tuple[int, ...]
    drop: list[int]

    def reads(self) -> Iterable[int]:
        """The places that it takes."""
        return self.inputs

    def shapes(self, avals: dict[int, Any]) -> list[Any]:
        """Shapes and types of what the program takes."""
        given = [avals[r] for r in self.inputs]
        both = (self.floats, np.float64), (self.ints, np.int64)
        return given + [jax.ShapeDtypeStruct((len(n),), dtype) for n, dtype in both if n]

    def run(self, env: dict[int, Any], floats: Any, ints: Any, lent: Lent | None = None) -> None:
        """Run it on the values at hand, to which it adds its own."""
        given = [env[r] for r in self.inputs]
        if self.floats:
            given.append(floats[list(self.floats)])
        if self.ints:
            given.append(ints[list(self.ints)])
        env.update(zip(self.outputs, self.program.run(*given)))


class Parted:
    """A program as calls of parts, and loops.

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
        program_of: Callable[[Part | Looped, tuple[int, ...], Step], Any],
    ) -> None:
        program, self.results = lowered.program, lowered.results
        self.n_leaves = len(lowered.leaves)
        self.n_floats, self.n_ints = len(lowered.floats), len(lowered.ints)
        loops = in_ranges(
            program, self.n_leaves, self.results, ranges, dictionary.forms, dictionary.plain
        )
        inside = [range(loop.start, loop.stop) for loop in loops]
        ranges = sorted(
            [
                *[r for r in ranges if not any(r[0] in loop for loop in inside)],
                *[(loop.start, loop.stop) for loop in loops],
            ]
        )
        uses = [use for use in calls(lowered, ranges, loops) if isinstance(use, Loop) or use.needed]
        single, stacks = outside(program, self.n_leaves, self.results, loops)
        capacities = {loop.first: capacity_for(loop) for loop in loops}
        parts: list[Part | Looped] = []
        needed: list[set[int]] = []
        for use in uses:
            if isinstance(use, Loop):
                sources = [source_of(places, loops) for places in use.stacks]
                own = capacities[use.first]
                lengths = tuple([(own if s is None else capacities[s.first]) + 1 for s in sources])
                parts.append(Looped(use.form, own, lengths))
                needed.append(set(use.stacked(single, stacks)))
            else:
                dictionary.plain.add(tuple([kernel for kernel, _, _ in use.part.ops]))
                parts.append(use.part)
                needed.append(use.needed)
        # Parts are long tuples: each use is looked up once, and its part known by a number then.
        numbers: dict[Part | Looped, int] = {}
        which = [numbers.setdefault(part, len(numbers)) for part in parts]
        parts_by_number = list(numbers)
        wanted: list[set[int]] = [set() for _ in numbers]
        starts: list[int] = [0] * len(numbers)
        for number, use, places in zip(reversed(which), reversed(uses), reversed(needed)):
            starts[number] = use.start
            wanted[number] |= places
        outputs = dictionary.outputs
        made = []
        for part, places, start in zip(numbers, wanted, starts):
            # What any use needed before is given to all: one program for a part.
            places |= outputs.get(part, set())
            if len(outputs) > _MOST_PARTS:
                outputs.clear()
            outputs[part] = places
            ordered = tuple(sorted(places))
            made.append((ordered, program_of(part, ordered, lowered.steps[start])))
        self.uses: list[_Use | LoopUse] = []
        for number, use in zip(which, uses):
            places, compiled = made[number]
            if isinstance(use, Loop):
                capacity = capacities[use.first]
                self.uses.append(loop_use(use, loops, compiled, places, capacity, single))
            else:
                outs = tuple([use.first + k for k in places])
                self.uses.append(_Use(compiled, use.inputs, use.floats, use.ints, outs, []))
        last: dict[int, int] = {}
        for k, use in enumerate(self.uses):
            last.update(dict.fromkeys(use.outputs if isinstance(use, LoopUse) else (), k))
            last.update(dict.fromkeys(use.reads(), k))
        kept = set(self.results)
        for r, k in last.items():
            if r not in kept:
                self.uses[k].drop.append(r)
        # Of every use, what runs and the results that it gives (see `fusion`).
        self.pieces = [(parts_by_number[number], made[number][0]) for number in which]
        # What it is as one program, and what is known of such; once that is asked for.
        self.fused: Any = None
        self.lent: Any = None  # see `ahead.Ahead.lent`
        self.fresh: list[tuple[Any, list[Any]]] = []
        if any(use.program.jitted is not None for use in self.uses):
            self._see_fresh(lowered)

    def _see_fresh(self, lowered: Lowered) -> None:
        """Note which programs are to be compiled, and for what."""
        if any(kind.device != jax_default() for kind in lowered.kinds):
            return  # where their inputs lie is part of what they are compiled for
        avals = dict(enumerate(lowered.avals()))
        seen: set[int] = set()
        for use in self.uses:
            if isinstance(use, LoopUse):
                avals.update(use.stack_shapes(avals))
            if use.program.jitted is not None and id(use.program) not in seen:
                seen.add(id(use.program))
                self.fresh.append((use.program, use.shapes(avals)))

    def numbers(self, args: Sequence[Any]) -> tuple[Any, Any]:
        """The floats and the ints among the arguments; None where there are none."""
        packed = iter(args[self.n_leaves :])
        floats = np.asarray(next(packed)) if self.n_floats else None
        return floats, np.asarray(next(packed)) if self.n_ints else None

    def made_stacks(self) -> Iterator[tuple[int, ...]]:
        """The places of what is to be stacked, for every stack that is made."""
        for use in self.uses:
            if isinstance(use, LoopUse):
                yield from [stack for stack in use.stacks if not isinstance(stack, int)]

    def run(self, *args: Any, lent: Lent | None = None) -> list[Any]:
        """The distinct outputs, from leaf arrays, then the floats and ints if there are any.

        Args:
            lent: stacks that need not be made.
        """
        if self.fresh:
            compile_ahead(self.fresh)
            self.fresh = []
        env: dict[int, Any] = dict(enumerate(args[: self.n_leaves]))
        floats, ints = self.numbers(args)
        for use in self.uses:
            use.run(env, floats, ints, lent)
            for r in use.drop:
                del env[r]
        return [env[r] for r in self.results]


__all__ = ["Call", "Dictionary", "Part", "Parted", "calls", "recurring"]
