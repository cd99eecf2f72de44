"""Blocks as columns against windows taken one by one; shuffles against their index formulas."""

import numpy as np
import pytest

import dynjax as torch
import dynjax.nn.functional as F
from tests.ops.common import assert_close, assert_gradient
from tests.ops.reference import body, windows

RNG = np.random.default_rng(3)
SETTINGS = [
    ((2, 2), {}),
    ((3, 2), {"stride": (2, 1), "padding": (1, 0)}),
    ((2, 3), {"dilation": (2, 1), "padding": 1}),
]


def expected_columns(x, kernel, dilation=1, padding=0, stride=1):
    pair = [(n, n) if isinstance(n, int) else n for n in (dilation, padding, stride)]
    parts = windows(x, kernel, pair[2], [(p, p) for p in pair[1]], pair[0])
    parts = np.asarray(parts).transpose(0, 1, 4, 5, 2, 3)
    return parts.reshape(x.shape[0], x.shape[1] * kernel[0] * kernel[1], -1)


@pytest.mark.parametrize("kernel, settings", SETTINGS)
def test_unfold_lists_the_windows_as_columns(kernel, settings):
    x = RNG.standard_normal((2, 3, 6, 5)).astype(np.float32)
    assert_close(F.unfold(torch.tensor(x), kernel, **settings),
                 expected_columns(x, kernel, **settings))  # fmt: skip


@pytest.mark.parametrize("kernel, settings", SETTINGS)
def test_fold_is_the_transpose_of_unfold(kernel, settings):
    x = RNG.standard_normal((2, 3, 6, 5)).astype(np.float32)
    columns = F.unfold(torch.tensor(x), kernel, **settings)
    y = torch.tensor(RNG.standard_normal(tuple(columns.shape)).astype(np.float32))
    image = F.fold(y, (6, 5), kernel, **settings)
    assert image.shape == (2, 3, 6, 5)
    assert np.isclose((columns * y).sum().item(), (torch.tensor(x) * image).sum().item(), rtol=1e-4)


def test_fold_counts_how_many_blocks_cover_a_pixel():
    counted = F.fold(torch.ones(4, 4), 3, 2)
    assert counted.tolist() == [[[1, 2, 1], [2, 4, 2], [1, 2, 1]]]


def test_gradients_are_those_of_the_pure_functions():
    x = RNG.standard_normal((1, 2, 4, 4)).astype(np.float32)
    assert_gradient(lambda t: F.unfold(t, 2).square(),
                    lambda a: body("im2col")(a, (2, 2), 1, 0, 1) ** 2, x)  # fmt: skip
    y = RNG.standard_normal((1, 4, 9)).astype(np.float32)
    assert_gradient(lambda t: F.fold(t, 4, 2).square(),
                    lambda a: body("col2im")(a, 4, 2, 1, 0, 1) ** 2, y)  # fmt: skip


def test_pixel_shuffle_moves_channels_into_pixels_and_back():
    x = np.arange(2 * 8 * 2 * 3).reshape(2, 8, 2, 3)
    y = torch.pixel_shuffle(torch.tensor(x), 2)
    for c, i, j in [(0, 0, 0), (1, 3, 4), (0, 2, 5)]:
        assert y[1, c, i, j].item() == x[1, 4 * c + 2 * (i % 2) + j % 2, i // 2, j // 2]
    assert F.pixel_unshuffle(y, 2).tolist() == x.tolist()


def test_channel_shuffle_interleaves_groups():
    x = torch.arange(6).reshape(1, 6, 1)
    assert torch.channel_shuffle(x, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]


def test_layers_call_the_functions():
    x = torch.tensor(RNG.standard_normal((1, 4, 4, 4)).astype(np.float32))
    nn = torch.nn
    assert nn.Unfold(2, stride=2)(x).equal(F.unfold(x, 2, stride=2))
    assert nn.Fold(4, 2, stride=2)(nn.Unfold(2, stride=2)(x)).equal(x)
    assert nn.PixelUnshuffle(2)(nn.PixelShuffle(2)(x)).equal(x)
    assert nn.ChannelShuffle(2)(x).equal(F.channel_shuffle(x, 2))
    assert str(nn.Unfold(2)) == "Unfold(kernel_size=2, dilation=1, padding=0, stride=1)"


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda x: F.unfold(x[0], 2), IndexError, "but got 2"),
        (lambda x: F.unfold(x, 0), RuntimeError, "kernel size should be greater than zero"),
        (lambda x: F.unfold(x, 2, padding=-1), RuntimeError, "pad_height: -1 pad_width: -1"),
        (lambda x: F.unfold(x, (2, 2, 2)), RuntimeError, "got size 3"),
        (lambda x: F.unfold(x, 9), RuntimeError, r"calculated shape .* as \(-4, -4\)"),
        (lambda x: F.unfold(x.long(), 2), NotImplementedError, "not implemented for 'Long'"),
        (lambda x: F.fold(x[0], 4, 3), RuntimeError, r"input.size\(1\)=4 and kernel_size=\(3, 3\)"),
        (lambda x: F.fold(x[0], 5, 2), RuntimeError, r"4 \* 4 = 16, but got input.size\(2\)=4"),
        (lambda x: F.pixel_shuffle(x, 3), RuntimeError, "=4 is not divisible by 9"),
        (lambda x: F.pixel_shuffle(x, 0), RuntimeError, "positive upscale_factor, but got 0"),
        (lambda x: F.pixel_unshuffle(x, 3), RuntimeError, "height to be divisible"),
        (lambda x: F.channel_shuffle(x, 3), RuntimeError, "Got 4 channels and 3 groups"),
    ],
)
def test_bad_calls_raise_what_pytorch_raises(call, error, text):
    x = torch.ones(4, 4, 4)
    with pytest.raises(error, match=text):
        call(x)
