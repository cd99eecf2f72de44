"""Lazy layers learn their sizes from the first input, or from a state."""

import copy

import numpy as np
import pytest

import dynjax
from dynjax import nn
from dynjax.nn.parameter import is_lazy

CASES = [
    (lambda: nn.LazyLinear(3), (2, 5), nn.Linear, (3, 5)),
    (lambda: nn.LazyConv2d(4, 2, groups=2), (1, 6, 4, 4), nn.Conv2d, (4, 3, 2, 2)),
    (lambda: nn.LazyConvTranspose1d(4, 2), (6, 4), nn.ConvTranspose1d, (6, 4, 2)),
    (lambda: nn.LazyBatchNorm1d(), (3, 5), nn.BatchNorm1d, (5,)),
    (lambda: nn.LazyInstanceNorm2d(), (1, 5, 3, 3), nn.InstanceNorm2d, (5,)),
]
IDS = [cls.__name__ for *_, cls, _ in CASES]


@pytest.mark.parametrize(("make", "shape", "becomes", "weight"), CASES, ids=IDS)
def test_the_first_call_settles_the_sizes(make, shape, becomes, weight):
    layer = make()
    assert is_lazy(layer.weight) and repr(layer.weight) == "<UninitializedParameter>"
    assert layer.has_uninitialized_params()
    layer(dynjax.ones(shape))
    assert type(layer) is becomes and tuple(layer.weight.shape) == weight
    assert type(layer.weight) is nn.Parameter and layer.weight.requires_grad
    assert not layer._forward_pre_hooks and not layer._load_state_dict_pre_hooks


def test_a_state_settles_the_sizes_too():
    layer, other = nn.LazyLinear(3), nn.Linear(5, 3)
    layer.load_state_dict(other.state_dict())
    assert not layer.has_uninitialized_params()
    x = dynjax.ones(2, 5)
    np.testing.assert_array_equal(layer(x).detach().numpy(), other(x).detach().numpy())
    assert repr(layer) == repr(other)


def test_types_and_copies_before_the_first_call():
    layer = copy.deepcopy(nn.Sequential(nn.LazyLinear(3), nn.LazyLinear(2)).double())
    layer(dynjax.ones(2, 5, dtype=dynjax.float64))
    assert [tuple(m.weight.shape) for m in layer] == [(3, 5), (2, 3)]
    assert layer[0].weight.dtype is dynjax.float64


def test_a_layer_of_ones_own():
    class Scale(nn.modules.lazy.LazyModuleMixin, nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.UninitializedParameter()

        def initialize_parameters(self, x):
            if self.has_uninitialized_params():
                self.scale.materialize((x.shape[-1],))
                nn.init.ones_(self.scale)

        def forward(self, x):
            return x * self.scale

    layer = Scale()
    assert layer(dynjax.ones(2, 3)).tolist() == [[1.0] * 3] * 2 and type(layer) is Scale


def test_what_has_no_shape_says_so():
    with pytest.raises(RuntimeError, match="shape of an uninitialized parameter"):
        _ = nn.LazyLinear(3).weight.shape
    with pytest.raises(RuntimeError, match="Expected 3D .unbatched. or 4D .batched. input"):
        nn.LazyConv2d(4, 2)(dynjax.ones(2, 2))
    with pytest.raises(ValueError, match="divisible by groups, got 3 and 2"):
        nn.LazyConv1d(4, 1, groups=2)(dynjax.ones(3, 2))
