"""Pruning sets to zero what a method chooses, and nothing else."""

import numpy as np
import pytest

import dynjax
from dynjax import nn
from dynjax.nn.utils import prune


@pytest.fixture
def layer():
    made = nn.Linear(4, 3)
    with dynjax.no_grad():
        made.weight.copy_(dynjax.arange(1.0, 13.0).reshape(3, 4))
    return made


def zeros(layer):
    return np.flatnonzero(layer.weight.detach().numpy() == 0).tolist()


def test_the_smallest_go_first_then_the_smallest_of_the_rest(layer):
    prune.l1_unstructured(layer, "weight", 2)
    assert zeros(layer) == [0, 1]
    prune.l1_unstructured(layer, "weight", 0.5)
    assert zeros(layer) == list(range(7))
    assert isinstance(next(iter(layer._forward_pre_hooks.values())), prune.PruningContainer)


def test_slices_by_their_norms(layer):
    assert zeros(prune.ln_structured(layer, "weight", 1, n=2, dim=1)) == [0, 4, 8]


def test_what_is_pruned_gets_no_gradient_and_stays_zero(layer):
    prune.custom_from_mask(layer, "weight", dynjax.eye(3, 4))
    layer(dynjax.ones(1, 4)).sum().backward()
    assert layer.weight_orig.grad.tolist() == np.eye(3, 4).tolist()
    with dynjax.no_grad():
        layer.weight_orig.add_(1.0)
    layer(dynjax.ones(1, 4))
    assert len(zeros(layer)) == 9


def test_removing_keeps_the_zeros(layer):
    prune.random_unstructured(layer, "weight", 5)
    assert prune.is_pruned(layer)
    gone = zeros(layer)
    prune.remove(layer, "weight")
    assert zeros(layer) == gone and len(gone) == 5 and not prune.is_pruned(layer)
    assert list(layer.state_dict()) == ["bias", "weight"]


def test_several_parameters_as_one(layer):
    small = nn.Linear(2, 2)
    with dynjax.no_grad():
        small.weight.fill_(0.1)
    places = [(layer, "weight"), (small, "weight")]
    prune.global_unstructured(places, prune.L1Unstructured, amount=5)
    assert zeros(small) == [0, 1, 2, 3] and zeros(layer) == [0]


@pytest.mark.parametrize(
    ("amount", "error"), [(-1, ValueError), (1.5, ValueError), ("a", TypeError), (13, ValueError)]
)
def test_wrong_amounts_leave_the_layer_as_it_was(layer, amount, error):
    with pytest.raises(error, match="amount"):
        prune.l1_unstructured(layer, "weight", amount)
    assert sorted(layer._parameters) == ["bias", "weight"]
