"""Which objects there are, as Python's collector knows them, and which of them are new."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, compress, repeat, starmap
from operator import is_, is_not
from typing import Any

from ..core.collector import Unhurried


def instances_alive(classes: Iterable[type], generation: int | None = None) -> list[Any]:
    """Every object of some classes.

    Args:
        classes: they, tuple not among them.
        generation: of the collector's, to ask only of this one.
    """
    wanted = set(map(id, classes))  # whose own `==` may be in Python
    return _alive(lambda objs: map(wanted.__contains__, map(id, map(type, objs))), generation)


def _alive(kept: Callable[[Iterator[Any]], Iterator[bool]], generation: int | None) -> list[Any]:
    """Objects that Python's collector knows; the list itself may be among them.

    A tuple that another thread is just making must not be held: Python makes it longer only as long
    as nobody else knows it, and fails otherwise. So all of this is one call into C, during which no
    other thread runs, nor the collector, which would call Python.

    Args:
        kept: of objects, one after another, whether they are wanted; not in Python, and no tuples.
        generation: as above.
    """
    held: list[list[Any]] = []
    hold = map(held.append, starmap(gc.get_objects, ((generation,),)))
    let_go = starmap(held.clear, ((),))
    everything = chain.from_iterable(chain(filter(None, hold), held))
    wanted = kept(chain.from_iterable(held))
    # One more than there are, so that both come to their ends and keep nothing.
    wanted_ones = compress(chain(everything, (None,)), wanted)
    with Unhurried():
        return list(chain(wanted_ones, filter(None, let_go)))


class Newcomers:
    """Tells objects made since now from those that were there before.

    What is made is in the collector's youngest generation as long as nothing is collected: the
    collector has to be off. (To hold on to all that is there, an identity among which would mean
    the same, takes 20 ms.)
    """

    def __init__(self) -> None:
        self._collections = _collections()
        # Alive until the end: an identity among theirs means that it was there.
        self._young = self._youngest()
        self._there = set(map(id, self._young))
        self._known: dict[int, tuple[Any, bool]] = {}  # by identity, the object, and the answer

    def forget(self) -> None:
        """Let go of the objects: one of them is this."""
        self._young.clear()
        self._known.clear()

    def undisturbed(self) -> bool:
        """Whether nothing was collected meanwhile."""
        return _collections() == self._collections

    def existed(self, obj: Any, unsure: bool) -> bool:
        """Whether a container was there before; one that the collector does not know was not.

        Args:
            obj: the container.
            unsure: the answer if it may have been, as something was collected meanwhile.
        """
        if id(obj) in self._there or not gc.is_tracked(obj):
            return id(obj) in self._there
        if id(obj) not in self._known:
            youngest = self._youngest()
            old = not any(map(is_, youngest, repeat(obj)))
            youngest.clear()
            if old and not self.undisturbed():
                return unsure
            self._known[id(obj)] = obj, old
        return self._known[id(obj)][1]

    def made(self, classes: Iterable[type]) -> list[Any]:
        """Objects of some classes that are new, and maybe some that are not."""
        return instances_alive(classes, 0 if self.undisturbed() else None)

    def _youngest(self) -> list[Any]:
        return _alive(lambda objs: map(is_not, map(type, objs), repeat(tuple)), 0)


def _collections() -> int:
    return sum([of["collections"] for of in gc.get_stats()])


def subclasses(cls: type) -> set[type]:
    """A class and all that are derived from it."""
    found = {cls}
    for derived in cls.__subclasses__():
        found |= subclasses(derived)
    return found


__all__ = ["Newcomers", "instances_alive", "subclasses"]
