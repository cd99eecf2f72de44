"""Histograms: NumPy is the reference."""

import math

import numpy as np
import pytest

import dynjax as torch
from tests.ops.common import assert_close, tensor

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(4, 7)).astype(np.float32)


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
