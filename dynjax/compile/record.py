"""Runs a function once, apart, and makes a `Part` of what it recorded, or says why it can't."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from ..autograd.node import Placed, PlacedInt, next_id
from ..core.collector import Unhurried
from ..engine.capture import Capture, Unsupported
from ..engine.frames import Source
from ..engine.lower import lower
from ..engine.trace import Trace, state
from ..engine.value import Kind, Value, concrete
from ..tensor.tensor import Tensor, value_of
from .alive import subclasses
from .guards import Guards, Reach
from .part import Part
from .places import Grad, Inputs, New, Numbers, Same, Write
from .signature import children, objects, rebuild
from .snapshot import Before, Counter, Key, Snapshot
from .watch import Watch

_one_at_a_time = threading.RLock()  # generators are marked for all threads


class Outcome(NamedTuple):
    """What recording a call gave.

    Attributes:
        part: the recording, of which nothing has happened yet; None if the call has happened.
        result: what the call returned, then.
        problem: why there is no recording, and the line; None if a later call may have one.
        passing: whether the problem may be gone at the next call (a cache was filled, say).
    """

    part: Part | None
    result: Any = None
    problem: tuple[str, Source | None] | None = None
    passing: bool = False


class _Problem(Exception):
    """Why what was recorded can't be replayed."""


class Call(NamedTuple):
    """A call to be recorded.

    Attributes:
        fn: the function.
        name: what messages call it.
        args, kwargs: its arguments.
        tensors: those among the arguments.
        pure: whether only what nobody could tell from the call itself will do.
    """

    fn: Callable[..., Any]
    name: str
    args: tuple
    kwargs: dict[str, Any]
    tensors: list[Tensor]
    pure: bool = False


def record(call: Call, strict: bool) -> Outcome:
    """Make a call, recording what it does.

    Args:
        call: the call.
        strict: undo everything and raise where it can't be replayed.

    Raises:
        Unsupported: it can't be replayed, and `strict`. And what the function raises.
    """
    with _one_at_a_time, Unhurried():  # the watch needs the collector off
        watch = Watch()
        try:
            return _record(watch, call, strict)
        finally:
            watch.new.forget()


def _record(watch: Watch, call: Call, strict: bool) -> Outcome:
    snapshot = Snapshot()
    reach = Reach([call.fn, call.args, call.kwargs])
    capture = Capture(strict)
    capture.first_node = next_id()
    snapshot.mark_generators()
    try:
        with capture, watch:
            result = call.fn(*call.args, **call.kwargs)
    except Unsupported:
        _undo(snapshot, capture)
        raise
    except BaseException:
        snapshot.settle_generators()
        raise
    draws = snapshot.draws()
    snapshot.settle_generators()
    if threading.active_count() > 1:
        counts = [t for update in capture.updates for t in update.counts()]
        snapshot.keep(capture.trace, [*reach.tensors, *call.tensors, *counts])
    if capture.broken:
        return Outcome(None, result, capture.problem)
    problem, passing = _effect(watch, reach, draws), not watch.new.undisturbed()
    if problem is None and (changed := reach.changes()):
        problem, passing = (f"changes {', '.join(changed[:3])}", None), True
    if problem is not None and problem[1] is None:
        problem = problem[0], _place(call.fn)
    if problem is None and capture.settled:
        maker = _Maker(call, capture, snapshot, watch)
        try:
            with maker.inside():
                part = maker.part(result, draws or {})
        except _Problem as why:
            problem = str(why), _place(call.fn)
        else:
            if part is not None:
                _undo(snapshot, capture)
                trace = capture.trace
                trace.vals, trace.leaves, trace.owners, trace.nodes = [], {}, {}, None
                trace.paths, trace.last_path = {}, (None, None, "")
                trace.parent = trace.capture = None
                return Outcome(part)
            passing = True
    if strict and problem is not None and not passing:
        _undo(snapshot, capture)
        what, source = problem
        raise Unsupported(f"{what}, at {source}" if source else what)
    capture.release()
    return Outcome(None, result, problem, passing or not capture.settled)


def _undo(snapshot: Snapshot, capture: Capture) -> None:
    """Put everything back to where it was before the call."""
    snapshot.restore()
    for update in reversed(capture.updates):
        update.undo()


def _place(fn: Any) -> Source | None:
    """Where a function begins."""
    while hasattr(fn, "__wrapped__") or hasattr(fn, "__func__"):
        fn = getattr(fn, "__wrapped__", None) or fn.__func__
    code = getattr(fn, "__code__", None) or getattr(getattr(fn, "forward", None), "__code__", None)
    return code and Source(code.co_filename, code.co_firstlineno, code.co_name)


