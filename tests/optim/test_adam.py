"""Adam and AdamW against their formula."""

import itertools

import numpy as np
import pytest

from dynjax.core.dtypes import float32, float64, get_default_dtype, set_default_dtype
from dynjax.optim import Adam, AdamW
from dynjax.tensor.tensor import from_host
from tests.optim.helpers import check_differentiable, give, numpy, parameter, parameters


def reference(p, grads, *, lr, betas, eps, weight_decay, amsgrad, maximize, decoupled):
    """The formula of the docstring, in float64."""
    m = v = largest = np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        g = -g if maximize else g
        if decoupled:
            p = p * (1 - lr * weight_decay)
        else:
            g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        largest = np.maximum(largest, v)
        corrected = (largest if amsgrad else v) / (1 - betas[1] ** t)
        p = p - lr * m / (1 - betas[0] ** t) / (np.sqrt(corrected) + eps)
    return p, m, v, largest


OPTIONS = [
    {
        "lr": 0.1,
        "betas": betas,
        "eps": 1e-6,
        "weight_decay": weight_decay,
        "amsgrad": amsgrad,
        "maximize": maximize,
    }
    for betas, weight_decay, amsgrad, maximize in itertools.product(
        ((0.9, 0.999), (0.25, 0.5)), (0.0, 0.1), (False, True), (False, True)
    )
]


@pytest.mark.parametrize("cls", [Adam, AdamW])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_formula(cls, options):
    draw = np.random.default_rng(0).standard_normal
    start, grads = draw((2, 3)), draw((5, 2, 3))
    param = parameter(start, np.float64)
    optimizer = cls([param], **options)
    for grad in grads:
        give(param, grad)
        optimizer.step()
    p, m, v, largest = reference(start, grads, decoupled=cls is AdamW, **options)
    state = optimizer.state[param]
    np.testing.assert_allclose(numpy(param), p, rtol=1e-10)
    np.testing.assert_allclose(numpy(state["exp_avg"]), m, rtol=1e-10)
    np.testing.assert_allclose(numpy(state["exp_avg_sq"]), v, rtol=1e-10)
    names = ["step", "exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * options["amsgrad"]
    assert list(state) == names
    if options["amsgrad"]:
        np.testing.assert_allclose(numpy(state["max_exp_avg_sq"]), largest, rtol=1e-10)
    assert state["step"].shape == () and float(state["step"]) == 5.0


def test_each_parameter_counts_its_own_steps():
    options = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-6, "amsgrad": False}
    draw = np.random.default_rng(0).standard_normal
    params = [parameter(draw(2), np.float64) for _ in range(4)]
    starts = [numpy(param) for param in params]
    optimizer = Adam(params, **options)
    grads = draw((9, 4, 2))
    seen: list[list] = [[] for _ in params]
    for i, step in enumerate(grads):
        for k, param in enumerate(params):
            param.grad = None
            if i % (k + 1) == 0:
                give(param, step[k])
                seen[k].append(step[k])
        optimizer.step()
    for k, param in enumerate(params):
        p, *_ = reference(
            starts[k], seen[k], weight_decay=0, maximize=False, decoupled=False, **options
        )
        np.testing.assert_allclose(numpy(param), p, rtol=1e-10)
        assert float(optimizer.state[param]["step"]) == len(seen[k])


def test_lists_of_the_same_sizes_are_not_confused():
    """Two parameters: five lists of two, with AMSGrad and with differing counts."""
    for amsgrad, mixed in [(True, False), (False, True), (True, True)]:
        draw = np.random.default_rng(0).standard_normal
        params = [parameter(draw(2), np.float64) for _ in range(2)]
        starts = [numpy(param) for param in params]
        options = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-6, "amsgrad": amsgrad}
        optimizer = Adam(params, **options)
        grads = draw((3, 2, 2))
        for i, step in enumerate(grads):
            for k, param in enumerate(params):
                param.grad = None
                if not (mixed and i == 0 and k == 0):
                    give(param, step[k])
            optimizer.step()
        for k, param in enumerate(params):
            given = grads[1:, k] if mixed and k == 0 else grads[:, k]
            p, *_ = reference(
                starts[k], given, weight_decay=0, maximize=False, decoupled=False, **options
            )
            np.testing.assert_allclose(numpy(param), p, rtol=1e-10)


def test_counts_that_the_user_sets_are_used():
    params = parameters((2,), (2,))
    others = parameters((2,), (2,))
    optimizer, other = Adam(params), Adam(others)
    optimizer.step()
    other.step()
    for param in params:
        optimizer.state[param]["step"] = from_host(np.float32(10.0))
    for param in others:
        other.state[param]["step"]._set_host(np.float32(10.0))
    optimizer.step()
    other.step()
    for param, same in zip(params, others):
        assert float(optimizer.state[param]["step"]) == 11.0
        np.testing.assert_array_equal(numpy(param), numpy(same))


