"""The optimizers that are rules for one parameter, against their formulas in float64."""

import numpy as np
import pytest

import dynjax
from dynjax import optim
from dynjax.autograd.multi_tensor import MultiTensor
from tests.optim.helpers import give, numpy, parameter, parameters

STEPS = 7


def adadelta(p, s, g, t, lr=0.5, rho=0.8, eps=1e-3):
    s["v"] = rho * s.get("v", 0) + (1 - rho) * g * g
    d = np.sqrt(s.get("u", 0) + eps) / np.sqrt(s["v"] + eps) * g
    s["u"] = rho * s.get("u", 0) + (1 - rho) * d * d
    return p - lr * d


def adafactor(p, s, g, t, lr=0.1, beta2_decay=-0.5, eps=(1e-8, 1e-2), d=1.0):
    def rms(x):
        return np.sqrt((x * x).mean())

    w = t**beta2_decay
    rate = max(eps[1], rms(p)) * min(lr, 1 / np.sqrt(t))
    row, column = (g * g).mean(-1, keepdims=True), (g * g).mean(-2, keepdims=True)
    s["r"] = s.get("r", 0) * (1 - w) + w * row
    s["c"] = s.get("c", 0) * (1 - w) + w * column
    u = g / np.sqrt(s["r"] * s["c"] / s["r"].mean(-2, keepdims=True))
    return p - rate * u / max(1, rms(u) / d)


def adagrad(p, s, g, t, lr=0.5, lr_decay=0.1, initial_accumulator_value=0.2):
    s["sum"] = s.get("sum", initial_accumulator_value) + g * g
    return p - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s["sum"]) + 1e-10)


def adamax(p, s, g, t, lr=0.1, betas=(0.8, 0.9)):
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["u"] = np.maximum(betas[1] * s.get("u", 0), abs(g) + 1e-8)
    return p - lr / (1 - betas[0] ** t) * s["m"] / s["u"]


def asgd(p, s, g, t, lr=0.1, lambd=0.1, alpha=0.5, t0=2):
    eta = lr / (1 + lambd * lr * (t - 1)) ** alpha
    mu = 1 / max(1, t - 1 - t0)
    p = (1 - lambd * eta) * p - eta * g
    s["ax"] = s.get("ax", 0) + mu * (p - s.get("ax", 0))
    return p


def nadam(p, s, g, t, lr=0.1, betas=(0.8, 0.9), momentum_decay=0.1):
    def mu(t):
        return betas[0] * (1 - 0.5 * 0.96 ** (t * momentum_decay))

    s["M"] = s.get("M", 1) * mu(t)
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
    ahead = (1 - mu(t)) / (1 - s["M"]) * g + mu(t + 1) / (1 - s["M"] * mu(t + 1)) * s["m"]
    return p - lr * ahead / (np.sqrt(s["v"] / (1 - betas[1] ** t)) + 1e-8)


def radam(p, s, g, t, lr=0.1, betas=(0.8, 0.9)):
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
    step = lr * s["m"] / (1 - betas[0] ** t)
    most = 2 / (1 - betas[1]) - 1
    r = most - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
    if r > 5:
        step *= np.sqrt((r - 4) * (r - 2) * most / ((most - 4) * (most - 2) * r))
        step *= np.sqrt(1 - betas[1] ** t) / (np.sqrt(s["v"]) + 1e-8)
    return p - step


def rmsprop(p, s, g, t, lr=0.1, alpha=0.8, centered=True, momentum=0.5, eps=0.1):
    s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g * g
    s["a"] = alpha * s.get("a", 0) + (1 - alpha) * g
    s["b"] = momentum * s.get("b", 0) + g / (np.sqrt(s["v"] - s["a"] ** 2) + eps)
    return p - lr * s["b"]


def rprop(p, s, g, t, lr=0.1, etas=(0.5, 1.2), step_sizes=(0.04, 0.2)):
    agrees = g * s.get("prev", 0)
    factor = np.where(agrees > 0, etas[1], np.where(agrees < 0, etas[0], 1))
    s["size"] = np.clip(s.get("size", lr) * factor, *step_sizes)
    s["prev"] = np.where(agrees < 0, 0, g)
    return p - np.sign(s["prev"]) * s["size"]


RULES = {
    "Adadelta": adadelta, "Adafactor": adafactor, "Adagrad": adagrad, "Adamax": adamax,
    "ASGD": asgd, "NAdam": nadam, "RAdam": radam, "RMSprop": rmsprop, "Rprop": rprop,
}  # fmt: skip


def options_of(rule):
    """The formula's defaults are what the optimizer is given."""
    names = rule.__code__.co_varnames[: rule.__code__.co_argcount]
    return dict(zip(names[4:], rule.__defaults__, strict=True))


@pytest.mark.parametrize("name", RULES)
def test_formula(name):
    draw = np.random.default_rng(0).standard_normal
    start, grads = draw((3, 4)), draw((STEPS, 3, 4))
    param = parameter(start, np.float64)
    optimizer = getattr(optim, name)([param], **options_of(RULES[name]))
    expected, state = start, {}
    for t, grad in enumerate(grads, 1):
        give(param, grad)
        optimizer.step()
        expected = RULES[name](expected, state, grad, t)
    # What PyTorch keeps in float32 (eta and mu of ASGD, NAdam's product) is rounded.
    np.testing.assert_allclose(numpy(param), expected, rtol=1e-6)
    assert float(optimizer.state[param]["step"]) == STEPS


