"""The trie of recorded operations: its steps, and what of them is kept.

A step of the trie is one recorded event: an array entering from outside (a leaf), or a kernel
applied to earlier values. Values are numbered in order of appearance, leaves included.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from types import MappingProxyType
from typing import Any

from ..core.config import config
from . import frames
from .kernel import Kernel
from .value import Kind


class _Passed:
    """What is read of a step each time a trace passes it, side by side in memory: a step that
    repeats is found cold, and each cache line it touches costs as much as several lines of Python.
    """

    __slots__ = ("base", "key", "kind", "last", "nnum", "wrap")


class Step(_Passed):
    """A position in the trie.

    Attributes:
        next: the events that were ever recorded from here.
        last: the one that was gone on to most recently; a step of no key where there is none.
        parent, key: where it hangs.
        kernel: what it runs; None for a leaf and for a mark (such as "overwritten").
        refs: the kernel's array inputs, as value indices.
        numbers: the kernel's number inputs, as indices into the trace's numbers.
        kinds, kind: what it yields; the first of them.
        base: index of its first result. n, nnum, depth: values, numbers, operations up to here.
        inputs: leaves up to here.
        args: the static arguments, for the tape's pictures and messages; of a part that was
            recorded unasked, the computation.
        place, module_path: where the user's code recorded it first.
        programs: what was compiled for traces that ended here.
        wrap: makes an operation's result of its tensors where it is more than one tensor.
        views: for a view operation, how to read and write each result.
        jumps: recorded continuations that end elsewhere, such as a whole backward; None if none.
        wrt: the array inputs that gradients flow to.
        path: a hash of all keys up to here.
    """

    __slots__ = (
        "next", "parent", "kernel", "refs", "numbers", "kinds", "n", "depth", "inputs", "args",
        "place", "module_path", "programs", "views", "jumps", "wrt", "path",
    )  # fmt: skip

    @property
    def source(self) -> frames.Source | None:
        """The line of the user's program that recorded it first."""
        return frames.source_of(self.place)

    @property
    def entered(self) -> bool:
        """Whether it hangs in its parent. What is kept at a step that does not would never be found
        again, and if it leads back to the step, only Python's garbage collector would free it."""
        parent = self.parent
        return parent is None or parent.next.get(self.key) is self


class Template:
    """What steps have in common that record the same operation on equal kinds of values."""

    __slots__ = ("kernel", "kinds", "n_numbers", "args", "wrap", "views", "wrt")

    def __init__(
        self,
        kernel: Kernel,
        kinds: tuple[Kind, ...],
        args: Any = None,
        wrap: Any = None,
        views: Any = None,
        wrt: tuple[int, ...] = (),
    ) -> None:
        self.kernel, self.kinds, self.n_numbers = kernel, kinds, len(kernel.numbers)
        self.args, self.wrap, self.views, self.wrt = args, wrap, views, wrt


nowhere = Step()
nowhere.key = None
# What was recorded after most steps of a graph that never recurs.
NOTHING: Any = MappingProxyType({})


def _blank() -> Step:
    """A step of nothing; the root of a trie."""
    step = Step()
    step.next, step.last, step.parent, step.key, step.kernel = NOTHING, nowhere, None, None, None
    step.refs, step.numbers, step.kinds, step.kind = (), (), (), None
    step.base = step.n = step.nnum = step.depth = step.inputs = step.path = 0
    step.args, step.place, step.module_path, step.programs = None, None, "", NOTHING
    step.wrap = step.views = step.jumps = None
    step.wrt = ()
    return step


class Trie:
    """The recorded traces of one mode, bounded: past `config.max_steps` it starts afresh.

    A step enters when it is recorded for the second time. Of graphs that never recur nothing
    stays, and Python's garbage collector has nothing to go through.

    Args:
        budget: how many operations a trace may hold before it is flushed.
        eager: operations run at once; nothing is remembered, so that every one takes the slow way.
    """

    def __init__(self, budget: Callable[[], int], eager: bool = False) -> None:
        self.root = _blank()
        self.eager = eager
        self.budget = budget
        self.steps = 0
        self.once: set[int] = set()
        self.lock = threading.Lock()

    def grow(self, parent: Step, key: Hashable) -> Step:
        """A new step under `parent`; the caller fills it and then calls `hang`."""
        step = _blank()
        step.parent, step.key = parent, key
        step.base = step.n = parent.n
        step.nnum, step.depth, step.inputs = parent.nnum, parent.depth, parent.inputs
        return step

    def hang(self, step: Step, comes_again: bool = False) -> Step:
        """Put a finished step into its parent if it is the second of its kind there, or if that is
        known to come again.

        Returns the one that another thread hung first, if so.
        """
        if self.eager:
            return step
        step.path = path = hash((step.parent.path, step.key))
        return self.enter(step) if comes_again or path in self.once else self.meet(step)

    def meet(self, step: Step) -> Step:
        """Note a step, of known path, that is recorded for the first time."""
        once = self.once
        if len(once) >= _MOST_ONCE:
            once.clear()
        once.add(step.path)
        return step

    def enter(self, step: Step) -> Step:
        """Put a finished step into its parent, see `hang`."""
        parent = step.parent
        self.steps += 1  # may lose a count to another thread: it is only a bound
        if self.steps > config.max_steps:
            self.clear()
        if parent.next is NOTHING:
            parent.next = {}
        parent.last = step = parent.next.setdefault(step.key, step)
        return step

    def clear(self) -> None:
        """Forget everything recorded."""
        with self.lock:
            self.steps = 0
            self.once.clear()
            self.root = _blank()


def path_of(step: Step) -> list[Step]:
    """The steps from the root to `step`, in order."""
    path = []
    while step.parent is not None:
        path.append(step)
        step = step.parent
    path.reverse()
    return path


_MOST_ONCE = 200_000  # paths remembered that were recorded once

lazy_trie = Trie(lambda: config.node_budget)
eager_trie = Trie(lambda: 1, eager=True)
