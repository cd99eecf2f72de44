"""A recorded part: one kernel, where its inputs come from, and what becomes of its results."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Sequence
from itertools import repeat
from operator import attrgetter, is_, is_not
from typing import Any

import numpy as np

from ..engine.executor import flush
from ..engine.frames import user_place
from ..engine.kernel import Kernel, kernels
from ..engine.lower import Lowered
from ..engine.random import Generator
from ..engine.trace import Trace, state
from ..engine.trie import Step, Template
from ..engine.unfold import credit
from ..engine.value import Kind, Value
from ..optim._plan import Update
from ..tensor.storage import detached, refresh, replace
from ..tensor.tensor import Tensor, wrap
from . import direct
from .guards import Guards
from .places import MISS, Grad, Inputs, New, Numbers, Same, Write, picker, tensor_at
from .signature import rebuild

_meta = attrgetter("_meta")


class Part:
    """One recording of a function.

    Args:
        name: of the function, for messages.
        lowered: the computation, over its inputs.
        results: for every result, its place among the computation's outputs, and its kind.
        freed: results whose graph was consumed inside.
        inputs, numbers: see there.
        updates: the optimizers' updates inside.
        writes, grads: what becomes of results, beside what is returned.
        returned: what the function returns, with New and Same for tensors.
        guards: the Python values that were read.
        flushed: whether what is recorded runs at the end of the call.
        trace: in which it was recorded, emptied; for `explain`.
        unasked: whether it was recorded without being asked to.

    Attributes:
        graded: the tensors whose gradients are left anew, or cleared.
        had_all_grads: whether all of these had one before the call, and no other was read.
        only: what the function returns, with New and Same for tensors.
        returned: the results among it.
        plainly: see `_plainly`.
        template: the grad mode of the last step that was new, and what all of that mode share.
    """

    def __init__(
        self,
        name: str,
        lowered: Lowered,
        results: list[tuple[int, Kind]],
        freed: frozenset[int],
        inputs: Inputs,
        numbers: Numbers,
        updates: list[Update],
        writes: list[Write],
        grads: list[Grad],
        returned: Any,
        guards: Guards,
        flushed: bool,
        trace: Trace,
        unasked: bool = False,
    ) -> None:
        self.name, self.lowered, self.freed = name, lowered, freed
        self.outs = tuple(k for k, _ in results)
        self.kinds = tuple(kind for _, kind in results)
        self.inputs, self.numbers, self.updates = inputs, numbers, updates
        self.writes, self.grads = writes, grads
        self.trace = trace
        self.guards, self.flushed = guards, flushed
        self.fixed_kinds = [t._v.kind for t in inputs.fixed]
        self.grad_kinds = [t._grad._v.kind for t in inputs.grads]
        self.hooked = self.hooks()
        self.fixed_ids = frozenset(map(id, inputs.fixed))
        self._had_grad = [g.before for g in grads if g.place.tensor is not None]
        self.graded = [g.place.tensor for g in grads if g.place.tensor is not None]
        self.had_all_grads = all(self._had_grad) and not inputs.grads
        self.pick = picker(inputs.picks)
        self.kernel = _kernel(name, lowered, self.outs, self._kept(), unasked)
        found: list[Any] = []
        rebuild(returned, lambda leaf: found.append(leaf))
        self.returned = frozenset(leaf.result for leaf in found if type(leaf) is New)
        self.only = returned
        self.plainly = self._plainly(found)
        self.template: tuple[Any, Template] | None = None
        # What updates answered the last time, and the numbers then.
        self._asked: tuple[Sequence[Any], list[Any]] = (None,), []
        self.direct = direct.Direct(self) if direct.possible(self) else None

    def _plainly(self, leaves: list[Any]) -> list[tuple[int, type[Tensor]]] | None:
        """Where a call does nothing but return a tuple of new tensors: which, and their classes."""
        if (
            self.writes
            or self.grads
            or self.freed
            or self.updates
            or self.flushed
            or type(self.only) is not tuple
            or not all(type(leaf) is New for leaf in self.only)
            or len(self.returned) < len(leaves)
            or self.numbers.draws
            or any(self.kinds[leaf.result].leaf for leaf in leaves)
        ):
            return None
        return [(leaf.result, leaf.cls) for leaf in leaves]

    def _kept(self) -> tuple[tuple[int, int], ...]:
        """For every write, its result and the input that the tensor was, if it is one."""
        inputs, found = self.inputs, []
        for write in self.writes:
            place = write.place
            if place.tensor is not None:
                held = [k for k, t in enumerate(inputs.fixed) if t is place.tensor]
                at = inputs.arguments + held[0] if held else None
            elif place.owner is not None:
                held = [k for k, t in enumerate(inputs.grads) if t is place.owner]
                at = inputs.arguments + len(inputs.fixed) + held[0] if held else None
            else:
                at = place.argument
            if at is not None and at in inputs.picks:
                found.append((write.result, inputs.picks.index(at)))
        return tuple(found)

    # --- whether it stands for a call

    def attempt(self, tensors: Sequence[Tensor]) -> Any:
        """Do what the function would do, without its Python; `MISS` if this is another call."""
        if self.direct is not None:
            return self.direct(tensors)
        if not self.fits(tensors):
            return MISS
        numbers = self.ask()
        return MISS if numbers is None else self.replay(tensors, numbers)

    def fits(self, tensors: Sequence[Tensor]) -> bool:
        """Whether a replay does what the function would do now, as far as `ask` does not tell."""
        return (
            self.guards.hold()
            and self.fixed_ids.isdisjoint(map(id, tensors))
            and [t._v.kind for t in self.inputs.fixed] == self.fixed_kinds
            and self.hooks() == self.hooked
            and (not (self.graded or self.inputs.grads) or self.grads_fit())
        )

    def grads_fit(self) -> bool:
        """Whether gradients are there where they were, and of the same kinds."""
        if [t._grad is not None for t in self.graded] != self._had_grad:
            return False
        grads = [t._grad for t in self.inputs.grads]
        return all(map(is_not, grads, repeat(None))) and (
            [g._v.kind for g in grads] == self.grad_kinds
        )

    def hooks(self) -> list[tuple]:
        """The hooks of the tensors that the function reaches by itself."""
        fixed = self.inputs.fixed
        if not any(map(_meta, fixed)):
            return []
        return [
            (id(t), *(m.hooks or ()), None, *(m.post_hooks or ()))
            for t in fixed
            if (m := t._meta) is not None and (m.hooks or m.post_hooks)
        ]

    def ask(self) -> list[Any] | None:
        """The run-time numbers of the next call; None if an update would be another operation.

        The same list as the last time if nothing has changed.
        """
        spec = self.numbers
        answers = []
        for update in self.updates:
            answer = update.numbers()
            if answer is None:
                return None
            answers.append(answer)
        last, values = self._asked
        if len(last) == len(answers) and all(map(is_, answers, last)):
            return values
        values = spec.template.copy()
        for place, update, k in spec.updates:
            values[place] = answers[update][k]
        for place, generator in spec.keys:
            values[place] = generator.key
        for place, generator, before in spec.counters:
            values[place] = generator.counter + before
        if not (spec.keys or spec.counters):
            self._asked = answers, values
        return values

    def draws(self) -> list[tuple[Generator, int]]:
        """The generators of which the next call draws, with their counters after it."""
        return [(g, g.counter + draws) for g, draws in self.numbers.draws.items()]

    def settle(self, draws: list[tuple[Generator, int]]) -> None:
        """What a call leaves on the host; may run twice.

        Args:
            draws: what was said of them before it.
        """
        for update in self.updates:
            update.commit()
        for generator, counter in draws:
            generator.counter = counter

    def build(self, tensor_of: Callable[[Any], Any]) -> Any:
        """What the function returns, of a function from New and Same to tensors."""
        returned = self.only
        return tensor_of(returned) if type(returned) is New else rebuild(returned, tensor_of)

    def replay_now(self, tensors: Sequence[Tensor]) -> Any:
        """Do what a call that was recorded just now does."""
        result = self.direct(tensors) if self.direct is not None else MISS
        if result is MISS:
            numbers = self.ask()
            if numbers is None:
                raise RuntimeError(f"{self.name} changed what it reads while it was recorded")
            result = self.replay(tensors, numbers)
        return result

    def difference(self, other: Part) -> str | None:
        """What tells another recording of the same call from this one; None if nothing does."""
        mine, theirs = self.lowered.program, other.lowered.program
        for k, (a, b) in enumerate(zip(mine, theirs, strict=False)):
            if a[0].key != b[0].key or a[1] != b[1]:
                where = other.lowered.steps[k].source
                return f"operation {k} is {b[0].op}, was {a[0].op}" + (
                    f" ({where})" if where else ""
                )
        if len(mine) != len(theirs):
            return f"{len(theirs)} operations, were {len(mine)}"
        now = other.numbers.template
        dynamic = {p for p, *_ in (*self.numbers.updates, *self.numbers.keys,
                                   *self.numbers.counters)}  # fmt: skip
        for k, (a, b) in enumerate(zip(self.numbers.template, now, strict=False)):
            if k not in dynamic and a != b:
                return f"a number is {b}, was {a}"
        if self.inputs.picks != other.inputs.picks:
            return "it takes other inputs"
        pairs = zip(self.inputs.fixed, other.inputs.fixed, strict=True)
        if any(a is not b for a, b in pairs):
            return "it reads other tensors"
        for a, b in zip(self.inputs.constants, other.inputs.constants, strict=True):
            if not np.array_equal(np.asarray(a.array), np.asarray(b.array), equal_nan=True):
                return f"a constant of shape {tuple(a.kind.shape)} has other values"
        if self.outs != other.outs or self.kinds != other.kinds:
            return "it leaves other results"
        return None

    # --- a replay as one recorded step

    def values(self, tensors: Sequence[Tensor]) -> Sequence[Value]:
        """The present values of the kernel's inputs."""
        inputs = self.inputs
        held = [*tensors, *inputs.fixed] if inputs.fixed else tensors
        if inputs.grads:
            held = [*held, *[t._grad for t in inputs.grads]]
        found = [
            t._v if (a := t._alias) is None or a.seen == a.storage.stamp else refresh(t)
            for t in held
        ]
        if inputs.constants:
            found += inputs.constants
        return [
            v if v.kind.requires_grad is kind.requires_grad or kind.requires_grad else detached(v)
            for v, kind in zip(self.pick(found), self.lowered.kinds, strict=True)
        ]

    def _new_step(
        self, trace: Trace, key: Hashable, refs: tuple[int, ...], values: Sequence[Value]
    ) -> Step:
        """The step of a replay, in a trace that was never here before."""
        known = self.template
        if known is not None and known[0] is trace.grad:
            place, path = user_place(2), trace.module_path()
            return trace.extend(known[1], key, refs, place, path, trace.cur.depth + 1)
        args = self.lowered if self.kernel.unasked else None
        step = trace.add(key, self.kernel, refs, values, trace.grad, args=args, kinds=self.kinds)
        if self.kinds:
            self.template = trace.grad, Template(self.kernel, self.kinds, args, wrt=step.wrt)
        return step

    def replay(self, tensors: Sequence[Tensor], numbers: list[Any]) -> Any:
        """Record one step that does what the function does, and put its results in place."""
        trace = state.trace
        if trace.cur.depth >= trace.trie.budget():
            flush()
            trace = state.trace
        values = self.values(tensors)
        refs = trace.refs(values)
        kernel = self.kernel
        key = (kernel, trace.grad, self.kinds, refs)
        step = trace.cur.next.get(key)
        if step is None:
            step = self._new_step(trace, key, refs, values)
        if numbers:
            at = trace.cur.nnum
            for k, number in enumerate(numbers):
                trace.numbers[at + k] = number
        trace.cur = step
        if kernel.unasked:
            credit.used(trace)
        results = trace.results(step)
        if self.plainly is not None:
            return tuple([wrap(results[k], cls) for k, cls in self.plainly])
        if self.freed:
            trace.freed = trace.freed | {step.base + k for k in self.freed}
        made: dict[int, Tensor] = {}

        def tensor_of(what: Any) -> Any:
            if type(what) is Same:
                return tensor_at(what, tensors)
            if type(what) is not New:
                return what
            found = made.get(what.result)
            if found is None:
                value = results[what.result]
                found = made[what.result] = wrap(value, what.cls)
                if value.kind.leaf:
                    value.node = trace.owners[value.idx] = weakref.ref(found)
            return found

        for write in self.writes:
            _write(write, tensor_at(write.place, tensors), results[write.result], trace)
        for grad in self.grads:
            new = None if grad.new is None else tensor_of(grad.new)
            tensor_at(grad.place, tensors)._grad = new
        self.settle(self.draws())
        result = self.build(tensor_of)
        if self.flushed:
            flush()
        return result


