"""Losses: definitions in NumPy, gradients against `jax.grad`, warnings, bad input."""

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dynjax as torch
import dynjax.nn.functional as F
from tests.ops.common import assert_close, assert_gradient, gradient

A = np.array([[0.5, -1.0, 2.0], [1.5, 0.0, -3.0]], np.float32)
B = np.array([[0.0, -1.0, 4.0], [1.0, 0.5, -3.2]], np.float32)
P = np.array([[0.1, 0.5, 0.9], [0.3, 0.6, 0.2]], np.float32)
SIGNS = np.array([[1.0, -1, 1], [-1, -1, 1]], np.float32)
ROWS = np.array([[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]], np.float32)


def make(x):
    return torch.tensor(np.asarray(x).tolist())


def smooth(z, beta):
    return jnp.where(jnp.abs(z) < beta, z * z / (2 * beta), jnp.abs(z) - beta / 2)


ELEMENTWISE = {
    "mse_loss": (F.mse_loss, lambda a, b: (a - b) ** 2, A, B),
    "l1_loss": (F.l1_loss, lambda a, b: jnp.abs(a - b), A + 0.1, B),
    "smooth_l1_loss": (F.smooth_l1_loss, lambda a, b: smooth(a - b, 1.0), A, B),
    "huber_loss": (F.huber_loss, lambda a, b: smooth(a - b, 1.0), A, B),
    "binary_cross_entropy": (
        F.binary_cross_entropy, lambda p, t: -t * jnp.log(p) - (1 - t) * jnp.log(1 - p), P, ROWS,
    ),
    "binary_cross_entropy_with_logits": (
        F.binary_cross_entropy_with_logits,
        lambda x, t: -t * jax.nn.log_sigmoid(x) - (1 - t) * jax.nn.log_sigmoid(-x), A, P,
    ),
    "poisson_nll_loss": (F.poisson_nll_loss, lambda x, t: jnp.exp(x) - t * x, A, P),
    "soft_margin_loss": (F.soft_margin_loss, lambda x, t: jnp.log1p(jnp.exp(-t * x)), A, SIGNS),
    "hinge_embedding_loss": (
        F.hinge_embedding_loss,
        lambda x, t: jnp.where(t == 1, x, jnp.maximum(0, 1 - x)), A, SIGNS,
    ),
    "gaussian_nll_loss": (
        lambda x, t, **k: F.gaussian_nll_loss(x, t, make(P), **k),
        lambda x, t: 0.5 * (jnp.log(P) + (x - t) ** 2 / P), A, B,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_losses(name):
    function, form, a, b = ELEMENTWISE[name]
    expected = np.asarray(form(a, b), np.float32)
    assert_close(function(make(a), make(b), reduction="none"), expected, rtol=1e-4)
    assert_close(function(make(a), make(b), reduction="sum"), expected.sum(), rtol=1e-4)
    assert_close(function(make(a), make(b)), expected.mean(), rtol=1e-4)
    target = make(b)
    assert_gradient(
        lambda x: function(x, target, reduction="sum"), lambda x: form(x, b), a, atol=1e-5
    )
    with pytest.raises(ValueError, match="foo is not"):
        function(make(a), make(b), reduction="foo")


# Classes


def reference_nll(x, target, weight=None, ignore=-100, smoothing=0.0):
    """Losses and their weights one by one, as the definition says."""
    x = np.moveaxis(np.asarray(x, np.float64), 1, -1).reshape(-1, x.shape[1])
    logp = x - np.log(np.exp(x).sum(1, keepdims=True))
    w = np.ones(x.shape[1]) if weight is None else np.asarray(weight, np.float64)
    losses, counts = [], []
    for row, t in zip(logp, np.asarray(target).reshape(-1)):
        counts.append(0.0 if t == ignore else w[t])
        spread = -(w * row).sum() * smoothing / len(row)
        losses.append(0.0 if t == ignore else -(1 - smoothing) * w[t] * row[t] + spread)
    return np.array(losses), np.array(counts)


@pytest.mark.parametrize("shape", [(4, 3), (2, 5, 3), (2, 3, 2, 2), (2, 3, 1, 2, 2)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_with_indices(shape, weighted, smoothing):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target.flat[0] = -100
    weight = rng.uniform(0.5, 2, shape[1]).astype(np.float32) if weighted else None
    losses, counts = reference_nll(x, target, weight, smoothing=smoothing)
    options = {"weight": None if weight is None else make(weight), "label_smoothing": smoothing}
    expected = losses.reshape(target.shape).astype(np.float32)
    args = make(x), make(target)
    assert_close(F.cross_entropy(*args, reduction="none", **options), expected, 1e-4, 1e-5)
    assert_close(F.cross_entropy(*args, **options), np.float32(losses.sum() / counts.sum()), 1e-4)


def test_cross_entropy_is_nll_of_log_softmax():
    x, target = make(A), torch.tensor([2, 0])
    assert_close(F.nll_loss(F.log_softmax(x, 1), target), F.cross_entropy(x, target).numpy())


def test_cross_entropy_gradient_is_softmax_less_one_hot():
    slope = gradient(lambda x: F.cross_entropy(x, torch.tensor([2, -100]), ignore_index=-100), A)
    expected = np.zeros_like(A)
    expected[0] = np.asarray(jax.nn.softmax(A[0])) - [0, 0, 1]
    np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-6)


def test_cross_entropy_second_derivative():
    x = torch.tensor([[0.5, -1.0, 2.0]], requires_grad=True)
    (g,) = torch.autograd.grad(F.cross_entropy(x, torch.tensor([1])), x, create_graph=True)
    (h,) = torch.autograd.grad(g[0, 0], x)
    p = np.asarray(jax.nn.softmax(x.detach().numpy()))[0]
    assert_close(h, np.array([[p[0] - p[0] ** 2, -p[0] * p[1], -p[0] * p[2]]]), 1e-4)


def test_cross_entropy_of_probabilities():
    expected = -(ROWS * np.asarray(jax.nn.log_softmax(A, axis=1))).sum(1)
    assert_close(F.cross_entropy(make(A), make(ROWS), reduction="none"), expected)
    assert_close(F.cross_entropy(make(A), make(ROWS)), expected.mean())


def test_cross_entropy_of_large_logits_is_exact():
    loss = F.cross_entropy(torch.tensor([[1e4, 1e4 - 5]]), torch.tensor([0]))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-5)), rel=1e-5)


