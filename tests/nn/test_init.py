"""Initial values: bounds, moments, repetition; bad arguments."""

import math

import numpy as np
import pytest

import dynjax
from dynjax import nn
from dynjax.nn import init


def values(tensor):
    return tensor.detach().numpy().astype(np.float64)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_uniform(dtype):
    drawn = values(init.uniform_(dynjax.empty(200, 100, dtype=getattr(dynjax, dtype)), -1.0, 3.0))
    assert drawn.min() >= -1 and drawn.max() <= 3
    assert abs(drawn.mean() - 1) < 0.05 and abs(drawn.std() - 4 / math.sqrt(12)) < 0.05


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_normal(dtype):
    drawn = values(init.normal_(dynjax.empty(200, 100, dtype=getattr(dynjax, dtype)), 2.0, 0.5))
    assert abs(drawn.mean() - 2) < 0.03 and abs(drawn.std() - 0.5) < 0.02


def test_complex_normal_shares_the_variance():
    drawn = init.normal_(dynjax.empty(10_000, dtype=dynjax.complex64)).numpy()
    assert abs(drawn.real.std() - math.sqrt(0.5)) < 0.03 > abs(drawn.imag.mean())


@pytest.mark.parametrize(("mean", "a", "b"), [(0.0, -2.0, 2.0), (0.0, 1.0, 3.0), (-1.0, 0.5, 1.0)])
def test_truncated_normal(mean, a, b):
    drawn = values(init.trunc_normal_(dynjax.empty(40_000), mean, 1.0, a, b))
    x = np.linspace(a, b, 4001)
    density = np.exp(-0.5 * (x - mean) ** 2)
    expected = (x * density).sum() / density.sum()
    assert drawn.min() >= a - 1e-6 and drawn.max() <= b + 1e-6
    assert abs(drawn.mean() - expected) < 0.02


def test_truncated_normal_warns_far_from_the_mean():
    with pytest.warns(UserWarning, match="mean is more than 2 std from"):
        init.trunc_normal_(dynjax.empty(2), 0.0, 1.0, 2.5, 3.0)


@pytest.mark.parametrize(
    ("fill", "std"),
    [
        (lambda t: init.xavier_uniform_(t, 2.0), 2 * math.sqrt(2 / 500)),
        (lambda t: init.xavier_normal_(t), math.sqrt(2 / 500)),
        (lambda t: init.kaiming_uniform_(t, nonlinearity="relu"), math.sqrt(2 / 200)),
        (lambda t: init.kaiming_uniform_(t, mode="fan_out"), math.sqrt(2 / 300)),
        (lambda t: init.kaiming_normal_(t, a=1.0), math.sqrt(1 / 200)),
    ],
)
def test_scaled_draws(fill, std):
    drawn = values(fill(dynjax.empty(300, 200)))
    assert abs(drawn.std() / std - 1) < 0.02 and abs(drawn.mean()) < std / 50


def test_orthogonal():
    for shape in ((5, 3), (3, 5), (4, 4), (2, 3, 2)):
        drawn = values(init.orthogonal_(dynjax.empty(*shape), 2.0)).reshape(shape[0], -1)
        gram = drawn @ drawn.T if drawn.shape[0] <= drawn.shape[1] else drawn.T @ drawn
        np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)


def test_sparse():
    drawn = values(init.sparse_(dynjax.empty(50, 20), 0.3, 2.0))
    assert ((drawn == 0).sum(0) == 15).all() and 1.5 < drawn[drawn != 0].std() < 2.5


