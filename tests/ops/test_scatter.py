"""Gather, scatter and their kin: NumPy loops are the reference, `jax.grad` for gradients."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import dynjax as torch
from tests.ops.common import assert_close, assert_gradient, tensor

X = np.arange(12, dtype=np.float32).reshape(3, 4) + 1
AT = np.array([[0, 2, 2, 1], [0, 2, 1, 1]])
S = np.arange(8, dtype=np.float32).reshape(2, 4) - 3
INDEX = torch.tensor(AT.tolist())


def test_gather():
    assert_close(tensor(X).gather(0, INDEX), np.take_along_axis(X, AT, 0))
    weights = np.arange(8, dtype=np.float32).reshape(2, 4)
    assert_gradient(
        lambda x: x.gather(0, INDEX) * tensor(weights),
        lambda x: jnp.take_along_axis(x, AT, 0) * weights,
        X,
    )
    assert tensor(X).gather(1, torch.tensor([[3]])).tolist() == [[4.0]]


@given(
    hnp.arrays(
        np.int64, st.tuples(st.integers(0, 3), st.integers(0, 4)), elements=st.integers(0, 2)
    )
)
def test_gather_then_scatter_add_counts(at):
    index = torch.tensor(at.reshape(-1).tolist(), dtype=torch.int64).reshape(at.shape)
    counts = torch.zeros(3, 4).scatter_add(0, index, torch.ones(at.shape))
    expected = np.zeros((3, 4), np.float32)
    for (_, column), row in np.ndenumerate(at):
        expected[row, column] += 1
    assert_close(counts, expected)


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
def test_scatter_reduce(reduce, include_self):
    combine = {"sum": np.sum, "prod": np.prod, "mean": np.mean, "amax": np.max, "amin": np.min}
    expected = X.copy()
    for row, column in np.ndindex(X.shape):
        given = [float(S[i, column]) for i in range(2) if AT[i, column] == row]
        if given:
            own = [float(X[row, column])] if include_self else []
            expected[row, column] = combine[reduce](own + given)
    run = lambda x, s: x.scatter_reduce(0, INDEX, s, reduce, include_self=include_self)  # noqa: E731
    assert_close(run(tensor(X), tensor(S)), expected)
    if reduce in ("amax", "amin"):  # of two names
        short = tensor(X).scatter_reduce(0, INDEX, tensor(S), reduce[1:], include_self=include_self)
        assert_close(short, expected)
    # The gradient by finite differences (no ties and no zeros here, so it is smooth).
    x, s = tensor(X, requires_grad=True), tensor(S + 0.5, requires_grad=True)
    run(x, s).sum().backward()
    step = 1e-2
    for leaf, base in ((x, X), (s, S + 0.5)):
        for at in [(0, 0), (1, 3)]:
            moved = base.copy()
            moved[at] += step
            pair = (moved, S + 0.5) if leaf is x else (X, moved)
            ahead = run(*map(tensor, pair)).sum() - run(x, s).sum()
            assert abs(ahead.item() / step - leaf.grad[at].item()) < 2e-2


def test_scatter():
    written = X.copy()
    written[1, 0] = written[2, 1] = 9
    assert_close(tensor(X).scatter(0, torch.tensor([[1, 2]]), 9.0), written)
    assert torch.zeros(3).scatter_(0, torch.tensor([2, 0]), torch.ones(2)).tolist() == [1, 0, 1]
    doubled = torch.ones(3).scatter(0, torch.tensor([1]), 3.0, reduce="multiply")
    assert doubled.tolist() == [1.0, 3.0, 1.0]
    base = torch.ones(3, requires_grad=True)
    src = torch.ones(2, requires_grad=True)
    (base.scatter(0, torch.tensor([0, 2]), src) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert base.grad.tolist() == [0.0, 2.0, 0.0] and src.grad.tolist() == [1.0, 3.0]


def test_truth_values_are_added_by_or_and_multiplied_by_and():
    base, at = torch.tensor([True, False, True]), torch.tensor([0, 1, 1, 2])
    src = torch.tensor([False, True, False, False])
    assert base.scatter_add(0, at, src).tolist() == [True, True, True]
    assert base.index_add(0, at, src, alpha=True).tolist() == [True, True, True]
    assert base.put(at, src, accumulate=True).tolist() == [True, True, True]
    assert base.index_put((at,), src, accumulate=True).tolist() == [True, True, True]
    assert base.scatter_reduce(0, at, src, "prod").tolist() == [False, False, False]
    alone = base.scatter_reduce(0, at, src, "sum", include_self=False)
    assert alone.tolist() == [False, True, False]


def test_whole_slices():
    x, at = tensor(X), torch.tensor([2, 0, 2])
    assert_close(x.index_select(0, at), X[[2, 0, 2]])
    added = X.copy()
    np.add.at(added, [2, 0, 2], np.ones((3, 4), np.float32))
    assert_close(x.index_add(0, at, torch.ones(3, 4)), added)
    assert_close(x.index_add(0, at, torch.ones(3, 4), alpha=-1), 2 * X - added)
    copied = X.copy()
    copied[:, [1, 3]] = 0
    assert_close(x.index_copy(1, torch.tensor([1, 3]), torch.zeros(3, 2)), copied)
    assert_close(x.index_fill(1, torch.tensor([1, 3]), 0), copied)
    assert_gradient(
        lambda x: x.index_select(1, at) ** 2, lambda x: x[:, jnp.array([2, 0, 2])] ** 2, X
    )


def test_among_all_elements():
    x = tensor(X)
    assert_close(x.take(torch.tensor([0, -1, 5])), X.reshape(-1)[[0, -1, 5]])
    order = x.argsort(1, descending=True)
    assert_close(x.take_along_dim(order, 1), X[:, ::-1])
    assert_close(x.masked_fill(x > 6, -1), np.where(X > 6, -1, X).astype(np.float32))
    assert_close(x.masked_select(x > 6), X[X > 6])
    filled = X.copy()
    filled[X > 6] = np.arange(6)
    assert_close(x.masked_scatter(x > 6, torch.arange(6.0)), filled)
    assert_gradient(lambda x: x.masked_select(x > 6) ** 2, lambda x: jnp.where(x > 6, x, 0) ** 2, X)


def test_where_and_nonzero():
    x = tensor(X)
    assert_close(torch.where(x > 6, x, 0), np.where(X > 6, X, 0).astype(np.float32))
    assert torch.where(x > 6, torch.tensor(1), 2.5).dtype == torch.float32
    assert_close(x.where(x > 6, -x), np.where(X > 6, X, -X))
    for found, expected in zip(torch.where(x > 6), np.nonzero(X > 6), strict=True):
        assert_close(found, expected)
    assert_close((x > 6).nonzero(), np.argwhere(X > 6))
    assert torch.tensor(1.0).nonzero().shape == (1, 0)


def test_out_of_range_is_visible():
    assert np.isnan(torch.zeros(3)[torch.tensor([5])].item())
    assert torch.zeros(2).index_put_((torch.tensor([7]),), torch.tensor(1.0)).tolist() == [0, 0]


@pytest.mark.parametrize("call, error, text", [
    (lambda x, i: x.gather(0, i[0]), RuntimeError, "same number of dimensions as input"),
    (lambda x, i: x.gather(1, torch.zeros(4, 4, dtype=torch.int64)), RuntimeError,
     r"index \[4, 4\] to be no larger than self \[3, 4\] apart from dimension 1"),
    (lambda x, i: x.gather(0, i.float()), RuntimeError, "Expected dtype int32/int64 for index"),
    (lambda x, i: torch.gather(x, 0, i, out=torch.zeros(1, 2, dtype=torch.float64)), RuntimeError,
     "Expected out tensor to have dtype Float, but got Double instead"),
    (lambda x, i: x.scatter(0, i, torch.ones(1, 1)), RuntimeError, r"than src \[1, 1\]"),
    (lambda x, i: x.scatter(0, i, 1.0, reduce="no"), RuntimeError, "either add or multiply"),
    (lambda x, i: x.scatter_reduce(0, i, x, "no"), RuntimeError, "amax or amin, got no"),
    (lambda x, i: x.index_select(0, i), IndexError, "supposed to be a vector"),
    (lambda x, i: x.index_add(0, i[0], x), RuntimeError, r"indices \(4\) should be equal .* \(3\)"),
    (lambda x, i: x.take(x), RuntimeError, "Expected a long tensor for index, but got Float"),
    (lambda x, i: x.masked_fill(x, 0), RuntimeError, "only supports boolean masks"),
    (lambda x, i: x.masked_fill(x > 1, 1j), RuntimeError, "cannot be converted to type float"),
    (lambda x, i: torch.where(x, x, x), RuntimeError, "boolean tensor, but got a tensor"),
])  # fmt: skip
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call(tensor(X), INDEX)