def test_cross_entropy_without_batch_and_of_nothing():
    assert F.cross_entropy(torch.zeros(3), torch.tensor(1)).item() == pytest.approx(math.log(3))
    ignored = F.cross_entropy(torch.zeros(1, 3), torch.tensor([-100]))
    assert math.isnan(ignored.item())


# Others


def test_bce_at_zero_and_one():
    p = torch.tensor([0.0, 0.0, 1.0, 1.0])
    t = torch.tensor([0.0, 1.0, 0.0, 1.0])
    assert F.binary_cross_entropy(p, t, reduction="none").tolist() == [0.0, 100.0, 100.0, 0.0]


def test_bce_with_logits_of_extremes():
    x = torch.tensor([-200.0, 200.0, 0.0])
    t = torch.tensor([1.0, 0.0, 0.5])
    loss = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    assert_close(loss, np.array([200, 200, math.log(2)], np.float32))
    assert gradient(
        lambda x: F.binary_cross_entropy_with_logits(x, t, reduction="sum"), [-200.0, 200.0, 0.0]
    ).tolist() == [-1.0, 1.0, 0.0]


def test_bce_with_logits_weights_positives():
    x, t = make(A), make(P)
    positive = -P * np.asarray(jax.nn.log_sigmoid(A)) * 3
    expected = positive - (1 - P) * np.asarray(jax.nn.log_sigmoid(-A))
    loss = F.binary_cross_entropy_with_logits(x, t, pos_weight=torch.tensor(3.0), reduction="none")
    assert_close(loss, expected)


@pytest.mark.parametrize("log_target", [False, True])
def test_kl_div(log_target):
    logp = np.log(ROWS)
    q = ROWS[::-1]
    expected = np.float32((q * (np.log(q) - logp)).sum() / 2)
    target = make(np.log(q) if log_target else q)
    assert_close(
        F.kl_div(make(logp), target, reduction="batchmean", log_target=log_target), expected
    )
    zero = F.kl_div(make(logp), torch.zeros(2, 3), reduction="sum")
    assert zero.item() == 0


def test_kl_div_warns_of_mean():
    with pytest.warns(UserWarning, match="divides the total loss by both the batch size"):
        F.kl_div(make(A), make(P))


@given(st.integers(0, 1))
def test_cosine_similarity(dim):
    expected = (A * B).sum(dim) / (np.linalg.norm(A, axis=dim) * np.linalg.norm(B, axis=dim))
    assert_close(F.cosine_similarity(make(A), make(B), dim), expected, atol=1e-5)


def test_cosine_similarity_of_zero():
    x = torch.zeros(1, 2)
    assert F.cosine_similarity(x, x).tolist() == [0.0]


def test_margin_losses():
    assert_close(
        F.margin_ranking_loss(make(A), make(B), make(SIGNS), margin=0.5, reduction="none"),
        np.maximum(0, -SIGNS * (A - B) + 0.5),
    )
    near = np.linalg.norm(A - B + 1e-6, axis=1)
    far = np.linalg.norm(A - P + 1e-6, axis=1)
    swapped = np.minimum(far, np.linalg.norm(B - P + 1e-6, axis=1))
    for swap, distance in ((False, far), (True, swapped)):
        loss = F.triplet_margin_loss(make(A), make(B), make(P), swap=swap, reduction="none")
        assert_close(loss, np.maximum(0, 1 + near - distance))


