"""Activation functions: closed forms, gradients against `jax.grad`, kinks, bad input."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dynjax as torch
import dynjax.nn.functional as F
from tests.ops.common import assert_close, assert_gradient, gradient

X = np.array([-30.0, -4, -2.5, -1.25, -0.3, 0.2, 0.7, 1.5, 2.5, 4, 30], np.float32)
SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772

FORMS = {
    "relu": lambda x: jnp.maximum(x, 0),
    "relu6": lambda x: jnp.clip(x, 0, 6),
    "leaky_relu": lambda x: jnp.where(x > 0, x, 0.01 * x),
    "elu": lambda x: jnp.where(x > 0, x, jnp.expm1(jnp.minimum(x, 0))),
    "selu": lambda x: SCALE * jnp.where(x > 0, x, ALPHA * jnp.expm1(jnp.minimum(x, 0))),
    "celu": lambda x: jnp.where(x > 0, x, jnp.expm1(jnp.minimum(x, 0))),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "silu": jax.nn.silu,
    "mish": lambda x: x * jnp.tanh(jnp.log1p(jnp.exp(x))),
    "softplus": lambda x: jnp.where(x > 20, x, jnp.log1p(jnp.exp(jnp.minimum(x, 20)))),
    "softsign": lambda x: x / (1 + jnp.abs(x)),
    "hardtanh": lambda x: jnp.clip(x, -1, 1),
    "hardsigmoid": lambda x: jnp.clip(x / 6 + 0.5, 0, 1),
    "hardswish": lambda x: x * jnp.clip(x / 6 + 0.5, 0, 1),
    "logsigmoid": lambda x: -jnp.logaddexp(-x, 0),
    "tanhshrink": lambda x: x - jnp.tanh(x),
    "softshrink": lambda x: jnp.sign(x) * jnp.maximum(jnp.abs(x) - 0.5, 0),
    "hardshrink": lambda x: jnp.where(jnp.abs(x) > 0.5, x, 0),
}


@pytest.mark.parametrize("name", FORMS)
def test_closed_forms(name):
    function, form = getattr(F, name), FORMS[name]
    assert_close(function(torch.tensor(X.tolist())), np.asarray(form(X)), rtol=1e-5, atol=3e-6)
    assert_gradient(function, form, X, atol=3e-6)


@pytest.mark.parametrize(
    "name, args, at, slopes",
    [
        ("relu", (), [0.0], [0.0]),
        ("relu6", (), [0.0, 6.0], [0.0, 0.0]),
        ("hardtanh", (), [-1.0, 1.0], [0.0, 0.0]),
        ("hardtanh", (-2.0, 3.0), [-2.0, 0.0, 3.0], [0.0, 1.0, 0.0]),
        ("leaky_relu", (0.25,), [0.0], [0.25]),
        ("elu", (2.0,), [0.0], [2.0]),
        ("celu", (2.0,), [0.0], [1.0]),
        ("hardsigmoid", (), [-3.0, 3.0], [0.0, 0.0]),
        ("hardswish", (), [-3.0, 3.0], [0.0, 1.0]),
        ("hardshrink", (), [-0.5, 0.5], [0.0, 0.0]),
        ("softshrink", (), [-0.5, 0.5], [0.0, 0.0]),
        ("softsign", (), [0.0], [1.0]),
        ("threshold", (1.0, 5.0), [1.0, 2.0], [0.0, 1.0]),
    ],
)
def test_slopes_at_kinks(name, args, at, slopes):
    assert gradient(lambda x: getattr(F, name)(x, *args), at).tolist() == slopes


@pytest.mark.parametrize("name", FORMS)
def test_far_out_everything_is_finite(name):
    x = torch.tensor([-1e4, 1e4], requires_grad=True)
    result = getattr(F, name)(x)
    (slope,) = torch.autograd.grad(result.sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x, allow_unused=True, materialize_grads=True)
    for value in (result, slope, curvature):
        assert np.isfinite(value.detach().numpy()).all()


@pytest.mark.parametrize(
    "name",
    ["relu", "relu6", "leaky_relu", "elu", "selu", "celu", "silu", "mish"]
    + ["hardtanh", "hardsigmoid", "hardswish"],
)
def test_inplace(name):
    x = torch.tensor(X.tolist())
    expected = getattr(F, name)(x).tolist()
    y = x.clone()
    assert getattr(F, name)(y, inplace=True) is y
    assert y.tolist() == expected and x.tolist() == X.tolist()


def test_inplace_as_last_positional_argument_and_under_gradient():
    x = torch.tensor([-2.0, 3.0], requires_grad=True)
    y = F.leaky_relu(x * 2, 0.5, True)
    y.sum().backward()
    assert y.tolist() == [-2.0, 6.0] and x.grad.tolist() == [1.0, 2.0]
    assert F.threshold_(torch.tensor([0.0, 2.0]), 1.0, 9.0).tolist() == [9.0, 2.0]


def test_nan_stays_nan():
    x = torch.tensor([math.nan])
    for name in FORMS:
        assert math.isnan(getattr(F, name)(x).item()), name


def test_gelu_by_tanh():
    expected = np.asarray(jax.nn.gelu(X, approximate=True))
    assert_close(F.gelu(torch.tensor(X.tolist()), approximate="tanh"), expected)


def test_softplus_with_beta_and_threshold():
    x = torch.tensor([0.0, 1.0, 3.0])
    expected = np.array([math.log(2) / 2, math.log1p(math.exp(2)) / 2, 3.0], np.float32)
    assert_close(F.softplus(x, beta=2, threshold=5), expected)


def test_glu_halves_a_dimension():
    x = np.arange(8, dtype=np.float32).reshape(2, 4) / 4
    expected = x[:, :2] / (1 + np.exp(-x[:, 2:]))
    assert_close(F.glu(torch.tensor(x.tolist())), expected)


def test_prelu_by_channel():
    x = torch.tensor([[-1.0, -2.0], [3.0, -4.0]])
    w = torch.tensor([0.5, 0.25], requires_grad=True)
    y = F.prelu(x, w)
    y.sum().backward()
    assert y.tolist() == [[-0.5, -0.5], [3.0, -1.0]]
    assert w.grad.tolist() == [-1.0, -6.0]


@given(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=6))
def test_softmax_properties(row):
    x = torch.tensor([row])
    p = F.softmax(x, dim=1)
    assert p.sum().item() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(F.log_softmax(x, 1).exp().numpy(), p.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(F.softmin(-x, 1).numpy(), p.numpy(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(F.softmax(x + 100, 1).numpy(), p.numpy(), rtol=1e-4, atol=1e-5)


def test_softmax_of_extremes():
    x = torch.tensor([[1e4, 0.0], [-math.inf, 0.0], [-math.inf, -math.inf]])
    p = F.softmax(x, 1).numpy()
    assert p[:2].tolist() == [[1, 0], [0, 1]] and np.isnan(p[2]).all()


def test_softmax_gradients():
    w = np.linspace(-1, 1, X.size).astype(np.float32)
    weights = torch.tensor(w.tolist())
    assert_gradient(lambda x: F.softmax(x, 0) * weights, lambda x: jax.nn.softmax(x) * w, X)
    assert_gradient(
        lambda x: F.log_softmax(x, 0) * weights, lambda x: jax.nn.log_softmax(x) * w, X, atol=1e-5
    )


def test_softmax_without_dim_warns_every_time():
    x = torch.tensor([[0.0, 0.0]])
    for _ in range(2):
        with pytest.warns(UserWarning, match="Implicit dimension choice for softmax") as caught:
            assert F.softmax(x).tolist() == [[0.5, 0.5]]
        assert caught[0].filename == __file__


def test_softmax_in_another_type():
    x = torch.tensor([0, 0])
    assert F.softmax(x, 0, dtype=torch.float64).dtype is torch.float64


@pytest.mark.parametrize("name", ["gelu", "silu", "softplus", "elu", "mish"])
def test_half_types_are_computed_in_float32(name):
    x = jnp.asarray(X, jnp.bfloat16)
    expected = FORMS[name](x.astype(jnp.float32)).astype(jnp.bfloat16).astype(np.float32)
    result = getattr(F, name)(torch.tensor(X.tolist(), dtype=torch.bfloat16))
    assert result.dtype is torch.bfloat16
    np.testing.assert_allclose(result.float().numpy(), expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda t: F.relu(t([True])), RuntimeError, "Boolean inputs not supported for relu"),
        (lambda t: F.gelu(t([1])), NotImplementedError,
         "\"GeluKernelImpl\" not implemented for 'Long'"),
        (lambda t: F.elu(t([1])), NotImplementedError, "\"elu_cpu\" not implemented for 'Long'"),
        (lambda t: F.softmax(t([1]), 0), NotImplementedError,
         "\"softmax_lastdim_kernel_impl\" not implemented for 'Long'"),
        (lambda t: F.softmax(t([1.0]), 1), IndexError,
         "Dimension out of range (expected to be in range of [-1, 0], but got 1)"),
        (lambda t: F.gelu(t([1.0]), approximate="erf"), RuntimeError,
         "approximate argument must be either none or tanh."),
        (lambda t: F.hardtanh(t([1.0]), 2.0, 1.0), ValueError,
         "min_val cannot be greater than max_val"),
        (lambda t: F.softshrink(t([1.0]), -1), RuntimeError,
         "lambda must be in range [0, 3.40282e+38] for input dtype Float, but found -1"),
        (lambda t: F.celu(t([1.0]), 0), RuntimeError,
         "ZeroDivisionError: alpha cannot be 0 for CELU"),
        (lambda t: F.glu(t([1.0])), RuntimeError,
         "Halving dimension must be even, but dimension 0 is size 1"),
        (lambda t: F.prelu(t([[1.0, 2.0]]), t([1.0, 2.0, 3.0])), RuntimeError,
         "Mismatch of parameter numbers and input channel size. Found parameter numbers = 3 and "
         "channel size = 2."),
    ],
)  # fmt: skip
def test_bad_input(call, error, text):
    with pytest.raises(error) as caught:
        call(torch.tensor)
    assert str(caught.value) == text
