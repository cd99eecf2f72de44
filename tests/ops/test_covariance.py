"""Covariance: NumPy is the reference."""

import numpy as np
import pytest

import dynjax as torch
from tests.ops.common import assert_close, tensor

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(4, 7)).astype(np.float32)


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
