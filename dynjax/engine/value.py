"""A Value: one immutable array, computed or still to be computed, and what is known of it."""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakValueDictionary

import jax

from ..core.devices import device as Device
from ..core.dtypes import dtype as DType
from ..core.size import Size


class Kind:
    """What the recorder knows of a value before it exists; interned, so compared by identity.

    Attributes:
        shape: dimensions.
        dtype: element type.
        device: where it lives.
        requires_grad: whether gradients flow to it.
        leaf: whether it begins a tape (only meaningful with requires_grad).
    """

    __slots__ = ("shape", "dtype", "device", "requires_grad", "leaf", "_aval", "__weakref__")

    shape: Size
    dtype: DType
    device: Device
    requires_grad: bool
    leaf: bool
    _aval: jax.ShapeDtypeStruct | None

    @property
    def aval(self) -> jax.ShapeDtypeStruct:
        """Shape and type as JAX has them."""
        if self._aval is None:
            self._aval = jax.ShapeDtypeStruct(self.shape, self.dtype.np)
        return self._aval

    def with_grad(self, requires_grad: bool, leaf: bool) -> Kind:
        """The same kind with other gradient properties."""
        return kind_of(self.shape, self.dtype, self.device, requires_grad, leaf)

    def on(self, device: Device) -> Kind:
        """The same kind elsewhere, without gradient."""
        return kind_of(self.shape, self.dtype, device)

    def __repr__(self) -> str:
        dims = ",".join(map(str, self.shape))
        grad = (", leaf" if self.leaf else ", grad") if self.requires_grad else ""
        return f"{self.dtype!r}[{dims}]{grad}".replace("dynjax.", "")


_kinds: WeakValueDictionary[tuple, Kind] = WeakValueDictionary()
_lock = threading.Lock()


def kind_of(
    shape: tuple[int, ...],
    dtype: DType,
    device: Device,
    requires_grad: bool = False,
    leaf: bool = False,
) -> Kind:
    """The one Kind of these properties."""
    key = (tuple(shape), dtype, device, requires_grad, leaf)
    kind = _kinds.get(key)
    if kind is None:
        with _lock:
            kind = _kinds.get(key)
            if kind is None:
                kind = Kind()
                kind.shape = Size(shape)
                kind.dtype, kind.device = dtype, device
                kind.requires_grad, kind.leaf, kind._aval = requires_grad, leaf, None
                _kinds[key] = kind
    return kind


class Value:
    """One array of the computation: a position in an open trace, or an array.

    Attributes:
        trace: the open trace that computes it, or None once `array` holds it.
        idx: its index in that trace.
        kind: shape, type, device, gradient properties.
        array: the jax.Array (or host numpy array not yet sent), None while pending.
        node: tape position: (node, output number) of a result; a weak reference to the
            tensor of a leaf; the finished trace where the graph was freed; or None (unknown yet).
        watch: (a storage's versions, the one then) where the value is or was the content of a
            storage that is shared or was written to: tells whether it was modified since.
    """

    __slots__ = ("trace", "idx", "kind", "array", "node", "watch")


def concrete(array: Any, kind: Kind, node: Any = None) -> Value:
    """A value that exists already."""
    value = Value()
    value.trace = None
    value.idx = -1
    value.kind = kind
    value.array = array
    value.node = node
    value.watch = None
    return value
