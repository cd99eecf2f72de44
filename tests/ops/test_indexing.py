"""`x[index]` and `x[index] = value`: NumPy is the reference, but for PyTorch's own layout."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dynjax as torch
from tests.ops.common import assert_close, tensor

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@st.composite
def indices(draw):
    """An index that NumPy reads as PyTorch does: arrays only next to one another, no int beside."""
    items, wide = [], draw(st.integers(-1, 2))
    for d, n in enumerate(X.shape[: draw(st.integers(1, 3))]):
        if d == wide:
            places = st.integers(-n, n - 1)
            distinct = st.lists(places, min_size=1, max_size=4, unique_by=lambda i, n=n: i % n)
            masks = st.lists(st.booleans(), min_size=n, max_size=n)
            items.append(draw(st.one_of(distinct, masks)))
        else:
            bound = st.one_of(st.none(), st.integers(-n - 1, n + 1))
            item = st.builds(slice, bound, bound, st.sampled_from([None, 1, 2]))
            items.append(draw(item if wide >= 0 else st.one_of(item, st.integers(-n, n - 1))))
        if draw(st.booleans()) and wide < 0:
            items.append(None)
    return tuple(np.array(i) if isinstance(i, list) else i for i in items)


def ours(index):
    return tuple(torch.tensor(i.tolist()) if isinstance(i, np.ndarray) else i for i in index)


@given(indices())
def test_reading(index):
    assert_close(tensor(X)[ours(index)], X[index])


@given(indices(), st.booleans())
def test_writing(index, number):
    shape = X[index].shape
    value = np.float32(7) if number else np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    x, expected = tensor(X), X.copy()
    x[ours(index)] = 7 if number else tensor(value).reshape(shape)
    expected[index] = value
    assert_close(x, expected)


@given(indices())
def test_gradients_of_both(index):
    x = tensor(X, requires_grad=True)
    picked = x[ours(index)]
    if picked.numel() == 0:
        return
    (picked**2).sum().backward()
    assert_close(x.grad, jax.grad(lambda x: (x[index] ** 2).sum())(X))
    value = tensor(np.ones(picked.shape), dtype=torch.float32, requires_grad=True)
    x.grad = None
    y = x * 3
    y[ours(index)] = value * 2
    y.sum().backward()
    assert_close(value.grad, np.full(picked.shape, 2, np.float32))
    untouched = np.full(X.shape, 3, np.float32)
    untouched[index] = 0
    if x.grad is not None:  # it may be None where every element was overwritten
        assert_close(x.grad, untouched)


def test_equal_positions_add_up_in_the_gradient():
    x = torch.ones(3, requires_grad=True)
    x[torch.tensor([0, 0, -1])].sum().backward()
    assert x.grad.tolist() == [2.0, 0.0, 1.0]


@pytest.mark.parametrize("index, shape", [
    ((0, slice(None), [1, 2]), (3, 2)),  # an int is gone before arrays decide the layout
    (([0, 1], slice(None), [1, 2]), (2, 3)),
    ((slice(None), [0, 1], [1, 2]), (2, 2)),
    ((True,), (1, 2, 3, 4)),
    ((False,), (0, 2, 3, 4)),
    ((Ellipsis, [0, 1]), (2, 3, 2)),
    ((slice(None), None, [0, 1], Ellipsis), (2, 1, 2, 4)),
])  # fmt: skip
def test_torchs_layout(index, shape):
    assert tensor(X)[index].shape == shape


def test_other_forms():
    x = tensor(X)
    assert x[[[0, 1], [1, 2]]].shape == (2, 4)  # a list of lists is read as a tuple
    assert x[torch.tensor(1)].tolist() == X[1].tolist()
    assert x[np.int64(1), np.array([0, 2])].tolist() == X[1, [0, 2]].tolist()
    assert x[x > 20].tolist() == [21.0, 22.0, 23.0]
    x[x > 20] = 0
    assert x.max().item() == 20.0
    x[torch.tensor(0), 1] = torch.tensor(5, dtype=torch.int64)
    assert x[0, 1].tolist() == [5.0] * 4


def test_index_put_accumulates():
    at = (torch.tensor([0, 0, 2]),)
    x = torch.zeros(3)
    assert x.index_put(at, torch.tensor([1.0, 2.0, 3.0]), accumulate=True).tolist() == [3, 0, 3]
    x.index_put_(at, torch.tensor(4.0))
    assert x.tolist() == [4.0, 0.0, 4.0]


def test_a_basic_index_is_a_view_and_an_advanced_one_is_not():
    x = torch.zeros(2, 3)
    x[0, 1:].add_(1)
    x[[1]].add_(1)
    assert x.tolist() == [[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("index, error, text", [
    (5, IndexError, "index 5 is out of bounds for dimension 0 with size 2"),
    ((0, 0, 0, 0), IndexError, "too many indices for tensor of dimension 3"),
    (slice(None, None, -1), ValueError, "step must be greater than zero"),
    (1.0, IndexError, "only integers, slices"),
    ("a", TypeError, "invalid data type 'str'"),
    ([0, 5], IndexError, "index 5 is out of bounds"),
    (([0, 1], [0, 1, 2]), IndexError, r"could not be broadcast together with shapes \[2\], \[3\]"),
    ([True, False, True], IndexError, r"The shape of the mask \[3\] at index 0 does not match"),
    ([0.5], IndexError, "must be long, int, byte or bool tensors"),
])  # fmt: skip
def test_bad_index(index, error, text):
    with pytest.raises(error, match=text):
        tensor(X)[index]


@pytest.mark.parametrize("index, value, error, text", [
    (0, "zeros5", RuntimeError, r"expanded size of the tensor \(4\) must match .* size \(5\)"),
    ([0, 1], "zeros5", RuntimeError, r"shape mismatch: value tensor of shape \[5\]"),
    (0, [1, 2], TypeError, "can't assign a list to a torch.FloatTensor"),
    (0, 1j, RuntimeError, "cannot be converted to type float without overflow"),
])  # fmt: skip
def test_bad_value(index, value, error, text):
    x = tensor(X)
    with pytest.raises(error, match=text):
        x[index] = torch.zeros(5) if value == "zeros5" else value
    assert_close(x, X)
