"""For each of JAX's primitives: how it is written down for padded arrays (see `padding`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations, product
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from .extents import Axis, Size, Unpaddable, axis_from, varies
from .padding import Counted, Lined, Padded, Padding, Rule, bound, rules


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def declare(rule: Rule) -> Rule:
        rules.update(dict.fromkeys(names, rule))
        return rule

    return declare


def _lowest(dtype: Any) -> Any:
    """What is not greater than anything of a type."""
    return -np.inf if jnp.issubdtype(dtype, jnp.floating) else _limits(dtype)[0]


def _highest(dtype: Any) -> Any:
    return np.inf if jnp.issubdtype(dtype, jnp.floating) else _limits(dtype)[1]


def _limits(dtype: Any) -> tuple[Any, Any]:
    if dtype == np.bool_:
        return False, True
    if not jnp.issubdtype(dtype, jnp.integer):
        raise Unpaddable(f"an order of {dtype}")
    return jnp.iinfo(dtype).min, jnp.iinfo(dtype).max


def _zero(dtype: Any) -> Any:
    return 0


def _one(dtype: Any) -> Any:
    return 1


# Element by element


@_rule(
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh",
    "bessel_i0e", "bessel_i1e", "bitcast_convert_type", "cbrt", "ceil", "clamp", "clz", "complex",
    "conj", "convert_element_type", "copy", "copy_p", "cos", "cosh", "digamma", "div", "eq",
    "eq_to",    "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "igamma",
    "igamma_grad_a", "igammac", "imag", "integer_pow", "is_finite", "le", "le_to", "lgamma",
    "log", "log1p", "logistic", "lt", "lt_to", "max", "min", "mul", "ne", "neg", "nextafter",
    "not", "or", "polygamma", "population_count", "pow", "real", "reduce_precision",
    "regularized_incomplete_beta", "rem", "round", "rsqrt", "select_n", "shift_left",
    "shift_right_arithmetic", "shift_right_logical", "sign", "sin", "sinh", "sqrt", "square",
    "stop_gradient", "sub", "tan", "tanh", "xor", "zeta",
)  # fmt: skip
def _each(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    if len(given) == 1 and type(given[0]) is Counted and line.name == "convert_element_type":
        return [given[0]._replace(dtype=line.params["new_dtype"])]
    axes, even = together(given)
    (result,) = bound(line, [x.value for x in given])
    return [Padded(result, axes, even)]


@_rule("optimization_barrier")
def _barrier(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    values = bound(line, [x.value for x in given])
    return [x._replace(value=value) for x, value in zip(given, values, strict=True)]


def together(given: Sequence[Padded]) -> tuple[tuple[Axis, ...], frozenset[int]]:
    """The axes of what arrays give element by element, and along which it is even."""
    if any(type(x) is Counted for x in given):
        raise Unpaddable("numbers without a shape")
    rank = max([len(x.axes) for x in given])
    full = [x for x in given if len(x.axes) == rank]
    if any(x.axes for x in given if len(x.axes) != rank):
        raise Unpaddable("arrays of several ranks")
    axes = tuple([_common(full, d) for d in range(rank)])
    even = [d for d in range(rank) if varies(axes[d])]
    return axes, frozenset([d for d in even if all(d in x.even or not x.axes[d] for x in full)])


def _common(given: Sequence[Padded], d: int) -> Axis:
    """What an axis is on which arrays meet, some of which may be one there."""
    long = [x for x in given if x.axes[d]]
    sure = {x.axes[d] for x in long if d not in x.even}
    if len(sure) > 1:
        raise Unpaddable(f"axes {sure}")
    return sure.pop() if sure else long[0].axes[d] if long else ()


def _guessed(x: Padded, d: int) -> bool:
    """Whether the order of an axis's factors is a guess."""
    return d in x.even and len(x.axes[d]) > 1


# Shapes


@_rule("broadcast_in_dim")
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


@_rule("iota")
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


