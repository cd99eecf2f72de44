"""A loop of XLA's, and sums over its repetitions.

A weight's gradient is a sum over repetitions of matrix products, each small and slower than one
for all of them, and each followed by an addition as large as the weight. Where it is known how many
repetitions there are, and nothing reads the sum before the end, their factors are kept, and
contracted over the repetitions too when these are done. That is done where it keeps less of a
repetition than is added to. (Products of what is at hand before the loop, a recurrent cell's
inputs by its weights, gain nothing when they are computed at once: measured.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from .kernel import is_var, size_of
from .slices import row, with_row

_MOST = 1 << 26  # bytes that may be kept for all repetitions
_MOVES = frozenset(("reshape", "transpose", "squeeze"))  # keep all elements
_LINEAR = frozenset((*_MOVES, "broadcast_in_dim", "reduce_sum"))  # of a sum is the sum of these
# Nothing differentiates a loop: rules for that are left out with the call.
_CALLS = {"jit": "jaxpr", "pjit": "jaxpr"}
_CALLS.update(dict.fromkeys(("closed_call", "custom_jvp_call", "custom_vjp_call"), "call_jaxpr"))

# Takes constants, what is carried, slices of stacks, and rows of numbers; gives what is carried
# on, then what is kept.
Body = Callable[[list[Any], list[Any], list[Any], list[Any]], list[Any]]


class Stack(NamedTuple):
    """An array of which repetition i reads row `start + stride * i`."""

    array: Any
    start: Any
    stride: Any

    def at(self, i: Any) -> Any:
        """What repetition i reads."""
        return row(self.array, self.start + self.stride * i)

    def rows(self, times: int) -> Any:
        """What all read, in the order of the array; the numbers are known."""
        ends = self.start, self.start + self.stride * (times - 1)
        return jax.lax.slice_in_dim(self.array, min(ends), max(ends) + 1, abs(self.stride))


class Given(NamedTuple):
    """What the repetitions take.

    Attributes:
        consts: what all take.
        begins: what the first takes of what is carried from one to the next.
        stacks: of which each takes a row.
        rows: arrays of numbers, of which repetition i takes row i.
    """

    consts: Sequence[Any]
    begins: Sequence[Any]
    stacks: Sequence[Stack]
    rows: Sequence[Any]


class Kept(NamedTuple):
    """Something of which the value in every repetition is kept.

    Attributes:
        aval: its shape and type.
        before: what stands for the value before the first repetition; None for nothing.
    """

    aval: Any
    before: Any = None

    def buffer(self, capacity: int) -> Any:
        """Where it is kept."""
        empty = jax.lax.empty((capacity + 1, *self.aval.shape), self.aval.dtype)
        if self.before is None:
            return empty
        return with_row(empty, self.before, 0)


def repeat(
    body: Body,
    times: Any,
    capacity: int,
    given: Given,
    kept: Sequence[Kept],
) -> tuple[list[Any], list[Any]]:
    """Run a body so many times.

    Args:
        body: one repetition.
        times: how often; may be a run-time number, or a number that is known.
        capacity: for how many repetitions the stacks that leave have room, at least `times`.
        given: what it takes.
        kept: what is kept of each.

    Returns:
        What is carried out of the last, and what is kept of all as stacks: of repetition i in row
        i + 1.
    """
    if (
        isinstance(times, int)
        and times > 1
        and all(isinstance(s.stride, int) for s in given.stacks)
    ):
        summed = _Summed(body, times, given)
        if summed.sums:
            return summed.run(capacity, given, kept)
    return _loop(body, times, capacity, given, kept)


def _loop(
    body: Body,
    times: Any,
    capacity: int,
    given: Given,
    kept: Sequence[Kept],
    backwards: int = 0,
) -> tuple[list[Any], list[Any]]:
    """As `repeat`, with the last `backwards` of what is kept in reverse order."""
    buffers = [one.buffer(capacity) for one in kept]

    def repetition(i: Any, state: tuple[list[Any], list[Any]]) -> tuple[list[Any], list[Any]]:
        carries, buffers = state
        slices = [stack.at(i) for stack in given.stacks]
        rows = [row(numbers, i) for numbers in given.rows]
        results = body(list(given.consts), carries, slices, rows)
        new = results[len(carries) :]
        at = [i + 1] * (len(new) - backwards)
        if backwards:
            at += [times - i] * backwards
        return results[: len(carries)], [
            with_row(buffer, value, k) for buffer, value, k in zip(buffers, new, at, strict=True)
        ]

    return jax.lax.fori_loop(0, times, repetition, (list(given.begins), buffers))


class _Node(NamedTuple):
    """An equation; values are numbered."""

    eqn: Any
    ins: tuple[int, ...]
    outs: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.eqn.primitive.name


class _Sum(NamedTuple):
    """A carried value that is only added to.

    Attributes:
        carry: its number among those that are carried.
        factors: what is kept, one value or what the two factors of `product` are shaped from.
        product: the matrix product that is added up; None for none.
        shaping: what makes of the sum what is added, the first to come first.
    """

    carry: int
    factors: tuple[int, ...]
    product: _Node | None
    shaping: tuple[_Node, ...]


class _Summed:
    """A body, with sums that are taken out of it.

    Attributes:
        sums: they.
    """

    def __init__(
        self,
        body: Body,
        times: int,
        given: Given,
    ) -> None:
        self._times = times
        consts, begins, stacks, rows = given
        groups = [list(map(_shape, consts)), list(map(_shape, begins))]
        groups += [[_shape(s.array, 1) for s in stacks], [_shape(r, 1) for r in rows]]
        closed = jax.make_jaxpr(body)(*groups)
        self._avals = [aval for group in groups for aval in group]
        self._fixed: dict[int, Any] = {}
        self._nodes: list[_Node] = []
        self._plain = not closed.jaxpr.effects  # equations can be evaluated one by one
        n_inputs = len(self._avals)
        self._outs = self._inlined(closed, list(range(n_inputs)))
        self._producer = {out: node for node in self._nodes for out in node.outs}
        last = len(consts) + len(begins)
        self._carries = range(len(consts), last)
        self._slices = {k: stack for k, stack in enumerate(stacks, last) if stack.stride}
        self._kept: list[int] = []  # factors that are no slices
        self.sums: list[_Sum] = []
        if self._plain:
            self._find(range(len(consts), n_inputs))

    def _inlined(self, closed: Any, ins: list[int]) -> list[int]:
        """Add the equations of what these values are given to; returns its results."""
        number = dict(zip(closed.jaxpr.invars, ins, strict=True))

        def new(aval: Any) -> int:
            self._avals.append(aval)
            return len(self._avals) - 1

        def of(v: Any) -> int:
            if not is_var(v):
                k = new(v.aval)
                self._fixed[k] = v.val
                return k
            return number[v]

        for v, value in zip(closed.jaxpr.constvars, closed.consts, strict=True):
            number[v] = new(v.aval)
            self._fixed[number[v]] = value
        for eqn in closed.jaxpr.eqns:
            given = [of(v) for v in eqn.invars]
            called = _CALLS.get(eqn.primitive.name)
            if called is not None:
                number.update(zip(eqn.outvars, self._inlined(eqn.params[called], given)))
                continue
            self._plain &= "call_jaxpr" not in eqn.params
            outs = tuple([new(v.aval) for v in eqn.outvars])
            number.update(zip(eqn.outvars, outs))
            self._nodes.append(_Node(eqn, tuple(given), outs))
        return [of(v) for v in closed.jaxpr.outvars]

    def _needed(self, outs: Sequence[int]) -> list[_Node]:
        """The nodes that these values take, in order."""
        live, nodes = set(outs), []
        for node in reversed(self._nodes):
            if not live.isdisjoint(node.outs):
                nodes.append(node)
                live.update(node.ins)
        return nodes[::-1]

    def _bytes(self, value: int) -> int:
        return size_of(self._avals[value])

    def _origin(self, value: int, shaping: frozenset[str]) -> tuple[int, tuple[_Node, ...]]:
        """What a value is shaped from, and by which nodes, in order."""
        nodes: list[_Node] = []
        while True:
            node = self._producer.get(value)
            if node is None or node.name not in shaping or len(node.ins) > 1:
                return value, tuple(nodes[::-1])
            nodes.append(node)
            value = node.ins[0]

    def _find(self, inputs: Sequence[int]) -> None:
        """Find the sums; `inputs` are those that differ between repetitions."""
        nodes = self._needed(self._outs)
        used = Counter([k for node in nodes for k in node.ins] + self._outs)
        varies = set(inputs)
        for node in nodes:
            if not varies.isdisjoint(node.ins):
                varies.update(node.outs)
        found = [self._sum(k, used, varies) for k in range(len(self._carries))]
        left = _MOST // self._times
        for one in sorted(filter(None, found), key=lambda s: -self._bytes(self._carries[s.carry])):
            new = {k for k in one.factors if k not in self._slices and k not in self._kept}
            cost = sum(map(self._bytes, new))
            if cost < self._bytes(self._carries[one.carry]) and cost <= left:
                self.sums.append(one)
                self._kept += sorted(new)
                left -= cost

    def _sum(self, k: int, used: Counter[int], varies: set[int]) -> _Sum | None:
        carry, out = self._carries[k], self._outs[k]
        node = self._producer.get(out)
        added = node is not None and node.name in ("add", "add_any") and carry in node.ins
        if not added or used[carry] != 1 or used[out] != 1:
            return None
        value, shaping = self._origin(node.ins[node.ins[0] == carry], _LINEAR)
        product = self._producer.get(value)
        if product is not None and product.name == "dot_general" and used[value] == 1:
            factors = [self._origin(factor, _MOVES)[0] for factor in product.ins]
            if varies.issuperset(factors):
                return _Sum(k, tuple(factors), product, shaping)
        return _Sum(k, (value,), None, shaping) if value in varies else None

    def _repeated(self) -> list[int]:
        """What a repetition gives: what it carries on, what is kept, and factors of sums."""
        apart = {one.carry for one in self.sums}
        return [out for k, out in enumerate(self._outs) if k not in apart] + self._kept

    def _values(self, nodes: Sequence[_Node], env: dict[int, Any]) -> dict[int, Any]:
        """These values, and what the nodes make of them."""
        env = {**self._fixed, **env}
        for node in nodes:
            results = node.eqn.primitive.bind(*[env[k] for k in node.ins], **node.eqn.params)
            many = node.eqn.primitive.multiple_results
            env.update(zip(node.outs, results if many else [results], strict=True))
        return env

    def run(
        self,
        capacity: int,
        given: Given,
        kept: Sequence[Kept],
    ) -> tuple[list[Any], list[Any]]:
        """As `repeat`."""
        apart = {one.carry for one in self.sums}
        begins = given.begins
        carried = [k for k in range(len(begins)) if k not in apart]
        backwards = self._backwards()
        outs, first = self._repeated(), self._carries.stop
        nodes = self._needed(outs)

        def body(
            consts: list[Any], carries: list[Any], slices: list[Any], rows: list[Any]
        ) -> list[Any]:
            env = dict(enumerate(consts))
            env.update(zip([self._carries[k] for k in carried], carries, strict=True))
            env.update(enumerate([*slices, *rows], first))
            env = self._values(nodes, env)
            return [env[k] for k in outs]

        factors = [Kept(self._avals[k]) for k in self._kept]
        carries, left = _loop(
            body, self._times, capacity, given._replace(begins=[begins[k] for k in carried]),
            [*kept, *factors], len(factors) if backwards else 0,
        )  # fmt: skip
        results = dict(zip(carried, carries, strict=True))
        every = dict(zip(self._kept, left[len(kept) :], strict=True))
        every = {k: buffer[1 : self._times + 1] for k, buffer in every.items()}
        for k in self._read():
            rows_of = self._slices[k].rows(self._times)
            turned = (self._slices[k].stride < 0) != backwards
            every[k] = jax.lax.rev(rows_of, (0,)) if turned else rows_of
        for one in self.sums:
            results[one.carry] = begins[one.carry] + self._after(one, every)
        return [results[k] for k in range(len(begins))], left[: len(kept)]

    def _backwards(self) -> bool:
        """Whether most of the stacks that are factors are read from their end."""
        read = self._read()
        return sum(self._bytes(k) * (1 if self._slices[k].stride > 0 else -1) for k in read) < 0

    def _read(self) -> set[int]:
        """The slices that are factors."""
        return {k for one in self.sums for k in one.factors if k in self._slices}

    def _after(self, one: _Sum, every: dict[int, Any]) -> Any:
        """What all repetitions add to a sum."""
        if one.product is None:
            (value,) = one.factors
            total = every[value].sum(0, dtype=self._avals[value].dtype)
        else:
            (value,) = one.product.outs
            params = dict(one.product.eqn.params)
            (lhs, rhs), (*batch,) = params["dimension_numbers"]
            contracted = [(0, *[d + 1 for d in dims]) for dims in (lhs, rhs)]
            batched = [tuple([d + 1 for d in dims]) for dims in batch]
            params["dimension_numbers"] = tuple(contracted), tuple(batched)
            factors = [self._shaped(k, every) for k in one.product.ins]
            total = one.product.eqn.primitive.bind(*factors, **params)
        values = self._values(one.shaping, {value: total})
        return values[one.shaping[-1].outs[0] if one.shaping else value]

    def _shaped(self, factor: int, every: dict[int, Any]) -> Any:
        """A factor of all repetitions, from what is kept."""
        origin, nodes = self._origin(factor, _MOVES)
        return jax.vmap(lambda value: self._values(nodes, {origin: value})[factor])(every[origin])


def _shape(array: Any, skip: int = 0) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape[skip:], array.dtype)


__all__ = ["Body", "Given", "Kept", "Stack", "repeat"]
