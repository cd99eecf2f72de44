"""Layers that normalise: against NumPy, and what they refuse."""

import numpy as np
import pytest

import dynjax
from dynjax import nn

X = np.random.default_rng(0).standard_normal((3, 4, 5, 6)).astype(np.float32)


def normalised(x, axes):
    """By mean and (biased) variance over axes."""
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


@pytest.mark.parametrize(
    ("cls", "x"), [(nn.InstanceNorm1d, X[..., 0]), (nn.InstanceNorm2d, X), (nn.InstanceNorm3d, X)]
)
def test_instance_norm_normalises_each_plane(cls, x):
    x = x[:, :, None] if cls is nn.InstanceNorm3d else x
    axes = tuple(range(2, x.ndim))
    layer = cls(4, affine=True)
    with dynjax.no_grad():
        layer.weight.copy_(dynjax.arange(4.0))
    wanted = normalised(x, axes) * np.arange(4).reshape(1, 4, *[1] * len(axes))
    np.testing.assert_allclose(layer(dynjax.from_numpy(x)).detach().numpy(), wanted, atol=1e-5)
    alone = layer(dynjax.from_numpy(x[0]))  # one sample without a batch
    np.testing.assert_allclose(alone.detach().numpy(), wanted[0], atol=1e-5)


def test_instance_norm_with_running_statistics():
    layer = nn.InstanceNorm2d(4, momentum=0.5, track_running_stats=True)
    layer(dynjax.from_numpy(X))
    means, variances = X.mean((2, 3)).mean(0), X.var((2, 3), ddof=1).mean(0)
    np.testing.assert_allclose(layer.running_mean.numpy(), means / 2, atol=1e-6)
    np.testing.assert_allclose(layer.running_var.numpy(), (1 + variances) / 2, rtol=1e-5)
    assert layer.num_batches_tracked.item() == 0  # as PyTorch's: only batch norms count
    by_channel = (1, 4, 1, 1)
    wanted = (X - means.reshape(by_channel) / 2) / np.sqrt(
        (1 + variances.reshape(by_channel)) / 2 + 1e-5
    )
    np.testing.assert_allclose(layer.eval()(dynjax.from_numpy(X)).numpy(), wanted, atol=1e-5)


def test_cross_map_lrn_divides_by_neighbouring_channels():
    layer = nn.CrossMapLRN2d(3, alpha=0.3, beta=0.6, k=2)
    # The first channel too, everywhere: PyTorch's sum that moves along never lets go of it.
    near = [[0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 2, 3]]
    sums = np.stack([(X[:, channels] ** 2).sum(1) for channels in near], 1)
    wanted = X / (2 + 0.1 * sums) ** 0.6
    np.testing.assert_allclose(layer(dynjax.from_numpy(X)).numpy(), wanted, rtol=1e-5)
    assert repr(layer) == "CrossMapLRN2d(3, alpha=0.3, beta=0.6, k=2)"


def test_sync_batch_norm_is_batch_norm_in_one_process():
    x = dynjax.from_numpy(X)
    one, other = nn.SyncBatchNorm(4), nn.BatchNorm2d(4)
    np.testing.assert_array_equal(one(x).detach().numpy(), other(x).detach().numpy())
    np.testing.assert_array_equal(one.running_var.numpy(), other.running_var.numpy())


def test_batch_norms_of_a_model_become_synchronised_ones():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Sequential(nn.BatchNorm2d(2, affine=False)))
    model[0].running_mean.fill_(7)
    model.eval()
    found = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert type(found[0]) is type(found[1][0]) is nn.SyncBatchNorm
    assert found[0].weight is model[0].weight and found[0].running_mean.tolist() == [7] * 3
    assert not found[0].training and found[1][0].weight is None


@pytest.mark.parametrize(
    ("layer", "shape", "error"),
    [
        (nn.InstanceNorm1d(4), (4,), ValueError),
        (nn.InstanceNorm2d(4), (3, 4), ValueError),
        (nn.InstanceNorm3d(4), (2, 4, 5), ValueError),
        (nn.InstanceNorm2d(3, affine=True), (2, 4, 5, 5), ValueError),
        (nn.InstanceNorm1d(4), (2, 4, 1), ValueError),
        (nn.SyncBatchNorm(4), (4,), ValueError),
        (nn.CrossMapLRN2d(3), (4, 5), ValueError),
    ],
)
def test_shapes_that_are_refused(layer, shape, error):
    with pytest.raises(error):
        layer(dynjax.ones(shape))
