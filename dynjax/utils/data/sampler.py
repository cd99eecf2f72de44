"""Samplers: the order in which a loader reads a dataset."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ...core.later import load

if TYPE_CHECKING:
    from ...engine.random import Generator
    from ...tensor.tensor import Tensor

T = TypeVar("T", covariant=True)


def draw_seed(generator: Generator | None) -> int:
    """A random seed, from a generator or the default one."""
    return int((generator or load().default_generator).numpy().integers(1 << 63))


def _permutation(n: int, generator: Generator | None) -> list[int]:
    return load().randperm(n, generator=generator).tolist()


class Sampler(Generic[T]):
    """The base of samplers: subclasses define `__iter__`, and `__len__` where it is known."""

    def __iter__(self) -> Iterator[T]:
        raise NotImplementedError


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ...

    Args:
        data_source: what has the length.
    """

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """Numbers below a length, in random order or drawn one by one.

    Args:
        data_source: what has the length.
        replacement: whether one number may come again before all have come.
        num_samples: how many; None for as many as the length.
        generator: what to draw from; None draws a new seed from the default generator.

    Raises:
        TypeError, ValueError: `replacement` is no bool, or `num_samples` no positive number.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source, self.replacement = data_source, replacement
        self._num_samples, self.generator = num_samples, generator
        if not isinstance(replacement, bool):
            raise TypeError(
                f"replacement should be a boolean value, but got replacement={replacement}"
            )
        if not isinstance(self.num_samples, int) or self.num_samples <= 0:
            raise ValueError(
                "num_samples should be a positive integer value, but got "
                f"num_samples={self.num_samples}"
            )

    @property
    def num_samples(self) -> int:
        """How many numbers one pass gives."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n, left = len(self.data_source), self.num_samples
        generator = self.generator
        if generator is None:
            generator = load().Generator().manual_seed(draw_seed(None))
        while left > 0:
            if self.replacement:
                size = min(left, 32)  # few at a time: a sampler may be far longer than its use
                draws = load().randint(0, n, (size,), generator=generator).tolist()
            else:
                draws = _permutation(n, generator)[:left]
            yield from draws
            left -= len(draws)

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """Given numbers in random order.

    Args:
        indices: the numbers.
        generator: what to draw from.
    """

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        for i in _permutation(len(self.indices), self.generator):
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Numbers drawn with given weights.

    Args:
        weights: of the numbers 0, 1, ...; they need not add up to 1.
        num_samples: how many to draw.
        replacement: whether a number may come again.
        generator: what to draw from.

    Raises:
        ValueError: weights that are no 1-dim sequence, a bad number, a bad flag.
    """

    weights: Tensor

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        _check_count("num_samples", num_samples)
        _check_flag("replacement", replacement)
        self.weights = load().as_tensor(weights, dtype=load().float64)
        if self.weights.ndim != 1:
            raise ValueError(
                "weights should be a 1d sequence but given weights have shape "
                f"{tuple(self.weights.shape)}"
            )
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __iter__(self) -> Iterator[int]:
        drawn = load().multinomial(
            self.weights, self.num_samples, self.replacement, generator=self.generator
        )
        return iter(drawn.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """The numbers of another sampler, in lists.

    Args:
        sampler: any iterable.
        batch_size: how long the lists are.
        drop_last: leave out a last one that is shorter.

    Raises:
        ValueError: a bad number, a bad flag.
    """

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool) -> None:
        _check_count("batch_size", batch_size)
        _check_flag("drop_last", drop_last)
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        numbers = iter(self.sampler)
        while batch := list(itertools.islice(numbers, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        full, rest = divmod(len(self.sampler), self.batch_size)
        return full + bool(rest and not self.drop_last)


class DistributedSampler(Sampler[int]):
    """The part of a dataset that one of several processes reads.

    Args:
        dataset: what has the length.
        num_replicas: how many processes there are.
        rank: which of them this is.
        shuffle: read in random order, another in each epoch (see `set_epoch`).
        seed: of that order, the same in all processes.
        drop_last: leave out samples so that all parts are equally long, instead of repeating some.

    Raises:
        ValueError: `num_replicas` or `rank` is not given (there is no process group to ask here),
            or the rank is out of range.
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None or rank is None:
            raise ValueError(
                "Default process group has not been initialized: give num_replicas and rank "
                "(jax.process_count() and jax.process_index())"
            )
        if not 0 <= rank < num_replicas:
            raise ValueError(
                f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]"
            )
        self.dataset, self.num_replicas, self.rank = dataset, num_replicas, rank
        self.epoch, self.shuffle, self.seed, self.drop_last = 0, shuffle, seed, drop_last
        n = len(dataset)
        self.num_samples = n // num_replicas if drop_last else math.ceil(n / num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        n = len(self.dataset)
        order = range(n)
        if self.shuffle:
            order = _permutation(n, load().Generator().manual_seed(self.seed + self.epoch))
        # Cut off, or begun anew, to the size that all parts together have.
        return itertools.islice(itertools.cycle(order), self.rank, self.total_size,
                                self.num_replicas)  # fmt: skip

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Have the next pass be in another order, the same in all processes."""
        self.epoch = epoch


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{name} should be a positive integer value, but got {name}={value}")


def _check_flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name} should be a boolean value, but got {name}={value}")
