"""Operations over lists of tensors: one record for what would else be one for every tensor."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import jax

from ..engine.kernel import Kernel, kernels
from ..engine.trace import runner, state
from ..engine.value import Value
from ..tensor.packed import Layout, Packed
from ..tensor.storage import refresh, share, write
from ..tensor.tensor import Tensor


class Lists:
    """Lists of tensors in a row, as a MultiTensor takes them.

    Attributes:
        tensors: the tensors that hold the data of all lists.
        sizes: how many of them belong to each list.
        layouts: for the lists that are `Packed`, where their members are; else None.
    """

    __slots__ = ("tensors", "sizes", "layouts")

    def __init__(self, *lists: Sequence[Tensor] | Packed) -> None:
        tensors = [group.tensors if type(group) is Packed else group for group in lists]
        self.tensors: list[Tensor] = [t for group in tensors for t in group]
        self.sizes = tuple(map(len, tensors))
        self.layouts: tuple[Layout | None, ...] = tuple(
            group.layout if type(group) is Packed else None for group in lists
        )


class MultiTensor:
    """One operation over lists of tensors that gives the written ones new values.

    Args:
        fn: pure JAX: takes every list (a `Packed` one as its members), number (0-d float64) and
            static argument by keyword, and returns a tuple of lists, in the order of `writes`.
        writes, reads: names of the lists that it changes, and that it only reads.
        numbers: names of run-time numbers; they never recompile.
        statics: names of arguments that are part of what is compiled.
        name: what pictures and messages call it.
    """

    def __init__(
        self,
        fn: Callable[..., tuple],
        writes: Sequence[str],
        reads: Sequence[str] = (),
        numbers: Sequence[str] = (),
        statics: Sequence[str] = (),
        name: str | None = None,
    ) -> None:
        self.fn, self.name = fn, name or fn.__name__
        self.writes, self.reads = tuple(writes), tuple(reads)
        self.numbers, self.statics = tuple(numbers), tuple(statics)

    def __call__(self, **kwargs: Any) -> None:
        """Record it; every list, number and static argument is given by name."""
        self.run(
            Lists(*[kwargs[name] for name in self.writes]),
            [kwargs[name] for name in self.reads],
            [float(kwargs[name]) for name in self.numbers],
            tuple([kwargs[name] for name in self.statics]),
        )

    def run(
        self,
        written: Lists,
        reads: Sequence[list[Tensor]],
        numbers: Sequence[float],
        statics: tuple,
    ) -> None:
        """Record it: as calling it, for lists that are written again and again."""
        trace = state.trace
        if trace.trie.eager or trace.cur.depth >= trace.trie.budget():
            runner.flush()
            trace = state.trace
        tensors = written.tensors
        n_written = len(tensors)
        for group in reads:
            tensors = tensors + group
        values = [
            t._v if (a := t._alias) is None or a.seen == a.storage.stamp else refresh(t)
            for t in tensors
        ]
        refs = trace.refs(values)
        key = (self, written.sizes, written.layouts, statics, refs)
        step = trace.cur.next.get(key)
        if step is None:
            step = self._add(key, written, reads, statics, values)
        recorded, at = trace.numbers, trace.cur.nnum
        for number in numbers:
            recorded[at] = number
            at += 1
        trace.cur = step
        results = trace.results(step)
        aliases = [t._alias for t in written.tensors]
        if None in aliases:
            aliases = [share(t) for t in written.tensors]
        if step.args and all([a.plain for a in aliases]):  # noqa: C419  (a list is quicker)
            # All of the tensors change, or none: an interrupted pass is finished first.
            rest = zip(tensors, aliases, values, results)
            owners = trace.owners
            try:
                _put(rest, owners)
            except BaseException:
                _put(rest, owners)
                raise
        else:
            for old, value in zip(values, results, strict=False):
                if value.kind.leaf:
                    value.node = trace.owners[value.idx] = old.node
            for tensor, value in zip(tensors[:n_written], results, strict=True):
                write(tensor, value)
        if trace.trie.eager:
            runner.flush()

    def _add(
        self,
        key: Hashable,
        written: Lists,
        reads: Sequence[list[Tensor]],
        statics: tuple,
        values: list[Value],
    ) -> Any:
        """A new step of the trace; its `args` say whether all that is written are constants or
        leaves."""
        sizes = written.sizes + tuple(map(len, reads))
        layouts = written.layouts + (None,) * len(reads)
        kernel = self._kernel(values, sizes, layouts, statics)
        changed = values[: len(written.tensors)]
        kinds = tuple(v.kind if v.kind.leaf else v.kind.with_grad(False, False) for v in changed)
        direct = all(v.kind.leaf or not v.kind.requires_grad for v in changed)
        trace = state.trace
        return trace.add(key, kernel, key[-1], values, False, args=direct, kinds=kinds)

    def _kernel(
        self,
        values: list[Value],
        sizes: tuple[int, ...],
        layouts: tuple[Layout | None, ...],
        statics: tuple,
    ) -> Kernel:
        avals = [jax.ShapeDtypeStruct(v.kind.shape, v.kind.dtype.np) for v in values]
        key = (
            self.fn,
            self.writes,
            self.reads,
            self.numbers,
            sizes,
            tuple(layout and layout.places for layout in layouts),
            statics,
            tuple((a.shape, a.dtype) for a in avals),
        )

        def fn(*args: Any) -> tuple:
            given, start = {}, 0
            for name, size, layout in zip(self.writes + self.reads, sizes, layouts, strict=True):
                arrays = list(args[start : start + size])
                given[name] = layout.split(arrays) if layout else arrays
                start += size
            given.update(zip(self.numbers, args[start:], strict=True))
            given.update(zip(self.statics, statics, strict=True))
            written = zip(self.fn(**given), layouts, strict=False)
            return tuple(
                x for group, layout in written for x in (layout.join(group) if layout else group)
            )

        n_written = sum(sizes[: len(self.writes)])
        return kernels.get(
            key,
            lambda: Kernel(
                self.name, key, fn, avals, (float,) * len(self.numbers),
                out_avals=tuple(avals[:n_written]), updates=True,
            ),
        )  # fmt: skip


def _put(pairs: Iterator[tuple], owners: dict[int, Any]) -> None:
    """Make values the contents of their storages; nothing in the loop calls, so an interrupt falls
    between two of them."""
    for tensor, alias, old, value in pairs:
        storage = alias.storage
        storage.value = tensor._v = value
        if value.kind.leaf:
            value.node = owners[value.idx] = old.node
        alias.seen = storage.stamp = storage.stamp + 1
        versions = storage.versions
        versions.now = version = versions.now + 1
        value.watch = (versions, version)


__all__ = ["Lists", "MultiTensor"]
