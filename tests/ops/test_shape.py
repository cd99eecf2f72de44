"""Joining, repeating, turning, padding: values, gradients, bad input."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dynjax as torch
from tests.ops.common import assert_close, assert_gradient, tensor

X = np.arange(6, dtype=np.float32).reshape(2, 3)
Y = X + 10
pad = torch.nn.functional.pad

# name -> (PyTorch's operation, the same in NumPy and JAX)
OPERATIONS = {
    "cat": (lambda x: torch.cat([x, x * 2], 1), lambda np, x: np.concatenate([x, x * 2], 1)),
    "stack": (lambda x: torch.stack([x, x * 2], -1), lambda np, x: np.stack([x, x * 2], -1)),
    "hstack": (lambda x: torch.hstack((x, x)), lambda np, x: np.hstack((x, x))),
    "vstack": (lambda x: torch.vstack((x, x)), lambda np, x: np.vstack((x, x))),
    "dstack": (lambda x: torch.dstack((x, x)), lambda np, x: np.dstack((x, x))),
    "repeat": (lambda x: x.repeat(2, 1, 3), lambda np, x: np.tile(x, (2, 1, 3))),
    "tile": (lambda x: x.tile(2), lambda np, x: np.tile(x, 2)),
    "repeat_interleave": (lambda x: x.repeat_interleave(2, 1), lambda np, x: np.repeat(x, 2, 1)),
    "counts": (
        lambda x: x.repeat_interleave(torch.tensor([2, 0, 1]), 1),
        lambda np, x: x[:, np.array([0, 0, 2])],
    ),
    "flip": (lambda x: x.flip(0, 1), lambda np, x: np.flip(x, (0, 1))),
    "roll": (lambda x: x.roll((1, -1), (0, 1)), lambda np, x: np.roll(x, (1, -1), (0, 1))),
    "roll flat": (lambda x: x.roll(2), lambda np, x: np.roll(x, 2)),
    "rot90": (lambda x: x.rot90(3, (1, 0)), lambda np, x: np.rot90(x, 3, (1, 0))),
    "tril": (lambda x: x.tril(-1), lambda np, x: np.tril(x, -1)),
    "triu": (lambda x: x.triu(1), lambda np, x: np.triu(x, 1)),
    "diag": (lambda x: torch.diag(x[0], 1), lambda np, x: np.diag(x[0], 1)),
    "diagonal": (lambda x: torch.diag(x, 1), lambda np, x: np.diag(x, 1)),
    "constant": (lambda x: pad(x, (1, -1, 0, 2), value=7.0), lambda np, x: np.pad(
        x[:, :2], ((0, 2), (1, 0)), constant_values=7.0)),
    "reflect": (lambda x: pad(x, (2, 1), "reflect"), lambda np, x: np.pad(
        x, ((0, 0), (2, 1)), mode="reflect")),
    "replicate": (lambda x: pad(x, (2, 1), "replicate"), lambda np, x: np.pad(
        x, ((0, 0), (2, 1)), mode="edge")),
    "circular": (lambda x: pad(x, (2, 1), "circular"), lambda np, x: np.pad(
        x, ((0, 0), (2, 1)), mode="wrap")),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_values_and_gradients(name):
    ours, theirs = OPERATIONS[name]
    assert_close(ours(tensor(X)), theirs(np, X))
    weights = np.arange(theirs(np, X).size, dtype=np.float32).reshape(theirs(np, X).shape)
    assert_gradient(lambda x: ours(x) * tensor(weights), lambda x: theirs(jnp, x) * weights, X)


def test_joined_types_promote_and_empty_vectors_are_passed_over():
    assert torch.cat([torch.zeros(2, dtype=torch.int32), torch.zeros(2)]).dtype == torch.float32
    assert torch.cat([torch.zeros(0), torch.ones(2, 3)]).shape == (2, 3)


@given(st.integers(-3, 3), st.integers(0, 2), st.integers(0, 1), st.integers(0, 1))
def test_diag_embed_is_undone_by_diagonal(offset, lead, swap, columns):
    x = tensor(np.arange(3.0 * 2**lead).reshape((2,) * lead + (3,)))
    dims = (lead + swap, lead + 1 - swap)
    embedded = torch.diag_embed(x, offset, *dims)
    assert embedded.diagonal(offset, *dims).tolist() == x.tolist()
    assert embedded.sum().item() == x.sum().item()


def test_grids():
    a, b = torch.arange(2), torch.arange(3)
    for indexing in ("ij", "xy"):
        expected = np.meshgrid(np.arange(2), np.arange(3), indexing=indexing)
        for found, e in zip(torch.meshgrid(a, b, indexing=indexing), expected, strict=True):
            assert_close(found, e)
    left, right = torch.broadcast_tensors(torch.zeros(3, 1), torch.zeros(2))
    assert left.shape == right.shape == (3, 2)


def test_clone_is_independent():
    x = torch.zeros(2)
    y = x.clone()
    y.add_(1)
    assert x.tolist() == [0.0, 0.0] and x.contiguous() is x


@pytest.mark.parametrize("call, error, text", [
    (lambda x: torch.cat([]), ValueError, "expected a non-empty list of Tensors"),
    (lambda x: torch.cat([x, x[0]]), RuntimeError, "same number of dimensions: got 2 and 1"),
    (lambda x: torch.cat([x, x[:, :2]]), RuntimeError, "Expected size 3 but got size 2 for tensor"),
    (lambda x: torch.cat([x.sum(), x]), RuntimeError, r"zero-dimensional tensor \(at position 0\)"),
    (lambda x: torch.stack([x, x[0]]), RuntimeError, r"\[2, 3\] at entry 0 and \[3\] at entry 1"),
    (lambda x: x.repeat(2), RuntimeError, "can not be smaller than number of dimensions"),
    (lambda x: x.repeat_interleave(-1), RuntimeError, "Repeats must be non-negative"),
    (lambda x: x.flip(0, 0), RuntimeError, "dim 0 appears multiple times"),
    (lambda x: x.roll((1, 2), (0,)), RuntimeError, "shifts: 2, dims:1"),
    (lambda x: x[0].tril(), RuntimeError, "must have at least 2 dimensions"),
    (lambda x: pad(x, (1,)), RuntimeError, "Padding length must be divisible by 2"),
    (lambda x: pad(x, (3, 3), "reflect"), RuntimeError, r"padding \(3, 3\) at dimension 1"),
    (lambda x: pad(x, (1, 1), "foo"), NotImplementedError, "Unrecognised padding mode foo"),
])  # fmt: skip
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call(tensor(X))
