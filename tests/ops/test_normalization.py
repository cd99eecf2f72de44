"""Normalisation against its formulas, gradients against `jax.grad` of those."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.reference import agree, body

RNG = np.random.default_rng(2)


def standard(x, axes, eps=1e-5):
    return (x - x.mean(axes, keepdims=True)) / jnp.sqrt(x.var(axes, keepdims=True) + eps)


@pytest.mark.parametrize(
    "shape, normalized", [((3, 4, 5), (5,)), ((3, 4, 5), (4, 5)), ((6,), (6,))]
)
def test_layer_norm(shape, normalized):
    axes = tuple(range(-len(normalized), 0))
    agree(
        lambda x, w, b: body("layer_norm")(x, normalized, w, b),
        lambda x, w, b: standard(x, axes) * w + b,
        *(RNG.standard_normal(s) for s in (shape, normalized, normalized)),
    )


def test_rms_norm():
    agree(
        lambda x, w: body("rms_norm")(x, (5,), w, 1e-6),
        lambda x, w: x / jnp.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * w,
        RNG.standard_normal((3, 5)),
        RNG.standard_normal(5),
    )


def test_group_norm():
    def plain(x, w, b):
        y = standard(x.reshape(2, 3, -1), (-1,)).reshape(x.shape)
        return y * w[:, None, None] + b[:, None, None]

    agree(
        lambda x, w, b: body("group_norm")(x, 3, w, b),
        plain,
        *(RNG.standard_normal(s) for s in ((2, 6, 3, 4), (6,), (6,))),
    )


def test_batch_norm():
    shapes = ((4, 3, 5), (3,), (3,))
    x, w, b = (RNG.standard_normal(s) for s in shapes)
    agree(
        lambda x, w, b: body("_batch_norm_train")(x, None, None, w, b, jnp.array(0.1), 1e-5)[0],
        lambda x, w, b: standard(x, (0, 2)) * w[:, None] + b[:, None],
        x,
        w,
        b,
    )
    mean, var = jnp.zeros(3), jnp.ones(3)
    _, mean, var = body("_batch_norm_train")(
        jnp.asarray(x), mean, var, None, None, jnp.array(0.1), 1e-5
    )
    np.testing.assert_allclose(mean, 0.1 * x.mean((0, 2)), atol=1e-6)
    np.testing.assert_allclose(var, 0.9 + 0.1 * x.var((0, 2), ddof=1), rtol=1e-5)
    result = body("_batch_norm_eval")(jnp.asarray(x), mean, var, None, None, 1e-5)
    expected = (x - mean[:, None]) / np.sqrt(var[:, None] + 1e-5)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_local_response_norm():
    def plain(x):
        rows = []
        for c in range(x.shape[1]):
            near = x[:, max(0, c - 1) : c + 2]
            rows.append(x[:, c] / (2 + 0.5 * (near**2).sum(1) / 3) ** 0.75)
        return jnp.stack(rows, 1)

    agree(
        lambda x: body("local_response_norm")(x, 3, 0.5, 0.75, 2.0),
        plain,
        RNG.standard_normal((2, 4, 5)),
    )


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_normalize(p):
    agree(
        lambda x: body("normalize")(x, p, 1),
        lambda x: x / (jnp.abs(x) ** p).sum(1, keepdims=True) ** (1 / p),
        RNG.standard_normal((3, 4)),
    )


def test_normalize_of_zero_is_zero():
    assert not np.any(body("normalize")(jnp.zeros((2, 3))))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_are_computed_in_single(dtype):
    x = jnp.asarray(RNG.standard_normal((4, 8)) + 100, dtype)
    for name, argument in (("layer_norm", (8,)), ("group_norm", 2), ("rms_norm", (8,))):
        result = body(name)(x, argument)
        wide = body(name)(x.astype(np.float32), argument)
        assert result.dtype == dtype
        np.testing.assert_allclose(result.astype(np.float32), wide, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "name, arguments, error, text",
    [
        ("layer_norm", ((4,),), RuntimeError, r"expected input with shape \[\*, 4\]"),
        ("layer_norm", ((3,), jnp.zeros(4)), RuntimeError, "weight to be of same shape"),
        ("layer_norm", ((),), RuntimeError, "at least 1-dimensional"),
        ("rms_norm", ((4,),), RuntimeError, r"expected input with shape \[\*4\]"),
        ("group_norm", (2,), RuntimeError, "divisible by num_groups"),
        ("group_norm", (3, jnp.zeros(2)), RuntimeError, "vector of size equal to the number"),
        ("local_response_norm", (2,), ValueError, "3D or higher"),
    ],
)
def test_bad_input(name, arguments, error, text):
    with pytest.raises(error, match=text):
        body(name)(jnp.zeros((2, 3)), *arguments)


def test_integers_have_no_kernel():
    with pytest.raises(NotImplementedError, match="not implemented for 'Int'"):
        body("layer_norm")(jnp.zeros((2, 3), np.int32), (3,))
