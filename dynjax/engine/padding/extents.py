"""Sizes that vary: what those of several samples of one computation have in common.

The samples are equal computations of data with other shapes. A size that isn't the same in all of
them is a symbol's, plus or minus a little, or a product of these: `x[:, :-1].reshape(-1, 8)` of
x (4, n, 8) has 4 * (n - 1) rows. An axis is therefore a product of factors, the major one first;
in memory it is padded factor by factor, so that reshaping what is padded stays reshaping.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations_with_replacement
from math import prod
from numbers import Integral
from typing import Any, NamedTuple

_NEAR = 8  # how much more or less than a symbol a size may be


class Unpaddable(Exception):
    """A computation that can't be made one of padded arrays; says why."""


class Size(NamedTuple):
    """A factor that varies: what its symbol is, and `more`."""

    symbol: int
    more: int = 0


Axis = tuple[int | Size, ...]  # no ones, no two integers next to each other
Seen = tuple[int, ...]  # a size in every sample


def axis_from(factors: Iterable[int | Size]) -> Axis:
    """An axis of these factors."""
    axis: list[int | Size] = []
    for factor in factors:
        factor = factor if type(factor) is Size else int(factor)
        if type(factor) is int and axis and type(axis[-1]) is int:
            axis[-1] *= factor
        elif factor != 1:
            axis.append(factor)
    return tuple(axis)


def varies(axis: Axis) -> bool:
    """Whether an axis has other sizes in other samples."""
    return any(type(factor) is Size for factor in axis)


def value_of(factors: Iterable[int | Size], symbols: Sequence[Any]) -> Any:
    """The product of factors, given the symbols: numbers, or arrays."""
    return prod([f if type(f) is int else symbols[f.symbol] + f.more for f in factors])


class Samples:
    """What the symbols are in every sample.

    Args:
        symbols: for each of them, its values.
    """

    def __init__(self, symbols: Sequence[Seen]) -> None:
        self.symbols = tuple(symbols)
        self._known: dict[Seen, Axis] = {}

    def of(self, axis: Axis) -> Seen:
        """The size of an axis in every sample."""
        return tuple([value_of(axis, values) for values in zip(*self.symbols, strict=True)])

    def axis(self, seen: Seen) -> Axis:
        """An axis that has these sizes; of several factors, which is major is a guess."""
        if len(set(seen)) == 1:
            return axis_from(seen[:1])
        axis = self._known.get(seen)
        if axis is None:
            axis = self._known[seen] = self._found(seen)
        return axis

    def _found(self, seen: Seen) -> Axis:
        for factors in self._products():
            sizes = self.of(factors)
            if 0 in sizes:
                continue
            ratio, rest = divmod(seen[0], sizes[0])
            if not rest and ratio and all(ratio * s == n for s, n in zip(sizes, seen, strict=True)):
                return axis_from([ratio, *factors])
        raise Unpaddable(f"sizes {seen}, of symbols {self.symbols}")

    def _products(self) -> Iterator[tuple[Size, ...]]:
        """What a size may be a product of, beside a constant; the likely first."""
        symbols = range(len(self.symbols))
        for more in sorted(range(-_NEAR, _NEAR + 1), key=abs):
            yield from [(Size(k, more),) for k in symbols]
        near = [Size(k, more) for more in (0, -1, 1) for k in symbols]
        yield from combinations_with_replacement(near, 2)
        yield from combinations_with_replacement([Size(k) for k in symbols], 3)

    def number(self, seen: Sequence[Any]) -> Callable[[Sequence[Any]], Any]:
        """A function of the symbols that has these values: a size, a size and a few, a constant by
        or over a size, or a size over one less (what corrects a variance)."""
        if len(set(seen)) == 1:
            return lambda symbols: seen[0]
        if all(isinstance(n, Integral) for n in seen):
            return self._integer(tuple(seen))
        for factors in self._products():
            sizes = self.of(factors)
            if 0 in sizes:
                continue
            for power in (1, -1):
                ratios = [float(v) / s**power for v, s in zip(seen, sizes, strict=True)]
                if all(abs(r - ratios[0]) <= 1e-6 * abs(ratios[0]) for r in ratios):
                    whole = round(ratios[0])
                    near = whole and abs(ratios[0] - whole) <= 1e-6 * abs(whole)
                    return _scaled(whole if near else ratios[0], factors, power)
            if min(seen) > 1:
                times = round(seen[0] / (seen[0] - 1) / sizes[0]) or 1
                over = [times * n / (times * n - 1) if times * n > 1 else 0 for n in sizes]
                if all(abs(v - o) <= 1e-7 * o for v, o in zip(seen, over, strict=True)):
                    return _corrected(times, factors)
        raise Unpaddable(f"values {seen}, of symbols {self.symbols}")

    def _integer(self, seen: Seen) -> Callable[[Sequence[Any]], Any]:
        for more in sorted(range(-_NEAR, _NEAR + 1), key=abs):
            try:
                axis = self.axis(tuple([n - more for n in seen]))
            except Unpaddable:
                continue
            return lambda symbols: value_of(axis, symbols) + more
        raise Unpaddable(f"numbers {seen}, of symbols {self.symbols}")


def symbols_of(
    shapes: Sequence[Sequence[tuple[int, ...]]],
) -> tuple[Samples, list[tuple[int, int]], list[tuple[Axis, ...]]]:
    """What varies in the shapes of data.

    Args:
        shapes: of every sample, those of its arrays.

    Returns:
        The symbols, for each an array and a dimension of it that it is the size of, and the axes
        of every array.
    """
    places: list[tuple[int, int]] = []
    symbols: list[Seen] = []
    known: dict[Seen, Axis] = {}
    axes: list[tuple[Axis, ...]] = []
    for k, seen in enumerate(zip(*shapes, strict=True)):
        axes.append(())
        for d, sizes in enumerate(zip(*seen, strict=True)):
            if sizes not in known:
                known[sizes] = _axis_of(sizes, symbols)
            if known[sizes] is _NEW:
                known[sizes] = (Size(len(symbols)),)
                symbols.append(sizes)
                places.append((k, d))
            axes[k] += (known[sizes],)
    return Samples(symbols), places, axes


_NEW: Axis = ("new",)  # type: ignore[assignment]


def _axis_of(sizes: Seen, symbols: Sequence[Seen]) -> Axis:
    """The axis of a size that doesn't vary, or is a symbol's and a little more or less."""
    if len(set(sizes)) == 1:
        return axis_from(sizes[:1])
    more = [{n - m for n, m in zip(sizes, symbol, strict=True)} for symbol in symbols]
    near = [(abs(min(m)), k, min(m)) for k, m in enumerate(more) if len(m) == 1]
    if near and min(near)[0] <= _NEAR:
        _, k, least = min(near)
        return (Size(k, least),)
    times = [{n / m for n, m in zip(sizes, symbol, strict=True)} for symbol in symbols]
    for k, ratios in enumerate(times):
        ratio = min(ratios)
        if len(ratios) == 1 and ratio == int(ratio) and ratio > 1:
            return (int(ratio), Size(k))
    return _NEW


def _corrected(times: int, factors: tuple[Size, ...]) -> Callable[[Sequence[Any]], Any]:
    return lambda symbols: (n := times * value_of(factors, symbols)) / (n - 1)


def _scaled(ratio: float, factors: tuple[Size, ...], power: int) -> Callable[[Sequence[Any]], Any]:
    if power == 1:
        return lambda symbols: value_of(factors, symbols) * ratio
    return lambda symbols: ratio / value_of(factors, symbols)
