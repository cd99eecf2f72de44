"""GradScaler: what it does to gradients, updates and the scale."""

import pickle

import numpy as np
import pytest

import dynjax
from dynjax.amp import GradScaler
from dynjax.autograd.multi_tensor import MultiTensor
from dynjax.optim import SGD


def problem(**options):
    """A parameter of ones, its optimizer, a scaler, and a step with a given gradient."""
    param = dynjax.nn.Parameter(dynjax.ones(2))
    optimizer = SGD([param], lr=0.5)
    scaler = GradScaler("cpu", **{"init_scale": 8.0, **options})

    def step(gradient):
        optimizer.zero_grad()
        scaler.scale((param * gradient).sum()).backward()
        scaler.step(optimizer)
        scaler.update()

    return param, optimizer, scaler, step


def test_gradients_are_multiplied_and_divided():
    param, optimizer, scaler, _ = problem()
    scaler.scale((param * 3.0).sum()).backward()
    assert param.grad.tolist() == [24.0, 24.0]
    scaler.unscale_(optimizer)
    assert param.grad.tolist() == [3.0, 3.0]
    scaler.step(optimizer)
    assert param.tolist() == [-0.5, -0.5]


def test_an_overflow_leaves_the_parameters_and_shrinks_the_scale():
    param, _, scaler, step = problem(backoff_factor=0.25)
    for bad in (float("inf"), float("nan")):
        step(bad)
    assert param.tolist() == [1.0, 1.0]
    assert scaler.get_scale() == 8.0 * 0.25**2
    step(1.0)
    assert param.tolist() == [0.5, 0.5]


def test_the_scale_grows_after_an_interval_without_overflow():
    _, _, scaler, step = problem(growth_factor=3.0, growth_interval=2)
    scales = []
    for gradient in (1.0, 1.0, 1.0, float("inf"), 1.0, 1.0):
        step(gradient)
        scales.append(scaler.get_scale())
    assert scales == [8.0, 24.0, 24.0, 12.0, 12.0, 36.0]


def test_one_operation_for_all_gradients(monkeypatch):
    calls = []
    run = MultiTensor.run
    monkeypatch.setattr(MultiTensor, "run", lambda *a: (calls.append(a[0].name), run(*a)))
    params = [dynjax.nn.Parameter(dynjax.ones(k + 1)) for k in range(3)]
    optimizer, scaler = SGD(params, lr=0.1), GradScaler("cpu")
    scaler.scale(sum(p.sum() for p in params)).backward()
    scaler.step(optimizer)
    scaler.update()
    assert calls == ["unscale", "sgd", "update_scale"]


def test_the_state_goes_round():
    _, _, scaler, step = problem(growth_interval=3)
    step(1.0)
    other = GradScaler("cpu")
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()
    again = pickle.loads(pickle.dumps(scaler))
    assert again.state_dict() == scaler.state_dict()


def test_disabled_it_does_nothing():
    param, optimizer, scaler, step = problem(enabled=False)
    step(1.0)
    assert param.tolist() == [0.5, 0.5]
    assert scaler.state_dict() == {} and scaler.get_scale() == 1.0
    x = dynjax.ones(1)
    assert scaler.scale(x) is x


def test_float16_needs_it():
    """A gradient too small for float16 arrives."""
    weight = dynjax.nn.Parameter(dynjax.ones(1))
    grads = []
    for scaler in (GradScaler("cpu", enabled=False), GradScaler("cpu", 1024.0)):
        weight.grad = None
        optimizer = SGD([weight], lr=1.0)
        loss = weight.to(dynjax.float16) * 1e-3 * 1e-5
        scaler.scale(loss.float().sum()).backward()
        scaler.unscale_(optimizer)
        grads.append(weight.grad.item())
    assert grads[0] == 0.0
    np.testing.assert_allclose(grads[1], 1e-8, rtol=0.05)


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda s, o: s.update(), AssertionError, "_scale is None"),
        (lambda s, o: s.scale(3), ValueError, "must be a Tensor or an iterable"),
        (lambda s, o: s.step(o, closure=max), RuntimeError, "Closure use"),
        (lambda s, o: s.load_state_dict({}), RuntimeError, "state dict is empty"),
        (lambda s, o: GradScaler("cpu", growth_factor=0.5), AssertionError, "must be > 1.0"),
    ],
)
def test_bad_inputs(use, error, message):
    _, optimizer, scaler, _ = problem()
    with pytest.raises(error, match=message):
        use(scaler, optimizer)
