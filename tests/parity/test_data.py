"""torch.utils.data: what comes out of datasets, samplers and loaders, and what they refuse."""

from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch
from torch.utils import data as theirs

import dynjax
from dynjax.utils import data as ours

Point = namedtuple("Point", "x y")
SIDES = [(torch, theirs), (dynjax, ours)]


def plain(x):
    """Containers with types, tensors as (dtype, shape, values)."""
    if hasattr(x, "dtype") and hasattr(x, "tolist"):
        return str(x.dtype).split(".")[-1], tuple(x.shape), x.tolist()
    if isinstance(x, dict):
        return type(x).__name__, {key: plain(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x).__name__, [plain(value) for value in x]
    return x


def outcome(call, package, module):
    try:
        return plain(call(package, module))
    except Exception as error:
        return type(error), str(error).replace("torch.", "").replace("dynjax.", "")


SAMPLES = {
    "ints": [1, 2],
    "bools": [True, False],
    "floats": [0.5, 1.5],
    "bool then int": [True, 2],
    "numpy scalars": [np.float32(1), np.float32(2)],
    "numpy ints": [np.int16(1), np.int16(2)],
    "arrays": [np.arange(3, dtype=np.uint8)] * 2,
    "0-d arrays": [np.array(1.5), np.array(2.5)],
    "text": ["a", "b"],
    "bytes": [b"a", b"b"],
    "dicts": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}],
    "ordered": [OrderedDict(a=[1, 2]), OrderedDict(a=[3, 4])],
    "named tuples": [Point(1, 2.0), Point(3, 4.0)],
    "tuples": [(1, "a"), (2, "b")],
    "lists": [[1, np.ones(2)], [2, np.zeros(2)]],
    "ranges": [range(2), range(2)],
    "uneven lists": [[1], [1, 2]],
    "uneven arrays": [np.ones(2), np.ones(3)],
    "objects": [None],
    "strings in an array": [np.array(["a"])],
    "empty": [],
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("function", ["default_collate", "default_convert"])
def test_collate(name, function):
    results = [outcome(lambda t, d: getattr(d, function)(SAMPLES[name]), *s) for s in SIDES]
    assert results[0] == results[1]


def stream(d, items):
    class Stream(d.IterableDataset):
        def __iter__(self):
            return iter(items)

    return Stream()


