"""A part's replay as one program, past the trace: for calls that begin and end with nothing open.

A training step is such a call. Tensors keep their Values, which get new arrays; that is right
because it is only done where nobody else holds the Value.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from itertools import chain, starmap
from sys import getrefcount
from typing import TYPE_CHECKING, Any

import jax
import jax.core
import numpy as np

from ..autograd.node import FreedTape, Node, leaf_node
from ..core import forks
from ..core.config import config
from ..engine.executor import settle
from ..engine.explain import report
from ..engine.pack import Joined, Vectors
from ..engine.programs import Program, first_run, programs
from ..engine.trace import state
from ..engine.value import Value, concrete
from ..tensor.storage import refresh, replace, share
from ..tensor.tensor import Tensor, value_of, wrap
from .gradients import Gradients
from .places import MISS, New, Same, picker, tensor_at

if TYPE_CHECKING:
    from .part import Part


# References to what is donated that are the tensor's, its storage's and this file's.
_OWN_VALUE = 4
_OWN_ARRAY = 4


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


def _put(writes: Iterable[tuple], grads: Iterable[tuple]) -> None:
    """Give Values their new arrays; nothing in the loops calls, so an interrupt falls between two
    of them, and whoever has the iterators goes on."""
    for (tensor, changes, stamps), value, array in writes:
        value.array = array
        alias = tensor._alias
        storage = alias.storage
        alias.seen = storage.stamp = storage.stamp + stamps
        versions = storage.versions
        versions.now = now = versions.now + changes
        value.watch = (versions, now)
    for holder, array in grads:
        holder.array = array


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
        # What is updated comes first, then what else is fixed, the arguments, and the rest.
        fixed = range(first, first + len(inputs.fixed))
        n_held = fixed.stop + len(inputs.grads) + len(inputs.constants)
        places = [*updated, *(k for k in fixed if k not in updated), *range(first),
                  *range(fixed.stop, n_held)]  # fmt: skip
        used = set(inputs.picks)
        order = [k for k in places if k in used]
        position = {k: i for i, k in enumerate(order)}
        self._fixed = [(inputs.fixed[k - first], part.fixed_kinds[k - first])
                       for k in places if k in fixed]  # fmt: skip
        self._pick = None if order == places else picker([places.index(k) for k in order])
        self._n_inputs = len(order)
        self._n_donated = len(updated)
        donated = list(updated.values())
        self._donated = [(w.place.tensor, w.changes, w.stamps) for w in donated]
        taken = {id(w) for w in donated}
        self._written = [w for w in part.writes if id(w) not in taken]
        self._gradients = gradients = Gradients(part)
        # What keeps its Value leaves first, then joined gradients, then the rest.
        kept = [*(w.result for w in donated), *gradients.alone]
        self._n_first = len(kept)
        others = [w.result for w in self._written]
        others += [k for k in range(len(part.kinds)) if k in part.returned]
        self._outs = [*kept, *dict.fromkeys(k for k in others if k not in kept)]
        joined = len(gradients.groups)
        self._places = {k: i + joined * (i >= self._n_first) for i, k in enumerate(self._outs)}
        self._expand = [position[k] for k in inputs.picks]
        self._only = part.only if type(part.only) is New else None
        self._tapes = {k: _FreedPart(part, k) for k in part.returned}
        self._program: Program | None = None
        self._known: set[type] = set()
        self._vectors = Vectors()
        self._key = (
            "direct", kernel.key, self._n_donated, tuple(self._expand),
            tuple(self._outs), gradients.groups, gradients.n_memory,
        )  # fmt: skip

    # --- a call

    def __call__(self, tensors: Sequence[Tensor]) -> Any:
        """Run the part if it stands for the call; `MISS` if it does not.

        Goes through the trace if something is open, or held by others.
        """
        part, trace = self.part, state.trace
        if not part.guards.hold() or not part.fixed_ids.isdisjoint(map(id, tensors)):
            return MISS
        values: list[Value] = []
        hooked = lone = False
        for tensor, kind in self._fixed:
            alias = tensor._alias
            fresh = alias is None or alias.seen == alias.storage.stamp
            value = tensor._v if fresh else refresh(tensor)
            if value.kind is not kind:
                return MISS
            meta = tensor._meta
            if meta is not None and (meta.hooks or meta.post_hooks):
                hooked = True
            if alias is None:
                lone = True
            values.append(value)
        if (hooked or part.hooked) and part.hooks() != part.hooked:
            return MISS
        gradients = self._gradients
        again = gradients.in_place()
        if not (again and part.had_all_grads) and not part.grads_fit():
            return MISS
        numbers = part.ask()
        if numbers is None:
            return MISS
        if trace.cur is not trace.trie.root or config.policy == "interpret" or forks.forked:
            return part.replay(tensors, numbers)
        inputs = part.inputs
        values += map(value_of, tensors)
        if inputs.grads:
            values += map(value_of, [t._grad for t in inputs.grads])
        values += inputs.constants
        if self._pick is not None:
            values = self._pick(values)
        arrays = [value.array for value in values]
        types = set(map(type, arrays))
        if not types <= self._known and not self._ready(types, values, arrays):
            return part.replay(tensors, numbers)
        changed = values[: self._n_donated]
        value = values = None
        if changed:
            if lone:
                for tensor, *_ in self._donated:
                    share(tensor)
            shared = max(map(getrefcount, changed)) > _OWN_VALUE
            if shared or max(map(getrefcount, arrays[: self._n_donated])) > _OWN_ARRAY:
                return part.replay(tensors, numbers)
        again = again and not gradients.held()
        holders = gradients.holders() if again else ()
        arrays += gradients.memory(holders)
        if numbers:
            arrays += self._vectors.of_both(numbers, part.numbers.n_floats)
        program = self._program
        if program is None or program.seconds is None:
            program = self._program = self._compile(arrays)
        # An interrupt falls before the run or after all of this: what it takes is made before, or
        # done again.
        draws = part.draws()
        sink: list[Any] = []
        outs = chain.from_iterable(sink)
        writes = zip(self._donated, changed, outs)  # noqa: B905  (more comes out)
        grads = zip(holders, outs)  # noqa: B905
        try:
            with jax.enable_x64(True):
                sink.extend(starmap(program.run, (arrays,)))
            _put(writes, grads)
            self._leave(sink[0], tensors, draws, again)
        except BaseException as error:
            if sink:
                _put(writes, grads)
                self._leave(sink[0], tensors, draws, again)
                raise
            if not isinstance(error, Exception):
                raise
            if any(a.is_deleted() for a in arrays if isinstance(a, jax.Array)):
                raise RuntimeError(
                    f"{part.name} failed when run, and what it updates is lost: {error}"
                ) from error
            return part.replay(tensors, numbers)  # which names the operation
        arrays = None
        return self._returned(sink[0], tensors)

    def _ready(self, types: set[type], values: list[Value], arrays: list[Any]) -> bool:
        """Whether all inputs are arrays; see to those that are still on the host."""
        if any(a is None or isinstance(a, jax.core.Tracer) for a in arrays):
            return False
        if np.ndarray in types:
            settle(values, arrays)
        self._known |= set(map(type, arrays)) - {np.ndarray}
        return True

    def _leave(
        self, outs: Sequence[Any], tensors: Sequence[Tensor], draws: list[tuple], again: bool
    ) -> None:
        """Put in place what has no place yet, but for what is returned; may run twice.

        Args:
            draws: see `Part.settle`.
            again: whether gradients are in those of the last call.
        """
        part = self.part
        for write in self._written:
            tensor = tensor_at(write.place, tensors)
            kind = part.kinds[write.result]
            value = concrete(outs[self._places[write.result]], kind, tensor._v.node)
            replace(tensor, value, write.changes, write.stamps)
        gradients = self._gradients
        gradients.clear(tensors)
        if again:
            gradients.taken_back()
        else:
            gradients.leave(tensors, outs[self._n_donated :])
        part.settle(draws)

    def _returned(self, outs: Sequence[Any], tensors: Sequence[Tensor]) -> Any:
        """What the function returns."""
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

        return self.part.build(tensor_of)

    def _made(self, new: New, outs: Sequence[Any]) -> Tensor:
        """A tensor that is returned."""
        k = new.result
        kind = self.part.kinds[k]
        value = concrete(outs[self._places[k]], kind)
        made = wrap(value, new.cls)
        if kind.requires_grad:
            value.node = weakref.ref(made) if kind.leaf else self._tapes[k]
        return made

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
        expand, joined = self._expand, Joined(self._gradients.groups, tuple(self._outs))
        n, n_memory, n_floats = self._n_inputs, self._gradients.n_memory, part.numbers.n_floats
        n_first, n_alone = self._n_first, len(self._outs)
        n_ints = len(part.numbers.template) - n_floats

        def dynjax_part(*args: Any) -> list[Any]:
            with jax.enable_x64(True):
                numbers: list[Any] = []
                vectors = iter(args[n + n_memory :])
                for count in (n_floats, n_ints):
                    if count:
                        vector = next(vectors)
                        numbers += [vector[k] for k in range(count)]
                results = kernel.fn(*[args[k] for k in expand], *numbers)
                found = joined.apply(results)
                return [*found[:n_first], *found[n_alone:], *found[n_first:n_alone]]

        donate = (*range(self._n_donated), *range(n, n + n_memory))
        return Program(jax.jit(dynjax_part, donate_argnums=donate, keep_unused=True), donate)


def _index(tensors: list[Tensor], tensor: Tensor) -> int | None:
    return next((k for k, t in enumerate(tensors) if t is tensor), None)


__all__ = ["Direct", "possible"]
