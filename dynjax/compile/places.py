"""Where a part takes its inputs from, and what becomes of its results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from ..engine.random import Generator
from ..engine.value import Value
from ..tensor.tensor import Tensor


class New:
    """A tensor that every call makes anew.

    Attributes:
        result: from which result.
        cls: of which class.
    """

    __slots__ = ("result", "cls")

    def __init__(self, result: int, cls: type) -> None:
        self.result, self.cls = result, cls


class Same:
    """A tensor that was there before.

    Attributes:
        tensor: it, or None where it is not the same in every call.
        argument: then, the number of the argument that it is, or
        owner: the tensor whose `.grad` it is.
    """

    __slots__ = ("tensor", "argument", "owner")

    def __init__(
        self, tensor: Tensor | None, argument: int = -1, owner: Tensor | None = None
    ) -> None:
        self.tensor, self.argument, self.owner = tensor, argument, owner


class Write(NamedTuple):
    """New contents of a tensor that was there before.

    Attributes:
        place: which tensor.
        result: which result.
        changes, stamps: how much its storage's version and stamp grow.
        data: whether the tensor was given other data (`.data = `), rather than written to.
    """

    place: Same
    result: int
    changes: int
    stamps: int
    data: bool


class Grad(NamedTuple):
    """What a call leaves in a tensor's `.grad`: None, a New one, or one that was there before.

    Attributes:
        place: whose.
        new: the gradient.
        before: whether there was one before the call.
    """

    place: Same
    new: New | Same | None
    before: bool


class Inputs(NamedTuple):
    """Where a part's inputs come from, in the order: arguments, fixed, gradients, constants.

    Attributes:
        arguments: how many tensors are among the arguments.
        fixed: tensors that the function reaches by itself.
        grads: tensors whose `.grad` it reads.
        constants: values made inside.
        picks: for every input of the kernel, its place in that order.
    """

    arguments: int
    fixed: list[Tensor]
    grads: list[Tensor]
    constants: list[Value]
    picks: tuple[int, ...]


class Numbers(NamedTuple):
    """A part's run-time numbers.

    Attributes:
        template: floats and ints, as recorded.
        updates: (place, update, number) for those that an optimizer's update gives.
        keys, counters: (place, generator), and (place, generator, draws before it).
        draws: how many each generator draws in all.
        n_floats: how many of the numbers are floats.
    """

    template: list[Any]
    updates: list[tuple[int, int, int]]
    keys: list[tuple[int, Generator]]
    counters: list[tuple[int, Generator, int]]
    draws: dict[Generator, int]
    n_floats: int


MISS = object()  # what a part gives for a call that it does not stand for


def picker(picks: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """A function that picks these members of a sequence."""
    if len(picks) == 1:
        return lambda values: (values[picks[0]],)
    return itemgetter(*picks) if picks else lambda values: ()


def tensor_at(place: Same, tensors: Sequence[Tensor]) -> Tensor:
    """The tensor of a place, in a call with these tensors among its arguments."""
    if place.tensor is not None:
        return place.tensor
    return tensors[place.argument] if place.owner is None else place.owner._grad


__all__ = ["MISS", "Grad", "Inputs", "New", "Numbers", "Same", "Write", "picker", "tensor_at"]
