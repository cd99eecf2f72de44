"""Attention against its formula, with masks, dropout and grouped heads."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.reference import agree, body

RNG = np.random.default_rng(3)
Q, K, V = (RNG.standard_normal(s) for s in ((2, 4, 3, 5), (2, 4, 6, 5), (2, 4, 6, 7)))


def plain(q, k, v, mask=0.0, scale=None):
    scores = q @ jnp.swapaxes(k, -1, -2) * (scale or 1 / math.sqrt(q.shape[-1])) + mask
    powers = jnp.exp(scores)
    return powers / powers.sum(-1, keepdims=True) @ v


def attention(q, k, v, mask=None, causal=False, scale=None, gqa=False):
    return body("_attention")(q, k, v, mask, causal, scale, gqa)


@pytest.mark.parametrize("scale", [None, 0.3])
def test_formula(scale):
    agree(lambda *a: attention(*a, scale=scale), lambda *a: plain(*a, scale=scale), Q, K, V)


def test_causal_looks_back_from_the_top_left():
    mask = np.where(np.tri(3, 6, dtype=bool), 0, -np.inf)
    agree(lambda *a: attention(*a, causal=True), lambda *a: plain(*a, mask), Q, K, V)


def test_masks():
    keep = RNG.random((4, 3, 6)) < 0.7
    keep[..., 0] = True
    agree(lambda *a: attention(*a, keep), lambda *a: plain(*a, np.where(keep, 0, -np.inf)), Q, K, V)
    bias = RNG.standard_normal((3, 6))
    agree(
        lambda q, k, v, m: attention(q, k, v, m),
        lambda q, k, v, m: plain(q, k, v, m),
        *(Q, K, V, bias),
    )


def test_a_row_that_may_look_nowhere_is_zero_and_so_is_its_gradient():
    mask = jnp.array([[True, False], [False, False]])
    x = jnp.ones((2, 3))
    assert attention(x, x, x, mask)[1].tolist() == [0, 0, 0]
    assert np.isfinite(jax.grad(lambda x: attention(x, x, x, mask).sum())(x)).all()


def test_grouped_heads_and_broadcasting():
    k, v = K[:, :2], V[:, :2]
    agree(
        lambda *a: attention(*a, gqa=True),
        lambda q, k, v: plain(q, jnp.repeat(k, 2, 1), jnp.repeat(v, 2, 1)),
        *(Q, k, v),
        second=False,
    )
    agree(attention, plain, Q, K[:, :1], V[:1], second=False)


def test_dropout_keeps_the_mean():
    ones = jnp.ones((1, 200, 4))
    key = jax.random.key(0)
    result = body("_attention_dropout")(ones, ones, ones, None, 0.5, False, None, False, key)
    assert 0 < float(result.std()) and float(result.mean()) == pytest.approx(1, abs=0.02)
    none = body("_attention_dropout")(ones, ones, ones, None, 1.0, False, None, False, key)
    assert not none.any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types(dtype):
    x = jnp.asarray(RNG.standard_normal((4, 8)), dtype)
    result = attention(x, x, x, causal=True)
    assert result.dtype == dtype
    wide = attention(*[x.astype(np.float32)] * 3, causal=True)
    np.testing.assert_allclose(result.astype(np.float32), wide, atol=2e-2)


Z = np.zeros


@pytest.mark.parametrize(
    "arguments, text",
    [
        ((Z(4), Z((3, 4)), Z((3, 4))), "at least 2 dimensional"),
        ((Z((3, 4)), Z((3, 4), "f"), Z((3, 4))), "to have the same dtype"),
        ((Z((3, 4)), Z((3, 4)), Z((3, 4)), Z((3, 3)), True), "should not be set when is_causal"),
        ((Z((3, 4)), Z((3, 4)), Z((3, 4)), Z((2, 2))), r"tensor a \(3\) must match .* b \(2\)"),
        ((Z((3, 4)), Z((3, 4)), Z((3, 4)), Z((3, 3), int)), "Expected attn_mask dtype"),
        ((Z((4, 3, 4)), Z((3, 3, 4)), Z((3, 3, 4)), None, False, None, True), "must divide"),
    ],
)
def test_bad_input(arguments, text):
    with jax.enable_x64(True), pytest.raises(RuntimeError, match=text):
        attention(*[jnp.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments])
