"""What the graphs of a family have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import jax

from ..background import given_of
from ..executor import numbers_of
from ..kernel import Kernel
from ..lower import Lowered
from .extents import Axis, Unpaddable, symbols_of, value_of, varies
from .families import shapes_of
from .pattern import Pattern, flat, skeleton
from .walk import Padded, Padding, constant


class Sample:
    """A graph of a family.

    Attributes:
        shapes: those of its data and parameters.
        sizes: the same as one list.
        kernels: its operations.
    """

    def __init__(self, lowered: Lowered) -> None:
        self.lowered = lowered
        self.shapes = shapes_of(lowered)
        self.sizes = [n for shape in self.shapes for n in shape]
        self.kernels = [kernel for kernel, _, _ in lowered.program]
        self._jaxpr: Any = None

    def structure(self) -> Hashable:
        """What graphs have in common whose operations are made of the same equations."""
        return tuple([len(settled(kernel)) for kernel in self.kernels])

    def frame(self) -> list[Any]:
        """What isn't an operation of it."""
        return flat([self.shapes, [aval.shape for aval in self.lowered.out_avals]])

    def jaxpr(self) -> Any:
        """What it computes."""
        if self._jaxpr is None:
            lowered, n = self.lowered, len(self.lowered.leaves)

            def evaluate(*args: Any) -> list[Any]:
                return lowered.evaluate(args[:n], *numbers_of(lowered, args[n:]))

            with jax.enable_x64(True):
                self._jaxpr = jax.make_jaxpr(evaluate)(*given_of(lowered))
        return self._jaxpr


_settled: WeakKeyDictionary[Kernel, list[Any]] = WeakKeyDictionary()
_MOST_SETTLED = 2048


def settled(kernel: Kernel) -> list[Any]:
    """All that is settled of an operation, down to its equations."""
    found = _settled.get(kernel)
    if found is None:
        found = flat(kernel.key)
        if kernel.sweep is None:
            # A product follows from what it is of; a whole backward, from the rest.
            found += skeleton((kernel.product_of or kernel).jaxpr())
        if len(_settled) >= _MOST_SETTLED:
            _settled.clear()
        _settled[kernel] = found
    return found


class Common:
    """What the samples of a family have in common.

    Args:
        given: the samples.

    Raises:
        Unpaddable: there is something that can't be a function of sizes.
    """

    def __init__(self, given: Sequence[Sample]) -> None:
        self.given = tuple(given)
        self.samples, self._places, self.leaves = symbols_of([s.shapes for s in given])
        self._frame = Pattern(self.samples, [sample.frame() for sample in given])
        self._patterns: list[Kernel | Pattern] = []
        self._results: list[tuple[Axis, ...]] = []
        for kernels in zip(*[sample.kernels for sample in given], strict=True):
            if len(set(kernels)) == 1:
                self._patterns.append(kernels[0])
            else:
                self._patterns.append(Pattern(self.samples, list(map(settled, kernels))))
            for avals in zip(*[kernel.out_avals for kernel in kernels], strict=True):
                dims = zip(*[aval.shape for aval in avals], strict=True)
                self._results.append(tuple(map(self.samples.axis, dims)))

    def symbols(self, sample: Sample) -> tuple[int, ...] | None:
        """What the symbols are in another graph, if it belongs to them."""
        if list(map(len, sample.shapes)) != list(map(len, self.given[0].shapes)):
            return None
        symbols = tuple([sample.shapes[k][d] for k, d in self._places])
        if not all(sample.sizes) or not self._frame.fits(sample.frame(), symbols):
            return None
        for kernel, known in zip(sample.kernels, self._patterns, strict=True):
            if known is not kernel and not (
                type(known) is Pattern and known.fits(settled(kernel), symbols)
            ):
                return None
        return symbols

    def usable(self, donate: tuple[int, ...]) -> tuple[int, ...]:
        """Of arguments to donate, those that a result can overwrite, whatever the sizes."""
        outs = zip(*[sample.lowered.out_avals for sample in self.given], strict=True)
        free = Counter([(a[0].shape, a[0].dtype) for a in outs if len({b.shape for b in a}) == 1])
        usable = []
        for k in donate:
            kind = self.given[0].lowered.kinds[k]
            aval = (tuple(kind.shape), kind.dtype.np)
            if not any(map(varies, self.leaves[k])) and free[aval]:
                free[aval] -= 1
                usable.append(k)
        return tuple(usable)

    def most(self, symbols: Sequence[int]) -> tuple[int, ...]:
        """The greatest that each symbol has been in the samples, or is now."""
        return tuple([max(n, *seen) for n, seen in zip(symbols, self.samples.symbols, strict=True)])

    def elements(self, symbols: Sequence[int]) -> int:
        """How many elements are computed, backward not counted."""
        return sum([value_of([f for a in axes for f in a], symbols) for axes in self._results])

    def function(self, padded: Sequence[int], found: list[tuple[Axis, ...]]) -> Callable[..., list]:
        """The computation on padded data; it takes the symbols, then what a plan's program takes.

        Args:
            padded: of every symbol, what it is padded to.
            found: to be filled, when it is traced, with the axes of the results.
        """
        closed = [sample.jaxpr() for sample in self.given]
        jaxprs, consts = [c.jaxpr for c in closed], [c.consts for c in closed]
        if any(jaxpr.effects for jaxpr in jaxprs):
            raise Unpaddable("effects")

        def dynjax_padded(real: Any, *args: Any) -> list[Any]:
            with jax.enable_x64(True):
                padding = Padding(self.samples, padded, [real[k] for k in range(len(padded))])
                given = list(map(Padded, args, self.leaves))
                given += map(constant, args[len(self.leaves) :])
                results = padding.run(jaxprs, consts, given)
            found[:] = [result.axes for result in results]
            return [result.value for result in results]

        return dynjax_padded
