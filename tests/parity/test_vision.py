"""What PyTorch's database of operations lacks or draws at random, and the layers around it."""

import numpy as np
import pytest

import dynjax
from tests.parity.scenarios import attempt, plain

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(9)
IMAGE = RNG.standard_normal((2, 4, 6, 6))
COLUMNS = RNG.standard_normal((1, 12, 20))
LAYERS = [
    ("Fold", ((4, 5), (2, 3)), {"padding": (1, 0), "stride": (1, 1)}, COLUMNS[:, :, :15]),
    ("Unfold", (2,), {"dilation": 2, "stride": 2}, IMAGE),
    ("PixelShuffle", (2,), {}, IMAGE), ("PixelUnshuffle", (3,), {}, IMAGE),
    ("ChannelShuffle", (2,), {}, IMAGE), ("Upsample", (), {"scale_factor": (2, 1.5)}, IMAGE),
    ("Upsample", (4,), {"mode": "bicubic"}, IMAGE), ("UpsamplingNearest2d", (9,), {}, IMAGE),
    ("UpsamplingBilinear2d", (), {"scale_factor": 2}, IMAGE), ("RReLU", (), {}, None),
    ("MaxUnpool2d", (2,), {}, None), ("MaxUnpool1d", ((2,), 1), {}, None),
    ("FractionalMaxPool2d", (2, 3), {}, None), ("FractionalMaxPool2d", (2,), {}, None),
    ("FractionalMaxPool3d", (2,), {"output_ratio": 1.5}, None),
    ("FractionalMaxPool3d", (0, 2), {}, None), ("FractionalMaxPool2d", (2, 3, 0.5), {}, None),
]  # fmt: skip


@pytest.mark.parametrize("name, args, kwargs, data", LAYERS)
def test_layers_print_and_compute_as_pytorchs(name, args, kwargs, data):
    seen = []
    for lib in (torch, dynjax):
        layer = attempt(getattr(lib.nn, name), *args, **kwargs)
        seen.append([str(layer)])
        if isinstance(layer, lib.nn.Module):
            seen[-1].append(list(layer.state_dict()))
    assert plain(seen[1]) == plain(seen[0])
    if data is not None:
        made = [getattr(lib.nn, name)(*args, **kwargs) for lib in (torch, dynjax)]
        wanted, got = (m(lib.tensor(data.tolist())) for m, lib in zip(made, (torch, dynjax)))
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-6)


def both(run, *arrays):
    """Results and gradients of `run(library, *tensors)` on PyTorch and on dynjax agree."""
    seen = []
    for lib in (torch, dynjax):
        leaves = [lib.tensor(a.tolist(), dtype=lib.float64, requires_grad=True) for a in arrays]
        result = run(lib, *leaves)
        many = result if isinstance(result, tuple) else (result,)
        (many[0] ** 2).sum().backward()
        seen.append([t.detach().numpy() for t in many] + [leaf.grad.numpy() for leaf in leaves])
    for got, wanted in zip(seen[1], seen[0], strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "kernel, size", [((2, 3), (4, 3)), ((2, 2), (1, 5)), ((2, 1, 2), (2, 3, 1))]
)
def test_fractional_pooling_with_given_samples(kernel, size):
    dims = len(kernel)
    samples = RNG.random((2, 4, dims)).tolist()
    x = IMAGE if dims == 2 else RNG.standard_normal((2, 4, 4, 5, 3))

    def run(lib, x):
        pool = getattr(lib.nn.functional, f"fractional_max_pool{dims}d")
        drawn = lib.tensor(samples, dtype=lib.float64)
        return pool(x, kernel, size, return_indices=True, _random_samples=drawn)

    both(run, x)


def test_unpooling_what_was_pooled():
    def run(lib, x):
        values, at = lib.nn.functional.max_pool2d(x, 3, 2, return_indices=True)
        return lib.nn.functional.max_unpool2d(values, at, 3, 2, output_size=(6, 6))

    both(run, IMAGE)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("normalised", [True, False])
def test_ctc_loss(reduction, normalised):
    targets, lengths, target_lengths = [[1, 2, 2], [3, 1, 4], [2, 2, 2]], (6, 4, 3), (3, 2, 3)

    def run(lib, x):
        x = x.log_softmax(-1) if normalised else x
        targets_ = lib.tensor(targets)
        return lib.nn.functional.ctc_loss(
            x, targets_, lengths, target_lengths, reduction=reduction, zero_infinity=True
        )

    both(run, RNG.standard_normal((6, 3, 5)))


def test_conv_tbc_and_affine_grids():
    weight, bias = RNG.standard_normal((3, 2, 4)), RNG.standard_normal(4)
    both(lambda lib, x, w, b: lib.conv_tbc(x, w, b, 1), RNG.standard_normal((5, 3, 2)), weight,
         bias)  # fmt: skip
    for align in (True, False):
        both(lambda lib, t: lib.nn.functional.affine_grid(t, (2, 1, 3, 4), align),  # noqa: B023
             RNG.standard_normal((2, 2, 3)))  # fmt: skip
