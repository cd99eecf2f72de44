"""Branches and loops on padded arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from .extents import Axis, Unpaddable, varies
from .walk import Lined, Padded, Padding, rule


@rule("cond")
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


@rule("scan")
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
