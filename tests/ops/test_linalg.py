"""Linear algebra: what defines a result is the reference; errors in PyTorch's words."""

import jax.numpy as jnp
import numpy as np
import pytest

import dynjax as torch
from tests.ops.common import assert_close, assert_gradient, tensor

linalg = torch.linalg
A = np.array([[4.0, 1.0, -2.0], [0.5, 3.0, 1.0], [1.0, -1.0, 5.0]], np.float32)
SYMMETRIC = A + A.T
POSITIVE = (A @ A.T).astype(np.float32)
INDEFINITE = np.array([[0.0, 2.0, 1.0], [2.0, 0.0, -1.0], [1.0, -1.0, 3.0]], np.float32)
B = np.array([[1.0, 2.0], [-1.0, 0.5], [3.0, 1.0]], np.float32)
TALL = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 1.0]], np.float32)
SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]], np.float32)
close = {"rtol": 1e-4, "atol": 1e-5}


# --- factorizations: their product is the matrix ------------------------------------------------


def test_cholesky():
    low = linalg.cholesky(tensor(POSITIVE))
    assert_close(low @ low.mT, POSITIVE, **close)
    up = linalg.cholesky(tensor(POSITIVE), upper=True)
    assert_close(up, low.mT.numpy(), **close)
    assert_close(torch.cholesky_inverse(low), np.linalg.inv(POSITIVE), **close)
    assert_close(torch.cholesky_solve(tensor(B), low), np.linalg.solve(POSITIVE, B), **close)


@pytest.mark.parametrize("matrix", [A, TALL, TALL.T], ids=["square", "tall", "wide"])
def test_qr_lu_and_svd(matrix):
    x = tensor(matrix)
    for q, r in (linalg.qr(x), linalg.qr(x, "complete")):
        assert_close(q @ r, matrix, **close)
        assert_close(q.mT @ q, np.eye(q.shape[1], dtype=np.float32), **close)
    p, lower, upper = linalg.lu(x)
    assert_close(p @ lower @ upper, matrix, **close)
    u, s, vh = linalg.svd(x, full_matrices=False)
    assert_close(u @ torch.diag(s) @ vh, matrix, **close)
    assert_close(linalg.svdvals(x), np.linalg.svd(matrix, compute_uv=False), **close)
    assert tuple(linalg.svd(x).U.shape) == (len(matrix), len(matrix))


def test_reflectors_make_q():
    a, tau = torch.geqrf(tensor(TALL))
    q = linalg.qr(tensor(TALL)).Q
    assert_close(linalg.householder_product(a, tau), q.numpy(), **close)
    whole = torch.ormqr(a, tau, torch.eye(3))
    assert_close(whole[:, :2], q.numpy(), **close)
    assert_close(torch.ormqr(a, tau, whole, transpose=True), np.eye(3, dtype=np.float32), **close)


@pytest.mark.parametrize("matrix", [POSITIVE, INDEFINITE], ids=["positive", "indefinite"])
def test_ldl_solves(matrix):
    ld, pivots = linalg.ldl_factor(tensor(matrix))
    x = linalg.ldl_solve(ld, pivots, tensor(B))
    assert_close(tensor(matrix) @ x, B, **close)


def test_eigenvectors():
    values, vectors = linalg.eig(tensor(A))
    assert_close(tensor(A).to(torch.complex64) @ vectors, (vectors * values).numpy(), **close)
    values, vectors = linalg.eigh(tensor(SYMMETRIC))
    assert_close(vectors @ torch.diag(values) @ vectors.mT, SYMMETRIC, **close)
    assert_close(linalg.eigvalsh(tensor(SYMMETRIC)), np.linalg.eigvalsh(SYMMETRIC), **close)


def test_the_gradient_of_eigenvectors_is_right():
    x = torch.tensor(A.tolist(), dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)

    def f(x):
        values, vectors = linalg.eig(x)
        return (vectors.abs() * weights[:, None] * values.abs()).sum()

    (gradient,) = torch.autograd.grad(f(x), [x])
    step = np.zeros((3, 3))
    step[0, 1] = 1e-6
    ends = [f(torch.tensor((A.astype(float) + s).tolist(), dtype=torch.float64)) for s in
            (step, -step)]  # fmt: skip
    slope = (ends[0].item() - ends[1].item()) / 2e-6
    assert gradient[0, 1].item() == pytest.approx(slope, rel=1e-5)