def _write(write: Write, tensor: Tensor, value: Value, trace: Any) -> None:
    old = tensor._v
    if value.kind.leaf:
        value.node = trace.owners[value.idx] = old.node
    if write.data:
        tensor._v, tensor._alias = value, None
        return
    replace(tensor, value, write.changes, write.stamps)


def _kernel(
    name: str,
    lowered: Lowered,
    outs: tuple[int, ...],
    kept: tuple[tuple[int, int], ...],
    unasked: bool,
) -> Kernel:
    n, n_floats = len(lowered.leaves), len(lowered.floats)
    key = ("part", name, lowered.key, outs, kept, unasked)

    def fn(*args: Any) -> tuple:
        numbers = args[n:]
        results = lowered.evaluate(args[:n], numbers[:n_floats], numbers[n_floats:])
        return tuple(results[k] for k in outs)

    def make() -> Kernel:
        kernel = Kernel(
            name,
            key,
            fn,
            [k.aval for k in lowered.kinds],
            (float,) * n_floats + (int,) * len(lowered.ints),
            grad_name="CompiledFunctionBackward",
            out_avals=tuple(lowered.out_avals[k] for k in outs),
            by_python=True,
        )
        kernel.parts, kernel.kept, kernel.unasked = lowered, kept, unasked
        return kernel

    return kernels.get(key, make)


__all__ = ["Part"]