@_rule("empty")
def _empty(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same("shape")
    axes = padding.axes(line.sizes("shape"))
    (value,) = bound(line, [], shape=padding.shape(axes))
    return [Padded(value, axes, frozenset([d for d, axis in enumerate(axes) if varies(axis)]))]


@_rule("reshape")
def _reshape(padding: Padding, line: Lined, given: list[Any]) -> list[Padded]:
    line.same("new_sizes")
    x, sizes = given[0], line.sizes("new_sizes")
    if type(x) is Counted:
        return [padding.counted(x, padding.axes(sizes))]
    if (order := line.params["dimensions"]) is not None:
        x = _picked(x, lax.transpose(x.value, order), order)
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


@_rule("squeeze")
def _squeeze(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    x, gone = given[0], line.params["dimensions"]
    if any(x.axes[d] for d in gone):
        raise Unpaddable("an axis that isn't one, squeezed")
    (value,) = bound(line, [x.value])
    return [_picked(x, value, [d for d in range(len(x.axes)) if d not in gone])]


@_rule("transpose")
def _transpose(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    (value,) = bound(line, [given[0].value])
    return [_picked(given[0], value, line.params["permutation"])]


def _picked(x: Padded, value: Any, order: Sequence[int]) -> Padded:
    """An array that has the axes of another, in some order."""
    even = frozenset([k for k, d in enumerate(order) if d in x.even])
    return Padded(value, tuple([x.axes[d] for d in order]), even)


@_rule("slice")
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
        elif _simple(x.axes[d]) and step == 1:
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


def _simple(axis: Axis) -> bool:
    """Whether the data of an axis are its first places."""
    return len(axis) <= 1 or not varies(axis) or not any(type(f) is Size for f in axis[1:])


@_rule("dynamic_slice")
def _dynamic_slice(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same("slice_sizes")
    x, sizes = given[0], line.sizes("slice_sizes")
    axes, places = [], [p.value for p in given[1:]]
    for d, (axis, seen) in enumerate(zip(x.axes, sizes, strict=True)):
        if padding.fits(axis, seen):
            axes.append(axis)
        elif len(set(seen)) == 1 and _simple(axis):
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


@_rule("dynamic_update_slice")
def _dynamic_update(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    x, piece = given[:2]
    places = [p.value for p in given[2:]]
    for d, (axis, part) in enumerate(zip(x.axes, piece.axes, strict=True)):
        if varies(part) and part != axis or varies(axis) and not _simple(axis):
            raise Unpaddable("a piece that varies")
        if not varies(part) and varies(axis):
            places[d] = _clamped(padding, places[d], axis, padding.size(part))
    (value,) = bound(line, [x.value, piece.value, *places])
    return [Padded(value, x.axes)]


@_rule("concatenate")
def _concatenate(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    d, rank = line.params["dimension"], len(given[0].axes)
    axes = [_common(given, k) if k != d else () for k in range(rank)]
    if not any(varies(x.axes[d]) for x in given):
        axes[d] = axis_from([sum([padding.size(x.axes[d]) for x in given])])
        (value,) = bound(line, [x.value for x in given])
        return [Padded(value, tuple(axes))]
    if len({x.axes[d] for x in given}) == 1 and not any(_guessed(x, d) for x in given):
        axes[d] = axis_from([len(given), *given[0].axes[d]])
        (value,) = bound(line, [x.value for x in given])
        return [Padded(value, tuple(axes))]
    axes[d] = padding.axis(line.shape()[d])
    if len(axes[d]) > 1 or not all(_simple(x.axes[d]) for x in given):
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


@_rule("pad")
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
        elif not _simple(x.axes[d]) or not _simple(axes[d]):
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


@_rule("split")
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


@_rule("tile")
def _tile(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    x, times = given[0], line.params["reps"]
    if any(n > 1 and _guessed(x, d) for d, n in enumerate(times)):
        raise Unpaddable("a guess, repeated")
    (value,) = bound(line, [x.value])
    axes = [axis_from([n, *axis]) for n, axis in zip(times, x.axes, strict=True)]
    return [Padded(value, tuple(axes), x.even)]


@_rule("stack")
def _stack(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    d = line.params["axis"]
    axes, _ = together(given)
    (value,) = bound(line, [x.value for x in given])
    return [Padded(value, (*axes[:d], axis_from([len(given)]), *axes[d:]))]


@_rule("unstack")
def _unstack(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    x, d = given[0], line.params["axis"]
    if varies(x.axes[d]):
        raise Unpaddable("an axis that varies, unstacked")
    rest = [k for k in range(len(x.axes)) if k != d]
    return [_picked(x, value, rest) for value in bound(line, [x.value])]


@_rule("rev")
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


# Along axes


def _reduction(fill: Callable[[Any], Any]) -> Rule:
    def reduce(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
        line.same()
        x, gone = given[0], line.params["axes"]
        (value,) = bound(line, [padding.filled(x, gone, fill(x.value.dtype))])
        return [_picked(x, value, [d for d in range(len(x.axes)) if d not in gone])]

    return reduce


rules["reduce_sum"] = rules["reduce_xor"] = _reduction(_zero)
rules["reduce_prod"] = _reduction(_one)
rules["reduce_max"] = _reduction(_lowest)
rules["reduce_min"] = _reduction(_highest)
rules["reduce_or"] = _reduction(lambda dtype: False if dtype == np.bool_ else 0)
rules["reduce_and"] = _reduction(lambda dtype: True if dtype == np.bool_ else -1)


def _place(fill: Callable[[Any], Any]) -> Rule:
    def find(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
        line.same()
        x, (d,) = given[0], line.params["axes"]
        if varies(x.axes[d]) and len(x.axes[d]) > 1:
            raise Unpaddable("a place along an axis of several factors")
        (value,) = bound(line, [padding.filled(x, [d], fill(x.value.dtype))])
        return [_picked(x, value, [k for k in range(len(x.axes)) if k != d])]

    return find


rules["argmax"], rules["argmin"] = _place(_lowest), _place(_highest)


def _cumulative(fill: Callable[[Any], Any]) -> Rule:
    def along(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
        line.same()
        x, d = given[0], line.params["axis"]
        if varies(x.axes[d]) and not _simple(x.axes[d]):
            raise Unpaddable("along an axis of several factors")
        masked = [d] if line.params["reverse"] else []
        (value,) = bound(line, [padding.filled(x, masked, fill(x.value.dtype))])
        return [x._replace(value=value, even=x.even - {d})]

    return along


rules["cumsum"], rules["cumprod"] = _cumulative(_zero), _cumulative(_one)
rules["cummax"] = rules["cumlogsumexp"] = _cumulative(_lowest)
rules["cummin"] = _cumulative(_highest)


@_rule("sort")
def _sort(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    d, (axes, _) = line.params["dimension"], together(given)
    values = [x.value for x in given]
    if not varies(axes[d]):
        return [Padded(value, axes) for value in bound(line, values)]
    if not _simple(axes[d]):
        raise Unpaddable("an axis of several factors, sorted")
    beyond = ~padding.mask(axes, [d])
    keys = line.params["num_keys"] + 1
    done = lax.sort([beyond, *values], dimension=d, is_stable=True, num_keys=keys)
    return [Padded(value, axes) for value in done[1:]]


@_rule("top_k")
def _top_k(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    x = given[0]
    d = line.params.get("axis", len(x.axes) - 1) % len(x.axes)
    if varies(x.axes[d]) and not _simple(x.axes[d]):
        raise Unpaddable("the greatest along an axis of several factors")
    values = bound(line, [padding.filled(x, [d], _lowest(x.value.dtype))])
    axes = (*x.axes[:d], axis_from([line.params["k"]]), *x.axes[d + 1 :])
    return [Padded(value, axes) for value in values]


# Products


@_rule("dot_general")
def _dot(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    (left, right), batch = line.params["dimension_numbers"]
    x, y = given
    for a, b in [*zip(left, right, strict=True), *zip(*batch, strict=True)]:
        if x.axes[a] != y.axes[b] and a not in x.even and b not in y.even:
            raise Unpaddable(f"a product along {x.axes[a]} and {y.axes[b]}")
    (value,) = bound(line, [padding.filled(x, left, 0), padding.filled(y, right, 0)])
    axes = [y.axes[b] if a in x.even else x.axes[a] for a, b in zip(*batch, strict=True)]
    axes += [axis for d, axis in enumerate(x.axes) if d not in left and d not in batch[0]]
    axes += [axis for d, axis in enumerate(y.axes) if d not in right and d not in batch[1]]
    return [Padded(value, tuple(axes))]


@_rule("conv_general_dilated")
def _convolution(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    (x, kernel), params = given, line.params
    numbers = params["dimension_numbers"]
    groups = params["feature_group_count"] > 1 or params["batch_group_count"] > 1
    mixed = [x.axes[numbers.lhs_spec[1]], kernel.axes[numbers.rhs_spec[1]]]
    if groups and any(map(varies, [*mixed, x.axes[numbers.lhs_spec[0]]])):
        raise Unpaddable("a convolution in groups that vary")
    if mixed[0] != mixed[1] and any(map(varies, mixed)):
        raise Unpaddable("a convolution of channels that vary")
    masked, masked_kernel = [numbers.lhs_spec[1]], [numbers.rhs_spec[1]]
    for k, (d, e) in enumerate(zip(numbers.lhs_spec[2:], numbers.rhs_spec[2:], strict=True)):
        if not varies(x.axes[d]) and not varies(kernel.axes[e]):
            continue
        # Beyond the data are zeros, as in the padding of the convolution itself.
        steps = params["window_strides"][k], params["lhs_dilation"][k]
        if steps != (1, 1) or len(x.axes[d]) > 1 or len(kernel.axes[e]) > 1:
            raise Unpaddable("a convolution in steps, along what varies")
        if varies(kernel.axes[e]) and params["rhs_dilation"][k] != 1:
            raise Unpaddable("a convolution with holes that vary")
        masked.append(d)
        masked_kernel.append(e)
    values = [padding.filled(x, masked, 0), padding.filled(kernel, masked_kernel, 0)]
    (value,) = bound(line, values)
    axes = list(padding.axes(line.shape()))
    axes[numbers.out_spec[0]] = x.axes[numbers.lhs_spec[0]]
    axes[numbers.out_spec[1]] = kernel.axes[numbers.rhs_spec[0]]
    return [Padded(value, tuple(axes))]


@_rule(
    "reduce_window_sum", "reduce_window_max", "reduce_window_min", "select_and_gather_add",
    "select_and_scatter_add",
)  # fmt: skip
def _windows(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    x = given[-1]
    window, steps = line.params["window_dimensions"], line.params["window_strides"]
    for d, axis in enumerate(x.axes):
        alone = window[d] == steps[d] == 1 and tuple(line.params["padding"][d]) == (0, 0)
        if varies(axis) and not alone:
            raise Unpaddable("windows along what varies")
    (value,) = bound(line, [each.value for each in given])
    sizes = map(axis_from, [[n] for n in value.shape])
    axes = [axis if varies(axis) else n for axis, n in zip(x.axes, sizes, strict=True)]
    return [Padded(value, tuple(axes))]


# Branches and loops


@_rule("cond")
def _cond(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same("branches")
    index, args = given[0], given[1:]
    outs: list[list[Padded]] = []

    def branch(bodies: Sequence[Any]) -> Callable[..., list[Any]]:
        def run(*values: Any) -> list[Any]:
            inner = [x._replace(value=v) for x, v in zip(args, values, strict=True)]
            jaxprs, consts = [b.jaxpr for b in bodies], [b.consts for b in bodies]
            outs.append(padding.inner().run(jaxprs, consts, inner))
            return [out.value for out in outs[-1]]

        return run

    branches = [branch(bodies) for bodies in zip(*line.seen("branches"), strict=True)]
    values = lax.switch(index.value, branches, *[x.value for x in args])
    if any([x.axes for x in other] != [x.axes for x in outs[0]] for other in outs):
        raise Unpaddable("branches whose values have other axes")
    return [Padded(value, x.axes) for value, x in zip(values, outs[0], strict=True)]


@_rule("scan")
def _scan(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same("jaxpr", "length")
    n_consts, n_carry = line.params["num_consts"], line.params["num_carry"]
    consts, carry, xs = given[:n_consts], given[n_consts:][:n_carry], given[n_consts + n_carry :]
    along = padding.axis(line.seen("length"))
    if (varies(along) and len(along) > 1) or any(x.axes[0] != along for x in xs):
        raise Unpaddable("a loop along an axis of several factors")
    axes = [x.axes for x in carry]
    results = _looped(padding, line, along, consts, carry, xs)
    found = [result.axes for result in results[:n_carry]]
    if found != axes:
        # Where the order of factors was a guess, it is what the body gives.
        for x, new in zip(carry, found, strict=True):
            if any(a != b and d not in x.even for d, (a, b) in enumerate(zip(x.axes, new))):
                raise Unpaddable("a loop whose values change their axes")
        carry = [Padded(x.value, new) for x, new in zip(carry, found, strict=True)]
        results = _looped(padding, line, along, consts, carry, xs)
        if [result.axes for result in results[:n_carry]] != found:
            raise Unpaddable("a loop whose values change their axes")
    return results


def _looped(
    padding: Padding,
    line: Lined,
    along: Axis,
    consts: list[Padded],
    carry: list[Padded],
    xs: list[Padded],
) -> list[Padded]:
    """What a loop carries in the end, and what it stacks up; beyond its length it carries on."""
    bodies, backwards = line.seen("jaxpr"), line.params["reverse"]
    outs: list[Padded] = []

    def body(carried: Any, each: Any) -> Any:
        place, values = carried
        args = [
            *consts,
            *[x._replace(value=v, even=frozenset()) for v, x in zip(values, carry, strict=True)],
            *[Padded(v, x.axes[1:]) for v, x in zip(each, xs, strict=True)],
        ]
        outs[:] = padding.inner().run([b.jaxpr for b in bodies], [b.consts for b in bodies], args)
        new = [out.value for out in outs[: len(carry)]]
        if varies(along):
            holds = place < padding.real_size(along)
            new = [jnp.where(holds, n, v) for n, v in zip(new, values, strict=True)]
        return (place + (-1 if backwards else 1), new), [out.value for out in outs[len(carry) :]]

    length = padding.size(along)
    start = (jnp.asarray(length - 1 if backwards else 0), [x.value for x in carry])
    (_, last), ys = lax.scan(
        body, start, [x.value for x in xs], length=length, reverse=backwards,
        unroll=line.params["unroll"],
    )  # fmt: skip
    axes = [out.axes for out in outs[: len(carry)]]
    axes += [(along, *out.axes) for out in outs[len(carry) :]]
    return list(map(Padded, [*last, *ys], axes))
