"""What enters and leaves a program joined: each array that it takes or returns costs a microsecond.

Run-time numbers enter in a vector of each type. Gradients are kept until `zero_grad`, though mostly
nobody looks at them: the small ones leave in one array, which the first look at one takes apart.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .lower import Lowered

_MOST = 4096  # elements of an array, and ...
_FEWEST = 3  # ... arrays of a type, from which on joining pays
# XLA takes some 16 ms to compile each of them in or out of the joined one: a second or two for a
# program of this many, where a model takes as long by itself. An argument costs a microsecond.
_MOST_TOGETHER = 64


class Place(NamedTuple):
    """Where a result begins in the joined array, and its shape."""

    start: int
    shape: tuple[int, ...]


class Pack:
    """A joined array, in place of the trace for the values that lie in it.

    Args:
        places: of the values, by their indices in the trace that computed them.

    Attributes:
        array: the joined array.
    """

    __slots__ = ("array", "_places", "_parts")

    def __init__(self, places: dict[int, Place]) -> None:
        self._places = places
        self._parts: dict[int, Any] | None = None

    def taken(self) -> bool:
        """Whether it was taken apart."""
        return self._parts is not None

    def renew(self) -> None:
        """What is in `array` now is to be taken apart."""
        self._parts = None

    def take(self, idx: int) -> Any:
        """The array of a value, which is given out once; None after that."""
        if self._parts is None:
            with jax.enable_x64(True):
                arrays = _split(self.array, tuple(self._places.values()))
            self._parts = dict(zip(self._places, arrays))
        return self._parts.pop(idx, None)


@partial(jax.jit, static_argnums=1)
def _split(array: jax.Array, places: tuple[Place, ...]) -> list[jax.Array]:
    return [array[s : s + math.prod(shape)].reshape(shape) for s, shape in places]


def worth_joining(
    arrays: Iterable[tuple[int, Sequence[int], Hashable]],
) -> tuple[tuple[int, ...], ...]:
    """Which arrays, given as (number, shape, type), a program had better take or give together."""
    groups: dict[Hashable, list[int]] = {}
    for number, shape, dtype in arrays:
        if math.prod(shape) <= _MOST:
            groups.setdefault(dtype, []).append(number)
    return tuple(
        tuple(group) for group in groups.values() if _FEWEST <= len(group) <= _MOST_TOGETHER
    )


def one_after_another(shapes: Iterable[Sequence[int]]) -> list[Place]:
    """Where arrays of these shapes lie in the one that joins them."""
    places, start = [], 0
    for shape in shapes:
        places.append(Place(start, tuple(shape)))
        start += math.prod(shape)
    return places


class Joined(NamedTuple):
    """Which results of a program leave joined.

    Attributes:
        groups: for every joined array, the distinct outputs in it.
        alone: the distinct outputs that leave as they are.
    """

    groups: tuple[tuple[int, ...], ...]
    alone: tuple[int, ...]

    def apply(self, results: Sequence[Any]) -> list[Any]:
        """The results as they leave: those alone, then the joined arrays."""
        return [results[p] for p in self.alone] + [
            jnp.concatenate([results[p].ravel() for p in group]) for group in self.groups
        ]

    def avals(self, avals: Sequence[jax.ShapeDtypeStruct]) -> list[jax.ShapeDtypeStruct]:
        """Shapes and types of what leaves, from those of the results."""
        return [avals[p] for p in self.alone] + [
            jax.ShapeDtypeStruct((sum(math.prod(avals[p].shape) for p in g),), avals[g[0]].dtype)
            for g in self.groups
        ]

    def places(self, lowered: Lowered, wanted: Sequence[int]) -> list[dict[int, Place]]:
        """For every joined array, where the wanted values lie in it."""
        found = []
        for group in self.groups:
            places = one_after_another([lowered.out_avals[p].shape for p in group])
            begins = dict(zip(group, places))
            found.append({i: begins[p] for i, p in zip(wanted, lowered.outputs) if p in begins})
        return found


def joined(lowered: Lowered) -> Joined:
    """What is worth joining."""
    chosen = worth_joining(
        (p, aval.shape, aval.dtype)
        for p, (kernel, aval) in enumerate(zip(lowered.origins, lowered.out_avals))
        if kernel is not None and kernel.fleeting
    )
    inside = {p for group in chosen for p in group}
    return Joined(chosen, tuple(p for p in range(len(lowered.results)) if p not in inside))


def vectors(floats: Sequence[float], ints: Sequence[int]) -> list[np.ndarray]:
    """Run-time numbers as programs take them: a vector of each type that there is any of."""
    both = (floats, np.float64), (ints, np.int64)
    return [np.array(group, dtype) for group, dtype in both if group]


class Vectors:
    """The run-time numbers of a program, as vectors that serve again while they are the same."""

    __slots__ = ("_last", "_both")  # each one object, for the threads that share a program

    def __init__(self) -> None:
        self._last: tuple[Any, list[Any]] = None, []
        self._both: tuple[Any, list[Any]] = None, []

    def of(self, floats: Sequence[float], ints: Sequence[int]) -> list[Any]:
        """The vectors of these numbers: from the host the first time, then sent once."""
        now = floats, ints
        last, found = self._last
        if now != last:
            found = vectors(floats, ints)
        elif type(found[0]) is np.ndarray:
            with jax.enable_x64(True):
                found = jax.device_put(found)
        else:
            return found
        self._last = now, found
        return found

    def of_both(self, numbers: list[Any], n_floats: int) -> list[Any]:
        """The vectors of floats and ints in one list, which is not changed once it was given."""
        last, found = self._both
        if numbers is not last or type(found[0]) is np.ndarray:
            found = self.of(numbers[:n_floats], numbers[n_floats:])
            self._both = numbers, found
        return found
