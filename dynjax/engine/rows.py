"""Programs over arenas: arrays in whose rows lie the values of one shape and type.

A program for a group of equal parts gathers the rows that it reads, runs the part on all of them by
`jax.vmap`, and writes a block of rows, in place as the arena is donated.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import slices
from .parts import Part

Row = tuple[tuple[int, ...], Any]  # shape and type of the rows of an arena


class Spec(NamedTuple):
    """What the program of a part does; equal specs share a program.

    Attributes:
        part: what runs: one kernel or several.
        width: how many uses it has room for, which run chunk by chunk; 0 for one that runs alone.
        inputs: for every input, the number of the arena that it is read from; -1 if given.
        outputs: the part's results that are wanted, and for each the number of the arena that it is
            written to, or SUM where it is added up, or OWN where it is a result by itself.
        arenas: the rows and capacities of the arenas it touches; those written to come first.
        written: how many are written to.
    """

    part: Part
    width: int
    inputs: tuple[int, ...]
    outputs: tuple[tuple[int, int], ...]
    arenas: tuple[tuple[Row, int], ...]
    written: int

    def function(self) -> Callable[..., tuple]:
        """The program, as a function.

        It takes the arenas, the sums so far, the inputs that are given, the index, and the floats
        and ints if the part takes any. It returns the arenas written to, the sums, and the results
        by themselves. The index: where each block to be written begins, how many count, then the
        rows of every input that is read from an arena.
        """
        n_sums = sum(where == SUM for _, where in self.outputs)
        n_given = sum(where < 0 for where in self.inputs)
        body = self._chunks if self.width else self._alone

        def run(*args: Any) -> tuple:
            left = iter(args)
            arenas = [next(left) for _ in self.arenas]
            sums = [next(left) for _ in range(n_sums)]
            given = [next(left) for _ in range(n_given)]
            return body(arenas, sums, given, next(left), list(left))

        return run

    def _alone(
        self, arenas: list[Any], sums: list[Any], given: list[Any], index: Any, numbers: list[Any]
    ) -> tuple:
        inputs = self._read(arenas, given, index[self.written + 1 :, None])
        results = self._one(None, *[x if w < 0 else x[0] for x, w in zip(inputs, self.inputs)],
                            *numbers)  # fmt: skip
        totals, own, blocks = self._sorted(results)
        for k, block in enumerate(blocks):
            arenas[k] = slices.with_block(arenas[k], jnp.stack(block), index[k])
        sums = [total + term for total, term in zip(sums, totals, strict=True)]
        return (*arenas[: self.written], *sums, *own)

    def _chunks(
        self, arenas: list[Any], sums: list[Any], given: list[Any], index: Any, numbers: list[Any]
    ) -> tuple:
        begins, count = index[: self.written], index[self.written]
        columns = index[self.written + 1 :].reshape(-1, self.width)
        size = chunk_of(self.width)
        axes = [0, *[None if where < 0 else 0 for where in self.inputs], *[0] * len(numbers)]
        together = jax.vmap(self._one, tuple(axes), axis_size=size)
        read_only = arenas[self.written :]

        def chunk(state: tuple) -> tuple:
            at, arenas, sums = state
            held = [*arenas, *read_only]
            rows = slices.block(columns, at, size, 1)
            inputs = self._read(held, given, rows)
            some = [slices.block(each, at, size) for each in numbers]
            results = together(at + jnp.arange(size) < count, *inputs, *some)
            totals, _, blocks = self._sorted(results)
            for k, block in enumerate(blocks):
                start = begins[k] + at * len(block)
                held[k] = slices.with_block(held[k], jnp.concatenate(block), start)
            sums = [total + terms.sum(0) for total, terms in zip(sums, totals, strict=True)]
            return at + size, held[: self.written], sums

        first = jnp.zeros_like(count), arenas[: self.written], sums
        _, arenas, sums = jax.lax.while_loop(lambda state: state[0] < count, chunk, first)
        return (*arenas, *sums)

    def _read(self, arenas: list[Any], given: list[Any], columns: Any) -> list[Any]:
        """All inputs: the rows that the columns say, and what is given."""
        at_hand, rows = iter(given), iter(columns)
        return [
            next(at_hand) if where < 0 else slices.rows(arenas[where], next(rows))
            for where in self.inputs
        ]

    def _sorted(self, results: list[Any]) -> tuple[list[Any], list[Any], list[list[Any]]]:
        """Results by what becomes of them: to be added up, by themselves, rows of each arena."""
        totals, own = [], []
        blocks: list[list[Any]] = [[] for _ in range(self.written)]
        for (_, where), result in zip(self.outputs, results, strict=True):
            (totals if where == SUM else own if where == OWN else blocks[where]).append(result)
        return totals, own, blocks

    def _one(self, counts: Any, *args: Any) -> list[Any]:
        """One member of the group; what does not count adds nothing to sums.

        A vector-Jacobian product is linear in its cotangents. Where these are made zero, rather
        than the product, XLA still makes one matrix product of many outer ones and their sum.
        """
        part, packed = self.part, iter(args[self.part.n_inputs :])
        floats = next(packed) if part.n_floats else ()
        ints = next(packed) if part.n_ints else ()
        env = list(args[: part.n_inputs])
        summed = {part.n_inputs + k for k, where in self.outputs if where == SUM}
        for kernel, refs, numbers in part.ops:
            given = [env[r] for r in refs]
            first = kernel.cotangents
            mask = not summed.isdisjoint(range(len(env), len(env) + len(kernel.out_avals)))
            if mask and first is not None:
                given[first:] = [jnp.where(counts, x, 0) for x in given[first:]]
            results = kernel.fn(*given, *[floats[j] if real else ints[j] for real, j in numbers])
            if mask and first is None:
                results = [jnp.where(counts, x, 0) for x in results]
            env.extend(results)
        return [env[part.n_inputs + k] for k, _ in self.outputs]


SUM, OWN = -1, -2
WIDEST = 1024  # that a group is made


def room_for(n: int, least: int = 64) -> int:
    """The room that a program for `n` rows has: one program serves up to so many."""
    size = least
    while size < n:
        size *= 16
    return size


def width_of(n: int) -> int:
    """The room that a program for a group of `n` has, which it goes through chunk by chunk."""
    return room_for(n, 1024)


def chunk_of(width: int) -> int:
    """How many of a group run at once: wasting little, in few turns."""
    return 16 if width == 1024 else 64


def _where(counts: Any, rows: Any) -> Any:
    return jnp.where(counts.reshape(-1, *[1] * (rows.ndim - 1)), rows, 0)


def put(arena: Any, block: Any, start: Any) -> tuple:
    """Write rows that come from elsewhere."""
    return (slices.with_block(arena, block, start),)


def put_one(arena: Any, value: Any, start: Any) -> tuple:
    """Write one row that comes from elsewhere."""
    return (slices.with_block(arena, value[None], start),)


def take(arena: Any, index: Any) -> tuple:
    """One row as an array by itself."""
    return (slices.row(arena, index),)


def sum_of_rows(arena: Any, total: Any, index: Any) -> tuple:
    """A total and some rows of an arena; the first of the index is how many count."""
    counts = jnp.arange(len(index) - 1) < index[0]
    return (total + _where(counts, slices.rows(arena, index[1:])).sum(0),)


def sum_of(total: Any, *terms: Any) -> tuple:
    """A total and some more terms, before the index that all functions take."""
    return (sum(terms[:-1], total),)


def computed(fn: Callable[..., tuple]) -> Callable[..., tuple]:
    """Writes all rows of what a function makes."""
    return lambda arena, *args: (slices.with_block(arena, fn(*args[:-1])[0], args[-1]),)


def products_added(fn: Callable[..., tuple]) -> Callable[..., tuple]:
    """Adds to a total what a function, linear in its last argument, makes of rows; the first of
    the index is how many count."""

    def run(arena: Any, total: Any, *args: Any) -> tuple:
        *given, index = args
        counts = jnp.arange(len(index) - 1) < index[0]
        return (total + fn(*given, _where(counts, slices.rows(arena, index[1:])))[0],)

    return run


@lru_cache(64)
def zeros(shape: tuple[int, ...], dtype: Any, device: Any) -> jax.Array:
    """The total of nothing."""
    return _sent(shape, dtype, device)


def _sent(shape: tuple[int, ...], dtype: Any, device: Any) -> jax.Array:
    # Sent, not made there: nothing is compiled for it.
    return jax.device_put(np.zeros(shape, dtype), device)


class Arenas:
    """The arenas that are there: lent to one run at a time, and kept for the next."""

    def __init__(self) -> None:
        self._capacity: dict[Row, int] = {}
        self._free: dict[Any, jax.Array] = {}
        self._bytes = 0

    def capacity(self, row: Row, n: int) -> int:
        """How many rows an arena has that must hold `n`; only grows, as programs depend on it."""
        known = self._capacity.get(row, 0)
        if known < n:
            if len(self._capacity) >= _MOST_ROWS:
                self._capacity.clear()
            known = max(16, min(1024, 2**20 // max(1, size_of(row))))
            while known < 2 * n:
                known *= 4
            self._capacity[row] = known
        return known

    def take(self, row: Row, capacity: int, device: Any) -> jax.Array:
        """An arena; what is in it is left from earlier."""
        arena = self._free.pop((row, capacity, device), None)
        if arena is None:
            return _sent((capacity, *row[0]), row[1], device)
        self._bytes -= arena.nbytes
        return arena

    def give_back(self, row: Row, arena: jax.Array, device: Any) -> None:
        """Keep an arena for the next run."""
        if self._bytes + arena.nbytes > _MOST_BYTES:
            self._free.clear()
            self._bytes = 0
        key = row, len(arena), device
        if key not in self._free:
            self._free[key] = arena
            self._bytes += arena.nbytes


def size_of(row: Row) -> int:
    """The bytes of a row."""
    return prod(row[0]) * row[1].itemsize


_MOST_ROWS = 4096  # kinds of rows whose capacity is remembered
_MOST_BYTES = 1 << 27  # of arenas kept between runs
arenas = Arenas()
