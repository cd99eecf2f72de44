"""Pooling against reductions of windows; ties, padding, indices and adaptive boxes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.reference import agree, body, windows

RNG = np.random.default_rng(1)


def reduced(x, kernel, stride, pads, reduce, dilation=(1, 1), fill=0):
    parts = windows(x, kernel, stride, pads, dilation, fill)
    return reduce(parts.reshape(*parts.shape[: -len(kernel)], -1), -1)


@pytest.mark.parametrize(
    "shape, kernel, settings, pads",
    [
        ((2, 3, 6, 8), (2, 2), {}, [(0, 0), (0, 0)]),
        ((2, 3, 7, 5), (2, 2), {}, [(0, 0), (0, 0)]),
        ((2, 2, 7, 8), (3, 3), {"stride": 2, "padding": 1}, [(1, 1), (1, 1)]),
        ((1, 2, 6, 7), (2, 3), {"stride": (1, 2), "ceil_mode": True}, [(0, 0), (0, 0)]),
        ((1, 2, 5, 6), (2, 2), {"ceil_mode": True}, [(0, 1), (0, 0)]),
        ((1, 2, 8, 8), (2, 2), {"stride": 1, "dilation": 3}, [(0, 0), (0, 0)]),
        ((1, 2, 9, 10), (9, 8), {"stride": 1}, [(0, 0), (0, 0)]),
    ],
)
def test_max_pool(shape, kernel, settings, pads):
    stride = settings.get("stride", kernel)
    stride = (stride,) * 2 if isinstance(stride, int) else stride
    dilation = (settings.get("dilation", 1),) * 2
    agree(
        lambda x: body("max_pool2d")(x, kernel, **settings),
        lambda x: reduced(x, kernel, stride, pads, jnp.max, dilation, -np.inf),
        RNG.standard_normal(shape),
    )


def test_max_pool_in_one_and_three_dimensions():
    x = RNG.standard_normal((2, 2, 9))
    agree(
        lambda x: body("max_pool1d")(x, 3, 2),
        lambda x: reduced(x, (3,), (2,), [(0, 0)], jnp.max, (1,)),
        x,
    )
    x = RNG.standard_normal((1, 2, 4, 4, 4))
    agree(
        lambda x: body("max_pool3d")(x, 2),
        lambda x: reduced(x, (2,) * 3, (2,) * 3, [(0, 0)] * 3, jnp.max, (1,) * 3),
        x,
    )


@pytest.mark.parametrize("stride", [2, 1])
def test_the_first_of_equal_maxima_gets_the_gradient(stride):
    gradient = jax.grad(lambda x: body("max_pool2d")(x, 2, stride).sum())(jnp.ones((1, 3, 3)))
    expected = np.zeros((3, 3))
    expected[0, 0] = 1
    if stride == 1:
        expected[:2, :2] = 1
    np.testing.assert_array_equal(gradient[0], expected)


@pytest.mark.parametrize("kernel", [3, 9])
def test_indices_point_into_the_unpadded_input(kernel):
    x = jnp.asarray(RNG.standard_normal((2, 3, 12, 11)))
    values, index = body("max_pool2d")(x, kernel, 2, kernel // 2, return_indices=True)
    flat = x.reshape(2, 3, -1)
    found = jnp.take_along_axis(flat, index.reshape(2, 3, -1), -1)
    np.testing.assert_array_equal(found, values.reshape(2, 3, -1))


def test_nan_and_infinity():
    nan, inf = np.nan, np.inf
    value, index = body("max_pool1d")(jnp.array([[1, nan, 2, nan]]), 4, return_indices=True)
    assert np.isnan(value[0, 0]) and index[0, 0] == 3
    value, index = body("max_pool1d")(jnp.full((1, 4), -inf), 3, padding=1, return_indices=True)
    assert index.tolist() == [[0, 2]]


def test_integers():
    x = jnp.arange(16, dtype=np.int32).reshape(1, 4, 4)
    assert body("max_pool2d")(x, 2).tolist() == [[[5, 7], [13, 15]]]
    with jax.enable_x64(True):
        x = jnp.array([[-3, -4, 3, 4]], np.int64)
        assert body("avg_pool1d")(x, 2).tolist() == [[-3, 3]]


@pytest.mark.parametrize(
    "kernel, settings, pads, divisor",
    [
        ((2, 2), {}, [(0, 0), (0, 0)], 4),
        ((3, 3), {"stride": 2, "padding": 1}, [(1, 1), (1, 1)], 9),
        ((2, 2), {"divisor_override": 3}, [(0, 0), (0, 0)], 3),
        ((9, 8), {"stride": 1}, [(0, 0), (0, 0)], 72),
    ],
)
def test_avg_pool(kernel, settings, pads, divisor):
    stride = (settings["stride"],) * 2 if "stride" in settings else kernel
    agree(
        lambda x: body("avg_pool2d")(x, kernel, **settings),
        lambda x: reduced(x, kernel, stride, pads, jnp.sum) / divisor,
        RNG.standard_normal((2, 3, 9, 9)),
        second=False,
    )


def test_avg_pool_counts_only_what_is_there():
    x = jnp.ones((1, 1, 5))
    pool = body("avg_pool1d")
    np.testing.assert_allclose(pool(x, 2, padding=1, count_include_pad=False)[0, 0], [1, 1, 1])
    np.testing.assert_allclose(pool(x, 2, padding=1)[0, 0], [0.5, 1, 1])
    # In ceil mode the part of a window beyond the padding never counts.
    np.testing.assert_allclose(pool(x, 2, ceil_mode=True)[0, 0], [1, 1, 1])


@pytest.mark.parametrize("out", [(1, 1), (3, 2), (4, 5), (None, 3)])
def test_adaptive(out):
    def boxes(x, reduce):
        sizes = [n if o is None else o for o, n in zip(out, x.shape[2:])]
        rows, columns = (
            [slice(i * n // o, -(-(i + 1) * n // o)) for i in range(o)]
            for o, n in zip(sizes, x.shape[2:])
        )
        return jnp.stack(
            [jnp.stack([reduce(x[:, :, r, c], (2, 3)) for c in columns], -1) for r in rows], -2
        )

    x = RNG.standard_normal((2, 2, 6, 7))
    agree(lambda x: body("adaptive_avg_pool2d")(x, out), lambda x: boxes(x, jnp.mean), x)
    agree(lambda x: body("adaptive_max_pool2d")(x, out), lambda x: boxes(x, jnp.max), x)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types(dtype):
    x = jnp.ones((1, 64, 64), dtype)
    for name in ("avg_pool2d", "max_pool2d"):
        result = body(name)(x, 64)
        assert result.dtype == dtype and float(result[0, 0, 0]) == 1


@pytest.mark.parametrize(
    "name, shape, arguments, error, text",
    [
        ("max_pool2d", (2, 3), (2,), RuntimeError, "non-empty 3D or 4D"),
        ("max_pool2d", (2, 3, 4, 4), (5,), RuntimeError, r"Calculated output size: \(3x0x0\)"),
        ("max_pool2d", (2, 3, 4, 4), (2, 2, 2), RuntimeError, "pad should be at most half"),
        ("max_pool2d", (2, 3, 4, 4), (2, 0), RuntimeError, "stride should not be zero"),
        ("max_pool2d", (2, 3, 4, 4), ((2, 2, 2),), RuntimeError, "a tuple of two ints"),
        ("max_pool1d", (2, 3, 4, 5), (2,), RuntimeError, "max_pool1d: Expected 2D or 3D"),
        ("avg_pool2d", (2, 3), (2,), IndexError, "Dimension out of range"),
        ("avg_pool2d", (2, 3, 4, 4), (2, 2, 0, False, True, 0), RuntimeError, "must be not zero"),
        ("adaptive_avg_pool2d", (2, 3), (2,), RuntimeError, "Expected 3D or 4D tensor"),
        ("adaptive_avg_pool2d", (1, 3, 4, 4), (-1,), RuntimeError, "greater than or equal to 0"),
        ("adaptive_max_pool2d", (1, 3, 0, 4), (2,), RuntimeError, "dimension 2 being empty"),
    ],
)
def test_bad_input(name, shape, arguments, error, text):
    with pytest.raises(error, match=text):
        body(name)(jnp.zeros(shape), *arguments)


def test_types_without_a_kernel():
    with pytest.raises(NotImplementedError, match="not implemented for 'Bool'"):
        body("max_pool2d")(jnp.zeros((1, 4, 4), bool), 2)
