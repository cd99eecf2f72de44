"""The trace: work not yet run, kept as a position in a trie of recorded operations.

A step of the trie is one recorded event: an array entering from outside (a leaf), or a kernel
applied to earlier values. Recording looks the event up among the current step's children; a hit
gives the next step, with the results' kinds already known, so that nothing is inferred, hashed
or checked again. Values are numbered in order of appearance, leaves included.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from sys import getrefcount
from typing import Any

from ..core.devices import get_default_device
from ..core.dtypes import of as dtype_of
from . import frames
from .kernel import Kernel, is_inexact
from .trie import NOTHING, Step, Template, Trie, lazy_trie, nowhere, path_of
from .value import Kind, Value, concrete, kind_of

_new = object.__new__


_MOST_SPARE = 1 << 13
_ALONE = 2  # references to a step that nobody else holds: the variable's, getrefcount's argument
_OFTEN = 1024  # values after which those that nobody holds are let go of
_DEAD = 3  # references to such a value: the trace's, the loop's, getrefcount's argument
_UNSHARED = 2  # to the versions of a storage that is gone: the watch's, getrefcount's argument


class Trace:
    """Work recorded and not yet run.

    Attributes:
        cur: the position in the trie.
        grad: whether the tape is recorded (PyTorch's grad mode): a bool, or an object of that truth
            that stands for another mode too.
        leaves: values that entered from outside, in order, with their indices.
        vals: values that steps produced; strong references, so that at a flush the reference
            count says which of them anybody else still holds. Those that nobody does may be missing
            (see `prune`).
        most: how many there may be before they are gone through.
        computed: what reads have computed; None if it is over at the first (see `resume`).
        looked: how many of the values reads have gone through.
        ahead: what was computed before it was recorded (see `ahead`).
        sure: the read after which new steps enter the trie at once; None where they do the second
            time. The iterations of a loop come again, whatever their number is.
        spare: steps to be used again, of this thread.
        numbers: run-time numbers by position (a dict, so that an interrupted recording leaves
            nothing misplaced).
        owners: for leaves with gradient, index -> tape position (see Value.node).
        freed: indices whose graph backward has consumed.
        nodes: tape nodes built so far, by step base.
        parent: the trace that this one is being captured for, if any.
        python: whether hooks or Python functions hang on the tape: no replayed backward then.
        miss: the first step that had to be made for this trace, for explain.
        capture: what is learnt while this trace is recorded to be replayed (see `capture`).
        paths: where in its outermost module each running module is, as far as was asked.
        last_path: the outermost and innermost module that were asked for last, and the answer.
        unasked: whether some step is a part that was recorded unasked; None once these were written
            out (see `unfold`): it takes no more.
        moved: where values are since it was written anew, by their former indices; None before.
        calls: of modules, where they are looked at (see `compile.unasked`).
    """

    __slots__ = (
        "cur", "grad", "leaves", "vals", "numbers", "owners", "freed", "nodes", "parent", "python",
        "miss", "trie", "inference", "capture", "paths", "last_path", "most", "spare", "computed",
        "looked", "ahead", "sure", "unasked", "moved", "calls",
    )  # fmt: skip

    def __init__(self, trie: Trie, grad: bool = True, parent: Trace | None = None) -> None:
        self.trie = trie
        self.cur = trie.root
        self.grad = grad
        self.leaves: dict[Value, int] = {}
        self.vals: list[Value] = []
        self.most = _OFTEN
        self.computed: Any = None
        self.ahead: Any = None
        self.sure: Any = None
        self.looked = 0
        self.spare: list[Step] = []
        self.numbers: dict[int, Any] = {}
        self.owners: dict[int, Any] = {}
        self.freed: frozenset[int] | set[int] = frozenset()
        self.nodes: dict[int, Any] | None = None
        self.parent = parent
        self.python = False
        self.miss: Step | None = None
        self.inference = False
        self.capture: Any = None
        self.paths: dict[tuple[Any, Any], str] = {}
        self.last_path: tuple[Any, Any, str] = None, None, ""
        self.unasked: bool | None = False
        self.moved: Sequence[int] | None = None
        self.calls: dict[Any, Any] | None = None

    def module_path(self) -> str:
        """The dotted path of the innermost running module, from the outermost one."""
        modules = state.modules
        if len(modules) < 2:
            return ""
        root, inner, path = self.last_path
        if modules[0] is root and modules[-1] is inner:
            return path
        ends = modules[0], modules[-1]
        path = self.paths.get(ends)
        if path is None:
            path = self.paths[ends] = frames.module_path(*ends)
        self.last_path = *ends, path
        return path

    def enter(self, value: Value) -> int:
        """The index of a value from outside, which becomes a leaf of this trace."""
        idx = self.leaves.get(value)
        if idx is not None:
            return idx
        if value.trace is self:
            return value.idx
        if value.trace is not None and value.trace is not self.parent:
            runner.materialize(value)
        step = self.cur.next.get(value.kind)
        if step is None:
            step = self.trie.grow(self.cur, value.kind)
            step.kind, step.kinds = value.kind, (value.kind,)
            step.n, step.inputs = step.base + 1, step.inputs + 1
            step = self._hang(step)
        if value.kind.requires_grad:
            self.owners[step.base] = value.node
        # No call between these two: an interrupt sees both or neither.
        self.leaves[value] = step.base
        self.cur = step
        return step.base

    def ref(self, value: Value) -> int:
        """The index of any value in this trace."""
        return value.idx if value.trace is self else self.enter(value)

    def refs(self, values: Sequence[Value]) -> tuple[int, ...]:
        """The indices of many values: `ref` of each, with the known cases in line."""
        leaves, out = self.leaves, []
        add = out.append
        for value in values:
            if value.trace is self:
                add(value.idx)
                continue
            idx = leaves.get(value)
            if idx is None:
                step = self.cur.next.get(value.kind)
                if step is None or value.trace is not None or value.kind.requires_grad:
                    idx = self.enter(value)
                else:
                    idx = leaves[value] = step.base
                    self.cur = step
            add(idx)
        return tuple(out)

    def owns(self, value: Value) -> bool:
        """Whether the value already has an index here."""
        return value.trace is self or value in self.leaves

    def record(
        self,
        kernel: Kernel,
        values: Sequence[Value],
        numbers: Sequence[Any] = (),
        grad: bool | None = None,
        mark: Hashable = None,
        args: Any = None,
    ) -> list[Value]:
        """Record one kernel over values; returns its results, still to be computed.

        Args:
            kernel: what to run.
            values: its array inputs.
            numbers: its run-time numbers.
            grad: whether results may require grad; None for the mode in force.
            mark: "leaf" to make the result a leaf that requires grad.
            args: static arguments, for pictures.
        """
        if self.parent is None and self.cur.depth >= self.trie.budget():
            runner.flush()
            trace = state.trace
            if trace is not self:
                return trace.record(kernel, values, numbers, grad, mark, args)
        refs = self.refs(values)
        grad = self.grad if grad is None else grad
        key = (kernel, grad, mark, refs)
        step = self.cur.next.get(key)
        if step is None:
            step = self.add(key, kernel, refs, values, grad, mark, args)
        nnum = self.cur.nnum
        for k, number in enumerate(numbers):
            self.numbers[nnum + k] = number
        self.cur = step
        results = self.results(step)
        if self.trie.eager and self.parent is None:
            runner.flush()
        return results

    def add(
        self,
        key: Hashable,
        kernel: Kernel,
        refs: tuple[int, ...],
        values: Sequence[Value],
        grad: bool,
        mark: Hashable = None,
        args: Any = None,
        kinds: tuple[Kind, ...] | None = None,
    ) -> Step:
        """Hang a new kernel step under the current position (which it does not move)."""
        step = self.trie.grow(self.cur, key)
        step.kernel, step.refs, step.args = kernel, refs, args
        step.depth += 1
        step.numbers = tuple(range(step.nnum, step.nnum + len(kernel.numbers)))
        step.nnum += len(kernel.numbers)
        device = _device_of(kernel, values)
        wrt = tuple([k for k, v in enumerate(values) if v.kind.requires_grad]) if grad else ()
        track, step.wrt = bool(wrt), wrt
        step.kinds = kinds or tuple(
            kind_of(
                aval.shape,
                dtype_of(aval.dtype),
                device,
                mark == "leaf" or (track and is_inexact(aval.dtype)),
                mark == "leaf",
            )
            for aval in kernel.out_avals
        )
        step.kind = step.kinds[0] if step.kinds else None
        step.n += len(step.kinds)
        step.place = frames.user_place()
        step.module_path = self.module_path()
        return self._hang(step)

    def _hang(self, step: Step) -> Step:
        step = self.trie.hang(step, self.sure is not None)
        if self.miss is None:
            self._missed(step)
        return step

    def _missed(self, step: Step) -> None:
        """Note the first step that had to be made."""
        self.miss = step
        if self.sure is not None:
            self.sure.branches += 1

    def extend(
        self,
        template: Template,
        key: Hashable,
        refs: tuple[int, ...],
        place: frames.Place | None,
        module_path: str,
        depth: int,
    ) -> Step:
        """Hang a step like others under the current position (which it does not move)."""
        cur = self.cur
        spare = self.spare
        step = spare.pop() if spare else _new(Step)
        step.next, step.programs, step.jumps, step.last = NOTHING, NOTHING, None, nowhere
        step.parent, step.key = cur, key
        step.kernel, step.refs, step.args = template.kernel, refs, template.args
        step.wrap, step.views, step.wrt = template.wrap, template.views, template.wrt
        step.kinds = kinds = template.kinds
        step.kind = kinds[0]
        step.base = base = cur.n
        step.n = base + len(kinds)
        nnum = cur.nnum
        step.nnum = nnum + template.n_numbers
        step.numbers = tuple(range(nnum, step.nnum)) if template.n_numbers else ()
        step.depth, step.inputs = depth, cur.inputs
        step.place, step.module_path = place, module_path
        if len(self.vals) > self.most:
            self.prune()
        trie = self.trie
        step.path = path = hash((cur.path, key))
        comes_again = self.sure is not None or path in trie.once
        if self.miss is None:
            self._missed(step)
        elif not comes_again:
            step.key = None  # nobody will look for it
        return trie.enter(step) if comes_again else trie.meet(step)

    def results(self, step: Step) -> list[Value]:
        """New values for what a step yields."""
        out = []
        add = out.append
        idx = step.base
        for kind in step.kinds:
            value = _new(Value)
            value.trace = self
            value.idx = idx
            value.kind = kind
            value.array = value.node = value.watch = None
            add(value)
            idx += 1
        self.vals += out
        return out

    def mark(self, *key: Hashable) -> None:
        """Record an event that computes nothing but must tell traces apart."""
        step = self.cur.next.get(key)
        if step is None:
            step = self.trie.hang(self.trie.grow(self.cur, key), self.sure is not None)
        self.cur = step

    def path(self) -> list[Step]:
        """The steps from the root to here."""
        return path_of(self.cur)

    def prune(self) -> None:
        """Let go of values that nobody holds and of which nothing is known but their place.

        A graph that is new each time makes thousands of them, and the collector would go through
        each of them several times.
        """
        self.vals = [
            v
            for v in self.vals
            if getrefcount(v) > _DEAD
            or v.node is not None
            or not ((watch := v.watch) is None or _settled(watch))
        ]
        self.most = len(self.vals) + _OFTEN
        self.looked = 0

    def recycle(self) -> None:
        """Keep the steps of a trace that nobody holds, and that nobody else does, for later ones.

        Made anew each time they would make the collector believe that the process grows.
        """
        self.miss = None
        spare = self.spare
        step, self.cur = self.cur, nowhere
        while len(spare) < _MOST_SPARE and getrefcount(step) == _ALONE:
            before = step.parent
            if before is None:
                break
            step.parent = step.kernel = step.args = None
            step.next = step.programs = NOTHING
            spare.append(step)
            step, before = before, None

    def values_at(self, indices: Sequence[int]) -> list[Value]:
        """The values of some indices, which steps yielded."""
        at = {v.idx: v for v in self.vals}
        try:
            return [at[i] for i in indices]
        except KeyError:  # let go of
            found = self.values_by_index()
            return [found[i] for i in indices]

    def values_by_index(self) -> Mapping[int, Value]:
        """Every value of this trace; those that were let go of are made again when asked for."""
        found = _Values(self)
        found.update((v.idx, v) for v in self.vals)
        found.update((i, v) for v, i in self.leaves.items())
        return found


class _Values(dict[int, Value]):
    """The values of a trace by their indices."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.kinds: list[Kind] | None = None

    def __missing__(self, idx: int) -> Value:
        trace = self.trace
        if self.kinds is None:
            self.kinds = [kind for step in trace.path() for kind in step.kinds]
        value = concrete(None, self.kinds[idx])
        value.trace, value.idx = trace, idx
        trace.vals.append(value)
        self[idx] = value
        return value


def _settled(watch: tuple[Any, int]) -> bool:
    """Whether nobody is left who could write to the storage that a value was the content of."""
    return getrefcount(watch[0]) <= _UNSHARED and watch[0].now == watch[1]


def _device_of(kernel: Kernel, values: Sequence[Value]) -> Any:
    """Where a result lives: with its inputs, which must agree (0-dim ones may be elsewhere)."""
    if not values:
        return state.device()
    found = values[0].kind.device
    anchored = bool(values[0].kind.shape)
    for value in values[1:]:
        other = value.kind.device
        if other is found or other == found:
            anchored = anchored or bool(value.kind.shape)
        elif not value.kind.shape:
            continue
        elif not anchored:
            found, anchored = other, True
        else:
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{found} and {other}! (when checking arguments in {kernel.op})"
            )
    return found


