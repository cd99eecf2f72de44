"""A compiled function: which recording stands for a call, and what happens where none can."""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict
from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

from ..core.config import config
from ..core.devices import get_default_device
from ..core.dtypes import get_default_dtype
from ..engine.capture import Unsupported
from ..engine.frames import Source, user_stacklevel
from ..engine.trace import Trace, state
from .part import Part
from .places import MISS
from .record import Call, Outcome, record
from .signature import PLAIN, modes, signature

_MOST_PARTS = 8  # recordings of one signature, told apart by their guards
_ATTEMPTS = 2  # calls that change Python's state before it is believed: a cache is filled once

_kind = attrgetter("_v.kind")


class Cell:
    """What is known of one signature.

    Attributes:
        parts: its recordings, the last used first.
        attempts: calls that changed Python's state.
        ordinary: whether calls run as they would without `compile`.
    """

    __slots__ = ("parts", "attempts", "ordinary")

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.attempts = 0
        self.ordinary = False


class Recent(NamedTuple):
    """A replay, and the modes of calls like it."""

    part: Part
    grad: Any
    inference: bool
    dtype: Any
    device: Any


class Recents:
    """The last replays of calls whose arguments are tensors, no two the same, by their kinds."""

    __slots__ = ("_known",)

    _MOST = 16

    def __init__(self) -> None:
        self._known: dict[tuple, Recent] = {}

    def part(self, args: tuple, trace: Trace) -> Part | None:
        """What was replayed for the last call of this signature, if that is known."""
        if not PLAIN.issuperset(map(type, args)):
            return None
        recent = self._known.get(tuple(map(_kind, args)))
        if recent is None:
            return None
        part, grad, inference, dtype, device = recent
        alike = (
            trace.grad is grad
            and trace.inference is inference
            and get_default_dtype() is dtype
            and get_default_device() is device
            and (len(args) < 2 or len(set(map(id, args))) == len(args))
            and not config.check_compiled
        )
        return part if alike else None

    def note(self, part: Part, args: tuple, kwargs: dict) -> None:
        """Remember what was replayed for a call."""
        if kwargs or not PLAIN.issuperset(map(type, args)) or len(set(map(id, args))) < len(args):
            return
        if len(self._known) >= self._MOST:
            self._known.clear()
        self._known[tuple(map(_kind, args))] = Recent(part, *modes())


class CompiledFunction:
    """A function whose calls are recorded once for each signature, and replayed.

    Args:
        fn: the function.
        name: what messages call it.
        fullgraph: raise where a call can't be replayed whole, rather than run it as it is.
        check: run the Python at every call, and compare.
    """

    def __init__(
        self, fn: Callable[..., Any], name: str, fullgraph: bool = False, check: bool = False
    ) -> None:
        functools.update_wrapper(self, fn)
        self._fn, self._name = fn, name
        self._fullgraph, self._check = fullgraph, check
        self._cells: OrderedDict[Any, Cell] = OrderedDict()
        self._recent = Recents()
        self._warned: set[Any] = set()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        trace = state.trace
        if trace.parent is not None or trace.trie.eager:
            return self._fn(*args, **kwargs)
        if not kwargs and (part := self._recent.part(args, trace)) is not None:
            result = part.attempt(args)
            if result is not MISS:
                return result
        key, tensors = signature(args, kwargs)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cell(key)
        else:
            self._cells.move_to_end(key)
        if self._check or config.check_compiled:
            return self._checked(cell, args, kwargs, tensors)
        for part in cell.parts:
            result = part.attempt(tensors)
            if result is not MISS:
                self._recent.note(part, args, kwargs)
                return result
        if cell.ordinary:
            return self._fn(*args, **kwargs)
        return self._recorded(cell, args, kwargs, tensors)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def _cell(self, key: Any) -> Cell:
        cell = self._cells[key] = Cell()
        while len(self._cells) > config.max_recordings:
            self._cells.popitem(last=False)
        return cell

    def _recorded(self, cell: Cell, args: tuple, kwargs: dict, tensors: list) -> Any:
        """A call that no recording stands for."""
        outcome = self._record(args, kwargs, tensors)
        part = outcome.part
        if part is None:
            self._not_recorded(cell, outcome)
            return outcome.result
        cell.parts.insert(0, part)
        if len(cell.parts) > _MOST_PARTS:
            reason = cell.parts[1].guards.failing()
            self._warn(
                f"was recorded {len(cell.parts)} times for arguments of the same kinds, the last "
                f"time because {reason or 'tensors that it uses have changed'}",
                None,
            )
            cell.parts.clear()
            cell.ordinary = True
        return part.replay_now(tensors)

    def _record(self, args: tuple, kwargs: dict, tensors: list) -> Outcome:
        try:
            return record(Call(self._fn, self._name, args, kwargs, tensors), self._fullgraph)
        except Unsupported as error:
            if error.args and str(error).startswith("compile("):
                raise
            raise Unsupported(f"compile(fullgraph=True): {self._name} {error}") from error.__cause__

    def _not_recorded(self, cell: Cell, outcome: Outcome) -> None:
        if outcome.problem is None:
            return
        if outcome.passing:
            cell.attempts += 1
            if cell.attempts < _ATTEMPTS:
                return
            if self._fullgraph:
                raise Unsupported(f"compile(fullgraph=True): {self._name} {outcome.problem[0]}")
        cell.ordinary = True
        self._warn(*outcome.problem)

    def _warn(self, what: str, where: Source | None) -> None:
        if (what, where) in self._warned:
            return
        self._warned.add((what, where))
        place = f" ({where})" if where else ""
        warnings.warn(
            f"compile: {self._name} {what}{place}; calls with such arguments run as they would "
            "without compile",
            stacklevel=user_stacklevel(),
        )

    def _checked(self, cell: Cell, args: tuple, kwargs: dict, tensors: list) -> Any:
        """A call that runs its Python and is compared with what would be replayed."""
        known = next((p for p in cell.parts if p.fits(tensors) and p.ask() is not None), None)
        if known is None:
            return (
                self._fn(*args, **kwargs)
                if cell.ordinary
                else self._recorded(cell, args, kwargs, tensors)
            )
        outcome = record(Call(self._fn, self._name, args, kwargs, tensors), False)
        if outcome.part is None:
            difference = outcome.problem[0] if outcome.problem else "state is not settled"
        else:
            difference = known.difference(outcome.part)
        if difference is not None:
            raise RuntimeError(
                f"compile(mode='check'): a replay of {self._name} would differ from this call: "
                f"{difference}"
            )
        return outcome.part.replay_now(tensors)


__all__ = ["CompiledFunction"]