def _effect(watch: Watch, reach: Reach, draws: dict | None) -> tuple[str, Source | None] | None:
    if watch.effects:
        return watch.effects[0]
    if draws is None:
        return "seeds a random generator", None
    return None


class _Maker:
    """Makes a part of a finished capture."""

    def __init__(self, call: Call, capture: Capture, snapshot: Snapshot, watch: Watch) -> None:
        self.call = call
        self.capture, self.snapshot, self.watch = capture, snapshot, watch
        self.trace: Trace = capture.trace
        self.arguments = {id(t): k for k, t in reversed(list(enumerate(call.tensors)))}
        self.n_arguments = len(call.tensors)
        befores = snapshot.tensors.values()
        # The collector knows tensors in an order of its own, which is another one each time.
        self.befores = sorted(befores, key=self._recorded)
        self.owners = {id(b.grad): b.tensor for b in befores if b.grad is not None}
        self.wanted: list[int] = []
        self.wanted_kinds: list[Kind] = []
        self.positions: dict[tuple[int, Kind], int] = {}

    def _recorded(self, before: Before) -> tuple[int, ...]:
        """Where in the capture a tensor's content and its gradient were made; -1: outside of it."""
        tensor, alias = before.tensor, before.tensor._alias
        content = tensor._v if alias is None else alias.storage.value
        made = [content, None if tensor._grad is None else tensor._grad._v]
        return tuple([-1 if v is None or v.trace is not self.trace else v.idx for v in made])

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """A context in which the captured trace is open again."""
        state.trace = self.trace
        try:
            yield
        finally:
            state.trace = self.capture.outer

    # --- the parts of a part

    def part(self, result: Any, draws: dict) -> Part | None:
        """The part; None if the next call has to be recorded instead."""
        if self.trace.grad != self.capture.outer.grad:
            raise _Problem("leaves another grad mode than it found")
        returned = rebuild(result, self._returned)
        writes = self._writes()
        grads = self._grads()
        self._kept(result)
        unfreed = [
            k for k, kind in zip(self.wanted, self.wanted_kinds, strict=True)
            if kind.requires_grad and not kind.leaf and k not in self.trace.freed
        ]  # fmt: skip
        if unfreed and self.trace.python:
            raise _Problem("has hooks or Python functions on a graph that it returns")
        lowered = lower(self.trace.path(), self.wanted, cut=bool(unfreed))
        inputs = self._inputs(lowered.leaves)
        if inputs is None:
            return None
        freed = frozenset(k for k, i in enumerate(self.wanted) if i in self.trace.freed)
        # Of the arguments only objects: containers and their values are in the signature.
        roots = [self.call.fn, *objects((self.call.args, self.call.kwargs))]
        reach = Reach(roots, (self.watch.user, self.watch.ours))
        if reach.iterators:
            raise _Problem(
                f"uses the iterator or generator {reach.iterators[0][0]!r}, which lives outside"
            )
        self._check_known(inputs, reach)
        if self.call.pure:
            self._check_pure(reach, writes or grads or freed or self.capture.updates)
        return Part(
            self.call.name,
            lowered,
            list(zip(lowered.outputs, self.wanted_kinds, strict=True)),
            freed,
            inputs,
            self._numbers(lowered, draws),
            list(self.capture.updates),
            writes,
            grads,
            returned,
            Guards(reach.entries),
            self.capture.flushed,
            self.trace,
            self.call.pure,
        )

    def _check_pure(self, reach: Reach, changes: Any) -> None:
        """Refuse what could be told from the call itself."""
        strange = reach.strange or self.watch.strange
        if strange:
            raise _Problem(f"uses {strange[0]}, of which not everything is guarded")
        if changes or self.capture.flushed or self.trace.python:
            raise _Problem("does more than to compute")
        module = self.call.fn.__self__
        if any(module is entry.value for entry in reach.entries):
            raise _Problem("is found by what it reads")  # which would keep it alive

    def _want(self, value: Value) -> int:
        """The result of the part that is this value."""
        idx = self.trace.ref(value)
        key = (idx, value.kind)
        if key not in self.positions:
            self.positions[key] = len(self.wanted)
            self.wanted.append(idx)
            self.wanted_kinds.append(value.kind)
        return self.positions[key]

    def _place(self, tensor: Tensor) -> Same:
        k = self.arguments.get(id(tensor))
        if k is not None:
            return Same(None, k)
        owner = self.owners.get(id(tensor))
        return Same(tensor) if owner is None else Same(None, owner=owner)

    def _returned(self, leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            if id(leaf) in self.snapshot.tensors:
                return self._place(leaf)
            return self._new(leaf, "returns")
        if leaf is None or isinstance(leaf, (int, float, complex, str, bytes, type, np.dtype)):
            return leaf
        if self.watch.new.existed(leaf, False) or not gc.is_tracked(leaf):
            return leaf
        raise _Problem(f"returns a {type(leaf).__name__} that it made")

    def _new(self, tensor: Tensor, verb: str) -> New:
        alias, meta = tensor._alias, tensor._meta
        if alias is not None:
            storage = alias.storage
            sharing = [b for b in self.snapshot.tensors.values() if _storage(b.tensor) is storage]
            if sharing:
                raise _Problem(f"{verb} a view of a tensor that existed before")
            if self.call.pure and alias.base is not None:
                raise _Problem(f"{verb} a view")
        if meta is not None and (meta.hooks or meta.post_hooks or meta.retain):
            raise _Problem(f"{verb} a tensor with hooks")
        if tensor._grad is not None or tensor.__dict__:
            raise _Problem(f"{verb} a tensor with attributes of its own")
        return New(self._want(value_of(tensor)), type(tensor))

    def _writes(self) -> list[Write]:
        found, storages = [], set()
        handled = {id(t) for update in self.capture.updates for t in update.counts()}
        whole = {
            id(b.tensor._alias.storage): b
            for b in self.snapshot.tensors.values()
            if b.tensor._alias is not None and b.tensor._alias.plain
        }
        for before in self.befores:
            tensor, alias = before.tensor, before.tensor._alias
            if id(tensor) in handled:
                continue
            if alias is not None and (before.alias is None or alias is before.alias):
                storage = alias.storage
                version, stamp = before.content[1:3] if before.content else (0, 0)
                if storage.stamp != stamp:
                    if id(storage) in storages:
                        continue
                    storages.add(id(storage))
                    found.append(self._write(storage, version, stamp, whole))
                elif tensor._v is not before.value and not alias.chain and alias.base is None:
                    if tensor._v.kind is not before.value.kind:
                        raise _Problem("changes whether a tensor requires grad")
            elif alias is not before.alias or tensor._v is not before.value:
                if alias is not None or tensor._v.kind is not before.value.kind:
                    raise _Problem("makes a tensor share, or no longer share, its data")
                found.append(Write(self._place(tensor), self._want(tensor._v), 0, 0, True))
        return found

    def _write(self, storage: Any, version: int, stamp: int, whole: dict[int, Before]) -> Write:
        known = whole.get(id(storage))
        if known is None:
            raise _Problem("writes to a tensor of which only views are left, or through one")
        writer = known.tensor
        if writer._v.kind is not known.value.kind:
            raise _Problem("writes what requires grad to a tensor that existed before")
        result = self._want(value_of(writer))
        changes = storage.versions.now - version
        return Write(self._place(writer), result, changes, storage.stamp - stamp, False)

    def _grads(self) -> list[Grad]:
        found = []
        for before in self.befores:
            now = before.tensor._grad
            if now is before.grad:
                continue
            new: Any = None
            if now is not None:
                known = id(now) in self.snapshot.tensors
                new = self._place(now) if known else self._new(now, "leaves as a gradient")
            found.append(Grad(self._place(before.tensor), new, before.grad is not None))
        return found

    def _kept(self, result: Any) -> None:
        """Refuse a tensor made inside that somebody outside of the result still holds."""
        self.watch.new.forget()  # what was asked of it holds tensors too
        mine = {id(t) for t in _tensors_of(result)}
        mine.update(id(b.tensor._grad) for b in self.snapshot.tensors.values())
        strangers = self._strangers(mine)
        if strangers:
            gc.collect()
            strangers = self._strangers(mine)
        for tensor in strangers:
            for holder in gc.get_referrers(tensor):
                if isinstance(holder, (dict, tuple, set)) or (
                    isinstance(holder, list) and holder is not strangers
                ):
                    raise _Problem(f"keeps a tensor of shape {tuple(tensor.shape)} beyond the call")

    def _strangers(self, mine: set[int]) -> list[Tensor]:
        return [
            t
            for t in self.watch.new.made(subclasses(Tensor))
            if hasattr(t, "_v")
            and t._v.trace is self.trace
            and id(t) not in mine
            and id(t) not in self.snapshot.tensors
        ]

    def _inputs(self, leaves: tuple[int, ...]) -> Inputs | None:
        entered = list(self.trace.leaves)
        fixed: dict[int, Tensor] = {}
        grads: dict[int, Tensor] = {}
        constants: list[Value] = []
        sources: list[tuple[int, int]] = []
        for k in leaves:
            value = entered[k]
            # `detach()` of what is computed already gives another value of the same array.
            candidates = self.snapshot.by_value.get(id(value)) or self.snapshot.by_array.get(
                id(value.array), ()
            )
            if len(candidates) > 1 and not _one_storage(candidates):
                for before in candidates[1:]:
                    _split(before)
                return None
            tensors = [before.tensor for before in candidates]
            found = next((self.arguments[id(t)] for t in tensors if id(t) in self.arguments), None)
            if found is not None:
                sources.append((0, found))
            elif not tensors:
                if value.trace is not None or value.array is None:
                    raise _Problem("uses a value that no tensor holds")
                sources.append((3, len(constants)))
                constants.append(self._constant(value))
            elif id(tensors[0]) in self.owners:
                owner = self.owners[id(tensors[0])]
                grads[id(owner)] = owner
                sources.append((2, list(grads).index(id(owner))))
            else:
                tensor = next((t for t in tensors if _plain(t)), tensors[0])
                fixed[id(tensor)] = tensor
                sources.append((1, list(fixed).index(id(tensor))))
        starts = (0, self.n_arguments, self.n_arguments + len(fixed))
        starts = (*starts, starts[2] + len(grads))
        picks = tuple(starts[group] + k for group, k in sources)
        return Inputs(
            self.n_arguments, list(fixed.values()), list(grads.values()), constants, picks
        )

    def _constant(self, value: Value) -> Value:
        array = value.array
        if type(array) is np.ndarray:
            with jax.enable_x64(True):
                array = jax.device_put(array)
        return concrete(array, value.kind, value.node)

    def _check_known(self, inputs: Inputs, reach: Reach) -> None:
        """Refuse tensors that came from where no guard looks."""
        known = {id(t) for t in reach.tensors}
        for update in self.capture.updates:
            known.update(map(id, update.holds()))
        known.update(id(t._grad) for t in list(reach.tensors) if t._grad is not None)
        storages = {id(_storage(b.tensor)) for b in self.snapshot.tensors.values()
                    if id(b.tensor) in known and b.storage is not None}  # fmt: skip
        for tensor in inputs.fixed:
            if id(tensor) not in known and id(_storage(tensor)) not in storages:
                raise _Problem(
                    f"reads a tensor of shape {tuple(tensor.shape)} from a place that is not "
                    "guarded (pass it as an argument)"
                )

    def _numbers(self, lowered: Any, draws: dict) -> Numbers:
        recorded = self.trace.numbers
        starts = {generator: start for generator, _, start in self.snapshot.generators}
        given = {
            update.position + j: (u, j)
            for u, update in enumerate(self.capture.updates)
            for j in range(len(update.first.numbers))
        }
        template: list[Any] = []
        updates, keys, counters = [], [], []
        for place, position in enumerate((*lowered.floats, *lowered.ints)):
            number = recorded[position]
            while type(number) in (Placed, PlacedInt):
                if recorded.get(number.pos) != number:
                    raise _Problem("uses a graph that was recorded outside of it")
                position, number = number.pos, recorded[number.pos]
            if position in given:
                updates.append((place, *given[position]))
            elif type(number) is Key:
                keys.append((place, number.generator))
            elif type(number) is Counter:
                before = int(number) - starts[number.generator]
                counters.append((place, number.generator, before))
            template.append(int(number) if isinstance(number, int) else number)
        return Numbers(template, updates, keys, counters, draws, len(lowered.floats))


def _storage(tensor: Tensor) -> Any:
    return None if tensor._alias is None else tensor._alias.storage


def _plain(tensor: Tensor) -> bool:
    return tensor._alias is None or tensor._alias.plain


def _one_storage(candidates: list[Before]) -> bool:
    storages = {id(b.storage) for b in candidates}
    return len(storages) == 1 and candidates[0].storage is not None


def _split(before: Before) -> None:
    """Give a tensor that happens to hold the same value as another one of its own."""
    old = before.tensor._v
    if old is before.value and old.trace is None and old.array is not None:
        with jax.enable_x64(True):
            array = jax.device_put(old.array, may_alias=False)
        new = concrete(array, old.kind, old.node)
        new.watch = old.watch
        before.tensor._v = new
        if before.storage is not None and before.storage.value is old:
            before.storage.value = new


def _tensors_of(item: Any) -> list[Tensor]:
    if isinstance(item, Tensor):
        return [item]
    parts = children(item)
    return [] if parts is None else [t for member in parts[1] for t in _tensors_of(member)]


__all__ = ["Outcome", "record", "state"]