class State(threading.local):
    """What one thread has in hand.

    Attributes:
        trace: its open trace.
        modules: the running Modules, outermost first.
        closed: the trace before the open one.
        read: the last read that closed a trace, as long as nothing is known of what follows.
        early: what was started with the running call, until its first program runs (see `early`).
    """

    trace: Trace

    def __init__(self) -> None:
        self.trace = Trace(lazy_trie)
        self.closed: Trace | None = None
        self.read: Any = None
        self.early: Any = None
        self.modules: list[Any] = []

    @property
    def grad_enabled(self) -> bool:
        """PyTorch's grad mode."""
        return bool(self.trace.grad)

    @grad_enabled.setter
    def grad_enabled(self, mode: bool) -> None:
        self.trace.grad = mode

    def device(self) -> Any:
        """The device on which tensors are made now."""
        return get_default_device()

    def restart(self) -> None:
        """Open an empty trace in the same modes."""
        old = self.trace
        self.trace = new = Trace(old.trie, old.grad)
        new.inference, new.spare = old.inference, old.spare
        gone, self.closed = self.closed, old
        if gone is not None and getrefcount(gone) == _ALONE:
            gone.recycle()


state = State()


class Runner:
    """The executor's side of the trace; it stands above and fills these in."""

    flush: Callable[[], None]
    materialize: Callable[[Value], Any]


runner = Runner()
