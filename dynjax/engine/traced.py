"""Functions as what JAX's trace of them found: equations.

The first step of a program traces each of its operations several times: for the shapes of its
results, for what its gradient reads, and in every program that it becomes part of. Evaluating
equations costs a fraction of tracing the Python behind them again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.interpreters.partial_eval import dce_jaxpr

if TYPE_CHECKING:
    from jax.extend import core as jex

_NUMBER = {float: np.dtype(np.float64), int: np.dtype(np.int64)}


class Traced:
    """A function of arrays of given shapes and types, as its equations; traced when first called.

    Args:
        fn: the function; returns a tuple of arrays.
        given: shapes and types of its arguments.
        optional: of how many arguments, the first ones, those that its results do not depend on
            are left out in calls, and what else they do not depend on is left out of it; None to
            leave it as it is.
    """

    __slots__ = ("_fn", "_given", "_optional", "_closed", "_reads", "__weakref__")

    def __init__(
        self,
        fn: Callable[..., tuple],
        given: Sequence[jax.ShapeDtypeStruct],
        optional: int | None = None,
    ) -> None:
        self._fn: Callable[..., tuple] | None = fn
        self._given, self._optional = given, optional
        self._closed: tuple[jex.Jaxpr, list[Any]] | None = None
        self._reads: tuple[int, ...] = ()

    def __call__(self, *args: Any) -> tuple:
        if self._closed is None:
            self.trace()
        return tuple(jax.core.eval_jaxpr(*self._closed, *args))

    @property
    def reads(self) -> tuple[int, ...]:
        """Which of the optional arguments calls give."""
        if self._closed is None:
            self.trace()
        return self._reads

    def trace(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Trace it; returns shapes and types of the results. A bad call fails here."""
        with jax.enable_x64(True):
            closed, shapes = jax.make_jaxpr(self._fn, return_shape=True)(*self._given)
        jaxpr, n = closed.jaxpr, self._optional
        if n is not None:
            kept = [k >= n for k in range(len(jaxpr.invars))]
            jaxpr, used = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), kept)
            self._reads = tuple([k for k in range(n) if used[k]])
        self._closed, self._fn = (jaxpr, closed.consts), None
        return tuple(shapes)


def scalars(numbers: Sequence[type]) -> list[jax.ShapeDtypeStruct]:
    """Shapes and types of run-time numbers, as a function of a kernel takes them."""
    return [jax.ShapeDtypeStruct((), _NUMBER[t]) for t in numbers]


__all__ = ["Traced", "scalars"]
