"""Layers: text, shapes, gradients (against jax.grad), bad arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynjax
from dynjax import nn

REPRS = [
    (lambda: nn.Linear(2, 3, bias=False), "Linear(in_features=2, out_features=3, bias=False)"),
    (lambda: nn.Identity(3, a=4), "Identity()"),
    (
        lambda: nn.Bilinear(1, 2, 3),
        "Bilinear(in1_features=1, in2_features=2, out_features=3, bias=True)",
    ),
    (lambda: nn.Conv2d(3, 6, 5), "Conv2d(3, 6, kernel_size=(5, 5), stride=(1, 1))"),
    (
        lambda: nn.Conv1d(4, 6, 5, 2, 1, 3, 2, False, "circular"),
        "Conv1d(4, 6, kernel_size=(5,), stride=(2,), padding=(1,), dilation=(3,), groups=2, "
        "bias=False, padding_mode=circular)",
    ),
    (
        lambda: nn.Conv3d(1, 1, (1, 2, 3), padding="same"),
        "Conv3d(1, 1, kernel_size=(1, 2, 3), stride=(1, 1, 1), padding=same)",
    ),
    (
        lambda: nn.ConvTranspose2d(3, 6, 5, 2, output_padding=1),
        "ConvTranspose2d(3, 6, kernel_size=(5, 5), stride=(2, 2), output_padding=(1, 1))",
    ),
    (
        lambda: nn.MaxPool2d(2),
        "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)",
    ),
    (lambda: nn.AvgPool1d(2), "AvgPool1d(kernel_size=(2,), stride=(2,), padding=(0,))"),
    (lambda: nn.AdaptiveAvgPool2d((1, None)), "AdaptiveAvgPool2d(output_size=(1, None))"),
    (lambda: nn.LayerNorm(3), "LayerNorm((3,), eps=1e-05, elementwise_affine=True, bias=True)"),
    (lambda: nn.RMSNorm([2, 3]), "RMSNorm((2, 3), eps=None, elementwise_affine=True)"),
    (lambda: nn.GroupNorm(1, 3), "GroupNorm(1, 3, eps=1e-05, affine=True, bias=True)"),
    (
        lambda: nn.BatchNorm2d(3, momentum=None),
        "BatchNorm2d(3, eps=1e-05, momentum=None, affine=True, bias=True, "
        "track_running_stats=True)",
    ),
    (lambda: nn.Embedding(5, 4, -1, 2.0), "Embedding(5, 4, padding_idx=4, max_norm=2.0)"),
    (lambda: nn.Dropout(0.2, True), "Dropout(p=0.2, inplace=True)"),
    (lambda: nn.Flatten(), "Flatten(start_dim=1, end_dim=-1)"),
    (lambda: nn.Unflatten(1, (2, 3)), "Unflatten(dim=1, unflattened_size=(2, 3))"),
    (lambda: nn.ReLU(True), "ReLU(inplace=True)"),
    (lambda: nn.LeakyReLU(), "LeakyReLU(negative_slope=0.01)"),
    (lambda: nn.GELU("tanh"), "GELU(approximate='tanh')"),
    (lambda: nn.Softplus(), "Softplus(beta=1.0, threshold=20.0)"),
    (lambda: nn.PReLU(3), "PReLU(num_parameters=3)"),
    (lambda: nn.Softmax(dim=-1), "Softmax(dim=-1)"),
    (lambda: nn.CrossEntropyLoss(), "CrossEntropyLoss()"),
    (lambda: nn.ZeroPad2d(1), "ZeroPad2d((1, 1, 1, 1))"),
    (lambda: nn.ConstantPad1d((1, 2), 3.5), "ConstantPad1d(padding=(1, 2), value=3.5)"),
]


@pytest.mark.parametrize(("make", "text"), REPRS, ids=[text for _, text in REPRS])
def test_repr(make, text):
    assert repr(make()) == text


@pytest.mark.parametrize(
    ("layer", "shape", "result"),
    [
        (lambda: nn.Linear(4, 3), (2, 5, 4), (2, 5, 3)),
        (lambda: nn.Linear(4, 3), (4,), (3,)),
        (lambda: nn.Conv1d(2, 3, 3, padding="same"), (1, 2, 7), (1, 3, 7)),
        (lambda: nn.Conv2d(2, 4, 3, 2, 1, groups=2), (1, 2, 8, 8), (1, 4, 4, 4)),
        (lambda: nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), (2, 8, 8), (4, 8, 8)),
        (lambda: nn.Conv3d(1, 2, (1, 2, 3)), (1, 1, 3, 4, 5), (1, 2, 3, 3, 3)),
        (lambda: nn.ConvTranspose2d(2, 3, 3, 2), (1, 2, 4, 4), (1, 3, 9, 9)),
        (lambda: nn.MaxPool2d(2), (1, 2, 7, 7), (1, 2, 3, 3)),
        (lambda: nn.MaxPool1d(3, 2, 1, ceil_mode=True), (1, 2, 8), (1, 2, 5)),
        (lambda: nn.AvgPool2d(2), (1, 2, 6, 6), (1, 2, 3, 3)),
        (lambda: nn.AdaptiveAvgPool2d(1), (1, 2, 6, 6), (1, 2, 1, 1)),
        (lambda: nn.Flatten(), (2, 3, 4), (2, 12)),
        (lambda: nn.Unflatten(1, (2, 3)), (2, 6), (2, 2, 3)),
        (lambda: nn.LayerNorm((3, 4)), (2, 3, 4), (2, 3, 4)),
        (lambda: nn.GroupNorm(2, 4), (2, 4, 5), (2, 4, 5)),
        (lambda: nn.BatchNorm2d(3), (2, 3, 4, 4), (2, 3, 4, 4)),
        (lambda: nn.GLU(), (2, 6), (2, 3)),
        (lambda: nn.ReflectionPad2d(1), (1, 1, 3, 3), (1, 1, 5, 5)),
    ],
)
def test_shapes(layer, shape, result):
    assert layer()(dynjax.randn(*shape)).shape == result


def test_a_linear_layers_gradients_are_jaxs():
    layer = nn.Linear(3, 2)
    x = dynjax.randn(4, 3, requires_grad=True)
    (layer(x) ** 2).sum().backward()

    def loss(x, weight, bias):
        return jnp.sum((x @ weight.T + bias) ** 2)

    arrays = [t.detach().numpy() for t in (x, layer.weight, layer.bias)]
    for tensor, expected in zip(
        (x, layer.weight, layer.bias), jax.grad(loss, (0, 1, 2))(*arrays), strict=True
    ):
        np.testing.assert_allclose(tensor.grad.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_small_networks_gradients_are_jaxs():
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 1))
    x = dynjax.randn(5, 3)
    net(x).mean().backward()

    def forward(params, x):
        w0, b0, g, b, w1, b1 = params
        h = jnp.tanh(x @ w0.T + b0)
        h = (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-5) * g + b
        return jnp.mean(h @ w1.T + b1)

    params = [p.detach().numpy() for p in net.parameters()]
    for param, expected in zip(net.parameters(), jax.grad(forward)(params, x.numpy()), strict=True):
        np.testing.assert_allclose(param.grad.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_dropout_follows_the_mode():
    layer, x = nn.Dropout(0.25), dynjax.ones(10_000)
    dropped = layer(x)
    assert abs((dropped == 0).float().mean().item() - 0.25) < 0.03
    assert dropped.max().item() == pytest.approx(4 / 3)
    assert layer.eval()(x).tolist() == x.tolist()


def test_batch_norm_keeps_running_statistics():
    layer, x = nn.BatchNorm1d(3), dynjax.randn(100, 3) * 2 + 5
    y = layer(x).detach()
    assert abs(y.mean().item()) < 1e-5 and abs(y.std(correction=0).item() - 1) < 1e-3
    np.testing.assert_allclose(layer.running_mean.numpy(), x.numpy().mean(0) * 0.1, rtol=1e-4)
    expected = 0.9 + 0.1 * x.numpy().var(0, ddof=1)
    np.testing.assert_allclose(layer.running_var.numpy(), expected, rtol=1e-4)
    assert layer.num_batches_tracked.item() == 1 and not layer.running_mean.requires_grad
    before = layer.running_mean.tolist()
    layer.eval()(x)
    assert layer.running_mean.tolist() == before
    averaging = nn.BatchNorm1d(3, momentum=None)
    averaging(x), averaging(x * 0)
    np.testing.assert_allclose(averaging.running_mean.numpy(), x.numpy().mean(0) / 2, rtol=1e-4)
    layer.reset_running_stats()
    assert layer.running_mean.tolist() == [0, 0, 0] and layer.num_batches_tracked.item() == 0


def test_embedding_leaves_its_padding_alone():
    layer = nn.Embedding(4, 2, padding_idx=1)
    layer(dynjax.tensor([[0, 1], [1, 3]])).sum().backward()
    assert layer.weight.grad.tolist() == [[1, 1], [0, 0], [0, 0], [1, 1]]
    table = dynjax.arange(6.0).reshape(3, 2)
    frozen = nn.Embedding.from_pretrained(table)
    assert frozen(dynjax.tensor([2])).tolist() == [[4, 5]] and not frozen.weight.requires_grad


def test_constructors_take_a_dtype():
    for layer in (nn.Linear(2, 2, dtype=dynjax.float64), nn.LayerNorm(2, dtype=dynjax.float64)):
        assert {p.dtype for p in layer.parameters()} == {dynjax.float64}
    layer = nn.BatchNorm1d(2, dtype=dynjax.float64, device="cpu")
    assert layer.running_mean.dtype == dynjax.float64
    assert layer.num_batches_tracked.dtype == dynjax.int64


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (lambda: nn.Dropout(1.5), ValueError, "has to be between 0 and 1, but got 1.5"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "in_channels must be divisible"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), ValueError, "out_channels must be divisible"),
        (lambda: nn.Conv2d(3, 4, 3, padding="x"), ValueError, "Invalid padding string 'x'"),
        (
            lambda: nn.Conv2d(3, 4, 3, stride=2, padding="same"),
            ValueError,
            "padding='same' is not supported for strided",
        ),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="x"), ValueError, "padding_mode must be one of"),
        (lambda: nn.GroupNorm(3, 4), ValueError, r"num_channels \(4\) must be divisible by"),
        (lambda: nn.Embedding(3, 4, 3), AssertionError, "Padding_idx must be within"),
        (lambda: nn.Unflatten(1, 3), TypeError, "must be a tuple of ints, but found type int"),
        (lambda: nn.Linear(2, "a"), TypeError, "found element of type str at pos 0"),
        (lambda: nn.Linear(2, -1), RuntimeError, r"negative dimension -1: \[-1, 2\]"),
        (lambda: nn.Linear(2, 3, typo=True), TypeError, "typo"),
        (lambda: nn.HuberLoss(delta="x"), TypeError, "delta must be a float or int"),
        (lambda: nn.Hardtanh(1.0, -1.0), AssertionError, "must be greater than min_val"),
        (lambda: nn.MultiMarginLoss(3), ValueError, "only p == 1 and p == 2 supported"),
        (
            lambda: nn.BatchNorm2d(3)(dynjax.ones(1, 3)),
            ValueError,
            r"expected 4D input \(got 2D input\)",
        ),
        (
            lambda: nn.ConvTranspose2d(1, 1, 3, 2)(dynjax.ones(1, 1, 4, 4), [3, 3]),
            ValueError,
            "requested an output size of .3, 3., but valid sizes range",
        ),
        (
            lambda: nn.Linear(3, 2)(dynjax.ones(4, 5)),
            RuntimeError,
            "mat1 and mat2 shapes cannot be multiplied .4x5 and 3x2.",
        ),
    ],
)
def test_bad_arguments(bad, error, message):
    with pytest.raises(error, match=message):
        bad()


def test_old_reduction_arguments_warn():
    with pytest.warns(UserWarning, match="please use reduction='sum' instead"):
        assert nn.MSELoss(size_average=False).reduction == "sum"
    with pytest.warns(UserWarning, match="please use reduction='none' instead"):
        assert nn.L1Loss(reduce=False).reduction == "none"


def test_functional_says_what_is_closest():
    with pytest.raises(AttributeError, match="no attribute 'linera'; did you mean 'linear'"):
        nn.functional.linera
