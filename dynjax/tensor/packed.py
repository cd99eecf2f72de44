"""Many small tensors in one array: a program pays for every argument and result it has."""

from __future__ import annotations

from collections.abc import Sequence
from sys import getrefcount
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import jax
import jax.numpy as jnp
import numpy as np

from ..engine.kernel import Kernel, kernels
from ..engine.pack import worth_joining
from ..engine.trace import state
from ..engine.value import Kind, concrete, kind_of
from .storage import Alias, ViewStep, share
from .tensor import Tensor, value_of, wrap


class Place(NamedTuple):
    """Where a member is: which array, from which element on (None: all of it), its shape."""

    array: int
    start: int | None
    shape: tuple[int, ...]


class Layout:
    """Where the members of a packed list are; interned, so compared by identity."""

    __slots__ = ("places", "__weakref__")

    places: tuple[Place, ...]

    def split(self, arrays: Sequence[Any]) -> list[Any]:
        """The members, from the arrays that hold them."""
        found = []
        for array, start, shape in self.places:
            whole = arrays[array]
            if start is not None:
                whole = whole[start : start + int(np.prod(shape))].reshape(shape)
            found.append(whole)
        return found

    def join(self, members: Sequence[Any]) -> list[Any]:
        """The arrays that hold the members."""
        parts: dict[int, list[Any]] = {}
        for place, member in zip(self.places, members, strict=True):
            whole = member if place.start is None else member.ravel()
            parts.setdefault(place.array, []).append(whole)
        return [
            p[0] if len(p) == 1 else jnp.concatenate(p)
            for p in (parts[k] for k in range(len(parts)))
        ]


_layouts: WeakValueDictionary[tuple[Place, ...], Layout] = WeakValueDictionary()


def _layout(places: tuple[Place, ...]) -> Layout:
    layout = _layouts.get(places)
    if layout is None:
        layout = Layout()
        layout.places = places
        layout = _layouts.setdefault(places, layout)
    return layout


class Packed:
    """A list of tensors whose small members live in one array for each type and device.

    The members stay tensors like any other: each becomes a view of the array that holds it, as
    `detach()` would make one, so that reading and writing them does what it did before.

    Args:
        members: constants, without gradient.

    Attributes:
        members: those tensors.
        tensors: the tensors that hold their data.
        layout: which member is where.
    """

    __slots__ = ("members", "tensors", "layout")

    def __init__(self, members: Sequence[Tensor]) -> None:
        self.members = list(members)
        kinds = [member._v.kind for member in self.members]
        groups = worth_joining(
            (i, kinds[i].shape, (kinds[i].dtype, kinds[i].device)) for i in _unshared(self.members)
        )
        places: list[Place | None] = [None] * len(self.members)
        self.tensors = []
        for group in groups:
            self.tensors.append(_join(kinds[group[0]], [self.members[i] for i in group]))
            start = 0
            for i in group:
                places[i] = Place(len(self.tensors) - 1, start, tuple(kinds[i].shape))
                start += kinds[i].shape.numel()
        for i, member in enumerate(self.members):
            if places[i] is None:
                places[i] = Place(len(self.tensors), None, tuple(member.shape))
                self.tensors.append(member)
        self.layout = _layout(tuple(places))
        for member, place in zip(self.members, places, strict=True):
            if place.start is not None:
                flat = self.tensors[place.array]
                member._alias = Alias(share(flat).storage, None, (_view(flat._v.kind, place),))

    def release(self) -> None:
        """Give every member an array of its own again, unless somebody shares the packed one."""
        for i in _unshared(self.members, self.tensors):
            member = self.members[i]
            if member._alias is not None:
                value = value_of(member)
                value.watch = member._alias = None


def _unshared(members: Sequence[Tensor], holders: Sequence[Tensor] = ()) -> list[int]:
    """The indices of constants whose storages nobody knows but they, and `holders`."""
    storages: dict[int, list[int]] = {}
    found = []
    for i, member in enumerate(members):
        if type(member) is not Tensor or member._v.kind.requires_grad:
            continue
        if member._alias is None:
            found.append(i)
        elif member._alias.base is None:
            storages.setdefault(id(member._alias.storage), []).append(i)
    for group in storages.values():
        storage = members[group[0]]._alias.storage
        tensors = {id(members[i]): members[i] for i in group}
        tensors |= {id(t): t for t in holders if t._alias and t._alias.storage is storage}
        # The variable here and getrefcount's argument count too.
        if getrefcount(storage) <= len(tensors) + 2:
            found += group
    return sorted(found)


def _join(kind: Kind, members: Sequence[Tensor]) -> Tensor:
    """A tensor that holds the elements of others, one after the other."""
    values = [value_of(m) for m in members]
    n = sum(v.kind.shape.numel() for v in values)
    if all(v.trace is None and type(v.array) is np.ndarray for v in values):
        host = np.concatenate([v.array.ravel() for v in values])
        return wrap(concrete(host, kind_of((n,), kind.dtype, kind.device)))
    avals = [jax.ShapeDtypeStruct(v.kind.shape, v.kind.dtype.np) for v in values]
    key = ("pack", kind.dtype, tuple(a.shape for a in avals))
    kernel = kernels.get(
        key,
        lambda: Kernel("pack", key, lambda *xs: (jnp.concatenate([x.ravel() for x in xs]),), avals),
    )
    return wrap(state.trace.record(kernel, values, grad=False)[0])


def _view(flat: Kind, place: Place) -> ViewStep:
    """How a member is read from the array that holds it, and written."""
    whole = jax.ShapeDtypeStruct(flat.shape, flat.dtype.np)
    part = jax.ShapeDtypeStruct(place.shape, flat.dtype.np)
    start, stop = place.start, place.start + int(np.prod(place.shape))
    key = ("packed", whole.shape, whole.dtype, place)

    def read() -> Kernel:
        return Kernel("unpack", key, lambda x: (x[start:stop].reshape(part.shape),), [whole])

    def write() -> Kernel:
        into = ("into", *key)
        return kernels.get(
            into,
            lambda: Kernel(
                "pack", into, lambda x, new: (x.at[start:stop].set(new.ravel()),), [whole, part]
            ),
        )

    return ViewStep(kernels.get(key, read), write)
