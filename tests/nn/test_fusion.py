"""Layers fused with the batch norm behind them, and modules called with other parameters."""

import numpy as np
import pytest

import dynjax
from dynjax import nn
from dynjax.nn.utils import fuse_conv_bn_eval, fuse_linear_bn_eval
from dynjax.nn.utils.stateless import functional_call

pytestmark = pytest.mark.filterwarnings("ignore:.*functional_call. is deprecated")


def trained(bn):
    """A batch norm whose statistics and weights are no defaults."""
    with dynjax.no_grad():
        for k, tensor in enumerate((bn.weight, bn.bias, bn.running_mean, bn.running_var)):
            tensor.copy_(dynjax.linspace(0.5 + k, 1.5, len(tensor)))
    return bn.eval()


@pytest.mark.parametrize("bias", [True, False])
def test_fused_layers_compute_the_same(bias):
    for fuse, layer, bn, shape in (
        (fuse_conv_bn_eval, nn.Conv2d(2, 4, 3, bias=bias), nn.BatchNorm2d(4), (1, 2, 5, 5)),
        (fuse_linear_bn_eval, nn.Linear(3, 4, bias=bias), nn.BatchNorm1d(4), (2, 3)),
    ):
        layer, bn, x = layer.eval(), trained(bn), dynjax.linspace(-1, 1, int(np.prod(shape)))
        before, x = layer.weight.tolist(), x.reshape(shape)
        fused = fuse(layer, bn)
        assert type(fused) is type(layer) and layer.weight.tolist() == before
        wanted = bn(layer(x)).detach().numpy()
        np.testing.assert_allclose(fused(x).detach().numpy(), wanted, rtol=1e-5, atol=1e-5)


def test_fusing_in_training_is_refused():
    with pytest.raises(AssertionError, match="eval"):
        fuse_conv_bn_eval(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))


def test_a_call_with_other_parameters():
    model = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))
    before = {name: value.tolist() for name, value in model.state_dict().items()}
    weight = dynjax.tensor([[2.0, 3.0]], requires_grad=True)
    mean = dynjax.zeros(1)
    given = {"0.weight": weight, "0.bias": dynjax.ones(1), "1.running_mean": mean}
    out = functional_call(model.eval(), given, dynjax.tensor([[1.0, 10.0]]))
    np.testing.assert_allclose(out.detach().numpy(), [[33 / np.sqrt(1 + 1e-5)]], rtol=1e-6)
    out.sum().backward()
    np.testing.assert_allclose(weight.grad.numpy(), np.array([[1, 10]]) / np.sqrt(1 + 1e-5))
    assert model[0].weight.grad is None
    assert {name: value.tolist() for name, value in model.state_dict().items()} == before


def test_buffers_change_in_what_was_given():
    model, mean = nn.BatchNorm1d(1), dynjax.zeros(1)
    functional_call(model, {"running_mean": mean}, dynjax.tensor([[0.0], [10.0]]))
    assert mean.tolist() == [0.5] and model.running_mean.tolist() == [0.0]


def test_calls_that_are_refused():
    model, x = nn.Linear(2, 2), dynjax.ones(1, 2)
    with pytest.raises(RuntimeError, match="Unexpected"):
        functional_call(model, {"nothing": x}, x, strict=True)
    with pytest.raises(RuntimeError, match="Missing"):
        functional_call(model, {"bias": dynjax.ones(2)}, x, strict=True)
    with pytest.raises(RuntimeError):
        functional_call(model, {"weight": dynjax.ones(3, 3)}, x)
    assert sorted(model.state_dict()) == ["bias", "weight"]
