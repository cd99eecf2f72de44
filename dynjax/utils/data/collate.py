"""Samples into batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from ...core.later import load
from .tensors import from_host, is_tensor

Make = Callable[[np.ndarray], Any]  # what a batch's leaves are made by


def default_collate(batch: Sequence) -> Any:
    """A batch of samples: tensors with one more dimension, in the containers of the samples.

    Tensors and NumPy arrays of one shape are stacked; numbers become 1-dim tensors (floats of type
    float64, as PyTorch does it); text and bytes stay lists; in mappings, named tuples and
    sequences each member is a batch of its own. Plain tuples become lists.

    Args:
        batch: the samples, at least one.

    Raises:
        RuntimeError: shapes, or lengths of sequences, differ.
        TypeError: a sample is something else.
    """
    return collated(batch, from_host)


def default_convert(data: Any) -> Any:
    """A sample whose NumPy arrays and numbers have become tensors, with no dimension added."""
    return converted(data, from_host)


def collated(batch: Sequence, make: Make) -> Any:
    """`default_collate`, with leaves made by `make` of NumPy arrays."""
    first = batch[0]
    if is_tensor(first):
        if all(_is_host(x) and x.dtype is first.dtype for x in batch):
            return make(_stacked([x._host() for x in batch]))
        return load().stack(batch)
    if isinstance(first, np.ndarray):
        if first.dtype.kind in "SUO":
            raise _no_leaf(first.dtype)
        return make(_stacked([np.asarray(x) for x in batch]))
    if isinstance(first, np.bool_ | np.number):
        return make(np.array(batch))
    if isinstance(first, float):
        return make(np.array(batch, np.float64))
    if isinstance(first, int):
        return make(_numbers(batch))
    if isinstance(first, str | bytes):
        return batch
    if isinstance(first, Mapping):
        return _mapping(first, {key: collated([x[key] for x in batch], make) for key in first})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(collated(column, make) for column in zip(*batch)))
    if isinstance(first, Sequence):
        if len({len(x) for x in batch}) > 1:
            raise RuntimeError("each element in list of batch should be of equal size")
        return _sequence(first, [collated(column, make) for column in zip(*batch)])
    raise _no_leaf(type(first))


def converted(data: Any, make: Make) -> Any:
    """`default_convert`, with leaves made by `make` of NumPy arrays."""
    if isinstance(data, np.ndarray | np.bool_ | np.number):
        return data if data.dtype.kind in "SUO" else make(np.array(data))
    if isinstance(data, Mapping):
        return _mapping(data, {key: converted(data[key], make) for key in data})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(converted(x, make) for x in data))
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return _sequence(data, [converted(x, make) for x in data])
    return data


def _numbers(batch: Sequence) -> np.ndarray:
    """Integers, or what else comes after an integer, typed as PyTorch types a list of them."""
    if {type(x) for x in batch} <= {int, bool}:
        array = np.array(batch)
        if array.dtype in (np.int64, np.bool_):
            return array
    return load().tensor(batch)._host()


def _is_host(x: Any) -> bool:
    return is_tensor(x) and x.is_cpu and not x.requires_grad


def _stacked(arrays: list[np.ndarray]) -> np.ndarray:
    shape = arrays[0].shape
    for i, array in enumerate(arrays):
        if array.shape != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 "
                f"and {list(array.shape)} at entry {i}"
            )
    return np.stack(arrays)


def _mapping(like: Mapping, items: dict) -> Any:
    """A mapping of the same class, with whatever else the object holds."""
    try:
        if isinstance(like, MutableMapping):
            new = copy.copy(like)
            new.update(items)
            return new
        return type(like)(items)
    except TypeError:  # a class that can't be made so
        return items


def _sequence(like: Sequence, items: list) -> Any:
    if isinstance(like, tuple):
        return items
    try:
        if isinstance(like, MutableSequence):
            new = copy.copy(like)
            _assign(new, items)
            return new
        return type(like)(items)
    except TypeError:  # a class that can't be made so: range
        return items


def _assign(target: MutableSequence, items: Iterable) -> None:
    for i, item in enumerate(items):
        target[i] = item


def _no_leaf(found: Any) -> TypeError:
    return TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
        f"found {found}"
    )