CALLS = {
    "tensor dataset": lambda t, d: [*d.TensorDataset(t.arange(4.0).view(2, 2), t.arange(2))],
    "mismatch": lambda t, d: d.TensorDataset(t.ones(2), t.ones(3)),
    "no such row": lambda t, d: d.TensorDataset(t.ones(2))[2],
    "concat": lambda t, d: [d.ConcatDataset([[1, 2], [3]])[i] for i in (0, 1, 2, -1, -3)],
    "concat below": lambda t, d: d.ConcatDataset([[1]])[-2],
    "concat nothing": lambda t, d: d.ConcatDataset([]),
    "concat stream": lambda t, d: d.ConcatDataset([stream(d, [1])]),
    "chain": lambda t, d: list(stream(d, [1]) + stream(d, [2])),
    "chain no stream": lambda t, d: list(d.ChainDataset([[1]])),
    "stack": lambda t, d: d.StackDataset(a=[1, 2], b=[3, 4]).__getitems__([1, 0]),
    "stack both": lambda t, d: d.StackDataset([1], b=[1]),
    "stack none": lambda t, d: d.StackDataset(),
    "stack uneven": lambda t, d: d.StackDataset([1], [1, 2]),
    "no getitem": lambda t, d: d.Dataset()[0],
    "split lengths": lambda t, d: [len(x) for x in d.random_split(range(11), [0.25] * 4)],
    "split sum": lambda t, d: d.random_split(range(11), [1, 2]),
    "split fraction": lambda t, d: d.random_split(range(11), [1.5, -0.5]),
    "batches": lambda t, d: [*d.BatchSampler(range(7), 3, False)],
    "batches dropped": lambda t, d: [*d.BatchSampler(range(7), 3, True)],
    "batches bad": lambda t, d: d.BatchSampler(range(7), 0, True),
    "batches flag": lambda t, d: d.BatchSampler(range(7), 1, 1),
    "random flag": lambda t, d: d.RandomSampler(range(7), 1),
    "random number": lambda t, d: d.RandomSampler(range(7), num_samples=-1),
    "random empty": lambda t, d: d.RandomSampler([]),
    "weighted number": lambda t, d: d.WeightedRandomSampler([1.0], 0),
    "weighted flag": lambda t, d: d.WeightedRandomSampler([1.0], 1, 1),
    "weighted shape": lambda t, d: d.WeightedRandomSampler([[1.0]], 1),
    "distributed": lambda t, d: [[*d.DistributedSampler(range(7), 3, r, False)] for r in range(3)],
    "distributed dropped": lambda t, d: [
        [*d.DistributedSampler(range(8), 3, r, False, drop_last=True)] for r in range(3)
    ],
    "distributed few": lambda t, d: [[*d.DistributedSampler([1], 3, r, False)] for r in range(3)],
    "distributed rank": lambda t, d: d.DistributedSampler(range(7), 3, 3),
    "loader": lambda t, d: [*d.DataLoader(range(5), 2)],
    "loader dropped": lambda t, d: [*d.DataLoader(range(5), 2, drop_last=True)],
    "loader unbatched": lambda t, d: [*d.DataLoader([np.ones(2), {"a": 1}], None)],
    "loader stream": lambda t, d: [*d.DataLoader(stream(d, [1, 2, 3]), 2)],
    "loader sampler": lambda t, d: [*d.DataLoader("abc", sampler=[2, 0])],
    "loader batch sampler": lambda t, d: [*d.DataLoader("abc", batch_sampler=[[2, 0], [1]])],
}
OPTIONS = [
    {"num_workers": -1}, {"timeout": -1}, {"prefetch_factor": 2}, {"persistent_workers": True},
    {"num_workers": 1, "prefetch_factor": -1}, {"shuffle": True, "sampler": [0]},
    {"batch_sampler": [[0]], "batch_size": 2}, {"batch_size": None, "drop_last": True},
    {"batch_size": 0}, {"multiprocessing_context": "spawn"},
    {"num_workers": 1, "multiprocessing_context": "x"},
    {"num_workers": 1, "multiprocessing_context": 3},
]  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_calls(name):
    results = [outcome(CALLS[name], *side) for side in SIDES]
    assert results[0] == results[1]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_bad_options_of_loaders(options):
    results = [outcome(lambda t, d: d.DataLoader(range(3), **options), *side) for side in SIDES]
    assert issubclass(results[0][0], Exception) and results[0] == results[1]


@pytest.mark.parametrize("option", [{"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}])
def test_bad_options_of_streams(option):
    results = [outcome(lambda t, d: d.DataLoader(stream(d, [1]), **option), *s) for s in SIDES]
    assert issubclass(results[0][0], Exception) and results[0] == results[1]


class Facts:
    """Seeds and NumPy's random numbers of workers; which worker reads what."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        if index == 5:
            raise ValueError("five")
        info = theirs.get_worker_info() or ours.get_worker_info()
        return index, info.id, info.num_workers


def test_workers_share_the_work_and_fail_alike():
    found = []
    for _, d in SIDES:
        loader = iter(d.DataLoader(Facts(), 2, num_workers=2, multiprocessing_context="spawn"))
        batches = [plain(next(loader)) for _ in range(2)]
        with pytest.raises(ValueError) as caught:
            next(loader)
        lines = str(caught.value).splitlines()
        batches.append(plain(next(loader)))
        found.append((batches, lines[:2], lines[-1]))
    assert found[0] == found[1]


def test_names():
    assert set(ours.__all__) <= set(theirs.__all__)
    missing = set(theirs.__all__) - set(ours.__all__)
    # DataPipes, which PyTorch itself has given up.
    assert all("Pipe" in name or "_" in name or name == "DataChunk" for name in missing), missing
