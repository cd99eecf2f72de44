"""One program for data of many shapes: a computation on arrays that are padded, and masked.

Several samples of a computation, traced for data of other shapes, are equations that differ in
nothing but sizes. Walking through them in line, every equation is written down once more for padded
arrays, with the sizes that its samples have in common as run-time numbers; where it adds up or
compares along what is padded, what is beyond the data is masked first. What lies there is anything,
and never reaches a result. Rules, which the files beside this one declare, say how for each
primitive: what has none, or doesn't fit its rule, is `Unpaddable`, and the computation stays as it
is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..kernel import is_var
from .extents import Axis, Samples, Size, Unpaddable, axis_from, value_of, varies
from .pattern import body_of


class Padded(NamedTuple):
    """An array whose axes are padded.

    Attributes:
        value: it.
        axes: of every dimension, what its size is a product of.
        even: the dimensions along which all elements are equal, so that the order of the factors
            is a guess.
    """

    value: Any
    axes: tuple[Axis, ...]
    even: frozenset[int] = frozenset()


class Counted(NamedTuple):
    """Numbers 0, 1, ... that are still to be given a shape, of a size of several factors."""

    dtype: Any
    axis: Axis


class Lined:
    """The same equation of all samples.

    Args:
        eqns: it, a sample each.
    """

    def __init__(self, eqns: Sequence[Any]) -> None:
        self.eqns = tuple(eqns)
        self.primitive, self.params = eqns[0].primitive, eqns[0].params

    @property
    def name(self) -> str:
        return self.primitive.name

    def seen(self, name: str) -> tuple[Any, ...]:
        """A parameter, in every sample."""
        return tuple([eqn.params[name] for eqn in self.eqns])

    def sizes(self, name: str) -> list[tuple[int, ...]]:
        """A parameter that is a sequence of sizes: each, in every sample."""
        return list(zip(*self.seen(name), strict=True))

    def shape(self, out: int = 0) -> list[tuple[int, ...]]:
        """The sizes of a result, each in every sample."""
        return list(zip(*[eqn.outvars[out].aval.shape for eqn in self.eqns], strict=True))

    def same(self, *but: str) -> None:
        """Make sure that the parameters are equal in all samples, but for some."""
        for name, value in self.params.items():
            if name not in but and not all(_equal(value, other) for other in self.seen(name)[1:]):
                raise Unpaddable(f"{self.name} with {name} {self.seen(name)}")


def _equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is tuple and type(b) is tuple:
        return len(a) == len(b) and all(map(_equal, a, b))
    if hasattr(a, "eqns") or hasattr(a, "jaxpr"):
        return str(a) == str(b) and not getattr(a, "consts", ())
    return bool(a == b)


Rule = Callable[["Padding", Lined, list[Any]], list[Any]]
rules: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Declares the rule of primitives."""

    def declare(fn: Rule) -> Rule:
        rules.update(dict.fromkeys(names, fn))
        return fn

    return declare


_TAKE_COUNTED = ("reshape", "convert_element_type")


