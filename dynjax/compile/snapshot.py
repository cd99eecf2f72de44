"""What every tensor and generator was before a recording: to see what changed, and to undo it."""

from __future__ import annotations

from collections.abc import Iterable

from ..engine.random import Generator
from ..engine.trace import Trace
from ..engine.value import Value
from ..tensor.storage import Alias, Storage
from ..tensor.tensor import Tensor
from .alive import instances_alive, subclasses


class Key(int):
    """A generator's key, read while recording."""

    generator: Generator


class Counter(int):
    """A generator's counter, read while recording."""

    generator: Generator

    def __add__(self, other: int) -> Counter:
        return counter(self.generator, int(self) + int(other))


def counter(generator: Generator, value: int) -> Counter:
    """A counter that tells whose it is."""
    new = Counter(value)
    new.generator = generator
    return new


class Before:
    """One tensor as it was."""

    __slots__ = ("tensor", "value", "alias", "grad", "watch", "seen", "storage", "content")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.value: Value = tensor._v
        self.grad: Tensor | None = tensor._grad
        self.watch = tensor._v.watch
        self.alias: Alias | None = tensor._alias
        self.storage: Storage | None = None
        self.seen = 0
        self.content: tuple = ()
        if self.alias is not None:
            self.seen, self.storage = self.alias.seen, self.alias.storage
            s = self.storage
            self.content = s.value, s.versions.now, s.stamp

    def restore(self) -> None:
        tensor = self.tensor
        tensor._v, tensor._grad, tensor._alias = self.value, self.grad, self.alias
        self.value.watch = self.watch
        if self.alias is not None:
            self.alias.seen, self.alias.storage = self.seen, self.storage
            s = self.storage
            s.value, s.versions.now, s.stamp = self.content


class Snapshot:
    """All tensors and generators.

    Attributes:
        tensors: by identity.
        by_value, by_array: the tensors of every value, and of every array, by its identity.
        generators: with their keys and counters.
    """

    def __init__(self) -> None:
        classes, generators = subclasses(Tensor), subclasses(Generator)
        self.tensors: dict[int, Before] = {}
        self.by_value: dict[int, list[Before]] = {}
        self.by_array: dict[int, list[Before]] = {}
        self.generators: list[tuple[Generator, int, int]] = []
        for obj in instances_alive(classes | generators):
            cls = type(obj)
            if cls in classes:
                if hasattr(obj, "_v"):
                    before = self.tensors[id(obj)] = Before(obj)
                    self.by_value.setdefault(id(obj._v), []).append(before)
                    if before.alias is not None and before.alias.plain:
                        content = before.storage.value
                        if content is not obj._v:
                            self.by_value.setdefault(id(content), []).append(before)
                    if obj._v.array is not None:
                        self.by_array.setdefault(id(obj._v.array), []).append(before)
            elif "counter" in obj.__dict__:
                self.generators.append((obj, obj.key, obj.counter))

    def mark_generators(self) -> None:
        """Make every generator's key and counter tell, in what is recorded, whose they are."""
        for generator, key, start in self.generators:
            marked = Key(key)
            marked.generator = generator
            generator.key, generator.counter = marked, counter(generator, start)

    def draws(self) -> dict[Generator, int] | None:
        """How many numbers each generator has drawn; None if one was seeded."""
        found = {}
        for generator, _, start in self.generators:
            if type(generator.counter) is not Counter or type(generator.key) is not Key:
                return None
            if generator.counter != start:
                found[generator] = int(generator.counter) - start
        return found

    def settle_generators(self) -> None:
        """Give generators plain numbers again, after what was drawn."""
        for generator, key, _ in self.generators:
            if type(generator.counter) is Counter:
                generator.counter = int(generator.counter)
            if type(generator.key) is Key:
                generator.key = key

    def keep(self, trace: Trace, ours: Iterable[Tensor]) -> None:
        """Forget the tensors that other threads have changed meanwhile.

        Args:
            trace: the one that was recorded here.
            ours: tensors whose changes were made here, whatever they are.
        """
        known = set(map(id, ours))
        for key, before in list(self.tensors.items()):
            tensor = before.tensor
            values = [(tensor._v, before.value)]
            if before.storage is not None:
                values.append((before.storage.value, before.content[0]))
            if tensor._grad is not None and tensor._grad is not before.grad:
                values.append((tensor._grad._v, None))
            elsewhere = [now for now, old in values if now is not old and now.trace is not trace]
            if elsewhere and key not in known:
                del self.tensors[key]

    def restore(self) -> None:
        """Undo every change of tensors and generators."""
        for before in self.tensors.values():
            before.restore()
        for generator, key, start in self.generators:
            generator.key, generator.counter = key, start


__all__ = ["Before", "Counter", "Key", "Snapshot"]
