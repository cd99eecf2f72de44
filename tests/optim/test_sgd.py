"""SGD against its formula."""

import itertools

import numpy as np
import pytest

from dynjax.autograd.multi_tensor import MultiTensor
from dynjax.optim import SGD
from tests.optim.helpers import check_differentiable, give, numpy, parameter, parameters


def reference(values, grads, *, lr, momentum, dampening, weight_decay, nesterov, maximize):
    """The formula of the docstring, in float64."""
    p, b = values.astype(np.float64), None
    for g in grads:
        g = (-g if maximize else g) + weight_decay * p
        if momentum:
            b = g if b is None else momentum * b + (1 - dampening) * g
            g = g + momentum * b if nesterov else b
        p = p - lr * g
    return p, b


OPTIONS = [
    {
        "lr": 0.1,
        "momentum": momentum,
        "dampening": dampening,
        "weight_decay": weight_decay,
        "nesterov": nesterov,
        "maximize": maximize,
    }
    for momentum, dampening, weight_decay, nesterov, maximize in itertools.product(
        (0, 0.9), (0, 0.5), (0, 0.1), (False, True), (False, True)
    )
    if not nesterov or (momentum and not dampening)
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_formula(options):
    draw = np.random.default_rng(0).standard_normal
    start, grads = draw((2, 3)), draw((5, 2, 3))
    param = parameter(start, np.float64)
    optimizer = SGD([param], **options)
    for grad in grads:
        give(param, grad)
        optimizer.step()
    expected, buffer = reference(start, grads, **options)
    np.testing.assert_allclose(numpy(param), expected, rtol=1e-12)
    if buffer is None:
        assert not optimizer.state
    else:
        state = optimizer.state[param]
        assert list(state) == ["momentum_buffer"]
        np.testing.assert_allclose(numpy(state["momentum_buffer"]), buffer, rtol=1e-12)


def test_first_gradients_are_not_dampened_whenever_they_come():
    options = {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}
    draw = np.random.default_rng(0).standard_normal
    params = [parameter(draw(3), np.float64) for _ in range(3)]
    starts = [numpy(param) for param in params]
    optimizer = SGD(params, **options)
    grads = draw((5, 3, 3))
    for i, step in enumerate(grads):
        for k, param in enumerate(params):
            param.grad = None
            if i >= k:
                give(param, step[k])
        optimizer.step()
    for k, param in enumerate(params):
        expected, _ = reference(
            starts[k], grads[k:, k], weight_decay=0, nesterov=False, maximize=False, **options
        )
        np.testing.assert_allclose(numpy(param), expected, rtol=1e-12)


def test_a_buffer_that_is_none_counts_as_not_yet_there():
    """So it is in checkpoints of older versions."""
    (param,) = parameters((2,))
    optimizer = SGD([param], momentum=0.9, dampening=0.5)
    saved = optimizer.state_dict()
    saved["state"] = {0: {"momentum_buffer": None}}
    optimizer.load_state_dict(saved)
    optimizer.step()
    buffer = optimizer.state[param]["momentum_buffer"]
    np.testing.assert_array_equal(numpy(buffer), numpy(param.grad))


def test_mixed_dtypes_are_updated_each_in_its_own():
    dtypes = [np.float64, np.float32, np.float16, np.complex64]
    params = [parameter([1.0, 2.0], dtype) for dtype in dtypes]
    for param in params:
        give(param, [0.5, 0.25])
    SGD(params, lr=0.5, momentum=0.9).step()
    for param, dtype in zip(params, dtypes):
        assert numpy(param).dtype == dtype
        np.testing.assert_array_equal(numpy(param), np.array([0.75, 1.875], dtype))


def test_one_operation_a_group(monkeypatch):
    calls = []
    monkeypatch.setattr(MultiTensor, "run", lambda *args: calls.append(args[1].sizes[0]))
    a, b, c = parameters((2,), (3,), (4,))
    SGD([{"params": [a, b]}, {"params": [c]}], momentum=0.9).step()
    assert calls == [2, 1]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lr": -1.0}, ValueError, "Invalid learning rate: -1.0"),
        ({"momentum": -0.5}, ValueError, "Invalid momentum value: -0.5"),
        ({"weight_decay": -1}, ValueError, "Invalid weight_decay value: -1"),
        ({"nesterov": True}, ValueError, "Nesterov momentum requires a momentum and zero"),
        (
            {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
            ValueError,
            "Nesterov momentum requires a momentum and zero dampening",
        ),
        ({"lr": parameter([0.1, 0.2])}, ValueError, "Tensor lr must be 1-element"),
        ({"fused": True, "differentiable": True}, RuntimeError, "`fused` does not support"),
        ({"fused": True, "foreach": True}, RuntimeError, "`fused` and `foreach` cannot be `True`"),
        ({"lr": "a"}, TypeError, "not supported between instances of 'str' and 'float'"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        SGD(parameters((2,)), **options)


def test_fused_needs_floating_parameters():
    param = parameter([1.0], np.complex64)
    give(param, 1.0)
    with pytest.raises(RuntimeError, match="requires all the params to be floating point Tensors"):
        SGD([param], fused=True).step()


@pytest.mark.parametrize(
    "options",
    [
        {"weight_decay": 0.1},
        {"momentum": 0.9, "dampening": 0.5, "maximize": True},
        {"momentum": 0.9, "nesterov": True},
    ],
    ids=str,
)
def test_differentiable_steps_lead_to_the_same_place(options):
    check_differentiable(SGD, **options)