def test_muon_moves_along_an_orthogonal_matrix():
    (param,) = parameters((4, 6))
    before = numpy(param)
    optim.Muon([param], lr=1.0, weight_decay=0.0).step()
    sizes = np.linalg.svd(before - numpy(param), compute_uv=False)
    assert ((sizes > 0.6) & (sizes < 1.3)).all()


@pytest.mark.parametrize("name", sorted(RULES))
def test_maximizing_is_minimizing_the_negative(name):
    options = options_of(RULES[name])
    one, two = parameter([[1.0, -2.0]], np.float64), parameter([[1.0, -2.0]], np.float64)
    for param, sign, maximize in ((one, 1, False), (two, -1, True)):
        optimizer = getattr(optim, name)([param], **options, maximize=maximize)
        for k in range(3):
            give(param, [[sign * (k + 1.0), sign * 0.5]])
            optimizer.step()
    np.testing.assert_allclose(numpy(one), numpy(two), rtol=1e-12)


@pytest.mark.parametrize("name", sorted(RULES.keys() - {"Adafactor"}))
def test_a_complex_parameter_is_two_real_ones(name):
    options = options_of(RULES[name])
    whole = parameter([1.0 + 2.0j], np.complex128)
    real, imag = parameter([1.0], np.float64), parameter([2.0], np.float64)
    optimizers = [getattr(optim, name)(group, **options) for group in ([whole], [real, imag])]
    for k in range(3):
        give(whole, [k - 1.0 + 0.5j * k])
        give(real, [k - 1.0])
        give(imag, [0.5 * k])
        for optimizer in optimizers:
            optimizer.step()
    np.testing.assert_allclose(numpy(whole), numpy(real) + 1j * numpy(imag), rtol=1e-12)


@pytest.mark.parametrize("name", sorted(RULES.keys() - {"Adafactor"}))
def test_updates_are_differentiable(name):
    """The gradient of the new parameter with respect to the gradient, by finite differences."""
    options = {**options_of(RULES[name]), "differentiable": True}

    def updated(shift):
        grad = dynjax.tensor([0.5, -0.3], dtype=dynjax.float64) + shift
        param = (dynjax.tensor([1.0, 2.0], dtype=dynjax.float64, requires_grad=True)) * 1
        optimizer = getattr(optim, name)([param], **options)
        for k in range(2):
            param.grad = grad * (k + 1)
            optimizer.step()
        return (param * param).sum()

    shift = dynjax.zeros((), dtype=dynjax.float64, requires_grad=True)
    updated(shift).backward()
    with dynjax.no_grad():
        h = 1e-6
        slope = (float(updated(shift + h)) - float(updated(shift - h))) / (2 * h)
    np.testing.assert_allclose(float(shift.grad), slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", sorted({*RULES, "Muon"}))
def test_one_operation_a_group_and_no_program_for_a_number(name, monkeypatch):
    calls = []
    run = MultiTensor.run
    monkeypatch.setattr(MultiTensor, "run", lambda *a: (calls.append(a[0].name), run(*a)))
    params = parameters((2, 3), (3, 2))
    optimizer = getattr(optim, name)(params)
    for k in range(3):
        optimizer.param_groups[0]["lr"] = 0.1 / (k + 1)
        optimizer.step()
    with dynjax.explain() as log:
        optimizer.param_groups[0]["lr"] = 0.123
        optimizer.step()
    assert calls == [name.lower()] * 4
    assert not log


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: optim.Adadelta(p, rho=1.5), ValueError, "Invalid rho value: 1.5"),
        (lambda p: optim.Adagrad(p, lr_decay=-1), ValueError, "Invalid lr_decay value: -1"),
        (lambda p: optim.Adafactor(p, d=0.5), ValueError, "Clipping threshold d .* 0.5"),
        (lambda p: optim.NAdam(p, momentum_decay=-0.2), ValueError, "momentum_decay value: -0.2"),
        (lambda p: optim.RAdam(p, betas=(0.9, 1.0)), ValueError, "at index 1: 1.0"),
        (lambda p: optim.RMSprop(p, momentum=-1), ValueError, "Invalid momentum value: -1"),
        (lambda p: optim.Rprop(p, etas=(1.2, 0.5)), ValueError, "eta values: 1.2, 0.5"),
        (lambda p: optim.ASGD(p, lr=-0.1), ValueError, "Invalid learning rate: -0.1"),
        (lambda p: optim.Adagrad(p, fused=True, foreach=True), RuntimeError, "cannot be `True`"),
        (lambda p: optim.Muon(p), ValueError, "only supports 2D parameters"),
        (lambda p: optim.Muon([p[0].reshape(1, 2).detach()], adjust_lr_fn="x"), ValueError, "x is"),
    ],
)  # fmt: skip
def test_bad_options(make, error, message):
    with pytest.raises(error, match=message):
        make(parameters((2,)))
