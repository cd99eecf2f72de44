"""Sequences of several lengths in one tensor: packed one step after the other, or padded.

Source: https://pytorch.org/docs/stable/nn.html#utilities
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...ops.shape import stack
from ...tensor.tensor import Tensor, from_host
from .. import functional as F

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """Sequences of several lengths, all first elements first, then all second ones, and so on.

    Attributes:
        data: the elements, (sum of lengths, ...).
        batch_sizes: how many sequences have each step.
        sorted_indices: where the sequences came from, if they had to be sorted.
        unsorted_indices: its inverse.

    Raises:
        AssertionError: no `batch_sizes`, and `data` no pair.
    """

    __slots__ = ()

    def __new__(
        cls,
        data: Any,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        if batch_sizes is None:
            if not (isinstance(data, (list, tuple)) and len(data) == 2):
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def __getnewargs__(self) -> tuple:
        return tuple(self)

    def __repr__(self) -> str:
        fields = zip(self._fields, self, strict=True)
        return f"PackedSequence({', '.join(f'{name}={value!r}' for name, value in fields)})"

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """With `data` as `Tensor.to` makes it; the same object where nothing changes."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        return type(self)(data, self.batch_sizes, self.sorted_indices, self.unsorted_indices)

    def cpu(self) -> PackedSequence:
        """On the host's device."""
        return self.to("cpu")

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """On the accelerator."""
        return self.to("cuda", *args, **kwargs)

    def pin_memory(self) -> PackedSequence:
        """The same: memory is XLA's."""
        return self

    @property
    def is_cuda(self) -> bool:
        """Whether the data is on an accelerator that `cuda` names."""
        return self.data.is_cuda


def _converts(name: str) -> Any:
    def convert(self: PackedSequence) -> PackedSequence:
        data = getattr(self.data, name)()
        return self.to(data.dtype)

    convert.__doc__ = f"With the data as `Tensor.{name}` makes it."
    return convert


for _name in ("double", "float", "half", "long", "int", "short", "char", "byte"):
    setattr(PackedSequence, _name, _converts(_name))


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes `permutation`; None for None."""
    return None if permutation is None else from_host(np.argsort(permutation.numpy()))


def _lengths(lengths: Tensor | Sequence[int], count: int) -> np.ndarray:
    found = np.asarray(lengths.numpy() if isinstance(lengths, Tensor) else list(lengths))
    if found.ndim != 1:
        raise RuntimeError(
            f"'lengths' argument should be a 1D CPU int64 tensor, but got {found.ndim}D cpu "
            f"{found.dtype} tensor"
        )
    if len(found) != count:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(found)} "
            f"(batch_size={count})"
        )
    if found.min(initial=1) <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' "
            f"that is <= 0: {found.tolist()}"
        )
    return found.astype(np.int64)


def pack_padded_sequence(
    input: Tensor,
    lengths: Tensor | Sequence[int],
    batch_first: bool = False,
    enforce_sorted: bool = True,
) -> PackedSequence:
    """Pack sequences that are padded to one length.

    Args:
        input: (T, N, ...), or (N, T, ...) with `batch_first`.
        lengths: of each sequence; read at once.
        enforce_sorted: whether they must fall already; else they are sorted.

    Raises:
        RuntimeError: as many lengths as sequences are needed, above 0, at most T, and falling.
    """
    count = input.size(0 if batch_first else 1)
    found = _lengths(lengths, count)
    order = None
    if not enforce_sorted:
        order = np.argsort(-found, kind="stable")
        found = found[order]
    elif (np.diff(found) > 0).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. "
            "You can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence. "
            f"Got {found.tolist()}"
        )
    steps = input.shape[1 if batch_first else 0]
    if found.max(initial=0) > steps:
        raise RuntimeError(f"lengths {found.tolist()} exceed the {steps} steps of the input")
    longest = int(found.max(initial=0))
    has = np.arange(longest)[:, None] < found
    step, sequence = np.nonzero(has)
    if order is not None:
        sequence = order[sequence]
    rows = sequence * steps + step if batch_first else step * count + sequence
    data = input.flatten(0, 1).index_select(0, from_host(rows))
    indices = None if order is None else from_host(order)
    return PackedSequence(data, from_host(has.sum(1)), indices, None)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Pad packed sequences, in the order that they had before they were packed.

    Args:
        sequence: the packed sequences.
        batch_first: whether the result is (N, T, ...) instead of (T, N, ...).
        padding_value: what stands behind the end of a sequence.
        total_length: T, by default the longest length.

    Returns: the padded sequences and their lengths.

    Raises:
        ValueError: `total_length` is below the longest length.
    """
    sizes = sequence.batch_sizes.numpy()
    steps = len(sizes)
    if total_length is not None and total_length < steps:
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, "
            f"but got total_length={total_length} and max sequence length being {steps}"
        )
    steps = total_length or steps
    sizes = np.pad(sizes, (0, steps - len(sizes)))
    has = np.arange(sizes[0]) < sizes[:, None]
    rows = np.where(has, (np.cumsum(sizes) - sizes)[:, None] + np.arange(sizes[0]), 0)
    if sequence.unsorted_indices is not None:
        order = sequence.unsorted_indices.numpy()
        has, rows = has[:, order], rows[:, order]
    lengths = has.sum(0)
    if batch_first:
        has, rows = has.T, rows.T
    shape = (*has.shape, *sequence.data.shape[1:])
    padded = sequence.data.index_select(0, from_host(rows.reshape(-1))).reshape(shape)
    if not has.all():
        outside = from_host(~has.reshape(*has.shape, *(1,) * (len(shape) - 2)))
        padded = padded.masked_fill(outside, padding_value)
    return padded, from_host(lengths)


def pad_sequence(
    sequences: Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stack sequences (L, ...) of several lengths L, padded to the longest.

    Args:
        sequences: at least one; what stands behind L is the same for all.
        batch_first: whether the result is (N, T, ...) instead of (T, N, ...).
        padding_value: what fills them up.
        padding_side: "right" or "left".

    Raises:
        RuntimeError: no sequences, an unknown side, or shapes that do not fit.
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            "pad_sequence: Expected iterable for input sequences, but got arg of type: "
            f"{type(sequences)}"
        )
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(
            f"Expected padding_side to be one of left or right, but got {padding_side}."
        )
    rest = tuple(sequences[0].shape[1:])
    for other in sequences:
        if not other.dim() or tuple(other.shape[1:]) != rest:
            raise RuntimeError(
                "pad_sequence: sequences may differ in their first dimension only, got shapes "
                f"{[list(s.shape) for s in sequences]}"
            )
    longest = max(s.shape[0] for s in sequences)
    padded = []
    for s in sequences:
        missing = longest - s.shape[0]
        sides = (missing, 0) if padding_side == "left" else (0, missing)
        padded.append(F.pad(s, (0, 0) * len(rest) + sides, value=padding_value) if missing else s)
    return stack(padded, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False
) -> list[Tensor]:
    """The sequences of `pad_sequence`, each of its length."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    found = _lengths(lengths, padded_sequences.shape[0])
    return [padded_sequences[k, :length] for k, length in enumerate(found.tolist())]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (L, ...) of several lengths; `pack_padded_sequence` says what it raises."""
    lengths = [s.size(0) for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of `pack_sequence`, in the order that they had."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
