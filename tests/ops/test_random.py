"""Random numbers: repeatable, of the right distribution; dropout and its gradient."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dynjax as torch

F = torch.nn.functional
N = 20_000


def moments(x):
    host = x.double().numpy() if hasattr(x, "double") else np.asarray(x)
    return host.mean(), host.std()


@pytest.mark.parametrize("draw, mean, std", [
    (lambda: torch.rand(N), 0.5, 12**-0.5),
    (lambda: torch.randn(N), 0, 1),
    (lambda: torch.randint(2, 5, (N,)), 3, (2 / 3) ** 0.5),
    (lambda: torch.normal(2.0, 3.0, (N,)), 2, 3),
    (lambda: torch.normal(torch.full((N,), 2.0), 3.0), 2, 3),
    (lambda: torch.bernoulli(torch.full((N,), 0.3)), 0.3, 0.21**0.5),
    (lambda: torch.zeros(N).bernoulli_(0.3), 0.3, 0.21**0.5),
    (lambda: torch.zeros(N).uniform_(-1, 3), 1, 4 * 12**-0.5),
    (lambda: torch.zeros(N).normal_(1, 2), 1, 2),
    (lambda: torch.zeros(N).exponential_(2), 0.5, 0.5),
    (lambda: torch.zeros(N).random_(4), 1.5, 1.25**0.5),
    (lambda: torch.poisson(torch.full((N,), 4.0)), 4, 2),
    (lambda: F.dropout(torch.ones(N), 0.2), 1, 0.5),
    (lambda: F.alpha_dropout(torch.randn(N), 0.2, True), 0, 1),
])  # fmt: skip
def test_distributions(draw, mean, std):
    torch.manual_seed(0)
    first = draw()
    found = moments(first)
    assert abs(found[0] - mean) < 5 * std / N**0.5
    assert abs(found[1] - std) < 0.05 * std + 0.01
    assert draw().tolist() != first.tolist()
    torch.manual_seed(0)
    assert draw().tolist() == first.tolist()


@given(st.integers(0, 20))
def test_randperm(n):
    assert sorted(torch.randperm(n).tolist()) == list(range(n))


def test_generators_are_streams_of_their_own():
    a, b = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    first = torch.rand(3, generator=a)
    torch.rand(3)
    assert torch.rand(3, generator=b).tolist() == first.tolist()
    assert F.dropout(torch.ones(9)).shape == (9,)


def test_multinomial():
    torch.manual_seed(0)
    weights = torch.tensor([1.0, 0.0, 3.0])
    drawn = torch.multinomial(weights, 4000, replacement=True)
    assert abs((drawn == 2).double().mean().item() - 0.75) < 0.04
    assert not (drawn == 1).any()
    assert sorted(torch.multinomial(weights, 2).tolist()) == [0, 2]


def test_dropout_scales_what_it_keeps_and_so_does_its_gradient():
    x = torch.ones(100, requires_grad=True)
    y = F.dropout(x, 0.75)
    assert set(y.tolist()) == {0.0, 4.0}
    y.sum().backward()
    assert x.grad.tolist() == y.tolist()


def test_dropout_at_its_ends():
    x = torch.ones(4, requires_grad=True)
    assert F.dropout(x, 0.5, training=False) is x and F.dropout(x, 0.0) is x
    y = F.dropout(x, 1.0)
    y.sum().backward()
    assert y.tolist() == x.grad.tolist() == [0.0] * 4
    z = torch.ones(50)
    assert F.dropout(z, 0.5, inplace=True) is z and set(z.tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("dropout, shape, own", [
    (F.dropout1d, (5, 6, 7), 2), (F.dropout2d, (5, 6, 3, 3), 2), (F.dropout3d, (30, 2, 2, 2), 1),
])  # fmt: skip
def test_channels_are_dropped_as_a_whole(dropout, shape, own):
    y = dropout(torch.ones(shape)).numpy().reshape(*shape[:own], -1)
    assert (y == y[..., :1]).all() and 0 < y.mean() < 2


def test_masks_of_different_calls_are_independent():
    masks = np.stack([F.dropout(torch.ones(4096)).numpy() for _ in range(12)]) - 1
    correlation = masks @ masks.T / 4096 - np.eye(12)
    assert abs(correlation).max() < 5 / 4096**0.5 + 0.02


@pytest.mark.parametrize("call, error, text", [
    (lambda x: F.dropout(x, 1.5), ValueError, "between 0 and 1, but got 1.5"),
    (lambda x: F.dropout(x.long()), RuntimeError, "can't be cast to the desired output type Long"),
    (lambda x: F.dropout1d(x), RuntimeError, "Expected 2D or 3D input, but received a 1D input"),
    (lambda x: torch.rand(2, dtype=torch.int64), NotImplementedError, "check_uniform_bounds"),
    (lambda x: torch.randint(3, 2, (2,)), RuntimeError, "from=3 >= to=2"),
    (lambda x: torch.randint(0, 300, (2,), dtype=torch.uint8), RuntimeError, "out of bounds for"),
    (lambda x: torch.normal(0.0, -1.0, (2,)), RuntimeError, "std >= 0.0, but found std -1"),
    (lambda x: x.uniform_(1, 0), RuntimeError, "found from=1 > to=0"),
    (lambda x: x.bernoulli_(1.5), RuntimeError, r"p to be in \[0, 1\], but got p=1.5"),
    (lambda x: torch.multinomial(x, 7), RuntimeError, "without replacement"),
    (lambda x: torch.multinomial(x.long(), 1), RuntimeError, "floating-point dtypes"),
    (lambda x: x.requires_grad_().normal_(), RuntimeError, "a leaf Variable that requires grad"),
])  # fmt: skip
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call(torch.ones(3))
