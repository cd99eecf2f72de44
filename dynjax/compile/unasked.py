"""Modules whose calls recur in a graph that is new: recorded unasked, as `compile` would.

A tree's cell is called at every node of a graph that was never there before. From its second call
on it is one step of the trace, which is recorded, planned and run together with its like as one.
That is only done where nobody can notice: what the call read of Python is all guarded, it did
nothing beside recording, and whoever looks at the tape finds the operations themselves (see
`engine.unfold`). Everything else goes on as it always did.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Hashable
from typing import Any

import jax

from ..core.config import config
from ..engine.trace import Trace, state
from ..engine.trie import Step, path_of
from ..engine.unfold import close_part, credit
from ..nn import hooks
from ..nn.module import Module, call, later
from ..tensor.tensor import Tensor
from .function import Recents
from .part import Part
from .places import MISS
from .record import Call, record
from .signature import PLAIN, objects, signature

_FEWEST, _MOST = 6, 128  # operations of a call that is worth it
_MOST_PARTS = 4  # recordings of one signature, told apart by their guards
_MOST_SIGNATURES = 32
_ATTEMPTS = 3  # recordings that come to nothing: a cache is filled once, for instance
_TRIAL = 4  # signatures, from which on each must have served as many calls on average
_MOST_MODULES = 256
_PLAIN = {*PLAIN, type(None)}

_GLOBAL_HOOKS = (
    hooks._global_forward_hooks, hooks._global_forward_pre_hooks,
    hooks._global_backward_hooks, hooks._global_backward_pre_hooks,
)  # fmt: skip


class _Seen:
    """The first call of a signature in a trace.

    Attributes:
        module: whose; kept, that its identity stays its own.
        before, last: the step that it began after, and its last; None while it runs.
    """

    __slots__ = ("module", "before", "last")

    def __init__(self, module: Module, before: Step) -> None:
        self.module, self.before, self.last = module, before, None


class Unasked:
    """The recorded calls of one module.

    Args:
        module: the module.
    """

    def __init__(self, module: Module) -> None:
        ident = id(module)
        # No `weakref.finalize`: it would be seen running where the collector finds a module while
        # another call is recorded.
        self._module = weakref.ref(module, lambda gone: _known.pop(ident, None))
        self._parts: dict[Hashable, list[Part]] = {}
        self._recent = Recents()
        self._served = self._attempts = 0

    def attempt(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """What a call returns, by a recording; `MISS` if none stands for it."""
        trace = state.trace
        if not kwargs and (part := self._recent.part(args, trace)) is not None:
            result = part.attempt(args)
            if result is not MISS:
                self._served += 1
                return result
        if config.check_compiled or not _simple(args, kwargs):
            return MISS
        key, tensors = signature(args, kwargs)
        for part in self._parts.get(key, ()):
            result = part.attempt(tensors)
            if result is not MISS:
                self._recent.note(part, args, kwargs)
                self._served += 1
                return result
        return MISS

    def record(
        self, seen: _Seen, key: Hashable, args: tuple, kwargs: dict[str, Any], tensors: list[Tensor]
    ) -> Any:
        """Make a call and record it; the first of its kind becomes a use of the recording too."""
        module, trace = seen.module, state.trace
        known = self._parts.setdefault(key, [])
        n = len(self._parts)
        if (
            len(known) >= _MOST_PARTS
            or n > _MOST_SIGNATURES
            or (n > _TRIAL and self._served < _TRIAL * n)
        ):
            _refuse(module)
            return call(module, args, kwargs)
        _put(module, self)  # before, as what is recorded may look for it
        name = type(module).__name__
        outcome = record(Call(module._call_impl, name, args, kwargs, tensors, pure=True), False)
        part = outcome.part
        if part is None:
            self._attempts += 1
            if not outcome.passing or self._attempts >= _ATTEMPTS:
                _refuse(module)
            return outcome.result
        if not _FEWEST <= len(part.lowered.program) <= _MOST or _traced(trace, part):
            _refuse(module)
            return call(module, args, kwargs)
        known.insert(0, part)
        recorded = path_of(part.trace.cur)
        moved = close_part(
            trace, seen.before, seen.last, recorded, part.kernel, part.lowered, part.kinds
        )
        if moved is not None:
            _moved(trace, moved)
        return part.replay_now(tensors)


class _Compiled:
    """What a module is called by once calls of it are recorded.

    It does not hold its module, which is gone as soon as nobody else does.
    """

    __slots__ = ("_module",)

    def __init__(self, module: Module) -> None:
        self._module = weakref.ref(module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module = self._module()
        own, unasked = module.__dict__, _known.get(id(module))
        if unasked is None or not _wanted(state.trace) or any(map(own.get, hooks.HOOK_DICTS)):
            return call(module, args, kwargs)
        result = unasked.attempt(args, kwargs)
        return watched(module, args, kwargs) if result is MISS else result

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        return None

    def __reduce__(self) -> Any:
        return type(None), ()


_known: dict[int, Unasked] = {}  # by the module's identity
_refused: dict[int, weakref.ref] = {}


def watched(module: Module, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Call a module in a graph that is new, and see whether such calls recur."""
    ident, trace = id(module), state.trace
    if ident in _refused or not _wanted(trace) or not _simple(args, kwargs):
        return call(module, args, kwargs)
    key, tensors = signature(args, kwargs)
    if trace.calls is None:
        trace.calls = {}
    seen = trace.calls.get((ident, key))
    if seen is None:
        seen = trace.calls[ident, key] = _Seen(module, trace.cur)
        result = call(module, args, kwargs)
        if state.trace is trace:
            seen.last = trace.cur
            if not _FEWEST <= _operations(seen.before, trace.cur) <= _MOST:
                _refuse(module)
        return result
    if seen.last is None:  # it runs, or something in it flushed
        return call(module, args, kwargs)
    return (_known.get(ident) or Unasked(module)).record(seen, key, args, kwargs, tensors)


