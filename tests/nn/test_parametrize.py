"""Parametrized tensors are what their parametrization makes of what is learned."""

import copy

import numpy as np
import pytest

import dynjax
from dynjax import nn
from dynjax.nn.utils import parametrizations, parametrize


class Doubled(nn.Module):
    calls = 0

    def forward(self, x):
        type(self).calls += 1
        return 2 * x

    def right_inverse(self, x):
        return x / 2


@pytest.fixture
def layer():
    return parametrize.register_parametrization(nn.Linear(3, 3), "weight", Doubled())


def test_reading_assigning_and_learning(layer):
    original = layer.parametrizations.weight.original
    np.testing.assert_allclose(layer.weight.detach().numpy(), 2 * original.detach().numpy())
    layer.weight = dynjax.ones(3, 3)
    assert original.tolist() == [[0.5] * 3] * 3
    layer(dynjax.ones(1, 3)).sum().backward()
    assert original.grad.tolist() == [[2.0] * 3] * 3
    assert list(layer.state_dict()) == ["bias", "parametrizations.weight.original"]


def test_cached_computes_once(layer):
    Doubled.calls = 0
    with parametrize.cached():
        _ = layer.weight, layer.weight
    assert Doubled.calls == 1


def test_copies_are_independent_and_other_layers_are_not_changed(layer):
    twin = copy.deepcopy(layer)
    with dynjax.no_grad():
        twin.parametrizations.weight.original.zero_()
    assert twin.weight.abs().sum() == 0 and layer.weight.abs().sum() > 0
    assert not parametrize.is_parametrized(nn.Linear(3, 3)) and type(layer) is not nn.Linear


def test_removing(layer):
    before = layer.weight.detach().numpy()
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear and isinstance(layer.weight, nn.Parameter)
    np.testing.assert_array_equal(layer.weight.detach().numpy(), before)


@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (2, 3)])
@pytest.mark.parametrize("kind", ["matrix_exp", "cayley", "householder"])
def test_orthogonal_stays_orthogonal(shape, kind):
    layer = parametrizations.orthogonal(nn.Linear(shape[1], shape[0]), orthogonal_map=kind)
    with dynjax.no_grad():
        original = layer.parametrizations.weight.original
        original.add_(0.1 * (1 - dynjax.eye(*shape)))  # diagonals of householder's are signs
    w = layer.weight.detach().numpy()
    product = w @ w.T if shape[0] <= shape[1] else w.T @ w
    np.testing.assert_allclose(product, np.eye(min(shape)), atol=1e-5)


def test_spectral_norm_is_one():
    layer = parametrizations.spectral_norm(nn.Linear(5, 4), n_power_iterations=30)
    assert np.linalg.norm(layer.weight.detach().numpy(), 2) == pytest.approx(1, abs=1e-3)


def test_weight_norm_learns_length_and_direction():
    layer = parametrizations.weight_norm(nn.Linear(5, 4))
    with dynjax.no_grad():
        layer.parametrizations.weight.original0.fill_(3.0)
    lengths = np.linalg.norm(layer.weight.detach().numpy(), axis=1)
    np.testing.assert_allclose(lengths, 3.0, rtol=1e-5)


def test_bad_calls(layer):
    with pytest.raises(ValueError, match="does not have a parameter, a buffer"):
        parametrize.register_parametrization(nn.Linear(2, 2), "other", Doubled())
    with pytest.raises(ValueError, match="does not have a parametrization on bias"):
        parametrize.remove_parametrizations(layer, "bias")
    with pytest.raises(RuntimeError, match="only supported through state_dict"):
        layer.__getstate__()
    with pytest.raises(ValueError, match="Got: x"):
        parametrizations.orthogonal(nn.Linear(2, 2), orthogonal_map="x")
