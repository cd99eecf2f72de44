"""Samplers: which keys, in which order."""

from collections import Counter

import pytest

import dynjax as torch
from dynjax.utils.data import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    distributed,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_sequential():
    assert list(SequentialSampler("abc")) == [0, 1, 2] and len(SequentialSampler("abc")) == 3


def test_random_is_a_permutation_that_its_generator_repeats():
    orders = [list(RandomSampler(range(50), generator=seeded(s))) for s in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == list(range(50))
    sampler = RandomSampler(range(50), generator=seeded(1))
    assert list(sampler) == orders[0] != list(sampler)


def test_random_without_a_generator_follows_the_default_one():
    torch.manual_seed(3)
    first = list(RandomSampler(range(30)))
    torch.manual_seed(3)
    assert list(RandomSampler(range(30))) == first


def test_random_of_another_length():
    sampler = RandomSampler(range(4), num_samples=10, generator=seeded())
    drawn = list(sampler)
    assert len(drawn) == len(sampler) == 10
    assert sorted(drawn[:4]) == sorted(drawn[4:8]) == [0, 1, 2, 3] and len(set(drawn[8:])) == 2
    with_replacement = list(RandomSampler(range(4), True, 70, generator=seeded()))
    assert len(with_replacement) == 70 and set(with_replacement) == {0, 1, 2, 3}


def test_subset_random():
    assert sorted(SubsetRandomSampler([7, 8, 9], seeded())) == [7, 8, 9]


def test_weighted():
    drawn = Counter(WeightedRandomSampler([0.0, 3.0, 1.0], 400, generator=seeded()))
    assert set(drawn) == {1, 2} and 0.65 < drawn[1] / 400 < 0.85
    once = list(WeightedRandomSampler([1.0, 2.0, 3.0], 3, replacement=False, generator=seeded()))
    assert sorted(once) == [0, 1, 2]


@pytest.mark.parametrize(
    ("drop_last", "expected"), [(False, [[0, 1, 2], [3, 4]]), (True, [[0, 1, 2]])]
)
def test_batches(drop_last, expected):
    sampler = BatchSampler(range(5), 3, drop_last)
    assert list(sampler) == expected and len(sampler) == len(expected)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_distributed_parts_make_the_whole(shuffle, drop_last):
    assert distributed.DistributedSampler is DistributedSampler
    samplers = [DistributedSampler(range(11), 4, r, shuffle, drop_last=drop_last) for r in range(4)]
    parts = [list(sampler) for sampler in samplers]
    assert {len(part) for part in parts} == {len(samplers[0])} == {2 if drop_last else 3}
    seen = Counter(key for part in parts for key in part)
    assert len(seen) == (8 if drop_last else 11)
    samplers[0].set_epoch(1)
    assert (list(samplers[0]) != parts[0]) is shuffle


def test_distributed_repeats_a_dataset_smaller_than_its_replicas():
    assert [list(DistributedSampler(range(2), 5, r, False)) for r in range(5)] == [
        [0], [1], [0], [1], [0]
    ]  # fmt: skip


BAD = [
    (lambda: RandomSampler(range(3), replacement=1), TypeError, "boolean value.*replacement=1"),
    (lambda: RandomSampler(range(3), num_samples=0), ValueError, "positive integer.*num_samples=0"),
    (lambda: RandomSampler([]), ValueError, "num_samples=0"),
    (lambda: WeightedRandomSampler([1.0], True), ValueError, "num_samples=True"),
    (lambda: WeightedRandomSampler([[1.0]], 1), ValueError, r"1d sequence.*\(1, 1\)"),
    (lambda: WeightedRandomSampler([1.0], 1, 0), ValueError, "replacement=0"),
    (lambda: BatchSampler([1], 0, False), ValueError, "batch_size=0"),
    (lambda: BatchSampler([1], 1, None), ValueError, "drop_last=None"),
    (lambda: DistributedSampler([1], 2, 2), ValueError, r"Invalid rank 2.*\[0, 1\]"),
    (lambda: DistributedSampler([1]), ValueError, "num_replicas and rank"),
    (lambda: iter(Sampler()), NotImplementedError, None),
]


@pytest.mark.parametrize(("make", "error", "text"), BAD)
def test_bad_arguments(make, error, text):
    with pytest.raises(error, match=text):
        make()
