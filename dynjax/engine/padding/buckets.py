"""Data of many shapes: few programs, each for all that fit the sizes that it is padded to.

Once a family (graphs that differ in nothing but the shapes of their data) has shown how its sizes
vary, they are functions of a few of them (see `extents`), and a program on padded data (see
`walk`) runs whatever fits it: sizes are rounded up to 8, 12, 16, 24, ..., so that there are few.
A graph is run so only if each of its operations is what the family's sizes make of it; all others,
and what can't be padded, are compiled as ever.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from itertools import zip_longest
from typing import Any

import jax
import numpy as np

from ...core.config import config
from ...core.devices import jax_default
from .. import cache, explain
from ..background import given_of, linked, often
from ..executor import Plan
from ..lower import Lowered
from ..programs import Program, compile_better, programs, quick_options
from ..trace import Trace
from .extents import Axis, Unpaddable, value_of, varies
from .families import family_of, shapes_of
from .graphs import Common, Sample
from .host import narrowed, widened

_LEAST, _MOST = 6, 1024  # operations that a graph has, for this
_KEPT = 6  # graphs of a family that are kept
_APART = 2  # how far sizes have to be from each other for two graphs to tell of a family
_GROUPS = 8  # in how many ways a family's graphs may be computed
_FAILURES = 2  # attempts to make it one program of padded data
_PROGRAMS = 16  # of a family
_MORE = 2.5  # times as much is computed as there is, without counting as a waste, ...
_MOST_MORE = 16.0  # ... and until what is wasted has cost as much as compiling a program, ...
_FREE = 1 << 16  # ... and as many elements more anyway
_ELEMENT = 1e-8  # seconds that an element of forward takes, its backward included
_WHOLE = 4  # times the elements of forward is what backward and masks make of it
_COMPILE = 8e-3  # seconds a kernel that compiling a program takes


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
            jitted.lower(*self._given).compile()
            linked(jitted, self._given)
        return jitted

    def _improve(self) -> None:
        self.run = self._compiled(None)

    def program(self, symbols: tuple[int, ...], outgrown: Callable[[], bool]) -> Program:
        """What runs it for data of some sizes, until they have outgrown it."""
        real, padded = np.array(symbols, np.int64), self.padded
        wide = [(k, axes) for k, axes in enumerate(self.common.leaves) if any(map(varies, axes))]
        cut = [(k, axes) for k, axes in enumerate(self.axes) if any(map(varies, axes))]
        program = Program(self.run, self.donate, 0.0, joined=False)

        def widen(arrays: list[Any]) -> list[Any]:
            self.runs += 1
            if self.runs == self._often and config.background:
                compile_better(self._improve)
            program.run = self.run
            if outgrown():
                program.left = 0
            given = list(arrays)
            for k, axes in wide:
                given[k] = widened(np.asarray(arrays[k]), axes, padded, symbols)
            return [real, *given]

        def narrow(results: Sequence[Any]) -> Sequence[Any]:
            found = list(results)
            data = [narrowed(np.asarray(results[k]), axes, padded, symbols) for k, axes in cut]
            with jax.enable_x64(True):
                sent = jax.device_put(data)
            for (k, _), array in zip(cut, sent, strict=True):
                found[k] = array
            return found

        program.widen, program.narrow = widen, narrow if cut else None
        return program


class _Group:
    """Graphs of a family whose operations are made of the same equations, and their programs."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._common: Common | None = None
        self._buckets: list[_Bucket] = []
        self._spent = 0.0
        self._wasted: defaultdict[tuple[int, ...], float] = defaultdict(float)

    def find(
        self,
        sample: Sample,
        plan: Plan,
        donate: tuple[int, ...],
        trace: Trace,
        instead: float,
    ) -> Program | None:
        """As `Buckets.find`."""
        symbols = self._symbols(sample)
        if symbols is None:
            return None
        kept, cost = self._common.usable(donate), _COMPILE * plan.lowered.size
        bucket = self._ready(symbols, kept)
        tight = tuple(map(_rounded, symbols))
        if bucket is None:
            # Once running otherwise has cost as much, it is compiled (the ski-rental rule).
            self._spent += instead
            if self._spent < cost:
                return None
            bucket, self._spent = self._made(self._wide(symbols, kept), plan, kept, trace), 0.0
        elif self._wasted[tight] >= cost:
            bucket = self._made(tight, plan, kept, trace)
        elements = self._common.elements
        extra = _ELEMENT * (elements(bucket.padded) - elements(symbols))
        fine = bucket.padded == tight or elements(bucket.padded) <= self._most(symbols)

        def outgrown() -> bool:
            """Whether what is padded has cost what a program of fewer would."""
            if fine:
                return False
            self._wasted[tight] += extra
            return self._wasted[tight] >= cost

        return bucket.program(symbols, outgrown)

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
        """The narrowest program that fits, if it isn't far too wide."""
        fits = [
            bucket
            for bucket in self._buckets
            if bucket.donate == donate
            and all(n <= size for n, size in zip(symbols, bucket.padded, strict=True))
        ]
        if not fits:
            return None
        best = min(fits, key=lambda bucket: self._common.elements(bucket.padded))
        return best if self._bearable(best.padded, symbols) else None

    def _bearable(self, padded: tuple[int, ...], symbols: tuple[int, ...]) -> bool:
        n = self._common.elements(symbols)
        return self._common.elements(padded) <= max(_MOST_MORE * n, n + _FREE)

    def _wide(self, symbols: tuple[int, ...], donate: tuple[int, ...]) -> tuple[int, ...]:
        """Sizes that fit what came before too, and something more where that costs little."""
        come = tuple(map(_rounded, self._common.most(symbols)))
        known = [bucket.padded for bucket in self._buckets if bucket.donate == donate]
        widest = tuple(map(max, zip(come, *known, strict=True)))
        more = tuple([_rounded(n + 1) for n in widest])
        if len(more) > 1 and self._common.elements(more) <= self._most(symbols):
            return more
        return next(
            (wide for wide in (widest, come) if self._bearable(wide, symbols)),
            tuple(map(_rounded, symbols)),
        )

    def _made(
        self, padded: tuple[int, ...], plan: Plan, donate: tuple[int, ...], trace: Trace
    ) -> _Bucket:
        bucket = _Bucket(self._common, padded, plan, donate)
        self._buckets = [*self._buckets[1 - _PROGRAMS :], bucket]
        how = f"; data is padded to {', '.join(map(str, padded))}"
        explain.report(trace, plan.lowered, bucket.seconds, len(programs.programs), how)
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
        self._first: Sample | None = Sample(first)

    def _group(self, sample: Sample) -> _Group:
        structure = sample.structure()
        if structure not in self._groups and len(self._groups) >= _GROUPS:
            raise Unpaddable("too many ways to compute it")
        return self._groups.setdefault(structure, _Group())

    def find(
        self, plan: Plan, donate: tuple[int, ...], trace: Trace, instead: float
    ) -> Program | None:
        """A program for a graph; None if it can't be padded, or while too little is known for it,
        or where none is ready and to compile one would not pay yet.

        Args:
            plan: how the graph runs otherwise.
            donate: the arguments that it may consume.
            trace: what is to run.
            instead: the seconds that this takes.
        """
        if self._failures >= _FAILURES:
            return None
        sample, first = Sample(plan.lowered), self._first
        try:
            if first is not None:
                self._first = None
                self._group(first).add(first)
            return self._group(sample).find(sample, plan, donate, trace, instead)
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
        return family.buckets.find(plan, donate, trace, instead)
