"""What samples have in common: which of their numbers stay, which go with the sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..kernel import is_var
from .extents import Samples, Unpaddable

_NEAR = 1e-6  # of a number that is a function of sizes, in single precision


class Pattern:
    """Flat lists of several samples, as functions of their symbols.

    Args:
        samples: what the symbols are in each.
        given: the lists.

    Raises:
        Unpaddable: something differs that is no function of the symbols.
    """

    def __init__(self, samples: Samples, given: Sequence[list[Any]]) -> None:
        self._length = len(given[0])
        if any(len(each) != self._length for each in given):
            raise Unpaddable("more of something in other samples")
        self._fixed: list[tuple[int, Any]] = []
        self._moving: list[tuple[int, Callable[[Sequence[Any]], Any]]] = []
        numbers: dict[tuple[Any, ...], Callable[[Sequence[Any]], Any]] = {}
        for place, seen in enumerate(zip(*given, strict=True)):
            if all(_same(one, seen[0]) for one in seen[1:]):
                self._fixed.append((place, seen[0]))
            elif {type(one) for one in seen} <= {int, float}:
                if seen not in numbers:
                    numbers[seen] = samples.number(seen)
                self._moving.append((place, numbers[seen]))
            else:
                raise Unpaddable(f"{seen[0]!r} in some samples")

    def fits(self, given: list[Any], symbols: Sequence[int]) -> bool:
        """Whether another list is what some values of the symbols make of it."""
        if len(given) != self._length:
            return False
        if not all(_same(given[place], value) for place, value in self._fixed):
            return False
        known: dict[Any, Any] = {}
        for place, number in self._moving:
            value = known.get(number)
            if value is None:
                value = known[number] = number(symbols)
            found = given[place]
            if found != value and not (
                type(found) is float and math.isclose(found, value, rel_tol=_NEAR)
            ):
                return False
        return True


def _same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and bool(a == b)) or (a != a and b != b)


def flat(x: Any) -> list[Any]:
    """All that nested sequences hold, with their lengths."""
    found: list[Any] = []
    _flatten(x, found)
    return found


def _flatten(x: Any, found: list[Any]) -> None:
    if isinstance(x, (tuple, list)):
        found.append(len(x))
        for each in x:
            _flatten(each, found)
    else:
        found.append(x)


def skeleton(closed: Any) -> list[Any]:
    """All that a traced function consists of: its equations, what they read, their parameters, the
    shapes of their results."""
    found: list[Any] = []
    _describe(closed, found)
    return found


def _describe(closed: Any, found: list[Any]) -> None:
    jaxpr = getattr(closed, "jaxpr", closed)
    places = {v: k for k, v in enumerate([*jaxpr.constvars, *jaxpr.invars])}
    for const in getattr(closed, "consts", ()):
        found += [np.shape(const), np.asarray(const).tobytes()]
    for eqn in jaxpr.eqns:
        found.append(eqn.primitive.name)
        for atom in eqn.invars:
            found.append(str(places[atom]) if is_var(atom) else np.asarray(atom.val).tolist())
        body = body_of(eqn)
        if body is None:
            _parameter(list(eqn.params.values()), found)
        else:  # beside it are its rules for gradients, which are in the kernel's key
            _describe(body, found)
        for v in eqn.outvars:
            places[v] = len(places)
            found.append(v.aval.dtype)
            found += v.aval.shape
    found += [str(places[v]) if is_var(v) else np.asarray(v.val).tolist() for v in jaxpr.outvars]


def _parameter(value: Any, found: list[Any]) -> None:
    if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
        _describe(value, found)
    elif isinstance(value, (tuple, list)):
        found.append(len(value))
        for each in value:
            _parameter(each, found)
    else:
        found.append(value.item() if isinstance(value, np.generic) else value)


# Calls, and what their bodies are called.
_CALLS = {
    "jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call",
    "custom_vjp_call",
}  # fmt: skip
_BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def body_of(eqn: Any) -> Any:
    """The body of an equation that is a call; None of others."""
    if eqn.primitive.name not in _CALLS:
        return None
    return next((eqn.params[name] for name in _BODIES if name in eqn.params), None)