def test_gaussian_takes_a_number_and_a_column():
    x, t = make(A), make(B)
    expected = 0.5 * (math.log(2) + (A - B) ** 2 / 2)
    for var in (2.0, torch.tensor([2.0, 2.0]), torch.tensor([[2.0], [2.0]])):
        assert_close(F.gaussian_nll_loss(x, t, var, reduction="none"), expected)


def test_weighted_mean_divides_by_the_weights():
    expected = np.float32((P * (A - B) ** 2).sum() / P.sum())
    assert_close(F.mse_loss(make(A), make(B), weight=make(P)), expected)


# Warnings


def test_mse_loss_warns_of_broadcast_on_every_call():
    x, t = torch.zeros(100, 1), torch.zeros(100, 10)
    for _ in range(2):
        with pytest.warns(UserWarning) as caught:
            assert F.mse_loss(x, t).item() == 0
        assert str(caught[0].message) == (
            "Using a target size (torch.Size([100, 10])) that is different to the input size "
            "(torch.Size([100, 1])). This will likely lead to incorrect results due to "
            "broadcasting. Please ensure they have the same size."
        )
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        F.mse_loss(x, x)


@pytest.mark.parametrize(
    "size_average, reduce, meant",
    [(True, None, "mean"), (False, None, "sum"), (None, False, "none"), (None, True, "mean")],
)
def test_deprecated_reductions(size_average, reduce, meant):
    with pytest.warns(UserWarning, match=f"please use reduction='{meant}' instead."):
        result = F.mse_loss(make(A), make(B), size_average=size_average, reduce=reduce)
    assert result.tolist() == F.mse_loss(make(A), make(B), reduction=meant).tolist()


X, I = torch.ones(2, 3), torch.tensor([0, 1])  # noqa: E741


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: F.cross_entropy(X, torch.tensor([0, 1, 2])), ValueError,
         "Expected input batch_size (2) to match target batch_size (3)."),
        (lambda: F.cross_entropy(X, I.int()), RuntimeError,
         "expected target dtype to be Long or Byte, but got Int"),
        (lambda: F.cross_entropy(X, I, weight=torch.ones(2)), RuntimeError,
         "weight tensor should be defined either for all 3 classes or no classes but got weight "
         "tensor of shape: [2]"),
        (lambda: F.cross_entropy(X, torch.ones(2, 4)), RuntimeError,
         "0D or 1D target tensor expected, multi-target not supported"),
        (lambda: F.cross_entropy(X, I, label_smoothing=2), RuntimeError,
         "label_smoothing must be between 0.0 and 1.0. Got: 2"),
        (lambda: F.cross_entropy(X, X, ignore_index=0), RuntimeError,
         "ignore_index is not supported for floating point target"),
        (lambda: F.cross_entropy(I, I), RuntimeError,
         "Expected floating point type for target with class probabilities, got Long"),
        (lambda: F.cross_entropy(torch.ones(2, 3, 4), torch.zeros(2, 5).long()), RuntimeError,
         "Expected target size [2, 4], got [2, 5]"),
        (lambda: F.nll_loss(torch.ones(2, 3, 4, 5), torch.zeros(2, 5, 5).long()), RuntimeError,
         "size mismatch (got input: [2, 3, 4, 5] , target: [2, 5, 5]"),
        (lambda: F.nll_loss(torch.tensor(1.0), torch.tensor(1)), ValueError,
         "Expected 1 or more dimensions (got 0)"),
        (lambda: F.mse_loss(I, I), NotImplementedError, "\"mse_cpu\" not implemented for 'Long'"),
        (lambda: F.huber_loss(X, X, delta=0), RuntimeError,
         "huber_loss does not support non-positive values for delta."),
        (lambda: F.binary_cross_entropy(X, X.double()), RuntimeError,
         "Found dtype Double but expected Float"),
        (lambda: F.binary_cross_entropy(X, torch.ones(3)), ValueError,
         "Using a target size (torch.Size([3])) that is different to the input size "
         "(torch.Size([2, 3])) is deprecated. Please ensure they have the same size."),
        (lambda: F.binary_cross_entropy_with_logits(X, torch.ones(3)), ValueError,
         "Target size (torch.Size([3])) must be the same as input size (torch.Size([2, 3]))"),
        (lambda: F.kl_div(I, I, reduction="sum"), RuntimeError,
         "kl_div: Integral inputs not supported."),
        (lambda: F.triplet_margin_loss(X, X, X, margin=-1), ValueError,
         "margin must be greater than 0, got -1"),
        (lambda: F.gaussian_nll_loss(X, X, torch.ones(7)), ValueError, "var is of incorrect size"),
        (lambda: F.mse_loss(X, X, weight=torch.ones(3)), ValueError,
         "Weights and input must have the same size."),
    ],
)  # fmt: skip
def test_bad_input(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
