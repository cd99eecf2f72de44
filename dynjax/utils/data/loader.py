"""DataLoader: batches of a dataset, read in this process or by workers."""

from __future__ import annotations

import math
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .collate import default_collate, default_convert
from .dataset import Dataset, IterableDataset
from .fetch import fetcher
from .parallel import Workers
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, draw_seed
from .workers import Plan

if TYPE_CHECKING:
    from ...engine.random import Generator

T = TypeVar("T", covariant=True)

_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class _Endless(Sampler):
    """The sampler of a stream, which has no keys."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


class DataLoader(Generic[T]):
    """Batches of a dataset.

    Workers are new Python processes, which import what the pickled dataset needs, read and
    collate with NumPy, and have no accelerator. A script that uses them needs the usual
    `if __name__ == "__main__":`, and dataset and functions that can be pickled. Large batches
    arrive in shared memory, and tensors are made of it without copying.

    Args:
        dataset: by key, or iterable-style (`IterableDataset`).
        batch_size: samples in a batch; None for samples as they are.
        shuffle: read in random order.
        sampler: the order, any iterable of keys.
        batch_sampler: the order in batches, any iterable of lists of keys.
        num_workers: how many processes read; 0 for this one.
        collate_fn: makes a batch of a list of samples; None for `default_collate`, or
            `default_convert` where nothing is batched.
        pin_memory: accepted: memory is JAX's.
        drop_last: leave out a last batch that is smaller.
        timeout: seconds to wait for a batch of a worker; 0 for no limit.
        worker_init_fn: called in each worker with its number, after it is seeded.
        multiprocessing_context: how processes are started, a name or a context; None to spawn
            them. Forking a process in which JAX runs can hang.
        generator: for the order and the workers' seeds; None for the default one. The same state
            gives the same order, and the workers' random numbers, whatever the number of workers
            is for the former. The numbers are not PyTorch's.
        prefetch_factor: batches that each worker prepares in advance (2; no more than 32 are).
        persistent_workers: workers live on from pass to pass.
        pin_memory_device: accepted.
        in_order: batches of workers come in the sampler's order; else as they are ready.

    Raises:
        ValueError: options that contradict each other, or are out of range.
        TypeError: `multiprocessing_context` is something else.
    """

    _initialized = False

    def __init__(
        self,
        dataset: Dataset[T],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable | None = None,
        batch_sampler: Iterable[list] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        stream = isinstance(dataset, IterableDataset)
        if stream:
            _check_stream(shuffle, sampler, batch_sampler)
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, "
                    "sampler, and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with "
                "drop_last"
            )
        self.dataset, self.num_workers, self.timeout = dataset, num_workers, timeout
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.worker_init_fn, self.generator, self.in_order = worker_init_fn, generator, in_order
        self.multiprocessing_context = multiprocessing_context
        if sampler is None:
            if stream:
                sampler = _Endless()
            elif shuffle:
                sampler = RandomSampler(dataset, generator=generator)
            else:
                sampler = SequentialSampler(dataset)
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size, self.drop_last = batch_size, drop_last
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self.persistent_workers = persistent_workers
        default = default_convert if batch_sampler is None else default_collate
        self.collate_fn = collate_fn or default
        self._initialized = True
        self._announced: int | None = None
        self._iterator: _ParallelIterator | None = None
        self.check_worker_number_rationality()

    @property
    def multiprocessing_context(self) -> Any:
        """How workers are started; None to spawn them."""
        return self._context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: Any) -> None:
        if context is not None:
            if not self.num_workers:
                raise ValueError(
                    "multiprocessing_context can only be used with multi-process loading "
                    f"(num_workers > 0), but got num_workers={self.num_workers}"
                )
            if isinstance(context, str):
                methods = multiprocessing.get_all_start_methods()
                if context not in methods:
                    raise ValueError(
                        "multiprocessing_context option should specify a valid start method in "
                        f"{methods!r}, but got multiprocessing_context={context!r}"
                    )
                context = multiprocessing.get_context(context)
            if not isinstance(context, multiprocessing.context.BaseContext):
                raise TypeError(
                    "multiprocessing_context option should be a valid context object or a string "
                    f"specifying the start method, but got multiprocessing_context={context}"
                )
        self._context = context

    def __setattr__(self, name: str, value: Any) -> None:
        if self._initialized and name in _FIXED:
            raise ValueError(
                f"{name} attribute should not be set after {type(self).__name__} is initialized"
            )
        super().__setattr__(name, value)

    def __iter__(self) -> Iterator[Any]:
        if not self.num_workers:
            return _SerialIterator(self)
        if not self.persistent_workers:
            self.check_worker_number_rationality()
            return _ParallelIterator(self)
        if self._iterator is None or not self._iterator.workers.close.alive:
            self.check_worker_number_rationality()
            self._iterator = _ParallelIterator(self)
        else:
            self._iterator.begin(self)
        return self._iterator

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Iterable:
        return self.batch_sampler if self._auto_collation else self.sampler

    def __len__(self) -> int:
        if not isinstance(self.dataset, IterableDataset):
            return len(self._index_sampler)
        length = self._announced = len(self.dataset)
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else math.ceil(length / self.batch_size)

    def check_worker_number_rationality(self) -> None:
        """Warn of more workers than this process has CPUs."""
        asked = hasattr(os, "sched_getaffinity")
        cpus = len(os.sched_getaffinity(0)) if asked else os.cpu_count()
        if not self.num_workers or (cpus is not None and self.num_workers <= cpus):
            return
        suggested = (
            "DataLoader is not able to compute a suggested max number of worker in current system."
        )
        if cpus is not None:
            suggested = (
                f"Our suggested max number of worker in current system is {cpus}"
                f"{'' if asked else ' (`cpuset` is not taken into account)'}, which is smaller "
                "than what this DataLoader is going to create."
            )
        warnings.warn(
            f"This DataLoader will create {self.num_workers} worker processes in total. "
            f"{suggested} Please be aware that excessive worker creation might get DataLoader "
            "running slow or even freeze, lower the worker number to avoid potential "
            "slowness/freeze if necessary.",
            stacklevel=3,
        )


class _LoaderIterator:
    """One pass over a loader."""

    def __init__(self, loader: DataLoader) -> None:
        from jax import default_backend  # not above: workers import this file, but not JAX

        if loader.pin_memory and default_backend() == "cpu":
            warnings.warn(
                "'pin_memory' argument is set as true but no accelerator is found, then device "
                "pinned memory won't be used.",
                stacklevel=3,
            )
        self.begin(loader)

    def begin(self, loader: DataLoader) -> None:
        """Begin a pass."""
        # Drawn in each pass, so that the order is the same whether workers persist or not.
        self.base_seed = draw_seed(loader.generator)
        self.loader, self.keys = loader, iter(loader._index_sampler)
        self.announced, self.given = loader._announced, 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return len(self.loader._index_sampler)

    def __next__(self) -> Any:
        batch = self.take()
        self.given += 1
        if self.announced is not None and self.given > self.announced:
            self._warn_of_length()
        return batch

    def take(self) -> Any:
        """The next batch."""
        raise NotImplementedError

    def _warn_of_length(self) -> None:
        text = (
            f"Length of IterableDataset {self.loader.dataset} was reported to be {self.announced}"
            f"(when accessing len(dataloader)), but {self.given} samples have been fetched. "
        )
        if self.loader.num_workers:
            text += (
                "For multiprocessing data-loading, this could be caused by not properly "
                "configuring the IterableDataset replica at each worker. Please see "
                "https://pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset for "
                "examples."
            )
        warnings.warn(text, stacklevel=3)

    def __getstate__(self) -> None:
        raise NotImplementedError("{} cannot be pickled", type(self).__name__)


class _SerialIterator(_LoaderIterator):
    """A pass in this process."""

    def __init__(self, loader: DataLoader) -> None:
        super().__init__(loader)
        if loader.timeout:
            raise AssertionError("_SingleProcessDataLoaderIter requires timeout == 0")
        self.fetch = fetcher(
            loader.dataset, loader._auto_collation, loader.collate_fn, loader.drop_last
        )

    def take(self) -> Any:
        return self.fetch(next(self.keys))


class _ParallelIterator(_LoaderIterator):
    """A pass by workers."""

    workers: Workers | None = None

    def begin(self, loader: DataLoader) -> None:
        super().begin(loader)
        if self.workers is None:
            plan = Plan(
                loader.dataset, loader._auto_collation, loader.collate_fn, loader.drop_last,
                loader.worker_init_fn, self.base_seed, loader.num_workers,
            )  # fmt: skip
            self.workers = Workers(
                plan,
                loader.multiprocessing_context,
                loader.prefetch_factor,
                loader.timeout,
                loader.in_order,
            )
        self.workers.begin(self.keys)

    def take(self) -> Any:
        try:
            return self.workers.take()
        except StopIteration:
            if not self.loader.persistent_workers:
                self.workers.close()
            raise


def _check_workers(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool
) -> None:
    if num_workers < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable "
            "multiprocessing."
        )
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing."
            "let num_workers > 0 to enable multiprocessing, otherwise set prefetch_factor to None."
        )
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError("prefetch_factor option should be non-negative")
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _check_stream(shuffle: Any, sampler: Any, batch_sampler: Any) -> None:
    wrong = None
    if shuffle not in (False, None):
        wrong = "shuffle", shuffle
    elif sampler is not None:
        wrong = "sampler", sampler
    elif batch_sampler is not None:
        wrong = "batch_sampler", batch_sampler
    if wrong:
        name, value = wrong
        raise ValueError(
            f"DataLoader with IterableDataset: expected unspecified {name} option, but got "
            f"{name}={value}"
        )
