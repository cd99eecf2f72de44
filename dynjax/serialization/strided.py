"""Tensors as strided parts of a storage, which is how PyTorch's files describe them.

Here a tensor that shares its content knows the views that lead to it. A part is that view: an
offset, a size and strides, in elements.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..engine.kernel import Kernel, kernels
from ..engine.value import Kind
from ..ops.views import SHARED_MEMORY
from ..tensor.storage import Alias, ViewStep


class Part(NamedTuple):
    """Some elements of a storage, in some order.

    Attributes:
        offset: the first element.
        size: the tensor's shape.
        stride: elements of the storage from one index of a dimension to the next.
    """

    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Elements of the tensor."""
        return math.prod(self.size)

    @property
    def end(self) -> int:
        """Elements that a storage must have for this part of it."""
        if not self.numel:
            return 0
        return self.offset + 1 + sum((n - 1) * s for n, s in zip(self.size, self.stride))

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie one after the other, in row-major order."""
        wanted = row_major(self.size)
        return not self.numel or all(
            n == 1 or s == w for n, s, w in zip(self.size, self.stride, wanted)
        )

    def is_whole(self, numel: int) -> bool:
        """Whether it is a storage of `numel` elements, all of it in order."""
        return self.offset == 0 and self.numel == numel and self.contiguous

    def of(self, flat: np.ndarray) -> np.ndarray:
        """The part of a 1-dim array: row-major, and without a copy where it lies so."""
        if self.contiguous:
            start = self.offset if self.numel else 0
            return flat[start : start + self.numel].reshape(self.size)
        strides = [s * flat.itemsize for s in self.stride]
        strided = np.lib.stride_tricks.as_strided(
            flat[self.offset :], self.size, strides, writeable=False
        )
        return np.asarray(strided, order="C")


def row_major(size: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a tensor whose elements lie one after the other."""
    strides, step = [], 1
    for n in reversed(size):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def view_of(whole: Kind, part: Part) -> ViewStep:
    """How a part is read from the tensor that holds all elements, and written.

    Args:
        whole: the kind of the holder, of any shape; its elements count in row-major order.
        part: lies within it.
    """
    base = jax.ShapeDtypeStruct(whole.shape, whole.dtype.np)
    view = jax.ShapeDtypeStruct(part.size, whole.dtype.np)
    key = ("as_strided", base.shape, base.dtype, part)

    def places() -> jax.Array | slice:
        if part.contiguous:
            return slice(part.offset, part.offset + part.numel)
        index = jnp.full(part.size, part.offset)
        for dim, step in enumerate(part.stride):
            index = index + step * lax.broadcasted_iota(index.dtype, part.size, dim)
        return index.ravel()

    def read() -> Kernel:
        return Kernel(
            "as_strided", key, lambda x: (x.ravel()[places()].reshape(part.size),), [base]
        )

    def write() -> Kernel:
        if any(n > 1 and s == 0 for n, s in zip(part.size, part.stride)):
            raise RuntimeError(SHARED_MEMORY)
        into = ("into", *key)
        return kernels.get(
            into,
            lambda: Kernel(
                "as_strided_write",
                into,
                lambda x, new: (x.ravel().at[places()].set(new.ravel()).reshape(x.shape),),
                [base, view],
            ),
        )

    return ViewStep(kernels.get(key, read), write)


def part_of(alias: Alias) -> Part | None:
    """The part of its storage that a tensor is; None if the views to it have no such form.

    The views are asked where they put the numbers of the storage's elements.
    """
    size = tuple(alias.storage.value.kind.shape)
    if not alias.chain:
        return Part(0, size, row_major(size))
    if len(alias.chain) == 1 and isinstance(known := alias.chain[0].read.key[-1], Part):
        return known  # `view_of` made it
    with jax.enable_x64(True):
        index = jnp.arange(math.prod(size)).reshape(size)
        for step in alias.chain:
            (before,), (after,) = step.read.in_avals, step.read.out_avals
            if before.dtype != after.dtype:
                return None
            (index,) = step.read.fn(index)
    return _strides(np.asarray(index))


def _strides(index: np.ndarray) -> Part | None:
    """The part whose elements have these numbers, if there is one."""
    if not index.size:
        return Part(0, index.shape, row_major(index.shape))
    first = int(index.flat[0])
    stride = list(row_major(index.shape))
    for dim, n in enumerate(index.shape):
        if n > 1:
            second = tuple(int(d == dim) for d in range(index.ndim))
            stride[dim] = int(index[second]) - first
    if min(stride, default=0) < 0:
        return None
    part = Part(first, index.shape, tuple(stride))
    whole = np.arange(part.end)
    return part if np.array_equal(part.of(whole), index) else None
