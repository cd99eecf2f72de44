"""What an optimizer needs to update one set of parameters, looked up once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import is_
from sys import getrefcount
from typing import Any, NamedTuple

import numpy as np

from ..autograd.multi_tensor import Lists, MultiTensor
from ..engine.trace import state
from ..engine.value import Value, concrete
from ..tensor.packed import Packed
from ..tensor.storage import write
from ..tensor.tensor import Tensor, from_host, host_value

# References to what "step" tensors share, beside those of the tensors: this file's.
_OWN_VALUE = 3
_OWN_ARRAY = 3
_EXACT = 2.0**24  # as far as float32 counts


class Plan:
    """The state of one set of parameters, as the update takes it.

    Args:
        params: the parameters.
        states: what the optimizer stores for each of them.
        begun: what it is still to store there, for those that were never updated; see `commit`.
        names: of the state tensors that an update writes.
        packed: whether small state tensors may share an array.
        counted: whether "step" counts the updates.

    Attributes:
        written: the parameters, then each list of state tensors, then the counter of `steps`.
        steps: the counts, or None.
        prepared: options of a group, and the update that they describe: what was asked last.
        released: whether it is over.
    """

    __slots__ = (
        "held", "begun", "written", "steps", "prepared", "released", "_params", "_stores", "_packs",
    )  # fmt: skip

    def __init__(
        self,
        params: list[Tensor],
        states: list[dict[str, Any]],
        begun: list[dict[str, Any]] | None,
        names: Sequence[str],
        packed: bool,
        counted: bool,
    ) -> None:
        now = states if begun is None else [{**a, **b} for a, b in zip(states, begun, strict=True)]
        self.released = False
        self._params, self._stores = params, bool(names)
        self.held = [*params, *chain.from_iterable(map(dict.values, now))]
        self.begun = None if begun is None else list(zip(states, begun, strict=True))
        lists = [[ours[name] for ours in now] for name in names]
        self._packs = [Packed(members) for members in lists] if packed else []
        lists = self._packs or lists
        self.steps: Steps | None = None
        if counted:
            counter = from_host(np.zeros((), np.float64), params[0].device)
            self.steps = Steps([ours["step"] for ours in now], counter)
            lists = [*lists, [counter]]
        self.written = Lists(params, *lists)
        self.prepared: tuple[Any, Any] = None, None

    def fits(self, params: list[Tensor], states: list[dict[str, Any]]) -> bool:
        """Whether these parameters and what is stored for them are still what it was made of."""
        now = [*params, *chain.from_iterable(map(dict.values, states))]
        return len(now) == len(self.held) and all(map(is_, now, self.held))

    def stored(self, stored: Mapping[Tensor, dict[str, Any]]) -> list[Any]:
        """What an optimizer stores now for its parameters."""
        states = map(stored.__getitem__, self._params if self._stores else ())
        return list(chain.from_iterable(map(dict.values, states)))

    def advance(self) -> bool:
        """Whether one more update would be as the last, as far as its counts go."""
        steps = self.steps
        return not self.released and (
            steps is None or (len(steps.advance()) == 1 and not steps.moved)
        )

    def commit(self) -> None:
        """Store what an update, now recorded, implies; may run twice."""
        if self.begun is not None:
            for ours, begun in self.begun:
                ours.update(begun)
            self.begun = None
        if self.steps is not None:
            self.steps.commit()

    def forget(self) -> None:
        """An update that was recorded has failed: its counter may be as it was before."""
        if self.steps is not None:
            self.steps.forget()

    def release(self) -> None:
        """Give every state tensor an array of its own again."""
        self.released = True
        for pack in self._packs:
            pack.release()


class Steps:
    """The "step" tensors of some parameters, whose values are known without asking a device.

    Args:
        tensors: one for each parameter.
        counter: a tensor that an update shall find to hold the count of updates before it, where
            all agree, and shall increase: so that no number has to be sent for it.

    Attributes:
        tensors: those.
        moved: whether the last `advance` had to write to the counter.
    """

    __slots__ = (
        "tensors", "moved", "_counter", "_counted", "_value", "_count", "_next", "_next_count",
    )  # fmt: skip

    def __init__(self, tensors: list[Tensor], counter: Tensor | None = None) -> None:
        self.tensors = tensors
        self.moved = False
        self._counter = counter
        self._counted: float | None = None  # what it holds, if that is known
        # What all of them hold, if it is one value.
        self._value: Value | None = None
        self._count = self._next_count = 0.0
        self._next: list[Value] = []  # the next ones, unless they are all known

    def advance(self) -> list[float]:
        """What they will hold after one more update: one number if all agree, else one each.

        `commit` stores it.
        """
        known = self._value
        for tensor in self.tensors:
            if tensor._v is not known or tensor._alias is not None:
                return self._read()
        self.moved = False
        self._next = []
        count = self._count + 1.0
        if count > _EXACT or known.array.itemsize < 4:
            count = float(known.array.dtype.type(count))
        self._next_count = count
        return [count]

    def _read(self) -> list[float]:
        made: dict[tuple, tuple[Value, float]] = {}
        pairs, known = [], set()
        for tensor in self.tensors:
            count, kind = float(tensor), tensor._v.kind
            known.add(count)
            if (count, kind) not in made:
                array = np.array(count + 1, kind.dtype.np)
                made[count, kind] = host_value(array, kind.device), float(array)
            pairs.append(made[count, kind])
        self._next = [value for value, _ in pairs]
        counts = [count for _, count in pairs]
        agree = len(set(counts)) == 1
        self._next_count = counts[0] if agree else None
        self.moved = self._counter is not None and agree and known != {self._counted}
        if self.moved:
            (self._counted,) = known
            write(self._counter, host_value(np.array(self._counted), self._counter.device))
            if state.trace.capture is not None:
                state.trace.capture.settled = False
        return counts[:1] if agree else counts

    def forget(self) -> None:
        """Read the tensors, and write to the counter, at the next update."""
        self._value = self._counted = None

    def known(self) -> tuple[Any, ...]:
        """What is known of the counts, for `reset`."""
        return self._counted, self._value, self._count

    def reset(self, known: tuple[Any, ...]) -> None:
        """Tensors and counter are again what they were when that was known."""
        self._counted, self._value, self._count = known

    def commit(self) -> None:
        """Store the counts that `advance` gave."""
        self._counted = self._next_count
        if not self._next:
            known = self._value
            array, ours = known.array, len(self.tensors) + _OWN_VALUE
            if (
                type(array) is np.ndarray
                and getrefcount(array) <= _OWN_ARRAY
                and getrefcount(known) <= ours
            ):
                array[...] = self._next_count
            else:
                array = np.array(self._next_count, array.dtype)
                self._value = value = concrete(array, known.kind)
                for tensor in self.tensors:
                    tensor._v = value
            self._count = self._next_count
            return
        for tensor, value in zip(self.tensors, self._next, strict=True):
            if tensor._alias is None:
                tensor._v = value
            elif tensor._v is not value:
                write(tensor, value)
        # Values on another device than jax's default are not known here.
        first = self._next[0]
        if type(first.array) is np.ndarray and len({id(v) for v in self._next}) == 1:
            self._value, self._count = first, float(first.array)


class Prepared(NamedTuple):
    """An update of some parameters, ready to be recorded.

    Attributes:
        update: the operation.
        plan: the state that it writes.
        extra: what it reads beside the gradients: only while counts or first gradients differ.
        numbers, statics: its other arguments.
    """

    update: MultiTensor
    plan: Plan
    extra: list[list[Tensor]]
    numbers: Sequence[float]
    statics: tuple


class Update:
    """An update inside a captured part: what every replay asks again.

    Args:
        optimizer: whose it is.
        prepare: gives the update as it would be recorded now.
        first: as it was recorded.
        position: of its first number in the captured trace.
    """

    __slots__ = (
        "optimizer", "prepare", "first", "position", "groups", "_params", "_known", "_numbers",
        "_before",
    )  # fmt: skip

    def __init__(
        self, optimizer: Any, prepare: Callable[[], Prepared], first: Prepared, position: int
    ) -> None:
        self.optimizer, self.prepare, self.first = optimizer, prepare, first
        self.position = position
        self.groups = list(optimizer.param_groups)
        self._params = [list(group["params"]) for group in self.groups]
        steps = first.plan.steps
        self._before = None if steps is None else steps.known()
        # What was read when the numbers were last asked for; None if options may change without
        # becoming other objects.
        self._known: list[Any] | None = None
        self._numbers: Sequence[float] = ()

    def numbers(self) -> Sequence[float] | None:
        """The numbers of the next update; None if it would be another operation."""
        optimizer, first = self.optimizer, self.first
        if optimizer.hooked():
            return None
        groups = optimizer.param_groups
        known = self._known
        if known is not None:
            now = self._read()
            if len(now) == len(known) and all(map(is_, now, known)) and first.plan.advance():
                return self._numbers
        if len(groups) != len(self.groups) or not all(map(is_, groups, self.groups)):
            return None
        for group, params in zip(groups, self._params, strict=True):
            if len(group["params"]) != len(params) or not all(map(is_, group["params"], params)):
                return None
        prepared = self.prepare()
        plan = prepared.plan
        if plan.steps is not None and plan.steps.moved:
            return None
        same = plan is first.plan and prepared.update is first.update and not prepared.extra
        if not same or prepared.statics != first.statics:
            return None
        self._known = self._read() if self._lasting() else None
        self._numbers = prepared.numbers
        return prepared.numbers

    def _read(self) -> list[Any]:
        """The options of each group and its parameters, and what is stored for them."""
        found: list[Any] = []
        for group in self.optimizer.param_groups:
            found += group.values()
            found += group["params"]
        return found + self.first.plan.stored(self.optimizer.state)

    def commit(self) -> None:
        """Store what the update implies on the host."""
        self.first.plan.commit()

    def undo(self) -> None:
        """What it changed is as it was before it was recorded."""
        steps = self.first.plan.steps
        if steps is not None:
            steps.reset(self._before)

    def counts(self) -> list[Tensor]:
        """The tensors that `commit` changes."""
        steps = self.first.plan.steps
        return [] if steps is None else steps.tensors

    def holds(self) -> list[Tensor]:
        """The tensors of which the update makes sure."""
        return [*self.first.plan.held, *self.first.plan.written.tensors]

    def _lasting(self) -> bool:
        """Whether options are what they were as long as they are the same objects."""
        return all(
            type(option) in _PLAIN
            or (type(option) is tuple and _PLAIN.issuperset(map(type, option)))
            or name == "params"
            for group in self.groups
            for name, option in group.items()
        )


_PLAIN = {float, int, bool, str, type(None)}
