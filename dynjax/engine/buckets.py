"""Data of many shapes: few programs, each for all that fit the sizes that it is padded to.

Once a family (graphs that differ in nothing but the shapes of their data) has shown how its sizes
vary, they are functions of a few of them (see `extents`), and a program on padded data (see
`padding`) runs whatever fits it: sizes are rounded up to 8, 12, 16, 24, ..., so that there are few.
A graph is run so only if each of its operations is what the family's sizes make of it; all others,
and what can't be padded, are compiled as ever.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any
from weakref import WeakKeyDictionary

import jax
import numpy as np

from ..core.config import config
from ..core.devices import jax_default
from . import cache, explain, padding_gathers, padding_rules  # noqa: F401 (they declare rules)
from .background import given_of, often
from .executor import Plan, numbers_of
from .extents import Axis, Unpaddable, symbols_of, value_of, varies
from .families import family_of, shapes_of
from .kernel import Kernel
from .lower import Lowered
from .padding import Padded, Padding, constant
from .pattern import Pattern, flat, skeleton
from .programs import Program, in_background, programs, quick_options
from .trace import Trace

_LEAST, _MOST = 6, 1024  # operations that a graph has, for this
_KEPT = 6  # graphs of a family that are kept
_APART = 2  # how far sizes have to be from each other for two graphs to tell of a family
_FAILURES = 3  # attempts to make it one program of padded data
_PROGRAMS = 32  # of a family
_MORE = 2.0  # times as much may be computed as there is, ...
_FREE = 1 << 16  # ... and as many elements more anyway


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


def settled(kernel: Kernel) -> list[Any]:
    """All that is settled of an operation, down to its equations."""
    found = _settled.get(kernel)
    if found is None:
        found = flat(kernel.key)
        if kernel.sweep is None:
            # A product follows from what it is of; a whole backward, from the rest.
            found += skeleton((kernel.product_of or kernel).jaxpr())
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
        if min(symbols) < 1 or not self._frame.fits(sample.frame(), symbols):
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


class _Bucket:
    """A program for all data that fit some sizes.

    Args:
        common: what it computes.
        padded: of every symbol, what it is padded to.
        plan: one of the graphs that it is for.
        donate: the arguments that it consumes.
    """

    def __init__(
        self, common: Common, padded: tuple[int, ...], plan: Plan, donate: tuple[int, ...]
    ) -> None:
        self.common, self.padded, self.donate = common, padded, donate
        self.axes: list[tuple[Axis, ...]] = []
        self._body = common.function(padded, self.axes)
        self._given = [jax.ShapeDtypeStruct((len(padded),), np.int64)]
        for given, axes in zip_longest(given_of(plan.lowered), common.leaves):
            shape = given.shape if axes is None else [value_of(axis, padded) for axis in axes]
            self._given.append(jax.ShapeDtypeStruct(tuple(shape), given.dtype))
        began = time.perf_counter()
        self.run = self._compiled(quick_options(0) if config.background else None)
        self.seconds = time.perf_counter() - began
        self.runs = 0
        self._often = often(plan.lowered.size, common.elements(padded))

    def _compiled(self, options: dict[str, Any] | None) -> Callable[..., list]:
        jitted = jax.jit(
            self._body, donate_argnums=[k + 1 for k in self.donate], keep_unused=True,
            compiler_options=options,
        )  # fmt: skip
        with jax.enable_x64(True), cache.persisting():
            return jitted.lower(*self._given).compile()

    def _improve(self) -> None:
        self.run = self._compiled(None)

    def program(self, symbols: tuple[int, ...]) -> Program:
        """What runs it for data of some sizes."""
        real, padded = np.array(symbols, np.int64), self.padded
        wide = [
            (k, tuple([value_of(axis, padded) for axis in axes]))
            for k, axes in enumerate(self.common.leaves)
            if any(map(varies, axes))
        ]
        cut = [(k, axes) for k, axes in enumerate(self.axes) if any(map(varies, axes))]

        def run(*args: Any) -> Sequence[Any]:
            given = list(args)
            for k, shape in wide:
                given[k] = _padded(np.asarray(args[k]), shape)
            results = list(self.run(real, *given))
            data = [_cut(np.asarray(results[k]), axes, padded, symbols) for k, axes in cut]
            for (k, _), array in zip(cut, jax.device_put(data), strict=True):
                results[k] = array
            self.runs += 1
            if self.runs == self._often and config.background:
                in_background(self._improve)
            return results

        return Program(run, self.donate, 0.0, joined=False)


def _padded(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    wide = np.zeros(shape, array.dtype)
    wide[tuple(map(slice, array.shape))] = array
    return wide


def _cut(
    array: np.ndarray, axes: Sequence[Axis], padded: Sequence[int], symbols: Sequence[int]
) -> np.ndarray:
    """The data of an array that is padded."""
    factors = [factor for axis in axes for factor in axis]
    array = array.reshape([value_of((f,), padded) for f in factors])
    array = array[tuple([slice(value_of((f,), symbols)) for f in factors])]
    return np.ascontiguousarray(array).reshape([value_of(axis, symbols) for axis in axes])


class Buckets:
    """The programs of a family.

    Args:
        first: the graph that came first.

    Attributes:
        lock: held while they change.
        why: why a graph could not be padded.
    """

    def __init__(self, first: Lowered) -> None:
        self.lock = threading.Lock()
        self._samples = [Sample(first)]
        self._common: Common | None = None
        self._buckets: list[_Bucket] = []
        self._failures = 0
        self.why: Exception | None = None

    def find(self, plan: Plan, donate: tuple[int, ...]) -> tuple[_Bucket, tuple[int, ...]] | None:
        """A program for a graph, compiled if there is none yet, and its symbols; None if it
        can't be padded, or while too little is known for it."""
        if self._failures >= _FAILURES:
            return None
        try:
            sample = Sample(plan.lowered)
            symbols = self._symbols(sample)
            if symbols is None:
                return None
            return self._bucket(symbols, plan, self._common.usable(donate)), symbols
        except Exception as why:  # whatever it is: it is compiled as ever
            self.why = why
            self._failures += 1
            self._samples, self._common = [], None
            return None

    def _symbols(self, sample: Sample) -> tuple[int, ...] | None:
        """What the symbols are in a graph; None while that isn't known."""
        if self._common is not None:
            found = self._common.symbols(sample)
            if found is not None:
                return found
        if any(known.shapes == sample.shapes for known in self._samples):
            return None
        self._samples = [*self._samples[1 - _KEPT :], sample]
        chosen = _plural(self._samples)
        if sample not in chosen or not _telling(chosen):
            return None
        self._common, self._buckets = Common(chosen), []
        return self._common.symbols(sample)

    def _bucket(self, symbols: tuple[int, ...], plan: Plan, donate: tuple[int, ...]) -> _Bucket:
        common = self._common
        known = [bucket for bucket in self._buckets if bucket.donate == donate]
        n = common.elements(symbols)
        most = max(_MORE * n, n + _FREE)
        for bucket in known:
            fits = all(n <= size for n, size in zip(symbols, bucket.padded, strict=True))
            if fits and common.elements(bucket.padded) <= most:
                return bucket
        # One that fits what came before too, and something more, where that costs little.
        padded = tuple(map(_rounded, symbols))
        come = tuple(map(_rounded, common.most(symbols)))
        widest = tuple(map(max, zip(come, *[b.padded for b in known], strict=True)))
        more = tuple([_rounded(n + 1) for n in widest]) if len(widest) > 1 else widest
        for wide in (more, widest, come):
            if common.elements(wide) <= most:
                padded = wide
                break
        bucket = _Bucket(common, padded, plan, donate)
        self._buckets = [*self._buckets[1 - _PROGRAMS :], bucket]
        return bucket


