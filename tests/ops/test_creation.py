"""New tensors: values, types, options, bad input; replacing a tensor's content."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dynjax as torch
from tests.ops.common import assert_close


@pytest.mark.parametrize("made, dtype", [
    (lambda: torch.zeros(2, 3), "float32"),
    (lambda: torch.ones((2, 3), dtype=torch.int32), "int32"),
    (lambda: torch.empty([2, 3]), "float32"),
    (lambda: torch.full((2, 3), 1), "int64"),
    (lambda: torch.full((2, 3), True), "bool"),
    (lambda: torch.full((2, 3), 1.5), "float32"),
    (lambda: torch.full((2, 3), 1j), "complex64"),
    (lambda: torch.ones_like(torch.zeros(2, 3, dtype=torch.float64)), "float64"),
    (lambda: torch.full_like(torch.zeros(2, 3), 2, dtype=torch.int64), "int64"),
    (lambda: torch.zeros(1, dtype=torch.int64).new_ones(2, 3), "int64"),
    (lambda: torch.eye(2, 3), "float32"),
    (lambda: torch.tensor([[1, 2, 3], [4, 5, 6]]), "int64"),
    (lambda: torch.tensor([[1, 2, 3.0]] * 2), "float32"),
    (lambda: torch.from_numpy(np.zeros((2, 3))), "float64"),
])  # fmt: skip
def test_shape_and_type(made, dtype):
    made = made()
    assert made.shape == (2, 3) and made.dtype == getattr(torch, dtype)


@given(st.integers(-5, 5), st.integers(-5, 5), st.integers(-3, 3))
def test_arange(start, end, step):
    if step == 0 or (end - start) * step < 0:
        with pytest.raises(RuntimeError, match="step"):
            torch.arange(start, end, step)
        return
    assert_close(torch.arange(start, end, step), np.arange(start, end, step))
    halves = torch.arange(start / 2, end / 2, step / 2)
    assert_close(halves, np.arange(start, end, step, np.float32) / 2)


def test_ranges():
    assert_close(torch.linspace(0, 1, 5), np.linspace(0, 1, 5, dtype=np.float32))
    assert_close(torch.logspace(0, 2, 3), np.array([1, 10, 100], np.float32))
    assert torch.tril_indices(3, 2, -1).tolist() == [[1, 2, 2], [0, 0, 1]]
    assert torch.triu_indices(2, 2).tolist() == [[0, 0, 1], [0, 1, 1]]


def test_large_fills_are_recorded_and_equal_small_ones():
    assert torch.ones(300, 300).sum().item() == 90_000
    assert torch.full((70_000,), 2, dtype=torch.int8)[-1].item() == 2
    assert torch.zeros(300, 300, requires_grad=True).is_leaf


def test_options():
    x = torch.zeros(2, requires_grad=True)
    assert x.is_leaf and x.requires_grad
    out = torch.empty(3)
    assert torch.ones(3, out=out) is out and out.tolist() == [1.0] * 3
    source = np.zeros(2)
    copied = torch.from_numpy(source)
    source[:] = 1
    assert copied.tolist() == [0.0, 0.0]
    assert torch.as_tensor(copied) is copied


def test_replacing_content():
    x = torch.zeros(2, 2)
    x[0].copy_(torch.tensor(3, dtype=torch.int64))
    x[:, 1].fill_(5)
    assert x.tolist() == [[3.0, 5.0], [0.0, 5.0]]
    assert x.zero_().tolist() == [[0.0, 0.0], [0.0, 0.0]]
    source = torch.ones(2, requires_grad=True)
    torch.zeros(3, 2).copy_(source * 2).sum().backward()
    assert source.grad.tolist() == [6.0, 6.0]


@pytest.mark.parametrize("call, error, text", [
    (lambda: torch.zeros(-1), RuntimeError, "zeros: Dimension size must be non-negative"),
    (lambda: torch.ones(2, -1), RuntimeError, r"negative dimension -1: \[2, -1\]"),
    (lambda: torch.zeros(1.5), TypeError, "must be tuple of ints, not float"),
    (lambda: torch.zeros((2, 3), 4), TypeError, "takes 1 positional argument but 2 were given"),
    (lambda: torch.full(2, 3), TypeError, "must be tuple of ints, not int"),
    (lambda: torch.zeros(2, colour="red"), TypeError, "unexpected keyword argument 'colour'"),
    (lambda: torch.zeros(2, dtype=torch.int64, requires_grad=True), RuntimeError, "floating point"),
    (lambda: torch.zeros_like(3), TypeError, r"'input' \(position 1\) must be Tensor, not int"),
    (lambda: torch.linspace(0, 1, -1), RuntimeError, "number of steps must be non-negative"),
    (lambda: torch.eye(-1), RuntimeError, "n must be greater or equal to 0, got -1"),
    (lambda: torch.tensor([[1], [2, 3]]), ValueError, "expected sequence of length 1 at dim 1"),
    (lambda: torch.zeros(2).fill_(torch.ones(2)), RuntimeError, "only supports 0-dimension value"),
    (lambda: torch.zeros(2).copy_(torch.ones(3)), RuntimeError, "must match the existing size"),
])  # fmt: skip
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()