class Padding:
    """Padded sizes, and the true ones at run time.

    Args:
        samples: what the sizes are known from.
        padded: of every symbol, the size that it is padded to.
        real: of every symbol, its value, an integer array without dimensions.
    """

    def __init__(self, samples: Samples, padded: Sequence[int], real: Sequence[Any]) -> None:
        self.samples, self.padded, self.real = samples, tuple(padded), tuple(real)
        self._valid: dict[Axis, Any] = {}
        self._masks: dict[Any, Any] = {}

    def inner(self) -> Padding:
        """The same for what is traced by itself."""
        return Padding(self.samples, self.padded, self.real)

    def size(self, axis: Axis) -> int:
        """The padded size of an axis."""
        return value_of(axis, self.padded)

    def shape(self, axes: Sequence[Axis]) -> tuple[int, ...]:
        return tuple([self.size(axis) for axis in axes])

    def axis(self, seen: tuple[int, ...]) -> Axis:
        """What an axis of these sizes consists of."""
        return self.samples.axis(seen)

    def axes(self, seen: Sequence[tuple[int, ...]]) -> tuple[Axis, ...]:
        return tuple(map(self.samples.axis, seen))

    def fits(self, axis: Axis, seen: tuple[int, ...]) -> bool:
        """Whether an axis has these sizes in the samples."""
        return self.samples.of(axis) == tuple(seen)

    def real_size(self, axis: Axis) -> Any:
        """The true size of an axis, at run time."""
        return value_of(axis, self.real)

    def number(self, seen: Sequence[Any], dtype: Any) -> Any:
        """A number that has these values in the samples, at run time."""
        found = self.samples.number(seen)(self.real)
        return lax.convert_element_type(jnp.asarray(found), dtype)

    def coordinates(self, axis: Axis, index: Any) -> list[Any]:
        """Of a place on an axis that is padded, the place along each factor."""
        if not axis:
            return []
        found = []
        for factor in axis[:0:-1]:
            size = jnp.asarray(self.size((factor,)), index.dtype)
            found.append(lax.rem(index, size))
            index = lax.div(index, size)
        return [index, *reversed(found)]

    def valid(self, axis: Axis) -> Any:
        """Which places of an axis that varies hold data."""
        mask = self._valid.get(axis)
        if mask is None:
            places = self.coordinates(axis, lax.iota(np.int64, self.size(axis)))
            for factor, place in zip(axis, places, strict=True):
                if type(factor) is Size:
                    holds = lax.lt(place, value_of((factor,), self.real))
                    mask = holds if mask is None else lax.bitwise_and(mask, holds)
            self._valid[axis] = mask
        return mask

    def mask(self, axes: Sequence[Axis], which: Sequence[int]) -> Any:
        """Which elements hold data along some dimensions; None where all do."""
        key = (tuple(axes), tuple([d for d in which if varies(axes[d])]))
        if not key[1]:
            return None
        mask = self._masks.get(key)
        if mask is None:
            shape = self.shape(axes)
            along = [lax.broadcast_in_dim(self.valid(axes[d]), shape, (d,)) for d in key[1]]
            mask = self._masks[key] = reduce(lax.bitwise_and, along)
        return mask

    def filled(self, x: Padded, which: Sequence[int], fill: Any) -> Any:
        """The array with something else instead of what lies beyond the data."""
        mask = self.mask(x.axes, which)
        if mask is None:
            return x.value
        return lax.select(mask, x.value, lax.full(x.value.shape, fill, x.value.dtype))

    def counted(self, x: Counted, axes: Sequence[Axis] | None = None) -> Padded:
        """Numbers 0, 1, ... in the order of what isn't padded; of a shape, or as they come, in
        which the order of the factors is a guess."""
        axes = (x.axis,) if axes is None else tuple(axes)
        shape, total, stride = self.shape(axes), jnp.zeros((), np.int64), 1
        for d in reversed(range(len(axes))):
            places = self.coordinates(axes[d], lax.broadcasted_iota(np.int64, shape, d))
            for factor, place in zip(reversed(axes[d]), reversed(places), strict=True):
                total = total + place * stride
                stride = stride * self.real_size((factor,))
        return Padded(lax.convert_element_type(jnp.broadcast_to(total, shape), x.dtype), axes)

    def checked(self, line: Lined, out: int, result: Padded) -> Padded:
        """A result, if it is of the sizes that it has in the samples."""
        shape = line.shape(out)
        if len(shape) != len(result.axes) or not all(map(self.fits, result.axes, shape)):
            raise Unpaddable(f"{line.name} to {result.axes}, in the samples {shape}")
        if result.value.shape != self.shape(result.axes):
            raise Unpaddable(f"{line.name} to {result.value.shape}: {result.axes}")
        return result

    def run(
        self, jaxprs: Sequence[Any], consts: Sequence[Sequence[Any]], args: Sequence[Padded]
    ) -> list[Any]:
        """What the samples compute, of padded arrays.

        Args:
            jaxprs: the samples.
            consts: the constants of each.
            args: the arguments.

        Raises:
            Unpaddable: there is no rule for it.
        """
        if len({len(j.eqns) for j in jaxprs}) > 1:
            raise Unpaddable("other equations in other samples")
        env: dict[Any, Any] = {}
        numbers: list[dict[Any, int]] = [{} for _ in jaxprs]

        def define(variables: Sequence[Any], value: Any) -> None:
            for known, v in zip(numbers, variables, strict=True):
                known[v] = len(known)
            env[variables[0]] = value

        def read(atoms: Sequence[Any]) -> Any:
            if is_var(atoms[0]):
                places = {known.get(v) if is_var(v) else -1 for known, v in zip(numbers, atoms)}
                if len(places) > 1:
                    raise Unpaddable("other inputs in other samples")
                return env[atoms[0]]
            if any(is_var(v) for v in atoms):
                raise Unpaddable("a constant in some samples")
            return self._literal(atoms)

        for variables, values in zip(
            zip(*[j.constvars for j in jaxprs], strict=True), zip(*consts, strict=True), strict=True
        ):
            if not all(_same_array(values[0], other) for other in values[1:]):
                raise Unpaddable("constants that differ")
            define(variables, constant(values[0]))
        for variables, arg in zip(zip(*[j.invars for j in jaxprs], strict=True), args, strict=True):
            define(variables, arg)
        for eqns in zip(*[j.eqns for j in jaxprs], strict=True):
            line = Lined(eqns)
            if len({eqn.primitive for eqn in eqns}) > 1:
                raise Unpaddable(f"{line.name} in some samples")
            given = [read(atoms) for atoms in zip(*[eqn.invars for eqn in eqns], strict=True)]
            results = self._apply(line, given)
            for k, (variables, result) in enumerate(
                zip(zip(*[eqn.outvars for eqn in eqns], strict=True), results, strict=True)
            ):
                done = result if type(result) is Counted else self.checked(line, k, result)
                define(variables, done)
        return [read(atoms) for atoms in zip(*[j.outvars for j in jaxprs], strict=True)]

    def _apply(self, line: Lined, given: list[Any]) -> list[Any]:
        bodies = list(map(body_of, line.eqns))
        if bodies[0] is not None:
            jaxprs = [getattr(body, "jaxpr", body) for body in bodies]
            return self.run(jaxprs, [getattr(body, "consts", ()) for body in bodies], given)
        if line.name not in _TAKE_COUNTED:
            given = [self.counted(x) if type(x) is Counted else x for x in given]
        counted = any(type(x) is Counted for x in given)
        if not counted and (results := self._unpadded(line, given)) is not None:
            return results
        rule = rules.get(line.name)
        if rule is None:
            raise Unpaddable(f"no rule for {line.name}")
        return rule(self, line, given)

    def _unpadded(self, line: Lined, given: list[Padded]) -> list[Padded] | None:
        """An equation of which nothing varies, as it is; None if it isn't one."""
        if any(varies(axis) for x in given for axis in x.axes) or any(
            len(set(seen)) > 1 for k in range(len(line.eqns[0].outvars)) for seen in line.shape(k)
        ):
            return None
        try:
            line.same()
        except Unpaddable:
            return None
        return list(map(constant, bound(line, [x.value for x in given])))

    def _literal(self, atoms: Sequence[Any]) -> Padded:
        values, dtype = [atom.val for atom in atoms], atoms[0].aval.dtype
        if all(_same_array(values[0], other) for other in values[1:]):
            return constant(np.asarray(values[0], dtype))
        if np.ndim(values[0]):
            raise Unpaddable("constants that differ")
        plain = [np.asarray(v).item() for v in values]
        return Padded(self.number(plain, dtype), ())


def constant(value: Any) -> Padded:
    """An array of a shape that doesn't vary."""
    return Padded(value, tuple([axis_from([n]) for n in np.shape(value)]))


def _same_array(a: Any, b: Any) -> bool:
    if a is b:
        return True
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def bound(line: Lined, values: Sequence[Any], **params: Any) -> list[Any]:
    """The results of a line's primitive for other arguments, with some other parameters."""
    results = line.primitive.bind(*values, **{**line.params, **params})
    return list(results) if line.primitive.multiple_results else [results]
