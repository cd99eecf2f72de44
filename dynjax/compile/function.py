"""A compiled function: which recording stands for a call, and what happens where none can."""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ..core.config import config
from ..engine.capture import Unsupported
from ..engine.frames import Source, user_stacklevel
from ..engine.trace import state
from .part import Part
from .record import Outcome, record
from .signature import signature

_MOST_PARTS = 8  # recordings of one signature, told apart by their guards
_ATTEMPTS = 2  # calls that change Python's state before it is believed: a cache is filled once


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
        self._warned: set[Any] = set()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        trace = state.trace
        if trace.parent is not None or trace.trie.eager:
            return self._fn(*args, **kwargs)
        key, tensors = signature(args, kwargs)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cell(key)
        checking = self._check or config.check_compiled
        for part in cell.parts:
            if part.fits(tensors):
                numbers = part.ask()
                if numbers is not None:
                    if checking:
                        return self._checked(cell, part, args, kwargs, tensors)
                    return part.run(tensors, numbers)
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
        numbers = part.ask()
        assert numbers is not None
        return part.run(tensors, numbers)

    def _record(self, args: tuple, kwargs: dict, tensors: list) -> Outcome:
        try:
            return record(self._fn, self._name, args, kwargs, tensors, self._fullgraph)
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

    def _checked(self, cell: Cell, part: Part, args: tuple, kwargs: dict, tensors: list) -> Any:
        """A call that runs its Python and is compared with what would be replayed."""
        outcome = record(self._fn, self._name, args, kwargs, tensors, False)
        if outcome.part is None:
            difference = outcome.problem[0] if outcome.problem else "is not settled"
        else:
            difference = part.difference(outcome.part)
        if difference is not None:
            raise RuntimeError(
                f"compile(mode='check'): a replay of {self._name} would differ from a call: "
                f"{difference}"
            )
        numbers = outcome.part.ask()
        return outcome.part.run(tensors, numbers)


__all__ = ["CompiledFunction"]
