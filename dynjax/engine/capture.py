"""Recording a part of a program apart, to be replayed later without its Python.

A capture is a trace of its own under the thread's open one. What turns out not to be replayable
(a value observed on the host, say) makes it an ordinary trace then and there, and the Python goes
on: nothing runs twice, and nothing is undone.
"""

from __future__ import annotations

from typing import Any

from .executor import flush
from .frames import Source, source_of, user_place
from .trace import Trace, state


class Unsupported(RuntimeError):
    """What was to be replayed whole does something that a replay would not do."""


class Capture:
    """One recording.

    Args:
        strict: raise `Unsupported` where it would otherwise go on as an ordinary trace.

    Attributes:
        trace: where it is recorded.
        outer: the trace that was open before.
        flushed: whether the part wanted what it recorded to run.
        asking: whether values may be looked at, since every replay asks again.
        settled: whether everything it updates existed before.
        updates: what has to be asked again for every replay (see `optim._plan.Update`).
        problem: why it can't be replayed, and the user's line.
        broken: whether it has become an ordinary trace.
        first_node: tape nodes of lower numbers were made before.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.outer = outer = state.trace
        self.trace = Trace(outer.trie, outer.grad, outer)
        self.trace.inference = outer.inference
        self.trace.capture = self
        self.flushed = self.asking = self.broken = False
        self.settled = True
        self.first_node = 0
        self.updates: list[Any] = []
        self.problem: tuple[str, Source | None] | None = None

    def __enter__(self) -> Capture:
        state.trace = self.trace
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: Any) -> None:
        if kind is not None and not issubclass(kind, Unsupported):
            self.release()  # what was recorded up to an error stays recorded
        elif not self.broken:
            state.trace = self.outer

    def observe(self) -> None:
        """A value is about to be read on the host."""
        self.give_up("reads a tensor's value, which breaks the graph")

    def give_up(self, what: str) -> None:
        """Go on as an ordinary trace, for the reason given.

        Raises:
            Unsupported: the capture is strict.
        """
        source = source_of(user_place())
        if self.strict:
            raise Unsupported(f"{what}, at {source}" if source else what)
        if self.problem is None:
            self.problem = what, source
        self.release()

    def release(self) -> None:
        """Make what was recorded the thread's open trace, after what was recorded before."""
        if self.broken:
            return
        self.broken = True
        inner = self.trace
        state.trace = self.outer
        flush()
        state.trace = inner
        inner.parent = inner.capture = None


__all__ = ["Capture", "Unsupported"]
