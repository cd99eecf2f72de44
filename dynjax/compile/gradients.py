"""The gradients that a part leaves: in the objects of its last call, and in their memory, as long
as nobody else holds them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import repeat
from sys import getrefcount
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..engine.pack import Joined, Pack, one_after_another, worth_joining
from ..engine.value import Value, concrete
from ..tensor.tensor import Tensor, wrap
from .places import tensor_at

if TYPE_CHECKING:
    from .part import Part

_set_array = Value.array.__set__
_set_trace = Value.trace.__set__

# References to a gradient of the last call, to its Value and to an array that are the tensor's and
# this file's.
_OWN_TENSOR = 3
_OWN_VALUE = 3
_OWN_ARRAY = 3


class Gradients:
    """What becomes of `.grad` in a part's calls.

    Args:
        part: whose.

    Attributes:
        alone: results of the part that leave as they are.
        groups: results that leave joined.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self._cleared = [g.place for g in part.grads if g.new is None]
        self._grads = [g for g in part.grads if g.new is not None]
        self._recognisable = not self._cleared and len(part.graded) == len(self._grads)
        kinds = part.kinds
        results = [g.new.result for g in self._grads]
        self.groups = worth_joining(
            (k, kinds[k].shape, (kinds[k].dtype, kinds[k].device))
            for k in results
            if k not in part.returned
        )
        inside = {k for group in self.groups for k in group}
        self.alone = [k for k in results if k not in inside]
        # What the memory is of: nothing where gradients are read, and may be needed to the end.
        joined = Joined(self.groups, tuple(self.alone))
        self._avals = [] if part.inputs.grads else joined.avals(part.kernel.out_avals)
        self._tensors: list[Tensor] = []
        self._values: list[Value] = []  # those with an array of their own come first
        self._packs: list[tuple[Pack, slice]] = []  # and where its members are among these

    @property
    def n_memory(self) -> int:
        """How many arrays `memory` gives."""
        return len(self._avals)

    # --- before the program runs

    def in_place(self) -> bool:
        """Whether every `.grad` is the tensor that the last call left there."""
        tensors = self._tensors
        if not tensors:
            return not self._part.graded
        for owner, tensor in zip(self._part.graded, tensors, strict=True):
            if owner._grad is not tensor:
                return False
        return True

    def held(self) -> bool:
        """Whether somebody else holds one of these tensors, or there are none."""
        tensors = self._tensors
        return (
            not tensors
            or max(map(getrefcount, tensors)) > _OWN_TENSOR
            # One that was ever shared has a storage, which holds its Value.
            or max(map(getrefcount, self._values)) > _OWN_VALUE
        )

    def holders(self) -> list[Value | Pack]:
        """What holds the arrays that the last call left, in their order."""
        return [*self._values[: len(self.alone)], *(pack for pack, _ in self._packs)]

    def memory(self, holders: Sequence[Value | Pack]) -> list[Any]:
        """Arrays that the program may write over: those of the last call, if nobody else holds
        them. They are in the caches, where new ones would have to be asked of the system.

        Args:
            holders: whose arrays it leaves anew; none if it leaves new tensors.
        """
        avals = self._avals
        if not avals:
            return []
        if holders:
            arrays = [holder.array for holder in holders]
            if max(map(getrefcount, arrays)) <= _OWN_ARRAY:
                return arrays
        with jax.enable_x64(True):
            return jax.device_put([np.empty(a.shape, a.dtype) for a in avals])

    # --- after it ran

    def clear(self, tensors: Sequence[Tensor]) -> None:
        """Make `.grad` None where a call does.

        Args:
            tensors: among the arguments.
        """
        for place in self._cleared:
            tensor_at(place, tensors)._grad = None

    def taken_back(self) -> None:
        """Whoever looks at a joined gradient gets the new one, now that the packs hold these."""
        for pack, members in self._packs:
            if pack.taken():
                values = self._values[members]
                deque(map(_set_trace, values, repeat(pack)), 0)
                deque(map(_set_array, values, repeat(None)), 0)
                pack.renew()

    def leave(self, tensors: Sequence[Tensor], arrays: Sequence[Any]) -> None:
        """Leave gradients in new tensors.

        Args:
            tensors: among the arguments.
            arrays: those alone, then the joined ones, then others.
        """
        if not self._grads:
            return
        kinds = self._part.kinds
        made = {g.new.result: wrap(concrete(None, kinds[g.new.result]), g.new.cls)
                for g in self._grads}  # fmt: skip
        values = [made[k]._v for k in self.alone]
        holders: list[Value | Pack] = values.copy()
        packs = []
        for group in self.groups:
            members = [made[k]._v for k in group]
            pack = Pack(dict(enumerate(one_after_another([v.kind.shape for v in members]))))
            for k, value in enumerate(members):
                value.idx, value.trace = k, pack
            packs.append((pack, slice(len(values), len(values) + len(members))))
            values += members
            holders.append(pack)
        for holder, array in zip(holders, arrays):  # noqa: B905
            holder.array = array
        for grad in self._grads:
            tensor_at(grad.place, tensors)._grad = made[grad.new.result]
        if self._recognisable:
            # In the order of `part.graded`, or never found again.
            self._tensors = list(made.values())
            self._values, self._packs = values, packs
