"""Padded arrays in another shape."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from typing import Any

from jax import lax

from .axes import picked
from .extents import Axis, Size, Unpaddable, axis_from, varies
from .walk import Counted, Lined, Padded, Padding, bound, rule


@rule("broadcast_in_dim")
def _broadcast(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same("shape")
    x, dims = given[0], line.params["broadcast_dimensions"]
    axes, even = list(padding.axes(line.sizes("shape"))), set(range(len(line.params["shape"])))
    for k, d in enumerate(dims):
        if x.axes[k]:
            axes[d] = x.axes[k]
            if k not in x.even:
                even.discard(d)
    even = {d for d in even if varies(axes[d])}
    (result,) = bound(line, [x.value], shape=padding.shape(axes))
    return [Padded(result, tuple(axes), frozenset(even))]


@rule("iota")
def _iota(padding: Padding, line: Lined, given: list[Padded]) -> list[Any]:
    line.same("shape")
    axes, d = padding.axes(line.sizes("shape")), line.params["dimension"]
    dtype, others = line.params["dtype"], frozenset(range(len(axes))) - {d}
    if len(axes[d]) > 1 and varies(axes[d]):
        counted = Counted(dtype, axes[d])
        if not others:
            return [counted]
        value = lax.broadcast_in_dim(padding.counted(counted).value, padding.shape(axes), (d,))
    else:
        (value,) = bound(line, [], shape=padding.shape(axes))
    return [Padded(value, axes, frozenset([k for k in others if varies(axes[k])]))]


@rule("empty")
def _empty(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same("shape")
    axes = padding.axes(line.sizes("shape"))
    (value,) = bound(line, [], shape=padding.shape(axes))
    return [Padded(value, axes, frozenset([d for d, axis in enumerate(axes) if varies(axis)]))]


@rule("random_bits")
def _random(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    """Other numbers than without padding, as a number goes by its place among all."""
    line.same("shape")
    axes = padding.axes(line.sizes("shape"))
    (value,) = bound(line, [given[0].value], shape=padding.shape(axes))
    return [Padded(value, axes)]


@rule("reshape")
def _reshape(padding: Padding, line: Lined, given: list[Any]) -> list[Padded]:
    line.same("new_sizes")
    x, sizes = given[0], line.sizes("new_sizes")
    if type(x) is Counted:
        return [padding.counted(x, padding.axes(sizes))]
    if (order := line.params["dimensions"]) is not None:
        x = picked(x, lax.transpose(x.value, order), order)
    orders = [
        list(permutations(axis)) if d in x.even and varies(axis) else [axis]
        for d, axis in enumerate(x.axes)
    ]
    for chosen in product(*orders):
        axes = regrouped(padding, [f for axis in chosen for f in axis], sizes)
        if axes is not None:
            even = {axes.index(x.axes[d]) for d in x.even if axes.count(x.axes[d]) == 1}
            value = lax.reshape(x.value, padding.shape(axes))
            return [Padded(value, axes, frozenset(even))]
    raise Unpaddable(f"{x.axes} as {sizes}")


def regrouped(
    padding: Padding, factors: Sequence[int | Size], sizes: Sequence[tuple[int, ...]]
) -> tuple[Axis, ...] | None:
    """Axes of some sizes from factors in their order; None if that isn't possible."""
    left, axes = list(factors), []
    if any(0 in seen for seen in sizes):
        return None
    for seen in sizes:
        axis: list[int | Size] = []
        while set(seen) != {1}:
            if not left:
                return None
            factor = left.pop(0)
            found = padding.samples.of((factor,))
            if any(n % m for n, m in zip(seen, found, strict=True)):
                # Only a part of this factor belongs to the axis.
                if type(factor) is Size or len(set(seen)) > 1 or factor % seen[0]:
                    return None
                left.insert(0, factor // seen[0])
                factor, found = seen[0], seen
            axis.append(factor)
            seen = tuple([n // m for n, m in zip(seen, found, strict=True)])
        axes.append(axis_from(axis))
    return None if left else tuple(axes)


@rule("squeeze")
def _squeeze(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    x, gone = given[0], line.params["dimensions"]
    if any(x.axes[d] for d in gone):
        raise Unpaddable("an axis that isn't one, squeezed")
    (value,) = bound(line, [x.value])
    return [picked(x, value, [d for d in range(len(x.axes)) if d not in gone])]


@rule("transpose")
def _transpose(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    (value,) = bound(line, [given[0].value])
    return [picked(given[0], value, line.params["permutation"])]
