"""Padded arrays along an axis: sums, extremes, running ones, orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from .axes import picked, simple, together
from .extents import Unpaddable, axis_from, varies
from .walk import Lined, Padded, Padding, Rule, bound, rule, rules


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


def _reduction(fill: Callable[[Any], Any]) -> Rule:
    def reduce(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
        line.same()
        x, gone = given[0], line.params["axes"]
        (value,) = bound(line, [padding.filled(x, gone, fill(x.value.dtype))])
        return [picked(x, value, [d for d in range(len(x.axes)) if d not in gone])]

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
        return [picked(x, value, [k for k in range(len(x.axes)) if k != d])]

    return find


rules["argmax"], rules["argmin"] = _place(_lowest), _place(_highest)


def _cumulative(fill: Callable[[Any], Any]) -> Rule:
    def along(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
        line.same()
        x, d = given[0], line.params["axis"]
        if varies(x.axes[d]) and not simple(x.axes[d]):
            raise Unpaddable("along an axis of several factors")
        masked = [d] if line.params["reverse"] else []
        (value,) = bound(line, [padding.filled(x, masked, fill(x.value.dtype))])
        return [x._replace(value=value, even=x.even - {d})]

    return along


rules["cumsum"], rules["cumprod"] = _cumulative(_zero), _cumulative(_one)
rules["cummax"] = rules["cumlogsumexp"] = _cumulative(_lowest)
rules["cummin"] = _cumulative(_highest)


@rule("sort")
def _sort(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    d, (axes, _) = line.params["dimension"], together(given)
    values = [x.value for x in given]
    if not varies(axes[d]):
        return [Padded(value, axes) for value in bound(line, values)]
    if not simple(axes[d]):
        raise Unpaddable("an axis of several factors, sorted")
    beyond = ~padding.mask(axes, [d])
    keys = line.params["num_keys"] + 1
    done = lax.sort([beyond, *values], dimension=d, is_stable=True, num_keys=keys)
    return [Padded(value, axes) for value in done[1:]]


@rule("top_k")
def _top_k(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    x = given[0]
    d = line.params.get("axis", len(x.axes) - 1) % len(x.axes)
    if varies(x.axes[d]) and not simple(x.axes[d]):
        raise Unpaddable("the greatest along an axis of several factors")
    values = bound(line, [padding.filled(x, [d], _lowest(x.value.dtype))])
    axes = (*x.axes[:d], axis_from([line.params["k"]]), *x.axes[d + 1 :])
    return [Padded(value, axes) for value in values]
