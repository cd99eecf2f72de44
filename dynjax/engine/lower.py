"""From a recorded path to one JAX function."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .kernel import Kernel
from .trace import Step


class Lowered(NamedTuple):
    """A path reduced to what its outputs need.

    Attributes:
        fn: takes (leaf arrays, float numbers, int numbers) and returns the distinct outputs.
        leaves: which leaves it takes, as positions in order of entry.
        kinds: the kinds of those leaves.
        floats, ints: which of the trace's numbers it takes, by type.
        outputs: for every value asked for, its position among the distinct outputs.
        out_avals: shapes and types of the distinct outputs.
        key: equal for equal computations, whatever was recorded beside them.
        steps: the kernel steps that run, in order.
        program: the same as (kernel, places of its inputs, its numbers as (is float, position)).
        results: the place of every distinct output.
    """

    fn: Callable[..., list]
    leaves: tuple[int, ...]
    kinds: tuple
    floats: tuple[int, ...]
    ints: tuple[int, ...]
    outputs: tuple[int, ...]
    out_avals: tuple
    key: Hashable
    steps: tuple[Step, ...]
    program: tuple[tuple[Kernel, tuple[int, ...], tuple[tuple[bool, int], ...]], ...]
    results: tuple[int, ...]


def lower(path: Sequence[Step], wanted: Sequence[int]) -> Lowered:
    """Reduce a path to the function that yields the `wanted` value indices."""
    alias: dict[int, int] = {}
    for step in path:
        if step.kernel is not None and step.kernel.is_alias:
            source = step.refs[0]
            alias[step.base] = alias.get(source, source)
    goals = [alias.get(i, i) for i in wanted]
    needed, steps = set(goals), []
    for step in reversed(path):
        if step.kernel is not None and not step.kernel.is_alias:
            if any(i in needed for i in range(step.base, step.n)):
                steps.append(step)
                needed.update(alias.get(i, i) for i in step.refs)
    steps.reverse()

    inputs = [s for s in path if s.kernel is None and s.kind is not None]
    leaves = tuple(k for k, s in enumerate(inputs) if s.base in needed)
    entries = [inputs[k].base for k in leaves]
    kinds = tuple(inputs[k].kind for k in leaves)
    place = {base: k for k, base in enumerate(entries)}
    floats: dict[int, int] = {}
    ints: dict[int, int] = {}
    program = []
    for step in steps:
        numbers = []
        for position, kind in zip(step.numbers, step.kernel.numbers, strict=True):
            pool = floats if kind is float else ints
            numbers.append((kind is float, pool.setdefault(position, len(pool))))
        refs = tuple(place[alias.get(i, i)] for i in step.refs)
        first = len(place)
        for k, i in enumerate(range(step.base, step.n)):
            place[i] = first + k
        program.append((step.kernel, refs, tuple(numbers)))
    distinct: dict[int, int] = {}
    outputs = tuple(distinct.setdefault(place[g], len(distinct)) for g in goals)
    results = tuple(distinct)
    avals = {}
    for base, kind in zip(entries, kinds, strict=True):
        avals[place[base]] = jax.ShapeDtypeStruct(kind.shape, kind.dtype.np)
    for step in steps:
        for k, aval in enumerate(step.kernel.out_avals):
            avals[place[step.base + k]] = aval
    key = (
        tuple((k.shape, k.dtype, k.device) for k in kinds),
        tuple(program),
        results,
    )

    def fn(arrays: Sequence[Any], float_numbers: Any, int_numbers: Any) -> list:
        env = list(arrays)
        for kernel, refs, numbers in program:
            scalars = [float_numbers[j] if is_float else int_numbers[j] for is_float, j in numbers]
            env.extend(kernel.fn(*[env[r] for r in refs], *scalars))
        return [env[r] for r in results]

    return Lowered(
        fn, leaves, kinds, tuple(floats), tuple(ints), outputs,
        tuple(avals[r] for r in results), key, tuple(steps), tuple(program), results,
    )  # fmt: skip


def pack(floats: Sequence[float], ints: Sequence[int]) -> np.ndarray:
    """All run-time numbers as one 32-bit host vector: it passes any 64-bit setting unchanged."""
    return np.concatenate(
        [np.array(floats, np.float64).view(np.uint32), np.array(ints, np.int64).view(np.uint32)]
    )


def unpack(packed: Any, n_floats: int, n_ints: int) -> tuple[Any, Any]:
    """The float64 and int64 numbers inside a packed vector, as arrays."""
    pairs = packed.reshape(-1, 2)
    floats = jax.lax.bitcast_convert_type(pairs[:n_floats], jnp.float64)
    ints = jax.lax.bitcast_convert_type(pairs[n_floats : n_floats + n_ints], jnp.int64)
    return floats, ints


def as_kernel(name: str, path: Sequence[Step], wanted: Sequence[int]) -> tuple[Kernel, Lowered]:
    """A path as one kernel over the leaves it uses: the body of a replayed backward."""
    lowered = lower(path, wanted)
    n, types = len(lowered.leaves), (float,) * len(lowered.floats) + (int,) * len(lowered.ints)
    n_floats = len(lowered.floats)

    def fn(*args: Any) -> tuple:
        arrays, numbers = args[:n], args[n:]
        return tuple(lowered.fn(arrays, numbers[:n_floats], numbers[n_floats:]))

    kernel = Kernel(
        name,
        (name, lowered.key),
        fn,
        [jax.ShapeDtypeStruct(k.shape, k.dtype.np) for k in lowered.kinds],
        types,
        out_avals=lowered.out_avals,
    )
    return kernel, lowered
