"""Datasets and how they are put together."""

import pytest

import dynjax as torch
from dynjax.utils.data import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)


class Squares(Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return index**2


class Stream(IterableDataset):
    def __init__(self, *items):
        self.items = items

    def __iter__(self):
        return iter(self.items)

    def __len__(self):
        return len(self.items)


def test_tensor_dataset_gives_rows():
    x, y = torch.arange(6.0).view(3, 2), torch.tensor([7, 8, 9])
    dataset = TensorDataset(x, y)
    assert len(dataset) == 3
    row, label = dataset[1]
    assert row.tolist() == [2.0, 3.0] and label.item() == 8 and label.dtype is torch.int64
    assert dataset[-1][1].item() == 9
    assert dataset[[0, 2]][1].tolist() == [7, 9]
    x[1] = 5.0
    assert dataset[1][0].tolist() == [5.0, 5.0]
    with pytest.raises(IndexError):
        dataset[3]
    with pytest.raises(AssertionError, match="Size mismatch between tensors"):
        TensorDataset(x, torch.zeros(4))


def test_tensor_dataset_keeps_the_tape():
    w = torch.ones(3, requires_grad=True)
    TensorDataset(w)[1][0].backward()
    assert w.grad.tolist() == [0.0, 1.0, 0.0]


def test_concatenated():
    dataset = Squares(3) + Squares(2)
    assert isinstance(dataset, ConcatDataset) and dataset.cumulative_sizes == [3, 5]
    assert [dataset[i] for i in (0, 2, 3, 4, -1, -5)] == [0, 4, 0, 1, 1, 0]
    with pytest.raises(ValueError, match="absolute value of index should not exceed"):
        dataset[-6]
    with pytest.raises(AssertionError, match="should not be an empty iterable"):
        ConcatDataset([])
    with pytest.raises(AssertionError, match="does not support IterableDataset"):
        ConcatDataset([Stream(1)])


def test_chained():
    chain = Stream(1, 2) + Stream(3)
    assert isinstance(chain, ChainDataset)
    assert list(chain) == [1, 2, 3] and len(chain) == 3
    with pytest.raises(AssertionError, match="ChainDataset only supports IterableDataset"):
        list(ChainDataset([Squares(2)]))


def test_stacked():
    pairs = StackDataset(Squares(3), range(3))
    assert pairs[2] == (4, 2) and len(pairs) == 3
    assert pairs.__getitems__([0, 1]) == [(0, 0), (1, 1)]
    named = StackDataset(a=Squares(3), b=Subset(range(9), [8, 7, 6]))
    assert named[1] == {"a": 1, "b": 7}
    assert named.__getitems__([2]) == [{"a": 4, "b": 6}]
    with pytest.raises(ValueError, match="Size mismatch between datasets"):
        StackDataset(range(2), range(3))
    with pytest.raises(ValueError, match="At least one dataset"):
        StackDataset()
    with pytest.raises(ValueError, match="both types are given"):
        StackDataset(range(2), b=range(2))


def test_subset():
    part = Subset(Squares(9), [5, 1])
    assert len(part) == 2 and [*map(part.__getitem__, range(2))] == [25, 1]
    assert part.__getitems__([1, 1]) == [1, 1]

    class Changed(Subset):
        def __getitem__(self, index):
            return -super().__getitem__(index)

    with pytest.raises(NotImplementedError, match="Changed overrides __getitem__ but not"):
        Changed(Squares(2), [0])


def test_random_split_shares_everything_out():
    parts = random_split(range(10), [0.5, 0.3, 0.2], torch.Generator().manual_seed(1))
    assert list(map(len, parts)) == [5, 3, 2]
    assert sorted(i for part in parts for i in part.indices) == list(range(10))
    again = random_split(range(10), [5, 3, 2], torch.Generator().manual_seed(1))
    assert [part.indices for part in parts] == [part.indices for part in again]
    assert list(map(len, random_split(range(11), [0.25] * 4))) == [3, 3, 3, 2]
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        random_split(range(1), [0.5, 0.5])
    with pytest.raises(ValueError, match="Sum of input lengths does not equal"):
        random_split(range(10), [5, 4])
    with pytest.raises(ValueError, match="Fraction at index 0 is not between 0 and 1"):
        random_split(range(10), [1.5, -0.5])


def test_a_dataset_must_say_what_its_samples_are():
    with pytest.raises(NotImplementedError, match="Subclasses of Dataset should implement"):
        Dataset()[0]
