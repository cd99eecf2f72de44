"""Clipping gradients; parameters as a vector."""

import numpy as np
import pytest

import dynjax
from dynjax import nn
from dynjax.engine.trace import state
from dynjax.nn.utils import (
    clip_grad_norm_,
    clip_grad_value_,
    get_total_norm,
    parameters_to_vector,
    vector_to_parameters,
)


def with_grads(*grads):
    params = []
    for grad in grads:
        param = nn.Parameter(dynjax.zeros(len(grad)))
        param.grad = dynjax.tensor(grad)
        params.append(param)
    return params


@pytest.mark.parametrize("norm_type", [1, 2, 3.0, float("inf"), "inf"])
@pytest.mark.parametrize("max_norm", [1.0, 50.0])
def test_clipping_by_norm(norm_type, max_norm):
    grads = [3.0, -4.0], [12.0]
    params = with_grads(*grads)
    flat = np.array([3.0, -4.0, 12.0])
    expected = np.linalg.norm(flat, float(norm_type))
    total = clip_grad_norm_(params, max_norm, norm_type)
    scale = min(1.0, max_norm / (expected + 1e-6))
    assert isinstance(total, dynjax.Tensor) and total.shape == ()
    np.testing.assert_allclose(total.item(), expected, rtol=1e-6)
    clipped = np.concatenate([p.grad.numpy() for p in params])
    np.testing.assert_allclose(clipped, flat * scale, rtol=1e-5)


def test_clipping_waits_for_nothing():
    params = with_grads([3.0, 4.0])
    params[0].grad = params[0].grad * 2
    before = state.trace
    grad = params[0].grad
    total = clip_grad_norm_(params, 1.0)
    assert state.trace is before and params[0].grad is grad
    assert total._v.trace is before and grad._v.trace is before
    assert total.item() == pytest.approx(10.0) and grad.tolist() == pytest.approx([0.6, 0.8])


def test_clipping_with_a_new_bound_compiles_nothing():
    def run(bound):
        params = with_grads([3.0, 4.0])
        clip_grad_norm_(params, bound)
        return params[0].grad.tolist()

    run(1.0)
    with dynjax.explain() as log:
        assert run(2.5) == pytest.approx([1.5, 2.0])
    assert not list(log)


def test_parameters_without_gradients_are_left_out():
    [param] = with_grads([3.0, 4.0])
    other = nn.Parameter(dynjax.ones(1))
    assert clip_grad_norm_([param, other], 1.0).item() == pytest.approx(5.0)
    assert other.grad is None and clip_grad_norm_(other, 1.0).item() == 0.0
    clip_grad_value_(other, 1.0)


def test_not_finite_norms():
    params = with_grads([float("nan"), 1.0])
    with pytest.raises(RuntimeError, match="total norm of order 2.0 .* is non-finite"):
        clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    assert params[0].grad[1].item() == 1.0
    assert np.isnan(clip_grad_norm_(params, 1.0).item())


def test_an_empty_generator_warns():
    with pytest.warns(UserWarning, match="`parameters` is an empty generator"):
        clip_grad_norm_((p for p in ()), 1.0)


def test_mixed_types_promote():
    total = get_total_norm([dynjax.ones(3), dynjax.ones(1, dtype=dynjax.float64)])
    assert total.dtype == dynjax.float64 and total.item() == pytest.approx(2.0)
    half = get_total_norm([dynjax.full((100,), 300.0, dtype=dynjax.float16)])
    assert half.dtype == dynjax.float16 and half.item() == pytest.approx(3000, rel=1e-3)


def test_clipping_by_value():
    params = with_grads([3.0, -4.0], [0.5])
    clip_grad_value_(params, 1.5)
    assert params[0].grad.tolist() == [1.5, -1.5] and params[1].grad.tolist() == [0.5]
    with pytest.raises(ValueError, match="could not convert string to float"):
        clip_grad_value_(params, "x")
    assert params[0].grad.tolist() == [1.5, -1.5]


def test_parameters_as_a_vector():
    net = nn.Linear(2, 3)
    vector = parameters_to_vector(net.parameters())
    assert vector.shape == (9,) and vector.requires_grad
    assert vector[6:].tolist() == net.bias.tolist()
    weight = net.weight
    vector_to_parameters(dynjax.arange(9.0), net.parameters())
    assert net.weight is weight and weight.requires_grad and weight.is_leaf
    assert net.weight.tolist() == [[0, 1], [2, 3], [4, 5]] and net.bias.tolist() == [6, 7, 8]
    with pytest.raises(TypeError, match="expected torch.Tensor, but got: list"):
        vector_to_parameters([1.0], net.parameters())
