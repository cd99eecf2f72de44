"""Elementwise arithmetic: values against NumPy, gradients against `jax.grad`, bad input."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dynjax as torch
from tests.ops.common import assert_close, assert_gradient, gradient

X = np.array([-2.5, -1.0, -0.5, 0.25, 0.5, 1.0, 3.0], np.float32)
UNIT = np.array([-0.9, -0.5, 0.1, 0.5, 0.9], np.float32)
POSITIVE = np.array([0.1, 0.5, 1.0, 2.0, 10.0], np.float32)
finite = st.floats(-100, 100, width=32)

UNARY = [
    *((n, getattr(np, n), X) for n in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "exp2")),
    *((n, getattr(np, n), X) for n in ("expm1", "sign", "abs", "square", "sinc", "floor", "ceil")),
    *((n, getattr(np, n), X) for n in ("trunc", "negative", "reciprocal", "deg2rad", "rad2deg")),
    *((n, getattr(np, n), POSITIVE) for n in ("log", "log2", "log10", "log1p", "sqrt")),
    *((n, getattr(np, n), UNIT) for n in ("arcsin", "arccos", "arctan", "arctanh", "arcsinh")),
    ("acosh", np.arccosh, POSITIVE + 1),
    ("rsqrt", lambda x: 1 / np.sqrt(x), POSITIVE),
    ("frac", lambda x: x - np.trunc(x), X),
    ("sigmoid", lambda x: 1 / (1 + np.exp(-x)), X),
    ("erf", np.vectorize(math.erf, [np.float32]), X),
    ("erfc", np.vectorize(math.erfc, [np.float32]), X),
    ("lgamma", np.vectorize(math.lgamma, [np.float32]), POSITIVE),
    ("i0", lambda x: np.i0(x).astype(np.float32), X),
]


@pytest.mark.parametrize("name, expected, x", UNARY, ids=[row[0] for row in UNARY])
def test_unary_values(name, expected, x):
    assert_close(getattr(torch, name)(torch.tensor(x.tolist())), expected(x), atol=3e-6)


@pytest.mark.parametrize("name", ["exp", "tanh", "sin", "atan", "sigmoid", "erf", "square", "abs"])
def test_unary_gradients(name):
    pure = {"sigmoid": jax.nn.sigmoid, "erf": jax.lax.erf, "atan": jnp.arctan}
    assert_gradient(getattr(torch, name), pure.get(name) or getattr(jnp, name), X)


@pytest.mark.parametrize("name", ["exp", "sqrt", "sigmoid", "tanh", "sin", "reciprocal"])
def test_integers_become_the_default_type(name):
    assert getattr(torch, name)(torch.tensor([1, 2])).dtype is torch.float32


@pytest.mark.parametrize(
    "name", ["floor", "ceil", "trunc", "round", "abs", "neg", "sign", "square"]
)
def test_integers_stay_integers(name):
    assert getattr(torch, name)(torch.tensor([1, -2])).dtype is torch.int64


def test_inverse_pairs():
    x = torch.tensor(UNIT.tolist())
    assert_close(torch.erf(torch.erfinv(x)), UNIT)
    assert_close(torch.logit(torch.sigmoid(x)), UNIT)


def test_trigamma_by_reflection():
    # trigamma(1 - x) + trigamma(x) = (pi / sin(pi x))**2
    x = np.array([-1.7, -0.3, 0.2], np.float32)
    total = gradient(torch.digamma, x.tolist()) + gradient(torch.digamma, (1 - x).tolist())
    np.testing.assert_allclose(total, (np.pi / np.sin(np.pi * x)) ** 2, rtol=1e-4)


@pytest.mark.parametrize(
    "function, at, expected",
    [
        (torch.abs, 0.0, 0.0),
        (torch.sign, 0.0, 0.0),
        (lambda x: x**0, 0.0, 0.0),
        (lambda x: x**1, 0.0, 1.0),
        (lambda x: x**2, 0.0, 0.0),
        (lambda x: x.clamp(0, 1), 0.0, 1.0),
        (lambda x: x.clamp(0, 1), 1.0, 1.0),
        (lambda x: x.clamp(0, 1), 1.5, 0.0),
        (lambda x: torch.maximum(x, torch.zeros(1)), 0.0, 0.5),
        (lambda x: torch.fmax(x, torch.zeros(1)), 0.0, 1.0),
        (lambda x: torch.lgamma(x), 0.0, -math.inf),
    ],
)
def test_subgradients(function, at, expected):
    assert gradient(function, [at]) == expected


def test_power_of_zero_by_both():
    base = torch.tensor([0.0, 0.0], requires_grad=True)
    exponent = torch.tensor([0.0, 2.0], requires_grad=True)
    (base**exponent).sum().backward()
    assert base.grad.tolist() == [0.0, 0.0]
    assert exponent.grad.tolist() == [0.0, 0.0]


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=4), finite)
def test_arithmetic_agrees_with_numpy(pairs, alpha):
    a, b = (np.array(v, np.float32) for v in zip(*pairs))
    x, y = torch.tensor(a.tolist()), torch.tensor(b.tolist())
    alpha32 = np.float32(alpha)
    assert_close(torch.add(x, y, alpha=alpha), a + alpha32 * b, rtol=1e-4, atol=1e-2)
    assert_close(torch.sub(x, y, alpha=alpha), a - alpha32 * b, rtol=1e-4, atol=1e-2)
    assert_close(x * y, a * b, rtol=1e-6)
    assert_close(torch.lerp(x, y, 0.25), a + (b - a) / 4, rtol=1e-4, atol=1e-4)
    assert_close(torch.clamp(x, min=y), np.maximum(a, b))


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(1, 9)), min_size=1, max_size=4))
def test_integer_division_has_three_roundings(pairs):
    a, b = (np.array(v, np.int64) for v in zip(*pairs))
    x, y = torch.tensor(a.tolist()), torch.tensor(b.tolist())
    assert_close(x / y, (a / b).astype(np.float32))
    assert_close(torch.div(x, y, rounding_mode="floor"), a // b)
    assert_close(torch.div(x, -y, rounding_mode="trunc"), np.trunc(a / -b).astype(np.int64))
    assert_close(torch.remainder(x, -y), np.remainder(a, -b))
    assert_close(torch.fmod(x, -y), np.fmod(a, -b))


def test_division_by_zero_of_floats():
    x = torch.tensor([1.0, -1.0, 0.0])
    assert_close(torch.floor_divide(x, 0.0), np.array([np.inf, -np.inf, np.nan], np.float32))


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, -2, 0.5, -0.5, 1.5, 20, 2.0])
def test_constant_exponents(exponent):
    assert_close(torch.tensor(POSITIVE.tolist()) ** exponent, POSITIVE**exponent, rtol=1e-4)
    assert_gradient(lambda x: x**exponent, lambda x: jnp.power(x, exponent), POSITIVE)


def test_powers_of_integers():
    x = torch.tensor([-2, -1, 1, 3])
    assert (x**2).tolist() == [4, 1, 1, 9]
    assert (x**0.0).dtype is torch.float32
    assert (2 ** torch.tensor([0, 3])).tolist() == [1, 8]
    assert (x ** torch.tensor([-1, -1, -2, -1])).tolist() == [0, -1, 1, 0]


def test_bool_arithmetic():
    a, b = torch.tensor([True, True, False]), torch.tensor([True, False, False])
    assert (a + b).tolist() == [True, True, False]
    assert (a * b).tolist() == [True, False, False]
    assert (a * 2).dtype is torch.int64


def test_round_halves_to_even_and_to_decimals():
    x = torch.tensor([0.5, 1.5, -2.5, 2.675])
    assert torch.round(x).tolist() == [0.0, 2.0, -2.0, 3.0]
    assert_close(torch.round(x, decimals=1), np.array([0.5, 1.5, -2.5, 2.7], np.float32))
    assert torch.round(torch.tensor([14.0, 26.0]), decimals=-1).tolist() == [10.0, 30.0]


def test_nan_to_num():
    x = torch.tensor([math.nan, math.inf, -math.inf, 1.0])
    largest = torch.finfo(torch.float32).max
    assert torch.nan_to_num(x).tolist() == [0.0, largest, -largest, 1.0]
    assert torch.nan_to_num(x, 9.0, 2.0, -2.0).tolist() == [9.0, 2.0, -2.0, 1.0]


@pytest.mark.parametrize("name, pure", [("addcmul", lambda a, b, c: a + 0.5 * b * c),
                                        ("addcdiv", lambda a, b, c: a + 0.5 * b / c)])  # fmt: skip
def test_three_operands(name, pure):
    a, b, c = POSITIVE, POSITIVE[::-1].copy(), POSITIVE + 1
    tensors = [torch.tensor(v.tolist()) for v in (a, b, c)]
    assert_close(getattr(torch, name)(*tensors, value=0.5), pure(a, b, c))
    assert_gradient(lambda *t: getattr(torch, name)(*t, value=0.5), pure, a, b, c)


def test_in_place_forms_return_self():
    x = torch.tensor([4.0, 9.0])
    assert x.sqrt_() is x and x.tolist() == [2.0, 3.0]
    assert x.div_(2, rounding_mode="floor") is x and x.tolist() == [1.0, 1.0]
    assert x.add_(1, alpha=3).pow_(2).tolist() == [16.0, 16.0]


def test_half_types_round_once():
    x = torch.tensor([1.0, 2.0], dtype=torch.bfloat16)
    result = torch.addcmul(x, x, x, value=0.375)
    assert result.dtype is torch.bfloat16
    expected = (np.array([1, 2], np.float32) * (1 + np.array([1, 2]) * 0.375)).astype(jnp.bfloat16)
    np.testing.assert_array_equal(result.float().numpy(), expected.astype(np.float32))


I, F, B, C = ([1, 2], [1.0, 2.0], [True, False], [1j, 2.0])
SUBTRACTION = "Subtraction, the `-` operator, with two bool tensors is not supported."


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda t: t(F) + t([1.0, 2.0, 3.0]), RuntimeError,
         "The size of tensor a (2) must match the size of tensor b (3) at non-singleton"),
        (lambda t: t(B) - t(B), RuntimeError, SUBTRACTION),
        (lambda t: -t(B), RuntimeError, "Negation, the `-` operator, on a bool tensor"),
        (lambda t: torch.add(t(I), 1, alpha=0.5), RuntimeError,
         "For integral input tensors, argument alpha must not be a floating point number."),
        (lambda t: t(I) ** -1, RuntimeError,
         "Integers to negative integer powers are not allowed."),
        (lambda t: torch.div(t(F), t(F), rounding_mode="up"), RuntimeError,
         "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found 'up'"),
        (lambda t: torch.clamp(t(F)), RuntimeError,
         "torch.clamp: At least one of 'min' or 'max' must not be None"),
        (lambda t: torch.clamp(t(C), 1), NotImplementedError,
         "clamp is not supported for complex types"),
        (lambda t: torch.floor(t(B)), NotImplementedError,
         "\"floor_vml_cpu\" not implemented for 'Bool'"),
        (lambda t: torch.round(t(I), decimals=1), NotImplementedError,
         "\"round_cpu\" not implemented for 'Long'"),
        (lambda t: torch.sign(t(C)), NotImplementedError, "Unlike NumPy, torch.sign is not"),
        (lambda t: torch.lerp(t(F), t(F).double(), 0.5), RuntimeError,
         "expected dtype float for `end` but got dtype double"),
        (lambda t: torch.addcdiv(t(I), t(I), t(I)), RuntimeError, "Integer division with addcdiv"),
        (lambda t: torch.maximum(t(C), t(C)), RuntimeError,
         "maximum not implemented for complex tensors."),
        (lambda t: t(F).add("1"), TypeError, "add(): argument 'other' (position 2) must be Tensor"),
    ],
)  # fmt: skip
def test_bad_input(call, error, text):
    with pytest.raises(error) as caught:
        call(torch.tensor)
    assert str(caught.value).startswith(text)


def test_sgn_of_complex_zeros_is_plain_zero_and_passes_no_gradient():
    z = torch.from_numpy(np.array([complex(-0.0, -0.0), 0j, 3 - 4j])).requires_grad_()
    result = torch.sgn(z)
    assert str(result.detach().numpy().tolist()) == "[0j, 0j, (0.6-0.8j)]"
    result.real.sum().backward()
    assert z.grad[:2].abs().tolist() == [0.0, 0.0]
