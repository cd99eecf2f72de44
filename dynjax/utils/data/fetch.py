"""Batches of a dataset, by what a sampler says: the same in the main process and in workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .dataset import IterableDataset


def fetcher(
    dataset: Any, batched: bool, collate_fn: Callable[[Any], Any], drop_last: bool
) -> Callable[[Any], Any]:
    """A function from what the sampler gives to a batch.

    Args:
        dataset: by key, or iterable-style.
        batched: the sampler gives lists of keys (of an iterable-style dataset: of anything).
        collate_fn: makes a batch of a list of samples, or is applied to one sample.
        drop_last: whether a shorter batch at the end of a stream is left out.

    Returns:
        The function; it raises StopIteration at the end of a stream.
    """
    if isinstance(dataset, IterableDataset):
        return _Stream(iter(dataset), batched, collate_fn, drop_last)
    if not batched:
        return lambda index: collate_fn(dataset[index])
    if getattr(dataset, "__getitems__", None):
        return lambda indices: collate_fn(dataset.__getitems__(indices))
    return lambda indices: collate_fn([dataset[index] for index in indices])


class _Stream:
    def __init__(
        self, samples: Iterator, batched: bool, collate_fn: Callable, drop_last: bool
    ) -> None:
        self.samples, self.batched = samples, batched
        self.collate_fn, self.drop_last = collate_fn, drop_last
        self.ended = False

    def __call__(self, indices: Any) -> Any:
        if self.ended:
            raise StopIteration
        if not self.batched:
            return self.collate_fn(next(self.samples))
        batch = []
        for _ in indices:
            try:
                batch.append(next(self.samples))
            except StopIteration:
                self.ended = True
                break
        if not batch or (self.drop_last and len(batch) < len(indices)):
            raise StopIteration
        return self.collate_fn(batch)