# --- systems ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ours, pure, arrays", [
    (linalg.solve, jnp.linalg.solve, (A, B)),
    (linalg.inv, jnp.linalg.inv, (A,)),
    (linalg.det, jnp.linalg.det, (A,)),
    (torch.logdet, lambda a: jnp.log(jnp.linalg.det(a)), (A,)),
    (linalg.pinv, jnp.linalg.pinv, (TALL,)),
    (lambda a, b: linalg.lstsq(a, b).solution, lambda a, b: jnp.linalg.pinv(a) @ b, (TALL, B)),
    (lambda a, b: linalg.lu_solve(*linalg.lu_factor(a), b), jnp.linalg.solve, (A, B)),
    (lambda a: linalg.matrix_power(a, -2), lambda a: jnp.linalg.inv(a @ a), (A,)),
    (linalg.matrix_exp, lambda a: jnp.eye(2) + a, (np.array([[0.0, 2], [0, 0]], np.float32),)),
    (lambda a, b: linalg.multi_dot([a, b, b.mT]), lambda a, b: a @ b @ b.T, (A, B)),
    (lambda a: linalg.norm(a, "nuc"), lambda a: jnp.linalg.norm(a, "nuc"), (A,)),
    (lambda a: linalg.matrix_norm(a, 1), lambda a: jnp.linalg.norm(a, 1), (A,)),
    (torch.cov, jnp.cov, (A,)),
    (lambda a, b: torch.cdist(a, b.mT[:, :3]),
     lambda a, b: jnp.sqrt(((a[:, None] - b.T[None]) ** 2).sum(-1)), (A, B)),
])  # fmt: skip
def test_values_and_gradients(ours, pure, arrays):
    assert_close(ours(*map(tensor, arrays)), np.asarray(pure(*arrays)), **close)
    if ours is not linalg.matrix_exp:
        assert_gradient(ours, pure, *arrays, rtol=1e-3, atol=1e-4)


def test_empty_matrices():
    nothing = torch.zeros(0, 0)
    assert linalg.det(nothing).item() == 1
    assert tuple(linalg.inv(torch.zeros(2, 0, 0)).shape) == (2, 0, 0)
    assert tuple(linalg.cholesky(nothing).shape) == (0, 0)
    assert linalg.matrix_norm(torch.zeros(0, 3)).item() == 0


def test_ranks():
    assert linalg.matrix_rank(tensor(A)).item() == 3
    assert linalg.matrix_rank(tensor(SINGULAR)).item() == 1
    assert linalg.matrix_rank(tensor(A), atol=100.0).item() == 0
    assert linalg.cond(tensor(SINGULAR), 1).item() == float("inf")


# --- errors -------------------------------------------------------------------------------------


def test_what_cannot_be_solved_says_which():
    pair = torch.stack([torch.eye(2), tensor(SINGULAR) - tensor(SINGULAR)])
    with pytest.raises(linalg.LinAlgError, match=r"\(Batch element 1\): The diagonal element 1"):
        linalg.inv(pair)
    with pytest.raises(linalg.LinAlgError, match="leading minor of order 2"):
        linalg.cholesky(torch.diag(torch.tensor([1.0, -1.0])))
    with pytest.raises(linalg.LinAlgError, match="singular"):
        linalg.solve(pair[1], torch.ones(2))
    with pytest.raises(RuntimeError, match=r"U\[1,1\] is zero"):
        linalg.lu_factor(pair[1])


def test_the_ex_forms_tell_instead():
    assert linalg.inv_ex(torch.zeros(2, 2)).info.item() == 1
    assert linalg.cholesky_ex(-torch.eye(2)).info.item() == 1
    assert linalg.solve_ex(torch.eye(2), torch.ones(2)).info.item() == 0


@pytest.mark.parametrize("call, error, text", [
    (lambda: linalg.det(torch.ones(2, 3)), RuntimeError, "they are 2 by 3 matrices"),
    (lambda: linalg.inv(torch.ones(3)), RuntimeError, "at least 2 dimensions"),
    (lambda: linalg.inv(torch.ones(2, 2, dtype=torch.int64)), RuntimeError, "Got Long"),
    (lambda: linalg.qr(torch.ones(2, 2), "x"), RuntimeError, "unrecognized mode 'x'"),
    (lambda: linalg.eigh(torch.eye(2), "x"), RuntimeError, "but got x"),
    (lambda: linalg.solve(torch.eye(2), torch.ones(3, 1)), RuntimeError, "2x2 and 3x1"),
    (lambda: linalg.matrix_norm(torch.eye(2), 3), RuntimeError, "Order 3 not supported"),
    (lambda: linalg.multi_dot([torch.eye(2)]), RuntimeError, "at least 2 tensors but got 1"),
    (lambda: linalg.lstsq(torch.eye(2), torch.eye(2), driver="x"), RuntimeError, "one of"),
    (lambda: torch.cdist(torch.eye(2), torch.eye(3)), RuntimeError, "X1: 2 X2: 3"),
    (lambda: torch.cov(torch.ones(1, 1, 1)), RuntimeError, "3 dimensions"),
    (lambda: torch.combinations(torch.eye(2)), RuntimeError, r"shape \[2, 2\]"),
    (lambda: linalg.eigx, AttributeError, "eigx"),
])  # fmt: skip
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()