def _plural(samples: Sequence[Sample]) -> list[Sample]:
    """Those that have at least two of all that varies: one or none may be computed otherwise."""
    varying = [k for k, seen in enumerate(zip(*[s.sizes for s in samples])) if len(set(seen)) > 1]
    return [s for s in samples if all(s.sizes[k] > 1 for k in varying)]


def _telling(samples: Sequence[Sample]) -> bool:
    """Whether samples tell what is a function of what: two, where only one size varies, and that
    by enough that what is half of it can't be taken for a little less than it; else three."""
    seen = {sizes for sizes in zip(*[s.sizes for s in samples]) if len(set(sizes)) > 1}
    if len(samples) > 2 or not seen:
        return bool(seen)
    return len(samples) == 2 and len(seen) == 1 and all(abs(a - b) >= _APART for a, b in seen)


def _rounded(n: int) -> int:
    """The next of 8, 12, 16, 24, 32, ..."""
    size = 8
    while size < n:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


def padded(plan: Plan, donate: tuple[int, ...], trace: Trace) -> Program | None:
    """A program on padded data for a plan, if its graph is one of a family that has one."""
    lowered, home = plan.lowered, jax_default()
    if not (config.padding and home.type == "cpu" and _LEAST <= len(lowered.program) <= _MOST):
        return None
    if any(kind.device != home for kind in lowered.kinds):
        return None
    family = family_of(lowered)
    if family.buckets is None:
        if family.shapes == shapes_of(lowered):
            return None
        family.buckets = Buckets(family.first)
    with family.buckets.lock:
        found = family.buckets.find(plan, donate)
    if found is None:
        return None
    bucket, symbols = found
    if not bucket.runs:
        sizes = ", ".join(map(str, bucket.padded))
        cause = f"data of shapes that vary, padded to {sizes}"
        explain.note(cause, trace.cur, bucket.seconds, lowered.size, len(programs.programs))
    return bucket.program(symbols)
