"""Losses over labels against sums written out, ctc_loss against all alignments listed."""

import itertools

import numpy as np
import pytest

import dynjax as torch
import dynjax.nn.functional as F
from tests.ops.common import assert_close

RNG = np.random.default_rng(5)
X = RNG.standard_normal((3, 4)).astype(np.float32)


@pytest.mark.parametrize("p, weight", [(1, None), (2, [1.0, 2.0, 0.5, 3.0])])
def test_multi_margin_loss_sums_over_the_other_classes(p, weight):
    target, w = [2, 0, 3], np.float32(weight or [1] * 4)
    expected = [
        sum(w[y] * max(0, 0.7 - x[y] + x[i]) ** p for i in range(4) if i != y) / 4
        for x, y in zip(X, target)
    ]
    weight = None if weight is None else torch.tensor(weight)
    loss = F.multi_margin_loss(
        torch.tensor(X), torch.tensor(target), p, 0.7, weight, reduction="none"
    )
    assert_close(loss, np.float32(expected))


def test_multilabel_margin_loss_reads_labels_up_to_the_first_negative_one():
    target = [[3, 0, -1, 1], [-1, 2, 2, 2], [1, 2, 3, 0]]
    expected = []
    for x, row in zip(X, target):
        labels = list(itertools.takewhile(lambda y: y >= 0, row))
        others = [i for i in range(4) if i not in labels]
        expected.append(sum(max(0, 1 - x[y] + x[i]) for y in labels for i in others) / 4)
    loss = F.multilabel_margin_loss(torch.tensor(X), torch.tensor(target), reduction="none")
    assert_close(loss, np.float32(expected))


def test_multilabel_soft_margin_loss_is_binary_cross_entropy_per_sample():
    target = torch.tensor(np.float32([[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]]))
    expected = F.binary_cross_entropy_with_logits(torch.tensor(X), target, reduction="none").mean(1)
    loss = F.multilabel_soft_margin_loss(torch.tensor(X), target, reduction="none")
    assert_close(loss, expected.numpy())


def test_triplet_loss_takes_any_distance():
    a, b, c = (torch.tensor(X + k) for k in (0, 1, 3))
    loss = F.triplet_margin_with_distance_loss(
        a, b, c, distance_function=lambda x, y: (x - y).abs().sum(1), margin=9.5, reduction="none"
    )
    assert_close(loss, np.full(3, 9.5 + 4 - 12, np.float32), rtol=1e-4)


def test_linear_cross_entropy_is_cross_entropy_of_the_logits():
    x, w = torch.tensor(X), torch.tensor(RNG.standard_normal((5, 4)).astype(np.float32))
    target = torch.tensor([1, 4, 0])
    assert_close(F.linear_cross_entropy(x, w, target), F.cross_entropy(x @ w.T, target).numpy())


def collapsed(path, blank):
    return [c for c, _ in itertools.groupby(path) if c != blank]


@pytest.mark.parametrize("blank, target", [(0, [1, 2]), (2, [1, 1]), (0, []), (1, [0, 2, 0])])
def test_ctc_loss_is_the_sum_over_all_alignments(blank, target):
    log_probs = np.log(RNG.dirichlet(np.ones(3), 4))
    total = sum(
        np.exp(sum(log_probs[t, c] for t, c in enumerate(path)))
        for path in itertools.product(range(3), repeat=4)
        if collapsed(path, blank) == target
    )
    loss = F.ctc_loss(
        torch.tensor(log_probs), torch.tensor(target, dtype=torch.int64), torch.tensor(4),
        torch.tensor(len(target)), blank, "sum",
    )  # fmt: skip
    assert loss.item() == pytest.approx(-np.log(total))


def test_ctc_loss_of_logits_has_the_gradient_of_finite_differences():
    logits = RNG.standard_normal((5, 2, 4))

    def loss(x):
        targets = torch.tensor([1, 2, 3])  # of lengths 1 and 2
        return F.ctc_loss(x.log_softmax(2), targets, (5, 4), (1, 2))

    x = torch.tensor(logits, requires_grad=True)
    loss(x).backward()
    for place in [(0, 0, 1), (3, 1, 2), (4, 1, 0)]:
        step = np.zeros_like(logits)
        step[place] = 1e-5
        above, below = (loss(torch.tensor(logits + s)).item() for s in (step, -step))
        assert x.grad[place].item() == pytest.approx((above - below) / 2e-5, abs=1e-8)


def test_ctc_loss_without_alignment_is_infinite_or_zero():
    x = torch.zeros(2, 1, 3, requires_grad=True)
    targets = torch.tensor([[1, 1]])  # needs a blank between
    assert F.ctc_loss(x, targets, (2,), (2,)).item() == np.inf
    loss = F.ctc_loss(x, targets, (2,), (2,), zero_infinity=True)
    loss.backward()
    assert loss.item() == 0 and x.grad.eq(0).all()


def test_noise():
    x = torch.tensor([-8.0, 3.0], requires_grad=True)
    assert F.rrelu(x, 0.1, 0.3).tolist() == pytest.approx([-1.6, 3])
    drawn = F.rrelu(torch.full((1000,), -1.0), 0.1, 0.3, training=True).neg()
    assert 0.1 <= drawn.min().item() and drawn.max().item() <= 0.3 and drawn.std().item() > 0.04
    hard = F.gumbel_softmax(torch.zeros(50, 3, requires_grad=True), hard=True)
    assert hard.detach().sort(1).values.round(decimals=5).tolist() == [[0, 0, 1]] * 50
    soft = F.gumbel_softmax(torch.tensor([[5.0, 0.0]]).expand(500, 2), tau=0.5)
    assert soft[:, 0].mean().item() > 0.95
    kept, mask = torch.native_dropout(torch.ones(1000), 0.5, True)
    assert kept.eq(mask.float() * 2).all() and 0.4 < mask.float().mean().item() < 0.6


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda x, y: F.multi_margin_loss(x, y, p=3), ValueError, "only p == 1 and p == 2"),
        (lambda x, y: F.multi_margin_loss(x, y[:2]), RuntimeError, r"target size \[3\], but got"),
        (lambda x, y: F.multi_margin_loss(x, y.float()), RuntimeError, "expected scalar type Long"),
        (lambda x, y: F.multilabel_margin_loss(x, y), RuntimeError, "inconsistent target size"),
        (lambda x, y: F.multi_margin_loss(x, y, reduction="?"), ValueError, "not a valid value"),
        (lambda x, y: F.ctc_loss(x, y, (3,), (1,), 4), RuntimeError, "blank must be in label"),
        (lambda x, y: F.ctc_loss(x, y, (4,), (3,)), RuntimeError, "at most 3, but got value 4"),
        (lambda x, y: F.ctc_loss(x, y, (3,), (1,)), RuntimeError, "to have size 1 at dimension 0"),
        (lambda x, y: F.linear_cross_entropy(x, x[:, :3], y), RuntimeError, "got 4 and 3"),
        (lambda x, y: F.rrelu(x, 0.5, 0.1), RuntimeError, "Lower bound"),
    ],
)
def test_bad_calls_raise_what_pytorch_raises(call, error, text):
    with pytest.raises(error, match=text):
        call(torch.tensor(X), torch.tensor([1, 2, 0]))
