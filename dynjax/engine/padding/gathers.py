"""Gathers and scatters on padded arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from .extents import Axis, Unpaddable, axis_from, varies
from .walk import Lined, Padded, Padding, bound, rule

_MODE = lax.GatherScatterMode


def _indices(
    padding: Padding, indices: Padded, axes: Sequence[Axis], targets: Sequence[int],
    whole: Sequence[bool], mode: Any,
) -> Any:  # fmt: skip
    """Places in an array as places in the padded one.

    Args:
        indices: the places, their components along the last dimension.
        axes: the array's.
        targets: of every component, the dimension that it is a place along.
        whole: of every dimension, whether all of it is taken.
        mode: what becomes of places outside.
    """
    value = indices.value
    for k, d in enumerate(targets):
        if not varies(axes[d]) or whole[d]:
            continue
        place, size = value[..., k], padding.real_size(axes[d])
        real = lax.convert_element_type(jnp.asarray(size), place.dtype)
        if mode == _MODE.CLIP:
            place = jnp.clip(place, jnp.zeros((), place.dtype), real - 1)
        inside = (place >= 0) & (place < real)
        if len(axes[d]) > 1:
            place = _moved(padding, place, axes[d])
        outside = jnp.asarray(padding.size(axes[d]), place.dtype)
        value = value.at[..., k].set(jnp.where(inside, place, outside))
    return value


def _moved(padding: Padding, place: Any, axis: Axis) -> Any:
    """Where something of an axis is when that is padded."""
    found, stride, dtype = jnp.zeros((), place.dtype), 1, place.dtype
    for factor in reversed(axis):
        real = lax.convert_element_type(jnp.asarray(padding.real_size((factor,))), dtype)
        found = found + place % real * jnp.asarray(stride, dtype)
        place, stride = place // real, stride * padding.size((factor,))
    return found


def _paired(x: Padded, dims: Sequence[int], indices: Padded, others: Sequence[int]) -> None:
    """Make sure that what is gone through together has the same axes."""
    for d, e in zip(dims, others, strict=True):
        if x.axes[d] != indices.axes[e] and d not in x.even and e not in indices.even:
            raise Unpaddable(f"{x.axes[d]} gone through with {indices.axes[e]}")


@rule("gather")
def _gather(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same("slice_sizes")
    x, indices = given
    numbers, sizes = line.params["dimension_numbers"], line.sizes("slice_sizes")
    batching = numbers.operand_batching_dims
    _paired(x, batching, indices, numbers.start_indices_batching_dims)
    gone = {*numbers.collapsed_slice_dims, *batching}
    whole = [
        d not in gone and padding.fits(axis, seen)
        for d, (axis, seen) in enumerate(zip(x.axes, sizes, strict=True))
    ]
    pieces: list[Axis] = []
    for d, (axis, seen) in enumerate(zip(x.axes, sizes, strict=True)):
        if varies(axis) and not whole[d] and set(seen) != {1}:
            raise Unpaddable("pieces of an axis that varies")
        if len(set(seen)) > 1 and not whole[d]:
            raise Unpaddable("pieces that vary")
        pieces.append(axis if whole[d] else axis_from(seen[:1]))
    targets = numbers.start_index_map
    places = _indices(padding, indices, x.axes, targets, whole, line.params["mode"])
    (value,) = bound(line, [x.value, places], slice_sizes=padding.shape(pieces))
    inner = iter([piece for d, piece in enumerate(pieces) if d not in gone])
    through = list(indices.axes[:-1])
    for d, e in zip(batching, numbers.start_indices_batching_dims, strict=True):
        through[e] = x.axes[d] if e in indices.even else through[e]
    outer = iter(through)
    rank = len(line.shape())
    axes = [next(inner) if d in numbers.offset_dims else next(outer) for d in range(rank)]
    return [Padded(value, tuple(axes))]


@rule("scatter", "scatter-add", "scatter-mul", "scatter-min", "scatter-max", "scatter_sub")
def _scatter(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same("update_jaxpr", "update_consts")
    x, indices, updates = given
    numbers = line.params["dimension_numbers"]
    batching = numbers.operand_batching_dims
    _paired(x, batching, indices, numbers.scatter_indices_batching_dims)
    gone = {*numbers.inserted_window_dims, *batching}
    window = [d for d in range(len(x.axes)) if d not in gone]
    whole, axes = [False] * len(x.axes), list(x.axes)
    for d, e in zip(batching, numbers.scatter_indices_batching_dims, strict=True):
        axes[d] = indices.axes[e] if d in x.even else axes[d]
    for d, e in zip(window, numbers.update_window_dims, strict=True):
        part = updates.axes[e]
        whole[d] = part == x.axes[d] or d in x.even or e in updates.even
        if (varies(part) or varies(x.axes[d])) and not whole[d]:
            raise Unpaddable("pieces of an axis that varies")
        if whole[d] and padding.size(part) != padding.size(x.axes[d]):
            raise Unpaddable("pieces of another size")
        axes[d] = part if d in x.even else axes[d]
    outer = [e for e in range(len(updates.axes)) if e not in numbers.update_window_dims]
    _paired(updates, outer, indices, range(len(outer)))
    targets, mode = numbers.scatter_dims_to_operand_dims, line.params["mode"]
    places = _indices(padding, indices, x.axes, targets, whole, mode)
    free = [e for e in range(len(indices.axes) - 1)
            if e not in numbers.scatter_indices_batching_dims]  # fmt: skip
    mask = padding.mask(indices.axes, free)
    changed = {}
    if mask is not None:  # what pads the updates goes nowhere
        if not targets:
            raise Unpaddable("updates that vary, all to one place")
        if mode == _MODE.CLIP:
            for k, d in enumerate(targets):
                if not varies(x.axes[d]):
                    part = 1 if d in gone else updates.value.shape[
                        numbers.update_window_dims[window.index(d)]
                    ]  # fmt: skip
                    high = jnp.asarray(x.value.shape[d] - part, places.dtype)
                    kept = jnp.clip(places[..., k], jnp.zeros((), places.dtype), high)
                    places = places.at[..., k].set(kept)
        outside = jnp.asarray(np.iinfo(np.int32).max, places.dtype)
        places = jnp.where(mask, places, outside)
        changed = {"mode": _MODE.FILL_OR_DROP, "unique_indices": False, "indices_are_sorted": False}
    (value,) = bound(line, [x.value, places, updates.value], **changed)
    return [Padded(value, tuple(axes))]
