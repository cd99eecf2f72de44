"""Order: NumPy is the reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import dynjax as torch
from tests.ops.common import assert_close, tensor

floats = hnp.arrays(np.float32, (3, 5), elements=st.integers(-4, 4))


@given(floats, st.integers(0, 1), st.booleans())
def test_sort_is_stable_and_its_indices_fit(x, dim, descending):
    values, indices = tensor(x, torch.float32).sort(dim, descending)
    order = np.argsort(-x if descending else x, dim, kind="stable")
    assert_close(indices, order)
    assert_close(values, np.take_along_axis(x, order, dim))


@given(floats, st.integers(0, 5), st.booleans())
def test_topk(x, k, largest):
    values, indices = torch.topk(tensor(x, torch.float32), k, largest=largest)
    expected = np.sort(x, 1)
    assert_close(values, (expected[:, ::-1] if largest else expected)[:, :k])
    assert_close(values, np.take_along_axis(x, indices.numpy(), 1))


def test_nan_counts_as_the_largest():
    x = torch.tensor([1.0, float("nan"), 2.0])
    assert x.argsort().tolist() == [0, 2, 1]
    assert x.argsort(descending=True).tolist() == [1, 2, 0]
    assert x.topk(1).indices.tolist() == [1] and x.topk(1, largest=False).indices.tolist() == [0]


def test_gradients_go_to_where_the_values_were():
    x = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
    (x.sort().values * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert x.grad.tolist() == [100.0, 1.0, 10.0]
    x.grad = None
    (x.topk(2).values * torch.tensor([1.0, 10.0])).sum().backward()
    assert x.grad.tolist() == [1.0, 0.0, 10.0]
    assert x.kthvalue(2).values.item() == 2.0


@given(hnp.arrays(np.float32, 7, elements=st.integers(-3, 3)), st.booleans())
def test_searching(values, right):
    edges = np.array([-2.0, 0.0, 0.0, 1.5], np.float32)
    expected = np.searchsorted(edges, values, "right" if right else "left")
    v, e = tensor(values, torch.float32), tensor(edges)
    assert_close(torch.searchsorted(e, v, right=right), expected)
    assert_close(torch.bucketize(v, e, right=right), expected)
    assert torch.searchsorted(e, 1.0, out_int32=True).dtype == torch.int32


@given(hnp.arrays(np.int64, st.integers(0, 9), elements=st.integers(0, 4)))
def test_counting(x):
    t = tensor(x, torch.int64)
    assert_close(torch.bincount(t, minlength=3), np.bincount(x, minlength=3))
    values, inverse, counts = torch.unique(t, return_inverse=True, return_counts=True)
    assert values[inverse].tolist() == x.tolist() and counts.sum().item() == x.size


def test_histogram():
    x = torch.tensor([1.0, 2.0, 1.0, 4.0, 9.0])
    assert torch.histc(x, 4, 0, 4).tolist() == [0.0, 2.0, 1.0, 1.0]
    assert torch.histc(x, 2).tolist() == [4.0, 1.0]


def test_neighbours():
    x = torch.tensor([1, 1, 2, 2, 1])
    values, counts = torch.unique_consecutive(x, return_counts=True)
    assert values.tolist() == [1, 2, 1] and counts.tolist() == [2, 2, 1]


@pytest.mark.parametrize("call, error, text", [
    (lambda x: x.topk(4), RuntimeError, "selected index k out of range"),
    (lambda x: x.sort(1), IndexError, "Dimension out of range"),
    (lambda x: x.kthvalue(0), RuntimeError, "selected number k out of range for dimension 0"),
    (lambda x: torch.searchsorted(x, x, right=True, side="left"), RuntimeError, "opposites"),
    (lambda x: torch.bucketize(x, x[None]), RuntimeError, r"must be 1 dimension, but got dim\(2\)"),
    (lambda x: torch.bincount(x), NotImplementedError, "not implemented for 'Float'"),
    (lambda x: torch.bincount(x.long() - 1), RuntimeError, "1-d non-negative integral"),
    (lambda x: torch.histc(x, 0), RuntimeError, "bins must be > 0, but got 0"),
])  # fmt: skip
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call(torch.zeros(3))


@settings(max_examples=20)
@given(hnp.arrays(np.int64, (3, 6), elements=st.integers(0, 3)))
def test_mode_is_the_least_of_the_most_frequent_where_it_is_last(x):
    values, indices = torch.mode(tensor(x, torch.int64))
    for row, value, index in zip(x, values.tolist(), indices.tolist()):
        counts = np.bincount(row)
        assert value == counts.argmax()
        assert index == np.flatnonzero(row == value)[-1]


def test_mode_along_another_dimension():
    x = torch.tensor([[1.0, 2.0], [1.0, 5.0], [0.0, 5.0]], requires_grad=True)
    result = torch.mode(x, 0, keepdim=True)
    assert result.values.tolist() == [[1.0, 5.0]] and result.indices.tolist() == [[1, 2]]
    result.values.sum().backward()
    assert x.grad.tolist() == [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    with pytest.raises(IndexError, match="non-zero size"):
        torch.zeros(2, 0).mode()