def test_a_count_changed_in_place_is_that_of_one_parameter():
    params = parameters((2,), (2,))
    optimizer = Adam(params)
    optimizer.step()
    count = optimizer.state[params[0]]["step"]
    count._set_host(np.float32(10.0))
    optimizer.step()
    assert [float(optimizer.state[param]["step"]) for param in params] == [11.0, 2.0]
    assert optimizer.state[params[0]]["step"] is count


def test_counts_that_are_numbers_load():
    """So they are in checkpoints of older versions."""
    params = parameters((2,))
    optimizer = Adam(params)
    optimizer.step()
    saved = optimizer.state_dict()
    saved["state"] = {0: {**saved["state"][0], "step": 1}}
    optimizer.load_state_dict(saved)
    step = optimizer.state[params[0]]["step"]
    assert step.dtype is float32 and float(step) == 1.0


def test_count_dtype_follows_the_default_dtype():
    before = get_default_dtype()
    set_default_dtype(float64)
    try:
        a, b = parameters((2,), (2,))
        Adam([a]).step()
        optimizer, fused = Adam([a]), Adam([b], fused=True)
        optimizer.step()
        fused.step()
        assert optimizer.state[a]["step"].dtype is float64
        assert fused.state[b]["step"].dtype is float32
    finally:
        set_default_dtype(before)


def test_adamw_stays_decoupled_whatever_it_loads():
    params = parameters((2,))
    saved = Adam(params).state_dict()
    optimizer = AdamW(params)
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["decoupled_weight_decay"] is True


def test_complex_parameters_are_pairs_of_real_ones():
    draw = np.random.default_rng(0).standard_normal
    pair, grads = draw((2, 3)), draw((4, 2, 3))
    whole = parameter(pair[0] + 1j * pair[1], np.complex128)
    parts = [parameter(part, np.float64) for part in pair]
    for grad in grads:
        give(whole, grad[0] + 1j * grad[1])
        for part, g in zip(parts, grad):
            give(part, g)
    for optimizer in (Adam([whole], amsgrad=True), Adam(parts, amsgrad=True)):
        optimizer.step()
    np.testing.assert_allclose(numpy(whole).real, numpy(parts[0]), rtol=1e-12)
    np.testing.assert_allclose(numpy(whole).imag, numpy(parts[1]), rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lr": -1.0}, ValueError, "Invalid learning rate: -1.0"),
        ({"lr": float("nan")}, ValueError, "Invalid learning rate: nan"),
        ({"eps": -1.0}, ValueError, "Invalid epsilon value: -1.0"),
        ({"betas": (1.0, 0.5)}, ValueError, "Invalid beta parameter at index 0: 1.0"),
        ({"betas": (0.5, -1.0)}, ValueError, "Invalid beta parameter at index 1: -1.0"),
        ({"weight_decay": -1}, ValueError, "Invalid weight_decay value: -1"),
        ({"betas": (0, 0.5)}, ValueError, "betas must be either both floats or both Tensors"),
        (
            {"betas": (0.5, from_host(np.float32(0.5)))},
            ValueError,
            "betas must be either both floats or both Tensors",
        ),
        ({"lr": parameter([0.1, 0.2])}, ValueError, "Tensor lr must be 1-element"),
        (
            {"lr": parameter(0.1), "foreach": True},
            ValueError,
            "lr as a Tensor is not supported for capturable=False and foreach=True",
        ),
        (
            {"betas": (parameter(0.1), parameter(0.1)), "foreach": True},
            ValueError,
            r"betas\[0\] as a Tensor is not supported for capturable=False and foreach=True",
        ),
        ({"fused": True, "differentiable": True}, RuntimeError, "`fused` does not support"),
        ({"fused": True, "foreach": True}, RuntimeError, "`fused` and `foreach` cannot be `True`"),
    ],
)
@pytest.mark.parametrize("cls", [Adam, AdamW])
def test_bad_options(cls, options, error, message):
    with pytest.raises(error, match=message):
        cls(parameters((2,)), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"weight_decay": 0.1},
        {"amsgrad": True, "maximize": True},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
    ids=str,
)
def test_differentiable_steps_lead_to_the_same_place(options):
    check_differentiable(Adam, **options)


def test_differentiable_steps_of_complex_parameters_are_refused():
    param = parameter([1.0], np.complex64)
    give(param, 1.0)
    with pytest.raises(NotImplementedError, match="does not support complex parameters"):
        Adam([param], differentiable=True).step()
