"""Quantiles, modes, histograms and covariance: NumPy is the reference."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import dynjax as torch
from tests.ops.common import assert_close, tensor

NAN = float("nan")
RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(4, 7)).astype(np.float32)
SHARES = np.array([0.0, 0.13, 0.5, 0.9, 1.0], np.float32)


# --- quantiles ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["linear", "lower", "higher", "nearest", "midpoint"])
def test_quantile(how):
    t, q = torch.from_numpy(TABLE), torch.from_numpy(SHARES)
    assert_close(torch.quantile(t, q, interpolation=how), np.quantile(TABLE, SHARES, method=how))
    over_rows = np.quantile(TABLE, SHARES, 1, method=how, keepdims=True)
    assert_close(t.quantile(q, 1, keepdim=True, interpolation=how), over_rows)
    over_columns = np.quantile(TABLE, np.float32(0.3), 0, method=how)
    assert_close(t.quantile(0.3, 0, interpolation=how), over_columns)


def test_nan_wins_or_is_left_out():
    x = np.array([[3, NAN, 1], [2, 4, 6], [NAN, NAN, NAN]], np.float32)
    assert_close(torch.quantile(torch.from_numpy(x), 0.5, 1), np.array([NAN, 4, NAN], np.float32))
    found = torch.nanquantile(torch.from_numpy(x), 0.25, 1)
    assert_close(found, np.array([1.5, 3, NAN], np.float32))


def test_the_gradient_of_a_quantile_goes_to_its_neighbours():
    x = torch.tensor([5.0, 1.0, 3.0], requires_grad=True)
    torch.quantile(x, 0.6).backward()
    np.testing.assert_allclose(x.grad.numpy(), [0.2, 0.0, 0.8], 1e-5)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: x.quantile(1.5), "got 1.5"),
        (lambda x: x.quantile(torch.ones(2, 2)), "1D"),
        (lambda x: x.quantile(torch.ones(2, dtype=torch.float64)), "same dtype"),
        (lambda x: x.long().quantile(0.5), "float or double"),
        (lambda x: x[:0].quantile(0.5), "non-empty"),
        (lambda x: x.quantile(0.5, interpolation="best"), "got best"),
    ],
)
def test_bad_quantiles(call, message):
    with pytest.raises(RuntimeError, match=message):
        call(torch.ones(3))


# --- the most frequent --------------------------------------------------------------------------


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


# --- histograms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"range": (-1.0, 1.5)}, {"density": True}])
def test_histogram(options):
    hist, edges = torch.histogram(torch.from_numpy(TABLE), 5, **options)
    expected, places = np.histogram(TABLE, 5, **options)
    assert_close(hist, expected.astype(np.float32))
    assert_close(edges, places.astype(np.float32))


def test_histogram_of_given_edges_and_weights():
    x, weight = tensor([0.0, 1.0, 1.5, 4.0, 9.0]), tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    result = torch.histogram(x, tensor([0.0, 1.0, 4.0]), weight=weight)
    assert result.hist.tolist() == [1.0, 9.0]  # the last bin contains its upper edge
    assert torch.histogram(torch.zeros(2), 2).bin_edges.tolist() == [-0.5, 0.0, 0.5]
    out = torch.empty(0), torch.empty(0)
    assert torch.histogram(x, 3, out=out).hist is out[0] and out[0].tolist() == [3.0, 1.0, 1.0]


def test_histogramdd():
    points = RNG.normal(size=(2, 10, 3)).astype(np.float32)
    weight = RNG.uniform(size=(2, 10)).astype(np.float32)
    flat = points.reshape(-1, 3)
    hist, edges = torch.histogramdd(
        torch.from_numpy(points), (2, 3, 4), weight=torch.from_numpy(weight), density=True
    )
    expected, places = np.histogramdd(flat, (2, 3, 4), weights=weight.reshape(-1), density=True)
    assert isinstance(edges, tuple)
    assert_close(hist, expected.astype(np.float32), 1e-4)
    for ours, theirs in zip(edges, places):
        assert_close(ours, theirs.astype(np.float32))


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda x: torch.histogram(x, 0), RuntimeError, "got 0 for dimension 0"),
        (lambda x: torch.histogram(x, 2.5), TypeError, "not float"),
        (lambda x: torch.histogram(x, 2, range=(2.0, 1.0)), RuntimeError, "min 2 max 1"),
        (lambda x: torch.histogram(x, 2, range=(0, math.inf)), RuntimeError, "not finite"),
        (lambda x: torch.histogram(x, 2, weight=x[:1]), RuntimeError, "same shape"),
        (lambda x: torch.histogram(x.long(), 2), NotImplementedError, "Long"),
        (lambda x: torch.histogramdd(x, 2), RuntimeError, "at least 2 dimensions"),
        (lambda x: torch.histogramdd(x[:, None], [2, 2]), RuntimeError, "innermost dimension"),
    ],
)
def test_bad_histograms(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.ones(3))


# --- covariance ---------------------------------------------------------------------------------


def test_covariance():
    t, often, counts = torch.from_numpy(TABLE), np.arange(1, 8), RNG.uniform(size=7)
    assert_close(torch.cov(t, correction=0), np.cov(TABLE, ddof=0).astype(np.float32), 1e-4)
    expected = np.cov(TABLE, fweights=often, aweights=counts).astype(np.float32)
    weights = tensor(often), tensor(counts, torch.float32)
    assert_close(torch.cov(t, fweights=weights[0], aweights=weights[1]), expected, 1e-4)
    assert_close(torch.corrcoef(t), np.corrcoef(TABLE).astype(np.float32), 1e-4)
    assert torch.cov(t[0]).shape == torch.corrcoef(t[0]).shape == ()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: torch.cov(x[None]), "3 dimensions"),
        (lambda x: torch.cov(x > 0), "bool"),
        (lambda x: torch.cov(x, fweights=x[0]), "integral dtype .* Float"),
        (lambda x: torch.cov(x, aweights=torch.ones(2)), "2 != 3"),
        (lambda x: torch.corrcoef(x[None]), "3 dimensions"),
    ],
)
def test_bad_covariance(call, message):
    with pytest.raises(RuntimeError, match=message):
        call(torch.ones(2, 3))


def test_too_few_observations_warn():
    with pytest.warns(UserWarning, match="degrees of freedom"):
        torch.cov(torch.ones(2, 1))
