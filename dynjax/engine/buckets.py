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
from collections.abc import Callable, Hashable, Sequence
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
from .padding import Padded, Padding, constant, narrowed, widened
from .pattern import Pattern, flat, skeleton
from .programs import Program, in_background, programs, quick_options
from .trace import Trace

_LEAST, _MOST = 6, 1024  # operations that a graph has, for this
_KEPT = 6  # graphs of a family that are kept
_APART = 2  # how far sizes have to be from each other for two graphs to tell of a family
_GROUPS = 8  # in how many ways a family's graphs may be computed
_FAILURES = 2  # attempts to make it one program of padded data
_PROGRAMS = 16  # of a family
_MORE = 2.5  # times as much may be computed as there is, ...
_FREE = 1 << 16  # ... and as many elements more anyway
_WHOLE = 4  # times the elements of forward is what backward and masks make of it
_COMPILE = 8e-3  # seconds a kernel that compiling a program takes


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
        self._often = often(plan.lowered.size, _WHOLE * common.elements(padded))

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
        wide = [(k, axes) for k, axes in enumerate(self.common.leaves) if any(map(varies, axes))]
        cut = [(k, axes) for k, axes in enumerate(self.axes) if any(map(varies, axes))]

        def run(*args: Any) -> Sequence[Any]:
            given = list(args)
            for k, axes in wide:
                given[k] = widened(np.asarray(args[k]), axes, padded, symbols)
            results = list(self.run(real, *given))
            data = [narrowed(np.asarray(results[k]), axes, padded, symbols) for k, axes in cut]
            for (k, _), array in zip(cut, jax.device_put(data), strict=True):
                results[k] = array
            self.runs += 1
            if self.runs == self._often and config.background:
                in_background(self._improve)
            return results

        return Program(run, self.donate, 0.0, joined=False)


class _Group:
    """Graphs of a family whose operations are made of the same equations, and their programs."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._common: Common | None = None
        self._buckets: list[_Bucket] = []
        self._spent = 0.0

    def find(
        self, sample: Sample, plan: Plan, donate: tuple[int, ...], instead: float
    ) -> tuple[_Bucket, tuple[int, ...]] | None:
        """As `Buckets.find`."""
        symbols = self._symbols(sample)
        if symbols is None:
            return None
        kept = self._common.usable(donate)
        bucket = self._ready(symbols, kept)
        if bucket is None:
            # Once running otherwise has cost as much, it is compiled (the ski-rental rule).
            self._spent += instead
            if self._spent < _COMPILE * plan.lowered.size:
                return None
            bucket, self._spent = self._made(symbols, plan, kept), 0.0
        return bucket, symbols

    def add(self, sample: Sample) -> None:
        """Learn from a graph."""
        self._samples = [*self._samples[1 - _KEPT :], sample]

    def _symbols(self, sample: Sample) -> tuple[int, ...] | None:
        """What the symbols are in a graph; None while that isn't known."""
        if self._common is not None:
            found = self._common.symbols(sample)
            if found is not None:
                return found
        if any(known.shapes == sample.shapes for known in self._samples):
            return None
        self.add(sample)
        chosen = _plural(self._samples)
        if sample not in chosen or not _telling(chosen):
            return None
        self._common, self._buckets = Common(chosen), []
        return self._common.symbols(sample)

    def _most(self, symbols: tuple[int, ...]) -> float:
        """How many elements may be computed for data of some sizes."""
        n = self._common.elements(symbols)
        return max(_MORE * n, n + _FREE)

    def _ready(self, symbols: tuple[int, ...], donate: tuple[int, ...]) -> _Bucket | None:
        """The narrowest program that fits, if it isn't much too wide."""
        fits = [
            bucket
            for bucket in self._buckets
            if bucket.donate == donate
            and all(n <= size for n, size in zip(symbols, bucket.padded, strict=True))
        ]
        if not fits:
            return None
        best = min(fits, key=lambda bucket: self._common.elements(bucket.padded))
        near = best.padded == tuple(map(_rounded, symbols))
        fine = near or self._common.elements(best.padded) <= self._most(symbols)
        return best if fine else None

    def _made(self, symbols: tuple[int, ...], plan: Plan, donate: tuple[int, ...]) -> _Bucket:
        # One that fits what came before too, and something more, where that costs little.
        come = tuple(map(_rounded, self._common.most(symbols)))
        known = [bucket.padded for bucket in self._buckets if bucket.donate == donate]
        widest = tuple(map(max, zip(come, *known, strict=True)))
        more = tuple([_rounded(n + 1) for n in widest]) if len(widest) > 1 else widest
        padded, most = tuple(map(_rounded, symbols)), self._most(symbols)
        for wide in (more, widest, come):
            if self._common.elements(wide) <= most:
                padded = wide
                break
        bucket = _Bucket(self._common, padded, plan, donate)
        self._buckets = [*self._buckets[1 - _PROGRAMS :], bucket]
        return bucket


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
        self.why: Exception | None = None
        self._failures = 0
        self._groups: dict[Hashable, _Group] = {}
        sample = Sample(first)
        self._group(sample).add(sample)

    def _group(self, sample: Sample) -> _Group:
        structure = sample.structure()
        if structure not in self._groups and len(self._groups) >= _GROUPS:
            raise Unpaddable("too many ways to compute it")
        return self._groups.setdefault(structure, _Group())

    def find(
        self, plan: Plan, donate: tuple[int, ...], instead: float
    ) -> tuple[_Bucket, tuple[int, ...]] | None:
        """A program for a graph, and its symbols; None if it can't be padded, or while too little
        is known for it, or where none is ready and to compile one would not pay yet.

        Args:
            plan: how the graph runs otherwise.
            donate: the arguments that it may consume.
            instead: the seconds that this takes.
        """
        if self._failures >= _FAILURES:
            return None
        sample = Sample(plan.lowered)
        try:
            return self._group(sample).find(sample, plan, donate, instead)
        except Exception as why:  # whatever it is: it is compiled as ever
            self.why = why
            self._failures += 1
            self._groups.clear()
            return None


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
    """The next of 2, 3, 4, 6, 8, 12, 16, 24, ..."""
    size = 2
    while size < n:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


def padded(
    plan: Plan, donate: tuple[int, ...], trace: Trace, instead: float = 0.0
) -> Program | None:
    """A program on padded data for a plan, if its graph is one of a family that has one, or for
    which to compile one pays where running the graph otherwise takes `instead` seconds."""
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
        found = family.buckets.find(plan, donate, instead)
    if found is None:
        return None
    bucket, symbols = found
    if not bucket.runs:
        sizes = ", ".join(map(str, bucket.padded))
        cause = f"data of shapes that vary, padded to {sizes}"
        explain.note(cause, trace.cur, bucket.seconds, lowered.size, len(programs.programs))
    return bucket.program(symbols)
