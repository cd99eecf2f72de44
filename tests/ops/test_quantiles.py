"""Quantiles: NumPy is the reference."""

import numpy as np
import pytest

import dynjax as torch
from tests.ops.common import assert_close

NAN = float("nan")
RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(4, 7)).astype(np.float32)
SHARES = np.array([0.0, 0.13, 0.5, 0.9, 1.0], np.float32)


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
