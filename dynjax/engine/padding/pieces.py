"""Pieces of padded arrays: taken out, put in, put together."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from .axes import common, guessed, picked, simple, together
from .extents import Axis, Unpaddable, axis_from, varies
from .walk import Lined, Padded, Padding, bound, rule


@rule("slice")
def _slice(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same("start_indices", "limit_indices")
    x, steps = given[0], line.params["strides"]
    starts, limits = line.sizes("start_indices"), line.sizes("limit_indices")
    axes, even = list(x.axes), set(x.even)
    for d, (start, limit) in enumerate(zip(starts, limits, strict=True)):
        step = steps[d] if steps else 1
        if not varies(x.axes[d]):
            if len(set(start)) > 1 or len(set(limit)) > 1:
                raise Unpaddable("slices that vary, of what doesn't")
            axes[d] = axis_from([len(range(start[0], limit[0], step))])
        elif not any(start) and step == 1 and padding.fits(x.axes[d], limit):
            continue
        elif simple(x.axes[d]) and step == 1:
            axes[d] = padding.axis(tuple([b - a for a, b in zip(start, limit, strict=True)]))
            even.discard(d)
        else:
            raise Unpaddable("a slice of an axis of several factors")
    if all(len(set(start)) == 1 for start in starts):
        firsts = [start[0] for start in starts]
        stops = [
            start + padding.size(axis) if varies(old) else limit[0]
            for start, axis, old, limit in zip(firsts, axes, x.axes, limits, strict=True)
        ]
        value = lax.slice(x.value, firsts, stops, steps)
    else:
        if steps and set(steps) != {1}:
            raise Unpaddable("a slice in steps")
        places = [padding.number(start, np.int64) for start in starts]
        value = lax.dynamic_slice(x.value, places, padding.shape(axes))
        if any(varies(a) and len(set(s)) > 1 for a, s in zip(axes, starts, strict=True)):
            raise Unpaddable("a slice of which both ends vary")
    return [Padded(value, tuple(axes), frozenset(d for d in even if varies(axes[d])))]


@rule("dynamic_slice")
def _dynamic_slice(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same("slice_sizes")
    x, sizes = given[0], line.sizes("slice_sizes")
    axes, places = [], [p.value for p in given[1:]]
    for d, (axis, seen) in enumerate(zip(x.axes, sizes, strict=True)):
        if padding.fits(axis, seen):
            axes.append(axis)
        elif len(set(seen)) == 1 and simple(axis):
            axes.append(axis_from(seen[:1]))
            places[d] = _clamped(padding, places[d], axis, seen[0])
        else:
            raise Unpaddable("a slice that varies")
    shape = padding.shape(axes)
    (value,) = bound(line, [x.value, *places], slice_sizes=shape)
    return [Padded(value, tuple(axes))]


def _clamped(padding: Padding, place: Any, axis: Axis, size: int) -> Any:
    """Where a piece of an axis begins, within the data."""
    last = lax.convert_element_type(jnp.asarray(padding.real_size(axis) - size), place.dtype)
    return jnp.clip(place, jnp.zeros((), place.dtype), last)


@rule("dynamic_update_slice")
def _dynamic_update(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    x, piece = given[:2]
    places = [p.value for p in given[2:]]
    for d, (axis, part) in enumerate(zip(x.axes, piece.axes, strict=True)):
        if varies(part) and part != axis or varies(axis) and not simple(axis):
            raise Unpaddable("a piece that varies")
        if not varies(part) and varies(axis):
            places[d] = _clamped(padding, places[d], axis, padding.size(part))
    (value,) = bound(line, [x.value, piece.value, *places])
    return [Padded(value, x.axes)]


@rule("concatenate")
def _concatenate(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    d, rank = line.params["dimension"], len(given[0].axes)
    axes = [common(given, k) if k != d else () for k in range(rank)]
    if not any(varies(x.axes[d]) for x in given):
        axes[d] = axis_from([sum([padding.size(x.axes[d]) for x in given])])
        (value,) = bound(line, [x.value for x in given])
        return [Padded(value, tuple(axes))]
    if len({x.axes[d] for x in given}) == 1 and not any(guessed(x, d) for x in given):
        axes[d] = axis_from([len(given), *given[0].axes[d]])
        (value,) = bound(line, [x.value for x in given])
        return [Padded(value, tuple(axes))]
    axes[d] = padding.axis(line.shape()[d])
    if len(axes[d]) > 1 or not all(simple(x.axes[d]) for x in given):
        raise Unpaddable("sizes of several factors, one after the other")
    # Each is put where the data of the one before it end, over what padded that.
    wide = [padding.size(x.axes[d]) for x in given]
    shape = list(padding.shape(axes))
    shape[d] = max(sum(wide), shape[d])
    value = jnp.zeros(shape, given[0].value.dtype)
    place: Any = jnp.zeros((), np.int64)
    for x in given:
        at = [jnp.zeros((), np.int64)] * rank
        at[d] = place
        value = lax.dynamic_update_slice(value, x.value, at)
        place = place + padding.real_size(x.axes[d])
    value = lax.slice_in_dim(value, 0, padding.size(axes[d]), axis=d)
    return [Padded(value, tuple(axes))]


@rule("pad")
def _pad(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same("padding_config")
    x, fill = given
    axes = tuple(
        [
            axis if padding.fits(axis, seen) else padding.axis(seen)
            for axis, seen in zip(x.axes, line.shape(), strict=True)
        ]
    )
    config, shifted = [], []
    for d, seen in enumerate(zip(*line.seen("padding_config"), strict=True)):
        lows, highs, inner = zip(*seen, strict=True)
        if x.axes[d] == axes[d] and not any(lows) and not any(highs) and not any(inner):
            config.append((0, 0, 0))
        elif not varies(x.axes[d]) and not varies(axes[d]):
            config.append(tuple(seen[0]))
        elif any(inner) or min(lows) < 0 or min(highs) < 0:
            raise Unpaddable("an axis padded in between")
        elif not simple(x.axes[d]) or not simple(axes[d]):
            raise Unpaddable("an axis of several factors, padded")
        else:
            before = lows[0] if len(set(lows)) == 1 else 0
            config.append((before, padding.size(axes[d]) - before - padding.size(x.axes[d]), 0))
            if len(set(lows)) > 1:
                shifted.append((d, lows))
                if varies(x.axes[d]):
                    raise Unpaddable("what varies, after what varies")
    grown = [d for d in range(len(axes)) if x.axes[d] != axes[d]]
    value = lax.pad(padding.filled(x, grown, fill.value), fill.value, config)
    for d, lows in shifted:
        value = jnp.roll(value, padding.number(lows, np.int64), d)
    return [Padded(value, axes)]


@rule("split")
def _split(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same("sizes")
    x, d = given[0], line.params["axis"]
    whole, pieces = x.axes[d], [padding.axis(seen) for seen in line.sizes("sizes")]
    found = [(*x.axes[:d], piece, *x.axes[d + 1 :]) for piece in pieces]
    if not varies(whole) or whole == axis_from([len(pieces), *pieces[0]]):
        values = bound(line, [x.value], sizes=tuple(map(padding.size, pieces)))
        return [Padded(v, axes, x.even - {d}) for v, axes in zip(values, found, strict=True)]
    if len(whole) > 1:
        raise Unpaddable("an axis of several factors, split")
    results, place, moved = [], [], False
    for axes, piece in zip(found, pieces, strict=True):
        if moved and varies(piece):
            raise Unpaddable("two pieces that vary")
        start = [jnp.zeros((), np.int64)] * len(axes)
        start[d] = jnp.asarray(sum(map(padding.real_size, place)), np.int64)
        value = lax.dynamic_slice(x.value, start, padding.shape(axes))
        results.append(Padded(value, axes, x.even - {d}))
        place.append(piece)
        moved = moved or varies(piece)
    return results


@rule("tile")
def _tile(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    x, times = given[0], line.params["reps"]
    if any(n > 1 and guessed(x, d) for d, n in enumerate(times)):
        raise Unpaddable("a guess, repeated")
    (value,) = bound(line, [x.value])
    axes = [axis_from([n, *axis]) for n, axis in zip(times, x.axes, strict=True)]
    return [Padded(value, tuple(axes), x.even)]


@rule("stack")
def _stack(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    d = line.params["axis"]
    axes, _ = together(given)
    (value,) = bound(line, [x.value for x in given])
    return [Padded(value, (*axes[:d], axis_from([len(given)]), *axes[d:]))]


@rule("unstack")
def _unstack(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    x, d = given[0], line.params["axis"]
    if varies(x.axes[d]):
        raise Unpaddable("an axis that varies, unstacked")
    rest = [k for k in range(len(x.axes)) if k != d]
    return [picked(x, value, rest) for value in bound(line, [x.value])]


@rule("rev")
def _rev(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    x = given[0]
    if any(len(x.axes[d]) > 1 for d in line.params["dimensions"] if varies(x.axes[d])):
        raise Unpaddable("an axis of several factors, reversed")
    (value,) = bound(line, [x.value])
    for d in line.params["dimensions"]:
        if varies(x.axes[d]):  # what padded it is in front now
            value = jnp.roll(value, padding.real_size(x.axes[d]), d)
    return [x._replace(value=value)]
