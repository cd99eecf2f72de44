"""Resizing and grid sampling against closed forms: what is linear stays linear, and so on."""

import numpy as np
import pytest

import dynjax as torch
import dynjax.nn.functional as F
from tests.ops.common import assert_close, gradient

RAMP = torch.arange(6, dtype=torch.float32).reshape(1, 1, 6)


def test_nearest_repeats_and_picks():
    assert F.interpolate(RAMP, scale_factor=2).flatten().tolist() == np.repeat(range(6), 2).tolist()
    assert F.interpolate(RAMP, 3).flatten().tolist() == [0, 2, 4]
    assert F.interpolate(RAMP, 3, mode="nearest-exact").flatten().tolist() == [1, 3, 5]


@pytest.mark.parametrize(
    "mode, shape",
    [("linear", (6,)), ("bilinear", (6, 4)), ("trilinear", (3, 6, 4)), ("bicubic", (9, 8))],
)
def test_a_linear_function_is_met_exactly_with_corners_aligned(mode, shape):
    def plane(size):
        axes = np.meshgrid(*(np.linspace(0, 1, n) for n in size), indexing="ij")
        return sum((k + 1) * a for k, a in enumerate(axes))[None, None]

    size = tuple(2 * n - 1 for n in shape)
    result = F.interpolate(torch.tensor(plane(shape)), size, mode=mode, align_corners=True)
    inner = tuple(slice(4, -4) if mode == "bicubic" else slice(None) for _ in size)
    np.testing.assert_allclose(
        result.numpy()[(0, 0, *inner)], plane(size)[(0, 0, *inner)], atol=1e-12
    )


def test_linear_without_aligned_corners_takes_pixels_as_areas():
    half = F.interpolate(RAMP, scale_factor=0.5, mode="linear")
    assert_close(half, np.float32([[[0.5, 2.5, 4.5]]]))
    assert_close(
        F.interpolate(torch.tensor([[[0.0, 1.0]]]), 4, mode="linear"),
        np.float32([[[0, 0.25, 0.75, 1]]]),
    )


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "lanczos"])
def test_antialiasing_keeps_a_constant_and_flattens_a_checkerboard(mode):
    board = torch.tensor((np.indices((24, 24)).sum(0) % 2).astype(np.float32))[None, None]
    small = F.interpolate(board, (6, 6), mode=mode, antialias=True)
    assert (small - 0.5).abs().max().item() < 0.05
    ones = F.interpolate(torch.ones(1, 1, 7, 5), (3, 9), mode=mode, antialias=True)
    assert_close(ones, np.ones((1, 1, 3, 9), np.float32))


def test_area_is_the_mean_of_boxes():
    assert F.interpolate(RAMP, 2, mode="area").flatten().tolist() == [1, 4]


def test_the_gradient_counts_how_often_an_element_is_used():
    g = gradient(lambda t: F.interpolate(t, 5), [[[1.0, 2.0]]])
    assert g.tolist() == [[[3, 2]]]
    g = gradient(lambda t: F.interpolate(t, 4, mode="linear"), [[[1.0, 2.0]]])
    assert g.tolist() == [[[2, 2]]]


def test_scale_factor_may_be_recomputed_from_the_sizes():
    given = F.interpolate(RAMP, scale_factor=1.4, mode="linear")
    again = F.interpolate(RAMP, scale_factor=1.4, mode="linear", recompute_scale_factor=True)
    assert given.shape == again.shape == (1, 1, 8)
    assert again.equal(F.interpolate(RAMP, 8, mode="linear")) and not again.equal(given)


def test_upsample_is_deprecated_and_layers_print_as_pytorchs():
    with pytest.warns(UserWarning, match="Use `nn.functional.interpolate` instead"):
        assert F.upsample(RAMP, 12).shape == (1, 1, 12)
    layer = torch.nn.Upsample(scale_factor=2, mode="linear")
    assert str(layer) == "Upsample(scale_factor=2.0, mode='linear')"
    assert layer(RAMP).equal(F.interpolate(RAMP, scale_factor=2.0, mode="linear"))


IMAGE = torch.arange(12, dtype=torch.float32).reshape(1, 1, 3, 4)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_the_identity_grid_gives_the_image_back(mode, align_corners):
    theta = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    grid = F.affine_grid(theta, (1, 1, 3, 4), align_corners)
    found = F.grid_sample(IMAGE, grid, mode, align_corners=align_corners)
    assert_close(found, IMAGE.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    "padding, expected", [("zeros", [0, 0]), ("border", [4, 7]), ("reflection", [5, 6])]
)
def test_what_is_outside_depends_on_the_padding(padding, expected):
    grid = torch.tensor([[[[-5 / 3, 0.0], [5 / 3, 0.0]]]])  # one pixel beyond each side
    found = F.grid_sample(IMAGE, grid, padding_mode=padding, align_corners=True)
    assert_close(found.flatten(), np.float32(expected), atol=1e-5)


def test_the_gradient_by_the_grid_is_the_slope_of_the_image():
    def sample(grid):
        return F.grid_sample(IMAGE, grid, align_corners=True)

    # x runs over 3 pixels of slope 1 and y over 2 of slope 4, each from -1 to 1.
    assert np.allclose(gradient(sample, [[[[0.1, 0.2]]]]), [1.5, 4])


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda x: F.interpolate(x), ValueError, "either size or scale_factor"),
        (lambda x: F.interpolate(x, 2, 2), ValueError, "only one of size or scale_factor"),
        (lambda x: F.interpolate(x, (2,)), ValueError, r"dimensions of \[3, 4\] and output size"),
        (lambda x: F.interpolate(x, 2.5), TypeError, "expected size to be one of int"),
        (lambda x: F.interpolate(x, 0), RuntimeError, r"input \(H: 3, W: 4\) output \(H: 0, W: 0"),
        (lambda x: F.interpolate(x, 2, align_corners=True), ValueError, "align_corners option"),
        (lambda x: F.interpolate(x, 2, mode="linear"), NotImplementedError, "needs 3D input"),
        (lambda x: F.interpolate(x, 2, antialias=True), ValueError, "Anti-alias option"),
        (lambda x: F.interpolate(x.long(), 2), NotImplementedError, "not implemented for 'Long'"),
        (lambda x: F.grid_sample(x, x, "cubic"), ValueError, "got: 'cubic'"),
        (lambda x: F.grid_sample(x, x, align_corners=True), RuntimeError, "size 2 in last dim"),
        (lambda x: F.affine_grid(x, (1, 1, 3, 4), True), ValueError, "of shape Nx2x3 for size"),
    ],
)
def test_bad_calls_raise_what_pytorch_raises(call, error, text):
    with pytest.raises(error, match=text):
        call(IMAGE)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(("n", "channels", "height"), [(0, 2, 4), (2, 0, 4), (2, 2, 0)])
def test_grid_sample_of_nothing(mode, n, channels, height):
    result = torch.nn.functional.grid_sample(
        torch.ones(n, channels, 3, 3), torch.zeros(n, height, 5, 2), mode, align_corners=False
    )
    assert result.shape == (n, channels, height, 5)
