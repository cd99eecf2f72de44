"""Views: values, writes that reach the base, gradients, what PyTorch refuses."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dynjax as torch
from tests.ops.common import assert_close, assert_gradient, tensor

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)

# name -> (PyTorch's view, the same in NumPy)
VIEWS = {
    "view": (lambda x: x.view(4, -1), lambda x: x.reshape(4, -1)),
    "view a tuple": (lambda x: x.view((6, 4)), lambda x: x.reshape(6, 4)),
    "view_as": (lambda x: x.view_as(torch.zeros(8, 3)), lambda x: x.reshape(8, 3)),
    "reshape": (lambda x: x.reshape(-1), lambda x: x.reshape(-1)),
    "flatten": (lambda x: x.flatten(1), lambda x: x.reshape(2, 12)),
    "unflatten": (lambda x: x.unflatten(2, (2, -1)), lambda x: x.reshape(2, 3, 2, 2)),
    "transpose": (lambda x: x.transpose(0, -1), lambda x: x.swapaxes(0, 2)),
    "mT": (lambda x: x.mT, lambda x: x.swapaxes(1, 2)),
    "permute": (lambda x: x.permute(2, 0, 1), lambda x: x.transpose(2, 0, 1)),
    "movedim": (lambda x: x.movedim((0, 1), (2, 0)), lambda x: np.moveaxis(x, (0, 1), (2, 0))),
    "unsqueeze": (lambda x: x.unsqueeze(-1), lambda x: x[..., None]),
    "squeeze": (lambda x: x[:1].squeeze(), lambda x: x[0]),
    "select": (lambda x: x.select(1, -1), lambda x: x[:, -1]),
    "narrow": (lambda x: x.narrow(2, 1, 2), lambda x: x[..., 1:3]),
    "diagonal": (lambda x: x.diagonal(1, 1, 2), lambda x: x.diagonal(1, 1, 2)),
    "unfold": (lambda x: x.unfold(2, 2, 2), lambda x: x.reshape(2, 3, 2, 2)),
    "split": (lambda x: x.split(2, 1)[1], lambda x: x[:, 2:]),
    "split by sizes": (lambda x: x.split([1, 3], -1)[1], lambda x: x[..., 1:]),
    "chunk": (lambda x: x.chunk(2, 2)[0], lambda x: x[..., :2]),
    "tensor_split": (lambda x: x.tensor_split((1, 3), 2)[1], lambda x: x[..., 1:3]),
    "unbind": (lambda x: x.unbind(1)[2], lambda x: x[:, 2]),
    "slice": (lambda x: x[:, 1:, ::2], lambda x: x[:, 1:, ::2]),
    "a view of a view": (lambda x: x[1].t()[1:3], lambda x: x[1].T[1:3]),
}


@pytest.mark.parametrize("name", VIEWS)
def test_values_and_writes(name):
    view, expected = VIEWS[name]
    assert_close(view(tensor(X)), expected(X))
    base, written = tensor(X), X.copy()
    view(base).mul_(-2.0)
    # The positions of the view, found by viewing the positions of all elements.
    at = expected(np.arange(X.size).reshape(X.shape)).reshape(-1)
    written.reshape(-1)[at] *= -2
    assert_close(base, written)


@pytest.mark.parametrize("name", VIEWS)
def test_gradients(name):
    view, expected = VIEWS[name]
    x = tensor(X, requires_grad=True)
    (view(x) ** 2).sum().backward()
    at = expected(np.arange(X.size).reshape(X.shape)).reshape(-1)
    wanted = np.zeros(X.size, np.float32)
    wanted[at] = 2 * X.reshape(-1)[at]
    assert_close(x.grad, wanted.reshape(X.shape))


def test_gradient_of_overlapping_windows():
    assert_gradient(
        lambda x: x.unfold(0, 3, 1) ** 2,
        lambda x: jnp.stack([x[i : i + 3] for i in range(4)]) ** 2,
        np.arange(6, dtype=np.float32),
    )


def test_expanding():
    x = torch.tensor([[1.0], [2.0]])
    assert_close(x.expand(3, -1, 2), np.broadcast_to([[1.0], [2.0]], (3, 2, 2)).astype(np.float32))
    assert_gradient(lambda x: x.expand(4, 3) ** 2, lambda x: 4 * x**2, np.ones(3, np.float32))
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        x.expand(2, 3).zero_()
    x.expand(1, 2, 1).zero_()
    assert x.tolist() == [[0.0], [0.0]]


@given(st.integers(1, 12), st.integers(1, 13))
def test_chunks_have_torchs_sizes(n, chunks):
    size = -(-n // chunks)
    sizes = [min(size, n - k) for k in range(0, n, size)]
    assert [c.shape[0] for c in torch.zeros(n).chunk(chunks)] == sizes
    assert sum(c.shape[0] for c in torch.zeros(n).tensor_split(chunks)) == n


@pytest.mark.parametrize("call, error, text", [
    (lambda x: x.view(5), RuntimeError, r"shape '\[5\]' is invalid for input of size 24"),
    (lambda x: x.view(-1, -1), RuntimeError, "only one dimension can be inferred"),
    (lambda x: x.view(-2, 3), RuntimeError, r"invalid shape dimension -2 at index 0"),
    (lambda x: torch.zeros(0).view(-1, 0), RuntimeError, "is ambiguous"),
    (lambda x: x.transpose(0, 3), IndexError, r"expected to be in range of \[-3, 2\], but got 3"),
    (lambda x: x.t(), RuntimeError, "expects a tensor with <= 2 dimensions, but self is 3D"),
    (lambda x: x.permute(0, 1), RuntimeError, r"input.dim\(\) = 3 is not equal to len\(dims\) = 2"),
    (lambda x: x.permute(0, 0, 1), RuntimeError, "duplicate dims are not allowed"),
    (lambda x: x.squeeze(3), IndexError, "Dimension out of range"),
    (lambda x: x.unsqueeze(5), IndexError, r"in range of \[-4, 3\], but got 5"),
    (lambda x: x.expand(3, 4), RuntimeError, r"FloatTensor\{\[2, 3, 4\]\}, size=\[3, 4\]"),
    (lambda x: x.expand(5, 3, 4), RuntimeError, r"\(5\) must match the existing size \(2\)"),
    (lambda x: x.select(0, 5), IndexError, r"index 5 out of range for tensor of size \[2, 3, 4\]"),
    (lambda x: x.narrow(0, 1, 2), RuntimeError, r"start \(1\) \+ length \(2\) exceeds"),
    (lambda x: x.diagonal(0, 1, 1), RuntimeError, "cannot be identical 1, 1"),
    (lambda x: x.split(0), RuntimeError, "split_size can only be 0"),
    (lambda x: x.split((1, 2)), RuntimeError, r"sum exactly to 2 .* got split_sizes=\[1, 2\]"),
    (lambda x: x.chunk(0), RuntimeError, "greater than 0, got: 0"),
    (lambda x: x.unfold(0, 3, 1), RuntimeError, "maximum size for tensor at dimension 0 is 2"),
    (lambda x: x.unflatten(2, (3, 2)), RuntimeError, r"Provided sizes \[3, 2\] don't multiply up"),
    (lambda x: x.flatten(2, 1), RuntimeError, "start_dim cannot come after end_dim"),
])  # fmt: skip
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call(tensor(X))


def test_an_argument_that_is_a_tensor_is_not_compared_with_earlier_ones():
    """Comparing would record an operation, and run the trace."""
    x = torch.arange(12.0).reshape(3, 4)
    for _ in range(3):
        y = x * 1.5
        assert y.narrow(1, 1, 2).tolist() == [[1.5, 3.0], [7.5, 9.0], [13.5, 15.0]]
    y, start = x * 1.5, torch.tensor(1)
    with torch.explain() as compiles:
        view = y.narrow(1, start, 2)
        assert not compiles and y._v.array is None
    assert view.tolist() == [[1.5, 3.0], [7.5, 9.0], [13.5, 15.0]]
