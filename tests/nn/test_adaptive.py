"""The adaptive softmax is a distribution, and its loss is minus what it says of the targets."""

import numpy as np
import pytest

import dynjax
from dynjax import nn


@pytest.fixture
def layer():
    return nn.AdaptiveLogSoftmaxWithLoss(8, 20, [3, 9], div_value=2.0, head_bias=True)


def test_probabilities_add_up_to_one_and_the_loss_picks_from_them(layer):
    x = dynjax.randn(7, 8)
    target = dynjax.tensor([0, 2, 3, 8, 9, 19, 10])
    found = layer.log_prob(x).detach().numpy()
    np.testing.assert_allclose(np.exp(found).sum(1), 1, rtol=1e-5)
    output, loss = layer(x, target)
    picked = found[np.arange(7), target.numpy()]
    np.testing.assert_allclose(output.detach().numpy(), picked, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(loss.item(), -picked.mean(), rtol=1e-5)


def test_one_sample_without_a_batch(layer):
    x = dynjax.randn(8)
    output, _ = layer(x, dynjax.tensor(12))
    wanted = layer.log_prob(x.unsqueeze(0))[0, 12]
    assert output.shape == () and output.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_the_head_decides_what_is_predicted(layer):
    with dynjax.no_grad():
        layer.head.weight.zero_()
        layer.head.bias.copy_(dynjax.tensor([0.0, 9.0, 0.0, 0.0, 0.0]))
    assert layer.predict(dynjax.randn(2, 8)).tolist() == [1, 1]
    with dynjax.no_grad():
        layer.head.bias.copy_(dynjax.tensor([0.0, 0.0, 0.0, 0.0, 9.0]))
    assert all(c >= 9 for c in layer.predict(dynjax.randn(4, 8)).tolist())


@pytest.mark.parametrize("cutoffs", [[], [5, 3], [3, 3], [0, 5], [20], [2.5]])
def test_wrong_cutoffs(cutoffs):
    with pytest.raises(ValueError, match="cutoffs should be a sequence"):
        nn.AdaptiveLogSoftmaxWithLoss(8, 20, cutoffs)


@pytest.mark.parametrize(("x", "target"), [((3, 8), (2,)), ((3, 8), ()), ((3, 8), (3, 1))])
def test_wrong_shapes(layer, x, target):
    with pytest.raises(RuntimeError, match="target|batch dimension"):
        layer(dynjax.zeros(x), dynjax.zeros(target, dtype=dynjax.int64))
