"""A trace that goes on after a value was read: what it has computed is an input of what follows.

Where a graph leads on from a read (`while change > tolerance:` in a model), closing the trace would
mean to build that graph's tape, node by node, and to walk it the same way. So the trace stays open:
its values keep their places, backward finds all of the graph in one trace, and the next program
takes what is computed as inputs.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any, NamedTuple

from .lower import Lowered, lower
from .trace import Trace
from .trie import Step
from .value import Value


class Computed(NamedTuple):
    """What an open trace has computed.

    Attributes:
        plan: of the last read; it follows from this one which values there are.
        last: the step that the trace stood at then.
        values: they.
        indices: their indices.
        reads: how many reads that took.
        size: bytes that they take.
        starts: reads that ran by themselves, each with how many there were with it.
        ahead: the last run ahead, of which some of the values are; None where none was.
    """

    plan: Any
    last: Step
    values: list[Value]
    indices: tuple[int, ...]
    reads: int
    size: int
    starts: list[tuple[Any, int]]
    ahead: Any = None

    def more(
        self,
        plan: Any,
        last: Step,
        values: list[Value],
        indices: Sequence[int],
        reads: int,
        size: int,
        ahead: Any = None,
    ) -> Computed:
        """What is computed after further reads, of which this is the last plan."""
        return Computed(
            plan, last, self.values + values, (*self.indices, *indices), self.reads + reads,
            self.size + size, self.starts, ahead or self.ahead,
        )  # fmt: skip

    def over(self) -> None:
        """Note with each read that ran by itself how many came after it."""
        for plan, number in self.starts:
            plan.lengths.append(self.reads - number)


def lowered_after(trace: Trace, path: Sequence[Step], wanted: Sequence[int]) -> Lowered:
    """What computes values of a trace from its leaves and what it has computed.

    The inputs are numbered in this order. The path may go on past the trace.
    """
    computed = trace.computed
    if computed is None:
        return lower(path, wanted)
    whole = lower(path, (*wanted, *computed.indices))
    n_inputs = path[-1].inputs
    return resumed(whole, len(wanted), n_inputs, [v.kind for v in computed.values])


def lowered_since(trace: Trace, steps: Sequence[Step], wanted: Sequence[int]) -> Lowered | None:
    """The same of the steps since the last read alone; None where more is needed.

    A loop that reads a value at every iteration is not gone through from its beginning each time.
    No backward may be among them: what of one is computed shows when it is written out.
    """
    known = {i: (k, v.kind) for k, (v, i) in enumerate(trace.leaves.items())}
    for k, v in enumerate(trace.computed.values, len(known)):
        known.setdefault(v.idx, (k, v.kind))
    try:
        return lower(steps, wanted, known=known)
    except KeyError:
        return None


def steps_since(trace: Trace) -> list[Step]:
    """The steps since the last read of a trace, or all."""
    last = None if trace.computed is None else trace.computed.last
    steps: list[Step] = []
    step: Step | None = trace.cur
    while step is not None and step is not last:
        steps.append(step)
        step = step.parent
    steps.reverse()
    return steps


def saved(
    trace: Trace, steps: Sequence[Step], live: Sequence[Value]
) -> tuple[list[int], bool] | None:
    """What a later backward from live values will read of what led to them.

    Args:
        trace: whose.
        steps: those since the last read. What was there then and nobody held can't be read.
        live: values that somebody holds.

    Returns:
        The indices of what is neither live nor computed yet, nor quickly computed from that; and
        whether the graph of the live values goes back to what is computed. None where they have no
        graph.
    """
    reached = {v.idx for v in live if v.kind.requires_grad and not v.kind.leaf}
    if not reached:
        return None
    read: dict[int, None] = {}
    for step in reversed(steps):
        if not step.wrt or step.kernel is None or step.kind.leaf:
            continue
        if reached.isdisjoint(range(step.base, step.n)):
            continue
        reached.update([step.refs[i] for i in step.wrt])
        if not step.kernel.is_alias:
            read.update(dict.fromkeys([step.refs[i] for i in step.kernel.needs(step.wrt)]))
    known = [] if trace.computed is None else trace.computed.values
    connected = any(v.idx in reached and v.kind.requires_grad and not v.kind.leaf for v in known)
    apart = {v.idx for v in (*live, *known)}
    apart.update(trace.leaves.values())
    return [i for i in read if i not in apart and not _again(i, steps, apart)], connected


def _again(idx: int, steps: Sequence[Step], known: Set[int]) -> bool:
    """Whether a value had better be computed again from what is known."""
    for step in steps:
        if step.base <= idx < step.n and step.kernel is not None:
            return known.issuperset(step.refs) and step.kernel.is_cheap()
    return False


def resumed(lowered: Lowered, n_wanted: int, n_inputs: int, known: Sequence[Any]) -> Lowered:
    """A computation without what is computed already, which it takes as inputs.

    Args:
        lowered: the whole; its first outputs are wanted, the others are computed.
        n_wanted: how many are wanted.
        n_inputs: how many leaves its trace has; what is computed is numbered after them.
        known: the kinds of what is computed.
    """
    whole = lowered.written_out()
    n = len(whole.leaves)
    places = [whole.results[k] for k in whole.outputs]
    goals = places[:n_wanted]
    given: dict[int, int] = {}
    for number, place in enumerate(places[n_wanted:]):
        if place >= n:
            given.setdefault(place, number)
    starts, place = [], n
    for kernel, _, _ in whole.program:
        starts.append(place)
        place += len(kernel.out_avals)
    needed, chosen = set(goals).difference(given), []
    for k in reversed(range(len(starts))):
        kernel, refs, _ = whole.program[k]
        if not needed.isdisjoint(range(starts[k], starts[k] + len(kernel.out_avals))):
            needed.update([r for r in refs if r not in given])
            chosen.append(k)
    chosen.reverse()
    # In the order of use: the same work is the same program, whatever of it was there before.
    taken: dict[int, None] = {}
    for k in chosen:
        taken.update(dict.fromkeys(r for r in whole.program[k][1] if r < n or r in given))
    taken.update(dict.fromkeys(p for p in goals if p < n or p in given))
    moved = {p: k for k, p in enumerate(taken)}
    numbers: tuple[dict[int, int], dict[int, int]] = {}, {}
    program, at = [], len(moved)
    for k in chosen:
        kernel, refs, places_of_numbers = whole.program[k]
        own = [(f, numbers[f].setdefault(j, len(numbers[f]))) for f, j in places_of_numbers]
        program.append((kernel, tuple([moved[r] for r in refs]), tuple(own)))
        for p in range(starts[k], starts[k] + len(kernel.out_avals)):
            moved.setdefault(p, at)
            at += 1
    wanted = set(goals)
    places_in = whole.results
    kept = [k for k, p in enumerate(places_in) if p in wanted]
    results = tuple([moved[places_in[k]] for k in kept])
    position = {places_in[k]: j for j, k in enumerate(kept)}
    kinds = [whole.kinds[p] if p < n else known[given[p]] for p in taken]
    key = tuple([(k.shape, k.dtype, k.device) for k in kinds]), tuple(program), (), results
    return whole._replace(
        leaves=tuple([whole.leaves[p] if p < n else n_inputs + given[p] for p in taken]),
        kinds=tuple(kinds),
        floats=tuple([whole.floats[j] for j in numbers[True]]),
        ints=tuple([whole.ints[j] for j in numbers[False]]),
        outputs=tuple([position[p] for p in goals]),
        out_avals=tuple([whole.out_avals[k] for k in kept]),
        key=key,
        steps=tuple([whole.steps[k] for k in chosen]),
        program=tuple(program),
        results=results,
        origins=tuple([None if places_in[k] in given else whole.origins[k] for k in kept]),
    )  # fmt: skip
