"""Look-up tables: rows, their gradients, bags, one-hot rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.reference import agree, body

RNG = np.random.default_rng(4)
W = RNG.standard_normal((5, 3))
INDEX = np.array([[1, 4, 1], [0, 1, 2]])


def embedding(w, index=INDEX, padding=None, by_frequency=False):
    return body("_embedding")(jnp.asarray(index), w, padding, by_frequency)


def bag(w, index, offsets=None, factors=None, mode="mean", last=False, padding=None):
    starts = None if offsets is None else jnp.asarray(offsets)
    return body("_embedding_bag")(
        jnp.asarray(index), w, starts, factors, False, mode, last, padding
    )


def test_rows():
    agree(embedding, lambda w: w[INDEX], W)


def test_padding_gets_no_gradient():
    gradient = jax.grad(lambda w: embedding(w, padding=1).sum())(jnp.asarray(W))
    assert gradient.tolist() == [[n] * 3 for n in (1, 0, 1, 0, 1)]


def test_gradient_by_frequency():
    gradient = jax.grad(lambda w: embedding(w, by_frequency=True).sum())(jnp.asarray(W))
    assert gradient.tolist() == [[n] * 3 for n in (1, 1, 1, 0, 1)]


def test_out_of_range_is_visible():
    assert np.isnan(embedding(jnp.asarray(W), np.array([5, -1]))).all()


def test_renorm_touches_only_rows_that_are_used_and_long():
    w = jnp.array([[3.0, 4.0], [0.3, 0.4], [6.0, 8.0]])
    result = body("_embedding_renorm")(w, jnp.array([0, 1]), 1.0, 2.0)
    np.testing.assert_allclose(result, [[0.6, 0.8], [0.3, 0.4], [6, 8]], rtol=1e-6)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags(mode):
    reduce = getattr(jnp, mode)
    flat, offsets = INDEX.reshape(-1), np.array([0, 2])
    agree(lambda w: bag(w, INDEX, mode=mode), lambda w: reduce(w[INDEX], 1), W)
    agree(
        lambda w: bag(w, flat, offsets, mode=mode),
        lambda w: jnp.stack([reduce(w[flat[:2]], 0), reduce(w[flat[2:]], 0)]),
        W,
    )
    result = bag(jnp.asarray(W), flat, np.array([0, 3, 3, 6]), mode=mode, last=True)
    assert result.shape == (3, 3) and not result[1].any()


def test_bag_with_factors_and_padding():
    factors = RNG.standard_normal(INDEX.shape)
    agree(
        lambda w, f: bag(w, INDEX, factors=f, mode="sum"),
        lambda w, f: (w[INDEX] * f[..., None]).sum(1),
        W,
        factors,
    )
    result = bag(jnp.asarray(W), INDEX, padding=1)
    np.testing.assert_allclose(result, [W[4], (W[0] + W[2]) / 2], rtol=1e-5)


def test_one_hot():
    with jax.enable_x64(True):
        rows = body("_one_hot")(jnp.array([2, 0]), 3)
    assert rows.dtype == np.int64
    assert rows.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_bad_input():
    with pytest.raises(RuntimeError, match="scalar types: Long, Int; but got torch.FloatTensor"):
        embedding(jnp.asarray(W), np.zeros(2, np.float32))
    with pytest.raises(RuntimeError, match="'weight' must be 2-D"):
        embedding(jnp.zeros(3), np.zeros(2, np.int32))
