"""A part's replay as one program, past the trace: for calls that begin and end with nothing open.

A training step is such a call. Tensors keep their Values, which get new arrays; that is right
because it is only done where nobody else holds the Value.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from itertools import repeat, starmap
from operator import attrgetter, is_
from sys import getrefcount
from typing import TYPE_CHECKING, Any

import jax
import jax.core
import numpy as np

from ..autograd.node import FreedTape, Node, leaf_node
from ..core.config import config
from ..engine.executor import settle
from ..engine.explain import report
from ..engine.pack import Joined, Pack, Vectors, one_after_another, worth_joining
from ..engine.programs import Program, first_run, programs
from ..engine.trace import state
from ..engine.value import Value, concrete
from ..tensor.storage import refresh, replace, share
from ..tensor.tensor import Tensor, value_of, wrap
from .places import MISS, New, Same, picker, tensor_at

if TYPE_CHECKING:
    from .part import Part

_set_array = Value.array.__set__
_set_trace = Value.trace.__set__
_array = attrgetter("array")
_kind = attrgetter("kind")
_alias = attrgetter("_alias")
_grad = attrgetter("_grad")

# References to what is donated that are the tensor's, its storage's and this file's.
_OWN_VALUE = 5
_OWN_ARRAY = 4
# The same for a gradient of the last call, and for its Value.
_OWN_GRAD = 4
_OWN_GRAD_VALUE = 3


def possible(part: Part) -> bool:
    """Whether a part may run this way at all."""
    results = [w.result for w in part.writes]
    for grad in part.grads:
        if grad.new is not None and not hasattr(grad.new, "result"):
            return False
        if grad.new is not None:
            results.append(grad.new.result)
    taped = any(
        kind.requires_grad and not kind.leaf and k not in part.freed
        for k, kind in enumerate(part.kinds)
    )
    return (
        part.flushed
        and not taped
        and len(set(results)) == len(results)
        and not any(w.data for w in part.writes)
    )


class _FreedPart(FreedTape):
    """The tape position of a result whose graph the part itself has consumed."""

    __slots__ = ("part",)

    def __init__(self, part: Part, k: int) -> None:
        self.part, self.idx = part, k

    def position(self) -> tuple[Node, int]:
        part = self.part
        leaves = [t for t in part.inputs.fixed if t.requires_grad and t.is_leaf]
        node = Node(part.kernel.grad_name, [(leaf_node(weakref.ref(t)), 0) for t in leaves])
        node.op, node.freed = part.name, True
        node.output_info = tuple((k.shape, k.dtype) for k in part.kinds)
        return node, self.idx


class Direct:
    """Runs a part as one program.

    Args:
        part: for which `possible` holds.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        inputs, kernel = part.inputs, part.kernel
        first = inputs.arguments
        updated = {}  # place among what is held -> the write
        for write in part.writes:
            if write.place.tensor is not None:
                at = _index(inputs.fixed, write.place.tensor)
                if at is not None and first + at in inputs.picks:
                    updated[first + at] = write
        used = list(dict.fromkeys(inputs.picks))
        order = [k for k in used if k in updated] + [k for k in used if k not in updated]
        position = {k: i for i, k in enumerate(order)}
        self._order = order
        self._n_donated = len(updated)
        donated = [updated[k] for k in order[: self._n_donated]]
        self._donated = [w.place.tensor for w in donated]
        self._changes = [w.changes for w in donated]
        self._stamps = [w.stamps for w in donated]
        taken = {id(w) for w in donated}
        self._written = [w for w in part.writes if id(w) not in taken]
        self._cleared = [g.place for g in part.grads if g.new is None]
        self._grads = [g for g in part.grads if g.new is not None]
        self._recognisable = not self._cleared and len(part.graded) == len(self._grads)
        alone, groups = self._arrange()
        returned = [k for k in range(len(part.kinds)) if k in part.returned]
        self._places = {k: i for i, k in enumerate([w.result for w in donated])}
        self._outs = [w.result for w in donated]
        for k in (*[w.result for w in self._written], *returned, *alone):
            if k not in self._places:
                self._places[k] = len(self._outs)
                self._outs.append(k)
        self._groups = groups
        self._alone = [self._places[k] for k in alone]
        self._expand = [position[k] for k in inputs.picks]
        self._pick = picker(order)
        only = part.only
        self._only = only if type(only) is New else None
        self._program: Program | None = None
        self._known: set[type] = set()
        self._vectors = Vectors()
        self._grad_tensors: list[Tensor] = []
        self._grad_values: list[Value] = []  # those with an array of their own come first
        self._packs: list[tuple[Pack, slice]] = []  # and where its members are among these
        self._key = (
            "direct", kernel.key, tuple(order[: self._n_donated]), tuple(self._expand),
            tuple(self._outs), groups,
        )  # fmt: skip

    def _arrange(self) -> tuple[list[int], tuple[tuple[int, ...], ...]]:
        """Which gradients leave alone, and which joined: results of the kernel."""
        kinds, elsewhere = self.part.kinds, self.part.returned
        results = [g.new.result for g in self._grads]
        joined = worth_joining(
            (k, kinds[k].shape, (kinds[k].dtype, kinds[k].device))
            for k in results
            if k not in elsewhere
        )
        inside = {k for group in joined for k in group}
        self._order_of_grads = [g for g in self._grads if g.new.result not in inside] + [
            next(g for g in self._grads if g.new.result == k) for group in joined for k in group
        ]
        return [k for k in results if k not in inside], joined

    # --- a call

    def __call__(self, tensors: Sequence[Tensor]) -> Any:
        """Run the part if it stands for the call; `MISS` if it does not.

        Goes through the trace if something is open, or held by others.
        """
        part, trace = self.part, state.trace
        inputs = part.inputs
        if not part.guards.hold() or not part.fixed_ids.isdisjoint(map(id, tensors)):
            return MISS
        found = [
            t._v if (a := t._alias) is None or a.seen == a.storage.stamp else refresh(t)
            for t in (*tensors, *inputs.fixed)
        ]
        if list(map(_kind, found[inputs.arguments :])) != part.fixed_kinds:
            return MISS
        if part.hooks() != part.hooked:
            return MISS
        now = list(map(_grad, part.graded))
        reuse = len(now) == len(self._grad_tensors) and all(map(is_, now, self._grad_tensors))
        if not reuse and not part.grads_fit():
            return MISS
        numbers = part.ask()
        if numbers is None:
            return MISS
        if trace.cur is not trace.trie.root or config.policy == "interpret":
            return part.replay(tensors, numbers)
        if inputs.grads:
            found += map(value_of, [t._grad for t in inputs.grads])
        found += inputs.constants
        values = self._pick(found)
        found = None
        arrays = list(map(_array, values))
        types = set(map(type, arrays))
        if not types <= self._known and not self._ready(types, values, arrays):
            return part.replay(tensors, numbers)
        n = self._n_donated
        changed = values[:n]
        if n:
            old = arrays[:n]
            shared = max(map(getrefcount, changed)) > _OWN_VALUE
            if shared or max(map(getrefcount, old)) > _OWN_ARRAY:
                return part.replay(tensors, numbers)
            old = None
        values = None
        if numbers:
            arrays += self._vectors.of_both(numbers, part.numbers.n_floats)
        program = self._program
        if program is None or program.seconds is None:
            program = self._program = self._compile(arrays)
        sink: list[Any] = []
        try:
            with jax.enable_x64(True):
                sink.extend(starmap(program.run, (arrays,)))
        except Exception as error:
            if any(a.is_deleted() for a in arrays if isinstance(a, jax.Array)):
                raise RuntimeError(
                    f"{part.name} failed when run, and what it updates is lost: {error}"
                ) from error
            return part.replay(tensors, numbers)  # which names the operation
        finally:
            if sink:  # no signal comes between the run and this
                deque(map(_set_array, changed, sink[0]), 0)
        arrays = None
        return self._commit(sink[0], tensors, changed, now if reuse else None)

    def _ready(self, types: set[type], values: list[Value], arrays: list[Any]) -> bool:
        """Whether all inputs are arrays; see to those that are still on the host."""
        if any(a is None or isinstance(a, jax.core.Tracer) for a in arrays):
            return False
        if np.ndarray in types:
            settle(values, arrays)
        self._known |= set(map(type, arrays)) - {np.ndarray}
        return True

    def _commit(
        self,
        outs: Sequence[Any],
        tensors: Sequence[Tensor],
        changed: Sequence[Value],
        grads: list[Tensor] | None,
    ) -> Any:
        """Put results in place; `grads` are those of the last call, if nobody replaced them."""
        part = self.part
        for tensor, value, changes, stamps in zip(
            self._donated, changed, self._changes, self._stamps, strict=True
        ):
            alias = tensor._alias or share(tensor)
            storage = alias.storage
            alias.seen = storage.stamp = storage.stamp + stamps
            versions = storage.versions
            versions.now = now = versions.now + changes
            value.watch = (versions, now)
        for write in self._written:
            tensor = tensor_at(write.place, tensors)
            kind = part.kinds[write.result]
            value = concrete(outs[self._places[write.result]], kind, tensor._v.node)
            replace(tensor, value, write.changes, write.stamps)
        for place in self._cleared:
            tensor_at(place, tensors)._grad = None
        if self._grads:
            self._leave_grads(outs, tensors, grads)
        part.settle()
        if self._only is not None:
            return self._made(self._only, outs)
        made: dict[int, Tensor] = {}

        def tensor_of(what: Any) -> Any:
            if type(what) is not New:
                return tensor_at(what, tensors) if type(what) is Same else what
            found = made.get(what.result)
            if found is None:
                found = made[what.result] = self._made(what, outs)
            return found

        return part.build(tensor_of)

    def _made(self, new: New, outs: Sequence[Any]) -> Tensor:
        """A tensor that is returned."""
        k = new.result
        kind = self.part.kinds[k]
        value = concrete(outs[self._places[k]], kind)
        made = wrap(value, new.cls)
        if kind.leaf:
            value.node = weakref.ref(made)
        elif kind.requires_grad:
            value.node = _FreedPart(self.part, k)
        return made

    # --- gradients

    def _leave_grads(
        self, outs: Sequence[Any], tensors: Sequence[Tensor], grads: list[Tensor] | None
    ) -> None:
        """Leave the gradients, in the objects of the last call where nobody else holds them."""
        mine, values = self._grad_tensors, self._grad_values
        if (
            grads is None
            or max(map(getrefcount, mine)) > _OWN_GRAD
            or max(map(getrefcount, values)) > _OWN_GRAD_VALUE
            or any(map(_alias, mine))
        ):
            values = self._new_grads(tensors)
        deque(map(_set_array, values, map(outs.__getitem__, self._alone)), 0)
        at = len(self._outs)
        for pack, members in self._packs:
            if pack.renew(outs[at]):
                deque(map(_set_array, values[members], repeat(None)), 0)
                deque(map(_set_trace, values[members], repeat(pack)), 0)
            at += 1

    def _new_grads(self, tensors: Sequence[Tensor]) -> list[Value]:
        kinds = self.part.kinds
        made = {g.new.result: wrap(concrete(None, kinds[g.new.result]), g.new.cls)
                for g in self._grads}  # fmt: skip
        inside = {k for group in self._groups for k in group}
        values = [t._v for k, t in made.items() if k not in inside]
        self._packs = []
        for group in self._groups:
            members = [made[k]._v for k in group]
            pack = Pack(dict(enumerate(one_after_another([v.kind.shape for v in members]))))
            for k, value in enumerate(members):
                value.idx, value.trace = k, pack
            self._packs.append((pack, slice(len(values), len(values) + len(members))))
            values += members
        self._grad_values = values
        for grad in self._grads:
            tensor_at(grad.place, tensors)._grad = made[grad.new.result]
        # In the order of `part.graded`, or never found again.
        self._grad_tensors = list(made.values()) if self._recognisable else []
        return values

    # --- the program

    def _compile(self, arrays: list[Any]) -> Program:
        program = programs.get(self._key, self._make)
        if program.seconds is None:
            try:
                first_run(program, arrays)
            except Exception:
                return program  # the call itself will meet and report it
            part = self.part
            report(part.trace, part.lowered, program.seconds, len(programs.programs))
        return program

    def _make(self) -> Program:
        kernel, part = self.part.kernel, self.part
        expand, joined = self._expand, Joined(self._groups, tuple(self._outs))
        n, n_floats = len(self._order), part.numbers.n_floats
        n_ints = len(part.numbers.template) - n_floats

        def dynjax_part(*args: Any) -> list[Any]:
            with jax.enable_x64(True):
                numbers: list[Any] = []
                vectors = iter(args[n:])
                for count in (n_floats, n_ints):
                    if count:
                        vector = next(vectors)
                        numbers += [vector[k] for k in range(count)]
                results = kernel.fn(*[args[k] for k in expand], *numbers)
                return joined.apply(results)

        donate = tuple(range(self._n_donated))
        return Program(jax.jit(dynjax_part, donate_argnums=donate, keep_unused=True), donate)


def _index(tensors: list[Tensor], tensor: Tensor) -> int | None:
    return next((k for k, t in enumerate(tensors) if t is tensor), None)


__all__ = ["Direct", "possible"]
