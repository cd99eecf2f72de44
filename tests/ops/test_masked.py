"""Masked operations are the plain ones on what the mask keeps."""

import numpy as np
import pytest

import dynjax as torch

X = np.float32([[3, -1, 2, 5], [4, 4, 0, -2], [1, 2, 3, 4]])
MASK = np.array([[True, False, True, True], [False, True, False, True], [False] * 4])
ROWS = [row[keep] for row, keep in zip(X[:2], MASK)]


@pytest.mark.parametrize(
    "name, plain, empty",
    [
        ("sum", np.sum, 0), ("prod", np.prod, 1), ("amax", np.max, -np.inf),
        ("amin", np.min, np.inf), ("mean", np.mean, np.nan), ("median", np.median, np.nan),
        ("norm", np.linalg.norm, 0), ("var", lambda r: np.var(r, ddof=1), np.nan),
        ("std", lambda r: np.std(r, ddof=1), np.nan),
        ("logsumexp", lambda r: np.log(np.exp(r).sum()), -np.inf),
    ],
)  # fmt: skip
def test_reductions(name, plain, empty):
    rows = [r if name != "median" else np.sort(r)[: 2 * ((len(r) - 1) // 2) + 1] for r in ROWS]
    found = getattr(torch.masked, name)(torch.tensor(X), dim=1, mask=torch.tensor(MASK))
    np.testing.assert_allclose(found.numpy(), [*map(plain, rows), empty], rtol=1e-6)


def test_positions_and_running_results():
    x, mask = torch.tensor(X), torch.tensor(MASK)
    assert torch.masked.argmax(x, 1, mask=mask)[:2].tolist() == [3, 1]
    assert torch.masked.argmin(x, 1, mask=mask)[:2].tolist() == [2, 3]
    assert torch.masked.cumsum(x, 1, mask=mask)[0].tolist() == [3, 3, 5, 10]
    assert torch.masked.cumprod(x, 1, mask=mask)[1].tolist() == [1, 4, 4, -8]


@pytest.mark.parametrize("name, sign", [("softmax", 1), ("softmin", -1), ("log_softmax", 1)])
def test_normalisations(name, sign):
    found = getattr(torch.masked, name)(torch.tensor(X), 1, mask=torch.tensor(MASK)).numpy()
    for row, keep, got in zip(X, MASK[:2], found):
        part = np.exp(sign * row[keep])
        shares = part / part.sum()
        got = np.exp(got) if name == "log_softmax" else got
        np.testing.assert_allclose(got[keep], shares, rtol=1e-5)
        assert (got[~keep] == 0).all()


def test_what_is_masked_out_gets_no_gradient():
    x = torch.tensor(X, requires_grad=True)
    torch.masked.sum(x, mask=torch.tensor(MASK)).backward()
    assert x.grad.tolist() == MASK.tolist()


def test_without_a_mask_nothing_is_left_out_and_masks_broadcast():
    x = torch.tensor(X)
    assert torch.masked.sum(x, 0).equal(x.sum(0))
    kept = torch.masked.sum(x, 1, mask=torch.tensor([True, False, False, False]))
    assert kept.tolist() == [3, 4, 1]
    assert torch.masked.normalize(x, 2.0, 1)[0].norm().item() == pytest.approx(1)
    both = torch.masked.logaddexp(x, x, input_mask=torch.tensor(MASK[0]))
    assert both[0, 1].item() == -1 and both[0, 0].item() == pytest.approx(3 + np.log(2))


def test_bad_calls_raise_what_pytorch_raises():
    x = torch.tensor([1, 2])
    with pytest.raises(ValueError, match="Input dtype must be either a floating point"):
        torch.masked.mean(x)
    with pytest.raises(ValueError, match="mask dimensionality higher than of the input"):
        torch.masked.sum(x, mask=torch.ones(1, 2).bool())
    with pytest.raises(ValueError, match="no fully masked out rows"):
        torch.masked.median(x, mask=torch.tensor([False, False]))
    with pytest.raises(AttributeError, match="did you mean 'median'"):
        torch.masked.medain