def _wanted(trace: Trace) -> bool:
    """Whether calls may be recorded, and recordings stand for them, now."""
    return (
        config.cells
        and trace.unasked is not None
        and trace.parent is None
        and not trace.trie.eager
        and not trace.python
        and trace.computed is None  # it would be written anew, and what is computed has its place
        and sys.gettrace() is None  # a debugger wants to see every line run
        and sys.getprofile() is None
        and not any(_GLOBAL_HOOKS)
        and credit.given()
    )


def _moved(trace: Trace, steps: dict[Step, Step]) -> None:
    """Tell the calls seen in a trace what their steps are now."""
    kept = set(path_of(trace.cur))
    for seen in trace.calls.values():
        seen.before = steps.get(seen.before, seen.before)
        seen.last = steps.get(seen.last, seen.last)
        if seen.before not in kept or seen.last not in kept:
            seen.last = None  # it was within


def _operations(before: Step, last: Step) -> int:
    """How many operations lie between two steps, as far as that matters."""
    found = 0
    while last is not before and found <= _MOST:
        kernel = last.kernel
        if kernel is not None:
            found += len(kernel.parts.program) if kernel.unasked else 1
        last = last.parent
    return found


def _simple(args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether arguments are tensors, plain values and containers of these."""
    if not kwargs and _PLAIN.issuperset(map(type, args)):
        return True
    return next(objects((args, kwargs)), None) is None


def _traced(trace: Trace, part: Part) -> bool:
    """Whether values are JAX's tracers: what is recorded of them is not for later."""
    values = (*trace.leaves, *[t._v for t in part.inputs.fixed], *part.inputs.constants)
    return any(isinstance(v.array, jax.core.Tracer) for v in values)


def _put(module: Module, unasked: Unasked) -> None:
    """Make recordings stand for the calls of a module."""
    ident = id(module)
    if ident not in _known:
        if len(_known) >= _MOST_MODULES:
            _forget(next(iter(_known)))
        _known[ident] = unasked
        module.__dict__["_compiled_call_impl"] = _Compiled(module)


def _forget(ident: int) -> None:
    unasked = _known.pop(ident, None)
    module = None if unasked is None else unasked._module()
    if module is not None:
        module.__dict__.pop("_compiled_call_impl", None)


def _refuse(module: Module) -> None:
    """Leave the calls of a module alone from now on."""
    ident = id(module)
    _forget(ident)
    _refused[ident] = weakref.ref(module, lambda gone: _refused.pop(ident, None))


later["unasked"] = watched
__all__ = ["Unasked"]
