"""What a call looks like from outside: the part of it that chooses a recording."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

from ..core.devices import get_default_device
from ..core.dtypes import get_default_dtype
from ..engine.trace import state
from ..tensor.parameter import Parameter
from ..tensor.tensor import Tensor

PLAIN = {Tensor, Parameter}
_VALUES = (int, bool, str, bytes, complex, type(None), type(...), slice, range)


class Is:
    """An object in a key, by its identity."""

    __slots__ = ("obj",)

    def __init__(self, obj: Any) -> None:
        self.obj = obj

    def __eq__(self, other: object) -> bool:
        return type(other) is Is and other.obj is self.obj

    def __hash__(self) -> int:
        return id(self.obj)


def modes() -> tuple:
    """What decides, beside the arguments, what a function records."""
    trace = state.trace
    return trace.grad, trace.inference, get_default_dtype(), get_default_device()


def signature(args: tuple, kwargs: dict[str, Any]) -> tuple[Hashable, list[Tensor]]:
    """The key of a call, and the tensors among its arguments in order."""
    if not kwargs and PLAIN.issuperset(map(type, args)):
        tensors = list(args)
        key: list[Hashable] = [t._v.kind for t in tensors]
    else:
        tensors, key = [], []
        _read((args, kwargs), key, tensors)
    if len(tensors) > 1 and len(set(map(id, tensors))) < len(tensors):
        first: dict[int, int] = {}
        key.append(tuple(first.setdefault(id(t), k) for k, t in enumerate(tensors)))
    return (*key, *modes()), tensors


def _read(item: Any, key: list[Hashable], tensors: list[Tensor]) -> None:
    if isinstance(item, Tensor):
        key += (type(item), item._v.kind)
        tensors.append(item)
    elif isinstance(item, _VALUES):
        if isinstance(item, slice):
            item = (item.start, item.stop, item.step)
        key += (type(item), item)
    elif isinstance(item, float):
        key += (type(item), item.hex())  # tells -0.0 from 0.0, and is equal for NaN
    elif (parts := children(item)) is not None:
        names, values = parts
        key += (type(item), tuple(names))
        for value in values:
            _read(value, key, tensors)
    else:
        key.append(Is(item))


def children(item: Any) -> tuple[Iterable[Hashable], Iterable[Any]] | None:
    """The members of a container, as (names, members), or None for what is no container."""
    if isinstance(item, dict):
        return item.keys(), item.values()
    if isinstance(item, (tuple, list)):
        return (len(item),), item
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        names = [f.name for f in dataclasses.fields(item)]
        return names, [getattr(item, name) for name in names]
    return None


def objects(item: Any) -> Iterator[Any]:
    """The members of containers that a signature knows by their identity alone."""
    parts = children(item)
    if parts is not None:
        for member in parts[1]:
            yield from objects(member)
    elif not isinstance(item, (*_VALUES, float, Tensor)):
        yield item


def rebuild(item: Any, leaf: Callable[[Any], Any]) -> Any:
    """The same containers with `leaf(member)` in place of what is no container."""
    if isinstance(item, dict):
        pairs = [(k, rebuild(v, leaf)) for k, v in item.items()]
        if type(item) is dict:
            return dict(pairs)
        new = type(item).__new__(type(item))
        dict.update(new, pairs) if not hasattr(item, "move_to_end") else new.update(pairs)
        return new
    if isinstance(item, (tuple, list)):
        parts = [rebuild(v, leaf) for v in item]
        return type(item)(*parts) if hasattr(item, "_fields") else type(item)(parts)
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        new = object.__new__(type(item))
        for field in dataclasses.fields(item):
            object.__setattr__(new, field.name, rebuild(getattr(item, field.name), leaf))
        return new
    return leaf(item)


__all__ = ["PLAIN", "Is", "children", "modes", "objects", "rebuild", "signature"]
