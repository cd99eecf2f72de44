"""Comparisons, logic and bits, against NumPy and Python."""

import math
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dynjax as torch
from tests.ops.common import assert_close

COMPARISONS = ["eq", "ne", "lt", "le", "gt", "ge"]
A, B = np.array([1.0, 2, 3, math.nan], np.float32), np.array([3.0, 2, 1, math.nan], np.float32)


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons(name):
    expected = getattr(operator, name)(A, B)
    x, y = torch.tensor(A.tolist()), torch.tensor(B.tolist())
    assert_close(getattr(torch, name)(x, y), expected)
    assert_close(getattr(operator, name)(x, y), expected)
    assert_close(getattr(x, name)(2), getattr(operator, name)(A, 2))


def test_integers_compare_with_floats_as_floats():
    assert (torch.tensor([0, 1]) > 0.5).tolist() == [False, True]


def test_comparison_in_place_keeps_the_type():
    x = torch.tensor([1.0, 3.0])
    assert x.gt_(2).tolist() == [0.0, 1.0]


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 7)), min_size=1, max_size=5))
def test_bits_agree_with_python(pairs):
    a, b = zip(*pairs)
    x, y = torch.tensor(list(a)), torch.tensor(list(b))
    for name, python in [
        ("bitwise_and", operator.and_),
        ("bitwise_or", operator.or_),
        ("bitwise_xor", operator.xor),
        ("bitwise_left_shift", operator.lshift),
        ("bitwise_right_shift", operator.rshift),
    ]:
        assert getattr(torch, name)(x, y).tolist() == [python(i, j) for i, j in pairs]
    assert torch.bitwise_not(x).tolist() == [~i for i in a]


def test_shift_beyond_the_width():
    x = torch.tensor([-5, 5], dtype=torch.int8)
    assert (x << 8).tolist() == [0, 0]
    assert (x >> 8).tolist() == [-1, 0]


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor"])
def test_logic_of_mixed_types(name):
    x, y = torch.tensor([0.0, 0.5, 2.0]), torch.tensor([0, 0, 3])
    expected = getattr(np, name)([0, 0.5, 2], [0, 0, 3])
    assert_close(getattr(torch, name)(x, y), expected)
    assert torch.logical_not(x).tolist() == [True, False, False]


@pytest.mark.parametrize("name", ["isnan", "isinf", "isfinite", "isposinf", "isneginf", "signbit"])
def test_classification(name):
    x = np.array([math.nan, math.inf, -math.inf, -1.0, 0.0], np.float32)
    assert_close(getattr(torch, name)(torch.tensor(x.tolist())), getattr(np, name)(x))
    assert getattr(torch, name)(torch.tensor([1])).tolist() == [name == "isfinite"]


@given(st.floats(-10, 10, width=32), st.floats(-10, 10, width=32))
def test_isclose_agrees_with_numpy(a, b):
    x, y = torch.tensor([a]), torch.tensor([b])
    expected = bool(np.isclose(np.float32(a), np.float32(b), rtol=0.25, atol=0.5))
    assert torch.allclose(x, y, rtol=0.25, atol=0.5) is expected
    assert torch.isclose(x, y, rtol=0.25, atol=0.5).tolist() == [expected]


def test_isclose_of_special_values():
    x = torch.tensor([math.nan, math.inf, math.inf])
    y = torch.tensor([math.nan, math.inf, -math.inf])
    assert torch.isclose(x, y).tolist() == [False, True, False]
    assert torch.isclose(x, y, equal_nan=True).tolist() == [True, True, False]


def test_equal_is_a_python_bool():
    x = torch.tensor([1.0, 2.0])
    assert torch.equal(x, x.clone()) is True
    assert torch.equal(x, x + 1) is False
    assert torch.equal(x, torch.tensor([1.0])) is False


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda t: t([1j]) < t([1j]), NotImplementedError,
         "\"lt_cpu\" not implemented for 'ComplexFloat'"),
        (lambda t: t([1.0]) & t([1.0]), NotImplementedError,
         "\"bitwise_and_cpu\" not implemented for 'Float'"),
        (lambda t: t([1.0]) << t([1.0]), NotImplementedError,
         "\"lshift_cpu\" not implemented for 'Float'"),
        (lambda t: torch.isclose(t([1.0]), t([1])), RuntimeError, "Float did not match Long"),
        (lambda t: torch.allclose(t([1.0]), t([1.0]), rtol=-1), RuntimeError,
         "rtol must be greater than or equal to zero, but got -1"),
        (lambda t: torch.isposinf(t([1j])), RuntimeError,
         "isposinf does not support complex inputs."),
        (lambda t: torch.eq(t([1, 2]), t([1, 2, 3])), RuntimeError,
         "The size of tensor a (2) must match the size of tensor b (3)"),
    ],
)  # fmt: skip
def test_bad_input(call, error, text):
    with pytest.raises(error) as caught:
        call(torch.tensor)
    assert str(caught.value).startswith(text)
