"""Embeddings and bags of them: against NumPy, gradients by hand, what they refuse."""

import numpy as np
import pytest

import dynjax
from dynjax import nn

TABLE = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
INDEX = [1, 3, 3, 0, 5, 2]
BAGS = [[1, 3], [], [3, 0, 5, 2]]  # at offsets 0, 2, 2


def bag(**options):
    layer = nn.EmbeddingBag(6, 3, **options)
    with dynjax.no_grad():
        layer.weight.copy_(dynjax.from_numpy(TABLE))
    return layer


@pytest.mark.parametrize(("mode", "reduce"), [("sum", np.sum), ("mean", np.mean), ("max", np.max)])
def test_bags_by_offsets_and_by_rows(mode, reduce):
    layer = bag(mode=mode)
    found = layer(dynjax.tensor(INDEX), dynjax.tensor([0, 2, 2])).detach().numpy()
    wanted = [reduce(TABLE[rows], axis=0) if rows else np.zeros(3) for rows in BAGS]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    rows = np.reshape(INDEX, (2, 3))
    found = layer(dynjax.tensor(rows)).detach().numpy()
    np.testing.assert_allclose(found, reduce(TABLE[rows], axis=1), rtol=1e-6)


def test_bags_with_weights_a_last_offset_and_padding():
    weights = np.arange(6, dtype=np.float32)
    layer = bag(mode="sum", include_last_offset=True, padding_idx=3)
    found = layer(dynjax.tensor(INDEX), dynjax.tensor([0, 2, 2, 6]), dynjax.tensor(weights))
    kept = weights * (np.array(INDEX) != 3)
    products = TABLE[INDEX] * kept[:, None]
    wanted = [products[:2].sum(0), np.zeros(3), products[2:].sum(0)]
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-6)
    found.sum().backward()
    by_row = np.zeros(6)
    np.add.at(by_row, INDEX, kept)
    np.testing.assert_allclose(layer.weight.grad.numpy(), np.repeat(by_row[:, None], 3, 1))


def test_gradient_of_means():
    layer = bag()
    layer(dynjax.tensor(INDEX), dynjax.tensor([0, 2, 2])).sum().backward()
    wanted = np.zeros(6)
    for rows in BAGS:
        for row in rows:
            wanted[row] += 1 / len(rows)
    np.testing.assert_allclose(layer.weight.grad.numpy()[:, 0], wanted, rtol=1e-6)


def test_made_of_a_table():
    for cls in (nn.Embedding, nn.EmbeddingBag):
        layer = cls.from_pretrained(dynjax.from_numpy(TABLE))
        assert not layer.weight.requires_grad
        np.testing.assert_array_equal(layer.weight.numpy(), TABLE)
        assert cls.from_pretrained(dynjax.from_numpy(TABLE), freeze=False).weight.requires_grad
        with pytest.raises((AssertionError, ValueError)):
            cls.from_pretrained(dynjax.ones(3))


def test_padding_gets_no_gradient():
    layer = nn.Embedding(6, 3, padding_idx=-1)
    assert layer.padding_idx == 5 and not layer.weight[5].any()
    layer(dynjax.tensor([5, 1, 5])).sum().backward()
    assert layer.weight.grad[:, 0].tolist() == [0, 1, 0, 0, 0, 0]


def test_repr():
    assert repr(nn.EmbeddingBag(6, 3, mode="max")) == "EmbeddingBag(6, 3, mode='max')"
    assert repr(nn.Embedding(6, 3, padding_idx=1)) == "Embedding(6, 3, padding_idx=1)"


@pytest.mark.parametrize(
    ("use", "error"),
    [
        (lambda: nn.Embedding(6, 3, padding_idx=6), AssertionError),
        (lambda: nn.EmbeddingBag(6, 3, padding_idx=-7), AssertionError),
        (lambda: bag()(dynjax.tensor([0, 1])), ValueError),
        (lambda: bag()(dynjax.tensor([[0, 1]]), dynjax.tensor([0])), ValueError),
        (lambda: bag()(dynjax.tensor([0, 1]), dynjax.tensor([[0]])), ValueError),
        (lambda: bag(mode="median")(dynjax.tensor([[0, 1]])), ValueError),
        (lambda: bag()(dynjax.tensor([[0]]), None, dynjax.ones(1, 1)), NotImplementedError),
    ],
)
def test_bad_arguments(use, error):
    with pytest.raises(error):
        use()
