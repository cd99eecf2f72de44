"""Products: NumPy and `jax.grad` are the reference; errors in PyTorch's words."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dynjax as torch
from tests.ops.common import assert_close, assert_gradient, tensor

linear = torch.nn.functional.linear
A = np.arange(6, dtype=np.float32).reshape(2, 3) / 3
B = np.cos(np.arange(12, dtype=np.float32)).reshape(3, 4)
V = np.array([1.0, -2.0, 0.5], np.float32)
BATCH = np.sin(np.arange(24, dtype=np.float32)).reshape(2, 3, 4)


@given(
    st.integers(0, 2), st.integers(0, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)
)
def test_matmul_broadcasts(lead_a, lead_b, n, m, p):
    a = np.random.default_rng(0).normal(size=(1, 2)[:lead_a] + (n, m)).astype(np.float32)
    b = np.random.default_rng(1).normal(size=(3, 1)[:lead_b] + (m, p)).astype(np.float32)
    try:
        expected = a @ b
    except ValueError:
        with pytest.raises(RuntimeError):
            tensor(a) @ tensor(b)
        return
    assert_close(tensor(a) @ tensor(b), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ours, pure, arrays", [
    (lambda a, b: a @ b, lambda a, b: a @ b, (A, B)),
    (lambda a, b: a @ b, lambda a, b: a @ b, (A, V)),
    (lambda a, b: a @ b, lambda a, b: a @ b, (V, B)),
    (lambda a, b: torch.mm(a, b), lambda a, b: a @ b, (A, B)),
    (lambda a, b: torch.bmm(a, b.mT), lambda a, b: a @ b.swapaxes(1, 2), (BATCH, BATCH)),
    (lambda a, b: torch.mv(a, b), lambda a, b: a @ b, (A, V)),
    (lambda a, b: torch.dot(a, b), jnp.dot, (V, V + 1)),
    (lambda a, b: torch.outer(a, b), jnp.outer, (V, V + 1)),
    (lambda a, b: torch.kron(a, b), jnp.kron, (A, B)),
    (lambda a, b: torch.cross(a, b, dim=0), jnp.cross, (V, V * V)),
    (lambda a, b: torch.tensordot(a, b, 1), lambda a, b: jnp.tensordot(a, b, 1), (A, B)),
    (lambda a, b: torch.tensordot(a, b, ([1, 2], [1, 2])),
     lambda a, b: jnp.tensordot(a, b, ((1, 2), (1, 2))), (BATCH, BATCH + 1)),
    (lambda a, b: torch.einsum("ij,jk->ki", a, b), lambda a, b: (a @ b).T, (A, B)),
    (lambda a, b: torch.einsum(a, [0, 1], b, [1, 2], [2, 0]), lambda a, b: (a @ b).T, (A, B)),
    (lambda a, b: torch.einsum("...i,...i", a, b), lambda a, b: (a * b).sum(-1), (A, A + 1)),
    (lambda a, b: linear(a, b.t()), lambda a, b: a @ b, (A, B)),
    (lambda a, b: torch.addmm(torch.ones(4), a, b, beta=2, alpha=3),
     lambda a, b: 2 + 3 * (a @ b), (A, B)),
])  # fmt: skip
def test_values_and_gradients(ours, pure, arrays):
    expected = np.asarray(pure(*arrays))
    assert_close(ours(*map(tensor, arrays)), expected, rtol=1e-4, atol=1e-5)
    assert_gradient(
        lambda *x: ours(*x) ** 2, lambda *x: pure(*x) ** 2, *arrays, rtol=1e-3, atol=1e-4
    )


def test_second_order():
    w = tensor(A, requires_grad=True)
    x = tensor(V, requires_grad=True)
    (g,) = torch.autograd.grad((linear(x, w) ** 2).sum(), [w], create_graph=True)
    g.sum().backward()
    # d/dx of sum(2 (w x) x^T)
    expected = 2 * ((A @ V).sum() + A.sum(0) * V.sum())
    assert_close(x.grad, expected.astype(np.float32), rtol=1e-4)


def test_kron_of_truth_values():
    rows, eye = torch.tensor([[True, False]]), torch.eye(2, dtype=torch.bool)
    expected = [[True, False, False, False], [False, True, False, False]]
    assert torch.kron(rows, eye).tolist() == expected


def test_a_beta_of_zero_ignores_nan():
    bad = torch.full((2, 4), float("nan"))
    assert_close(torch.addmm(bad, tensor(A), tensor(B), beta=0), A @ B, rtol=1e-4, atol=1e-5)


def test_linear_with_bias_and_without_rows():
    out = linear(tensor(BATCH), tensor(B), torch.ones(3))
    assert_close(out, BATCH @ B.T + 1, rtol=1e-4, atol=1e-5)
    assert linear(torch.zeros(0, 3), tensor(A)).shape == (0, 2)
    assert torch.trace(tensor(B)).item() == pytest.approx(np.trace(B))
    assert torch.trace(torch.ones(2, 2, dtype=torch.int32)).dtype == torch.int64


def test_addr_is_of_the_type_that_all_three_promote_to():
    whole = torch.ones(3, dtype=torch.int64)
    assert torch.addr(torch.ones(3, 3), whole, whole).dtype == torch.float32
    assert torch.addr(torch.ones(3, 3, dtype=torch.int64), whole, whole).dtype == torch.int64


def test_a_bias_of_one_number_takes_the_type_of_the_product():
    out = linear(torch.ones(3), torch.ones(4, 3), torch.tensor(1.0, dtype=torch.float64))
    assert out.dtype == torch.float32 and out.tolist() == [4.0] * 4


a, b = torch.zeros(2, 3), torch.zeros(4, 5)
d, batch = a.double(), torch.zeros(4, 2, 3)


@pytest.mark.parametrize("call, text", [
    (lambda: a @ b, r"mat1 and mat2 shapes cannot be multiplied \(2x3 and 4x5\)"),
    (lambda: a @ torch.zeros(5), r"size mismatch, got input \(2\), mat \(2x3\), vec \(5\)"),
    (lambda: torch.zeros(4) @ torch.zeros(5), r"expected tensor \[4\] and src \[5\]"),
    (lambda: a @ a.t().double(), "to have the same dtype, but got: float != double"),
    (lambda: linear(d, a, torch.zeros(2)), "^mat1 and mat2 .* dtype, but got Double and Float"),
    (lambda: linear(a, a, torch.zeros(2).double()), "^self and mat2 .* Double and Float"),
    (lambda: linear(d, a), "but got: double != float"),
    (lambda: torch.addmm(torch.zeros(2), d, a.t()), "^mat1 and mat2 .* Double and Float"),
    (lambda: torch.addmv(torch.zeros(2), d, d[0]), "but got Float, Double, and Double"),
    (lambda: torch.addmv(torch.zeros(5), a, a[0]), r"got input \(5\), mat \(2x3\), vec \(3\)"),
    (lambda: torch.addbmm(d[:, :2], batch, batch.mT), "^self and mat2 .* Double and Float"),
    (lambda: torch.addbmm(a, batch, batch), r"Incompatible matrix sizes for bmm \(2x3 and 2x3\)"),
    (lambda: torch.baddbmm(d[:, :2], batch, batch.mT), "double, batch1: float, batch2: float"),
    (lambda: torch.addr(a.long(), a[:, 0].long(), a[0].long(), beta=1.5), "argument beta must not"),
    (lambda: torch.tensor(1.0) @ a, "need to be at least 1D, but they are 0D and 2D"),
    (lambda: torch.mm(a, a[0]), "mat2 must be a matrix"),
    (lambda: torch.bmm(a, b), "batch1 must be a 3D tensor"),
    (lambda: torch.zeros(2, 3, 4) @ torch.zeros(3, 4, 2), r"tensor a \(2\) must match .* b \(3\)"),
    (lambda: linear(a, a[None]), "expects a tensor with <= 2 dimensions, but self is 3D"),
    (lambda: linear(batch, batch, d[0, :2]), "<= 2 dimensions, but self is 3D"),
    (lambda: linear(a, b), r"cannot be multiplied \(2x3 and 5x4\)"),
    (lambda: linear(a, torch.zeros(5, 3), torch.zeros(4)), r"size of the tensor \(5\) must match"),
    (lambda: torch.addmm(torch.zeros(7), a, a.t()), r"must match the existing size \(7\)"),
    (lambda: torch.einsum("ij,jk", a, b), "subscript j has size 4 for operand 1"),
    (lambda: torch.einsum("ij,jk", a), "fewer operands were provided"),
    (lambda: torch.einsum("ij->ii", a), "output subscript i appears more than once"),
    (lambda: torch.einsum("ij->ik", a), "output subscript k does not appear"),
    (lambda: torch.einsum("i", a), r"number of subscripts in the equation \(1\) does not match"),
    (lambda: torch.tensordot(a, b, 1), "first has size 3 in dim -1 and second has size 4 in dim 0"),
    (lambda: torch.outer(a, a), "Expected 1-D argument self, but got 2-D"),
    (lambda: torch.trace(a[0]), "expected a matrix, but got tensor with dim 1"),
])  # fmt: skip
def test_bad_input(call, text):
    with pytest.raises(RuntimeError, match=text):
        call()
