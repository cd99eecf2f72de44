"""Convolutions against sums over windows, their gradients against `jax.grad` of those."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.reference import agree, body, windows

RNG = np.random.default_rng(0)


def expand(value, dims):
    return (value,) * dims if isinstance(value, int) else value


def plain_conv(x, w, stride, pads, dilation, groups):
    parts = windows(x, w.shape[2:], stride, pads, dilation)
    n, c = parts.shape[:2]
    dims = w.ndim - 2
    size = parts.shape[2 : 2 + dims]
    parts = parts.reshape(n, groups, c // groups, int(np.prod(size)), -1)
    kernel = w.reshape(groups, w.shape[0] // groups, w.shape[1], -1)
    return jnp.einsum("ngcpk,gock->ngop", parts, kernel).reshape(n, w.shape[0], *size)


# Each row meets another form: elementwise, library, product per tap, depthwise with a
# multiplier, few groups, many groups, kernel of one element.
FORMS = [
    (2, (4, 1, 7, 6), (3, 1, 5, 3), {"padding": (2, 1)}),
    (2, (3, 1, 7, 6), (3, 1, 5, 3), {}),
    (2, (2, 6, 8, 7), (4, 6, 3, 3), {"stride": (2, 1), "padding": 1}),
    (2, (2, 9, 6, 6), (4, 9, 3, 2), {"dilation": 2, "stride": 2, "padding": (1, 2)}),
    (2, (2, 3, 6, 6), (6, 1, 3, 3), {"groups": 3, "padding": 1}),
    (2, (1, 3, 6, 6), (3, 1, 3, 3), {"groups": 3, "stride": 2}),
    (2, (2, 4, 6, 6), (6, 2, 3, 3), {"groups": 2, "dilation": (1, 2)}),
    (2, (2, 20, 5, 5), (10, 2, 2, 2), {"groups": 10}),
    (2, (2, 5, 6, 6), (4, 5, 1, 1), {"stride": 2}),
    (1, (2, 3, 9), (4, 3, 4), {"stride": 3, "padding": 2}),
    (3, (2, 2, 4, 5, 4), (3, 2, 2, 3, 2), {"stride": (1, 2, 1), "padding": (1, 0, 1)}),
]


@pytest.mark.parametrize("dims, shape, kernel, settings", FORMS)
def test_conv(dims, shape, kernel, settings):
    x, w = RNG.standard_normal(shape), RNG.standard_normal(kernel)
    stride = expand(settings.get("stride", 1), dims)
    dilation = expand(settings.get("dilation", 1), dims)
    pads = [(p, p) for p in expand(settings.get("padding", 0), dims)]
    groups = settings.get("groups", 1)
    agree(
        lambda x, w: body(f"conv{dims}d")(x, w, None, **settings),
        lambda x, w: plain_conv(x, w, stride, pads, dilation, groups),
        x,
        w,
    )


def plain_transpose(y, w, stride, padding, output_padding, groups, dilation):
    """The transpose of the plain convolution, from its definition."""
    size = [
        (m - 1) * s - 2 * p + d * (k - 1) + 1 + e
        for m, s, p, d, k, e in zip(
            y.shape[2:], stride, padding, dilation, w.shape[2:], output_padding
        )
    ]
    pads = [(p, p) for p in padding]

    def forward(x):
        result = plain_conv(x, w, stride, pads, dilation, groups)
        return result[:, :, : y.shape[2], : y.shape[3]]

    shape = (y.shape[0], w.shape[1] * groups, *size)
    return jax.linear_transpose(forward, jax.ShapeDtypeStruct(shape, y.dtype))(y)[0]


def test_conv_transpose_of_one_element_is_the_kernel():
    w = RNG.standard_normal((1, 2, 2, 3)).astype(np.float32)
    result = body("conv_transpose2d")(jnp.full((1, 1, 1, 1), 2.0), jnp.asarray(w))
    np.testing.assert_allclose(result, 2 * w)


@pytest.mark.parametrize(
    "shape, kernel, settings",
    [
        ((2, 3, 4, 5), (3, 2, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
        ((1, 9, 3, 3), (9, 9, 2, 2), {"dilation": (2, 1)}),
        ((2, 4, 3, 3), (4, 2, 3, 3), {"groups": 2, "stride": (1, 2)}),
        ((2, 4, 3, 3), (4, 1, 3, 3), {"groups": 4, "stride": 2}),
        ((2, 2, 4, 4), (2, 2, 4, 5), {"stride": (3, 2), "padding": (1, 2), "dilation": 4,
                                      "output_padding": (2, 3), "groups": 2}),
    ],
)  # fmt: skip
def test_conv_transpose(shape, kernel, settings):
    full = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, **settings}
    groups = full.pop("groups", 1)
    wide = {k: expand(v, 2) for k, v in full.items()}
    agree(
        lambda y, w: body("conv_transpose2d")(y, w, None, **settings),
        lambda y, w: plain_transpose(y, w, groups=groups, **wide),
        RNG.standard_normal(shape),
        RNG.standard_normal(kernel),
    )


def test_conv_transpose_of_integers():
    y, w = RNG.integers(-9, 9, (2, 4, 3, 3)), RNG.integers(-9, 9, (4, 2, 3, 2))
    settings = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2, "dilation": (1, 2)}
    conv = body("conv_transpose2d")
    whole = conv(jnp.asarray(y, np.int32), jnp.asarray(w, np.int32), **settings)
    real = conv(jnp.asarray(y, np.float32), jnp.asarray(w, np.float32), **settings)
    assert whole.dtype == np.int32
    np.testing.assert_array_equal(whole, real)


@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding_puts_the_odd_element_last(dilation):
    x, w = RNG.standard_normal((2, 2, 7)), RNG.standard_normal((3, 2, 4))
    total = 3 * dilation
    pads = [(total // 2, total - total // 2)]
    agree(
        lambda x, w: body("conv1d")(x, w, None, padding="same", dilation=dilation),
        lambda x, w: plain_conv(x, w, (1,), pads, (dilation,), 1),
        x,
        w,
    )


def test_bias_and_no_batch():
    x, w, b = (RNG.standard_normal(s) for s in ((3, 6, 6), (4, 3, 3, 3), (4,)))
    agree(
        lambda x, w, b: body("conv2d")(x, w, b),
        lambda x, w, b: (
            plain_conv(x[None], w, (1, 1), [(0, 0)] * 2, (1, 1), 1)[0] + b[:, None, None]
        ),
        x,
        w,
        b,
    )


def test_forward_mode():
    x, w = RNG.standard_normal((2, 1, 6, 6)), RNG.standard_normal((2, 1, 3, 3))
    with jax.enable_x64(True):
        f = lambda w: body("conv2d")(jnp.asarray(x), w)  # noqa: E731
        value, tangent = jax.jvp(f, (jnp.asarray(w),), (jnp.asarray(w),))
        np.testing.assert_allclose(tangent, value, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_are_summed_in_single(dtype):
    x = jnp.ones((2, 4, 40, 40), dtype)
    result = body("conv2d")(x, jnp.ones((1, 4, 30, 30), dtype))
    assert result.dtype == dtype and float(result[0, 0, 0, 0]) == pytest.approx(3600, rel=4e-3)


def test_integers_and_empty_batches():
    x = jnp.arange(16, dtype=np.int32).reshape(1, 1, 4, 4)
    result = body("conv2d")(x, jnp.ones((1, 1, 2, 2), np.int32))
    assert result.dtype == np.int32 and result[0, 0, 0, 0] == 10
    assert body("conv2d")(jnp.zeros((0, 3, 8, 8)), jnp.zeros((6, 3, 3, 3))).shape == (0, 6, 6, 6)


@pytest.mark.parametrize(
    "x, w, b, settings, text",
    [
        ((2, 3), (6, 3, 3, 3), None, {}, r"Expected 3D .* or 4D .batched. input to conv2d"),
        ((2, 3, 8, 8), (6, 1, 5, 5), None, {}, r"Given groups=1, weight of size \[6, 1, 5, 5\], "
         r"expected input\[2, 3, 8, 8\] to have 1 channels, but got 3 channels instead"),
        ((2, 1, 3, 3), (6, 1, 5, 5), None, {}, r"size .*\(3 x 3\). Kernel size: \(5 x 5\)"),
        ((2, 1, 8, 8), (6, 1, 5, 5), (5,), {}, r"bias to be 1-dimensional with 6 elements"),
        ((2, 1, 8, 8), (6, 1, 5, 5), None, {"stride": 0}, "non-positive stride is not supported"),
        ((2, 1, 8, 8), (6, 1, 5, 5), None, {"padding": -1}, "negative padding is not supported"),
        ((2, 1, 8, 8), (6, 1, 5, 5), None, {"padding": "same", "stride": 2}, "for strided"),
        ((2, 1, 8, 8), (6, 1, 5, 5), None, {"padding": "sam"}, "Invalid padding string: 'sam'"),
        ((2, 4, 8, 8), (6, 1, 5, 5), None, {"groups": 4}, "divisible by 4 at dimension 0"),
        ((2, 1, 8, 8), (6, 1, 5, 5), None, {"stride": (1, 2, 3)}, r"of 2 values .*=\[1, 2, 3\]"),
    ],
)  # fmt: skip
def test_bad_input(x, w, b, settings, text):
    bias = None if b is None else jnp.zeros(b)
    with pytest.raises(RuntimeError, match=text):
        body("conv2d")(jnp.zeros(x), jnp.zeros(w), bias, **settings)


def test_output_padding_must_stay_below_the_stride():
    with pytest.raises(RuntimeError, match="output padding must be smaller than either stride"):
        body("conv_transpose2d")(jnp.zeros((1, 3, 4, 4)), jnp.zeros((3, 1, 2, 2)), output_padding=1)