def test_fixed_values():
    assert init.eye_(dynjax.empty(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert init.constant_(dynjax.empty(2), 0.5).tolist() == [0.5, 0.5]
    assert init.ones_(dynjax.empty(1)).tolist() == [1] and init.zeros_(dynjax.ones(1))[0] == 0
    x = dynjax.arange(12.0).reshape(1, 3, 4)
    weight = init.dirac_(dynjax.empty(3, 3, 3))
    assert dynjax.equal(nn.functional.conv1d(x, weight, padding=1), x)


def test_calculate_gain():
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("leaky_relu", 1.0) == 1.0
    with pytest.raises(ValueError, match="Unsupported nonlinearity nope"):
        init.calculate_gain("nope")
    with pytest.raises(ValueError, match="negative_slope True not a valid number"):
        init.calculate_gain("leaky_relu", True)


def test_filling_is_no_part_of_the_tape():
    param = nn.Parameter(dynjax.zeros(2, 2))
    assert init.normal_(param) is param and param.is_leaf and param.requires_grad
    assert param._version == 1


def test_filling_a_view_fills_its_base():
    param = nn.Parameter(dynjax.zeros(2, 2))
    with dynjax.no_grad():
        init.ones_(param[0])
    assert param.tolist() == [[1, 1], [0, 0]] and param.requires_grad


def test_seed_repeats_the_draws():
    def draw():
        dynjax.manual_seed(3)
        return [values(p) for p in nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).parameters()]

    first, second = draw(), draw()
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0].ravel()[:4], first[1].ravel()[:4])


def test_a_generator_of_its_own():
    draws = [
        init.normal_(dynjax.empty(5), generator=dynjax.Generator().manual_seed(7)) for _ in "ab"
    ]
    assert draws[0].tolist() == draws[1].tolist()


def test_bad_arguments_change_nothing():
    tensor = dynjax.ones(2)
    for bad, error, message in [
        (lambda: init.uniform_(tensor, 3, 1), RuntimeError, r"from=3 > to=1"),
        (lambda: init.normal_(tensor, 0, -1), RuntimeError, "normal expects std >= 0.0"),
        (lambda: init.xavier_uniform_(tensor), ValueError, "fewer than 2 dimensions"),
        (lambda: init.eye_(tensor), ValueError, "Only tensors with 2 dimensions"),
        (lambda: init.dirac_(tensor), ValueError, "Only tensors with 3, 4, or 5 dimensions"),
        (lambda: init.orthogonal_(tensor), ValueError, "2 or more dimensions"),
        (lambda: init.sparse_(tensor, 0.1), ValueError, "Only tensors with 2 dimensions"),
        (lambda: init.kaiming_normal_(dynjax.ones(1, 1), mode="x"), ValueError, "Mode x not supp"),
        (lambda: init.uniform_(dynjax.ones(1).long()), NotImplementedError, "for 'Long'"),
    ]:
        with pytest.raises(error, match=message):
            bad()
    assert tensor.tolist() == [1, 1]


def test_empty_and_deprecated_forms_warn():
    with pytest.warns(UserWarning, match="Initializing zero-element tensors is a no-op"):
        init.kaiming_uniform_(dynjax.empty(0, 2))
    with pytest.warns(FutureWarning, match="`nn.init.normal` is now deprecated"):
        init.normal(dynjax.empty(2))


@pytest.mark.parametrize(
    ("make", "bound"),
    [
        (lambda: nn.Linear(64, 300), 1 / 8),
        (lambda: nn.Conv2d(16, 300, 2), 1 / 8),
        (lambda: nn.ConvTranspose2d(300, 16, 2), 1 / 8),
        (lambda: nn.Bilinear(64, 3, 300), 1 / 8),
    ],
)
def test_layers_draw_from_pytorchs_distributions(make, bound):
    layer = make()
    for param in layer.parameters():
        drawn = values(param)
        assert 0.9 * bound < np.abs(drawn).max() <= bound * (1 + 1e-6)
        assert abs(drawn.std() / (bound / math.sqrt(3)) - 1) < 0.2


def test_embedding_draws_from_the_normal_distribution():
    table = values(nn.Embedding(300, 50, padding_idx=-1).weight)
    assert not table[299].any() and abs(table[:299].std() - 1) < 0.02


def test_norms_start_as_the_identity():
    for layer in (nn.LayerNorm(3), nn.GroupNorm(1, 3), nn.BatchNorm1d(3), nn.RMSNorm(3)):
        assert layer.weight.tolist() == [1, 1, 1]
        assert getattr(layer, "bias", None) is None or layer.bias.tolist() == [0, 0, 0]


def test_building_a_model_records_nothing():
    from dynjax.engine.trace import state

    dynjax.zeros(1).tolist()
    before = state.trace.cur
    nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Embedding(3, 4, padding_idx=0))
    assert state.trace.cur is before
