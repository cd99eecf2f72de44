"""Recorded parts in an open trace: written out as the operations that they consist of, and back.

A part that was recorded unasked (see `compile.unasked`) stands for its operations, and nobody shall
notice: before the tape is looked at, the trace is written anew with the operations in its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import count, repeat, starmap
from operator import call
from sys import getrefcount

from .kernel import Kernel
from .lower import Lowered
from .trace import Trace
from .trie import Step, nowhere, path_of
from .value import Kind, Value


class _Credit:
    """Whether parts recorded unasked pay: used up where traces are mostly written out again."""

    _MOST = 8
    _WAIT = 1 << 12  # times that it is asked, after which another trace is tried

    def __init__(self) -> None:
        self.left, self.asked = self._MOST, 0

    def given(self) -> bool:
        """Whether there is any."""
        if self.left > 0:
            return True
        self.asked += 1
        if self.asked < self._WAIT:
            return False
        self.left, self.asked = 1, 0
        return True

    def used(self, trace: Trace) -> None:
        """Note a use in a trace."""
        if not trace.unasked:
            trace.unasked = True
            self.left = min(self.left + 1, self._MOST)

    def lost(self) -> None:
        """Note a trace that had to be written out."""
        self.left -= 2


credit = _Credit()
_new = object.__new__
_set_idx = Value.idx.__set__
_anew = count()
_DEAD = 3  # references to a value nobody holds: the trace's, the loop's, getrefcount's argument


def open_parts(trace: Trace) -> None:
    """Write out the parts of a trace that were recorded unasked; it takes no further ones then."""
    if not trace.unasked:
        return
    path = path_of(trace.cur)
    opens = [step.kernel is not None and step.kernel.unasked for step in path]
    first = opens.index(True)
    writer = _Writer(trace, path[first].parent)
    for step, is_part in zip(path[first:], opens[first:], strict=True):
        if is_part:
            writer.open(step)
        else:
            writer.copy(step)
    writer.commit(trace.vals, None)
    credit.lost()


def close_part(
    trace: Trace,
    before: Step,
    last: Step,
    recorded: Sequence[Step],
    kernel: Kernel,
    part: Lowered,
    kinds: tuple[Kind, ...],
) -> dict[Step, Step] | None:
    """Put a recorded part in place of operations that did the same.

    Args:
        trace: the open trace.
        before, last: the step before these operations, and the last of them.
        recorded: the steps of the part's recording, also those that it does not need.
        kernel, part: what runs it, and what it consists of.
        kinds: of its results.

    Returns:
        What the steps that were written anew are now, by what they were. None, with nothing
        changed, where they are other operations, or somebody holds values that the part does not
        give.
    """
    path = path_of(trace.cur)
    if trace.nodes or trace.freed or before not in path or last not in path:
        return None
    start, stop = path.index(before) + 1, path.index(last) + 1
    found = _matched(path[start:stop], recorded)
    if found is None:
        return None
    places, numbers = found
    entries = [step.base for step in recorded if step.kernel is None and step.kind is not None]
    refs = [places[entries[k]] for k in part.leaves]
    env = refs.copy()
    for step in part.steps:
        env += [places[i] for i in range(step.base, step.n)]
    results = [env[part.results[k]] for k in part.outputs]
    writer = _Writer(trace, before)
    taken = [numbers[p] for p in (*part.floats, *part.ints)]
    writer.close(path[start:stop], refs, results, taken, kernel, kinds)
    writer.cur.args = part
    if trace.grad:
        kind_of = [kind for step in path[:stop] for kind in step.kinds]
        writer.cur.wrt = tuple([k for k, i in enumerate(refs) if kind_of[i].requires_grad])
    for step in path[stop:]:
        if any(writer.places[i] < 0 for i in step.refs):
            return None
        writer.copy(step)
    kept = [v for v in trace.vals if writer.places[v.idx] >= 0 or getrefcount(v) > _DEAD]
    if any(writer.places[v.idx] < 0 for v in kept):
        return None
    writer.commit(kept, trace.unasked)
    return writer.steps


def _matched(
    steps: Sequence[Step], recorded: Sequence[Step]
) -> tuple[dict[int, int], dict[int, int]] | None:
    """Where the values and numbers of a recording are among equal steps of a trace, if they are."""
    ours = [s for s in steps if s.kernel is not None]
    theirs = [s for s in recorded if s.kernel is not None]
    if len(ours) != len(theirs):
        return None
    places: dict[int, int] = {}
    numbers: dict[int, int] = {}
    for mine, other in zip(ours, theirs, strict=True):
        if mine.kernel is not other.kernel or mine.kinds != other.kinds:
            return None
        for r, place in zip(other.refs, mine.refs, strict=True):
            if places.setdefault(r, place) != place:
                return None
        places.update(zip(range(other.base, other.n), range(mine.base, mine.n), strict=True))
        numbers.update(zip(other.numbers, mine.numbers, strict=True))
    return places, numbers


class _Writer:
    """Writes a trace anew from one of its steps on; nothing of the trace changes before `commit`.

    Args:
        trace: the trace.
        start: the last step that stays.

    Attributes:
        places: of every former index, the new one; -1 for what is gone.
        steps: what the copied steps are now, and the last of a part's operations.
    """

    def __init__(self, trace: Trace, start: Step) -> None:
        self.steps: dict[Step, Step] = {}
        self.trace, self.start, self.cur = trace, start, start
        self.places = list(range(start.n))
        self.numbers = {p: x for p, x in trace.numbers.items() if p < start.nnum}
        self.freed: set[int] = set()

    def _step(
        self, like: Step, kernel: Kernel | None, refs: tuple[int, ...], numbers: Sequence[int]
    ) -> Step:
        """Write a step with kinds, names, place and views of another; `numbers` are its former."""
        cur = self.cur
        step = self.cur = _new(Step)
        step.next, step.programs, step.jumps, step.last = {}, {}, None, nowhere
        step.parent, step.key, step.path = cur, None, hash((_Writer, next(_anew)))
        step.kernel, step.refs, step.args, step.wrap = kernel, refs, like.args, like.wrap
        step.views, step.place, step.module_path = like.views, like.place, like.module_path
        step.kinds, step.kind, step.wrt = like.kinds, like.kind, like.wrt
        step.base = cur.n
        step.n = cur.n + len(step.kinds)
        step.nnum = cur.nnum + len(numbers)
        step.numbers = tuple(range(cur.nnum, step.nnum))
        step.depth = cur.depth + (kernel is not None)
        step.inputs = cur.inputs + (kernel is None and step.kind is not None)
        known = self.trace.numbers
        for place, former in zip(step.numbers, numbers, strict=True):
            if former in known:
                self.numbers[place] = known[former]
        return step

    def copy(self, step: Step) -> None:
        """Write a step as it was."""
        refs = tuple([self.places[i] for i in step.refs])
        new = self.steps[step] = self._step(step, step.kernel, refs, step.numbers)
        self.places += range(new.base, new.n)

    def open(self, step: Step) -> None:
        """Write the operations of a part in place of its step."""
        part: Lowered = step.args
        n_floats, start = len(part.floats), self.cur.n
        env = [self.places[i] for i in step.refs]
        for (_, refs, numbers), inner in zip(part.program, part.steps, strict=True):
            taken = [step.numbers[j if real else n_floats + j] for real, j in numbers]
            new = self._step(inner, inner.kernel, tuple([env[r] for r in refs]), taken)
            env += range(new.base, new.n)
        self.places += [env[part.results[k]] for k in part.outputs]
        if not self.trace.freed.isdisjoint(range(step.base, step.n)):
            self.freed.update(range(start, self.cur.n))

    def close(
        self,
        steps: Sequence[Step],
        refs: Sequence[int],
        results: Sequence[int],
        numbers: Sequence[int],
        kernel: Kernel,
        kinds: tuple[Kind, ...],
    ) -> None:
        """Write a part in place of its operations; `refs` and `results` are former indices."""
        places = self.places
        for step in steps:
            if step.kernel is None:
                self.copy(step)
            else:
                places += repeat(-1, step.n - step.base)
        new = self._step(steps[-1], kernel, tuple([places[i] for i in refs]), numbers)
        self.steps[steps[-1]] = new
        new.kinds, new.kind, new.n = kinds, kinds[0], new.base + len(kinds)
        new.wrap = new.views = None
        new.wrt = ()
        for k, former in enumerate(results):
            if places[former] < 0:
                places[former] = new.base + k

    def commit(self, vals: list[Value], unasked: bool | None) -> None:
        """Put what was written in place of what was there; in one go, in C, so that an interrupt
        comes before or after it.

        Args:
            vals: the values that there are now.
            unasked: what is to be said of parts recorded unasked.
        """
        trace, places = self.trace, self.places
        moved = [places[v.idx] for v in vals]
        leaves = {value: places[idx] for value, idx in trace.leaves.items()}
        owners = {places[idx]: owner for idx, owner in trace.owners.items()}
        freed = self.freed.union([places[i] for i in trace.freed])
        nodes = trace.nodes and {places[base]: node for base, node in trace.nodes.items()}
        miss = self.cur if trace.miss is None else trace.miss
        now = {
            "cur": self.cur, "vals": vals, "leaves": leaves, "owners": owners, "freed": freed,
            "nodes": nodes, "numbers": self.numbers, "miss": miss, "moved": places,
            "unasked": unasked,
        }  # fmt: skip
        todo: list[tuple[Callable, ...]] = [(_set_idx, v, i) for v, i in zip(vals, moved)]
        todo += [(setattr, trace, *item) for item in now.items()]
        deque(starmap(call, todo), 0)


__all__ = ["close_part", "credit", "open_parts"]
