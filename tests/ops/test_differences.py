"""Differences, integrals, derivatives, and choices of elements: NumPy is the reference."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

import dynjax as torch
from tests.ops.common import assert_close, assert_gradient, tensor

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(4, 5))
PLACES = np.array([0.0, 0.5, 2.0, 2.25, 4.0])


# --- differences --------------------------------------------------------------------------------


def test_diff():
    t = torch.from_numpy(TABLE)
    for n, dim in ((1, -1), (2, 0), (0, 0), (7, 1)):
        assert_close(torch.diff(t, n, dim), np.diff(TABLE, n, dim))
    joined = torch.diff(t, prepend=t[:, :1], append=t[:, :2])
    assert_close(joined, np.diff(TABLE, prepend=TABLE[:, :1], append=TABLE[:, :2]))
    assert torch.diff(torch.tensor([True, False, False])).tolist() == [True, False]


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda x: torch.diff(x[0, 0]), RuntimeError, "at least one-dimensional"),
        (lambda x: torch.diff(x, -1), RuntimeError, "got -1"),
        (lambda x: torch.diff(x, 1, 2), IndexError, "got 2"),
        (lambda x: torch.diff(x, prepend=x[0]), RuntimeError, "same dimension"),
        (lambda x: torch.diff(x, prepend=x[:1]), RuntimeError, r"size\(0\) = 2"),
    ],
)
def test_bad_differences(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.ones(2, 3))


# --- integrals ----------------------------------------------------------------------------------


def test_trapezoid():
    t, x = torch.from_numpy(TABLE), torch.from_numpy(PLACES)
    assert_close(torch.trapezoid(t), np.trapezoid(TABLE))
    assert_close(torch.trapezoid(t, dx=0.5, dim=0), np.trapezoid(TABLE, dx=0.5, axis=0))
    assert_close(torch.trapz(t, x), np.trapezoid(TABLE, PLACES))
    squares = TABLE**2
    assert_close(torch.trapezoid(t, t**2, dim=0), np.trapezoid(TABLE, squares, axis=0))
    assert torch.trapezoid(t[:, :0]).tolist() == [0.0] * 4
    assert torch.trapezoid(torch.tensor([1, 2, 4])).item() == 4.5


def test_cumulative_trapezoid_ends_in_the_integral():
    t, x = torch.from_numpy(TABLE), torch.from_numpy(PLACES)
    running = torch.cumulative_trapezoid(t, x)
    assert running.shape == (4, 4)
    for k in range(4):
        assert_close(running[:, k], np.trapezoid(TABLE[:, : k + 2], PLACES[: k + 2]))


@pytest.mark.parametrize("name", ["trapezoid", "cumulative_trapezoid"])
@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (lambda y: {"x": torch.ones(2)}, RuntimeError, "one `x` value for each"),
        (lambda y: {"x": y, "dx": 1.0}, TypeError, "not both"),
        (lambda y: {"x": y > 0}, RuntimeError, "bool"),
        (lambda y: {"dim": 5}, IndexError, "got 5"),
    ],
)
def test_bad_integrals(name, arguments, error, message):
    y = torch.ones(2, 3)
    with pytest.raises(error, match=message):
        getattr(torch, name)(y, **arguments(y))


# --- derivatives --------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2])
def test_gradient(order):
    t, x = torch.from_numpy(TABLE), torch.from_numpy(PLACES)
    both = torch.gradient(t, edge_order=order)
    for ours, theirs in zip(both, np.gradient(TABLE, edge_order=order), strict=True):
        assert_close(ours, theirs)
    (across,) = torch.gradient(t, spacing=(x,), dim=1, edge_order=order)
    assert_close(across, np.gradient(TABLE, PLACES, axis=1, edge_order=order))
    ours = torch.gradient(t, spacing=[2.0, 0.5], dim=(1, 0), edge_order=order)
    assert_close(ours[0], np.gradient(TABLE, 2.0, axis=1, edge_order=order))
    assert_close(ours[1], np.gradient(TABLE, 0.5, axis=0, edge_order=order))


def test_derivatives_of_a_parabola_are_exact():
    x = torch.from_numpy(PLACES)
    (slope,) = torch.gradient(3 * x**2 - x, spacing=(x,), edge_order=2)
    assert_close(slope, 6 * PLACES - 1)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"edge_order": 3}, RuntimeError, "edge_order=1 and edge_order=2"),
        ({"edge_order": 2}, RuntimeError, "edge_order\\+1, got 2"),
        ({"spacing": [1.0]}, RuntimeError, "list of length 1"),
        (
            {"spacing": [1.0, 2.0], "dim": 1},
            RuntimeError,
            "length 2 and a dim argument of length 1",
        ),
        ({"spacing": (torch.ones(1, 3),), "dim": 1}, RuntimeError, "2 dimensions"),
        ({"spacing": (torch.ones(4),), "dim": 1}, RuntimeError, "expected 3 .* got 4"),
        ({"spacing": "wide"}, TypeError, "not str"),
        ({"dim": (1, 1)}, RuntimeError, "appears multiple times"),
    ],
)
def test_bad_derivatives(options, error, message):
    with pytest.raises(error, match=message):
        torch.gradient(torch.ones(2, 3), **options)


# --- choices ------------------------------------------------------------------------------------


def test_combinations():
    x = torch.tensor([3, 1, 4, 1])
    assert torch.combinations(x).tolist() == [[*c] for c in itertools.combinations([3, 1, 4, 1], 2)]
    repeated = itertools.combinations_with_replacement([3, 1, 4, 1], 3)
    assert torch.combinations(x, 3, True).tolist() == [[*c] for c in repeated]
    assert torch.combinations(x, 5).shape == (0, 5) and torch.combinations(x, 0).shape == (0,)
    with pytest.raises(RuntimeError, match=r"\[2, 2\]"):
        torch.combinations(x.reshape(2, 2))
    with pytest.raises(RuntimeError, match="got -1"):
        torch.combinations(x, -1)


def test_cartesian_product_and_powers():
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0, 7.0])
    expected = [[*p] for p in itertools.product([1.0, 2.0], [3.0, 5.0, 7.0])]
    assert torch.cartesian_prod(x, y).tolist() == expected
    assert torch.cartesian_prod(y) is y
    assert_close(torch.vander(y, 4), np.vander(y.numpy(), 4).astype(np.float32))
    assert_close(
        torch.vander(y, increasing=True), np.vander(y.numpy(), increasing=True).astype(np.float32)
    )
    with pytest.raises(RuntimeError, match=r"1D vector, but got shape \[2, 3\]"):
        torch.cartesian_prod(torch.ones(2, 3), y)
    with pytest.raises(RuntimeError, match="non-negative"):
        torch.vander(y, -1)


# --- small ones ---------------------------------------------------------------------------------


def test_isin():
    x, others = np.array([[1, 2], [3, 9]]), np.array([9, 1, 1])
    assert_close(torch.isin(tensor(x), tensor(others)), np.isin(x, others))
    assert_close(torch.isin(tensor(x), 3, invert=True), x != 3)
    assert torch.isin(2, tensor(x)).item() is True
    assert torch.isin(tensor(x), tensor(others)[:0]).any().item() is False
    assert torch.isin(torch.tensor([float("nan")]), torch.tensor([float("nan")])).tolist() == [
        False
    ]
    with pytest.raises(RuntimeError, match="Bool"):
        torch.isin(torch.tensor([True]), torch.tensor([True]))


def test_frexp():
    x = np.array([0.0, -3.0, 0.1, 1024.0, np.inf], np.float32)
    mantissa, exponent = torch.frexp(torch.from_numpy(x))
    assert_close(mantissa[:4], np.frexp(x)[0][:4])
    assert_close(exponent[:4], np.frexp(x)[1][:4])
    assert mantissa[4].item() == np.inf
    leaf = torch.tensor([3.0, 0.1], requires_grad=True)
    torch.frexp(leaf).mantissa.sum().backward()
    assert leaf.grad.tolist() == [0.25, 8.0]
    with pytest.raises(RuntimeError, match="floating-point"):
        torch.frexp(torch.tensor([1]))


def test_renorm_shortens_what_is_too_long():
    x = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    assert_close(torch.renorm(x, 2, 0, 1.0), np.array([[0.6, 0.8], [0.3, 0.4], [0, 0]], np.float32))
    with pytest.raises(RuntimeError, match="got -1"):
        x.renorm(2, 0, -1.0)
    with pytest.raises(RuntimeError, match="non-positive"):
        x.renorm(0, 0, 1.0)
    with pytest.raises(RuntimeError, match="got 1 dimensions"):
        x[0].renorm_(2, 0, 1.0)


def test_unravel_index_inverts_flattening():
    x = torch.arange(24).reshape(2, 3, 4)
    places = torch.unravel_index(torch.tensor([[0, 7], [23, 12]]), x.shape)
    assert x[places].tolist() == [[0, 7], [23, 12]]
    with pytest.raises(TypeError, match="float32"):
        torch.unravel_index(torch.ones(2), (2, 3))
    with pytest.raises(ValueError, match="-3"):
        torch.unravel_index(torch.tensor(1), (2, -3))


def test_broadcast_shapes():
    assert torch.broadcast_shapes((3, 1), 4, (2, 1, 1)) == torch.Size([2, 3, 4])
    with pytest.raises(RuntimeError, match=r"\(3\).*\(4\)"):
        torch.broadcast_shapes((3,), (4,))
    with pytest.raises(ValueError, match="negative"):
        torch.broadcast_shapes((-1,))


def test_gradients_are_those_of_jax():
    x = TABLE.astype(np.float32)
    assert_gradient(lambda t: torch.diff(t, 2) ** 2, lambda a: jnp.diff(a, 2) ** 2, x)
    assert_gradient(lambda t: torch.trapezoid(t**2), lambda a: jnp.trapezoid(a**2), x)
    assert_gradient(
        lambda t: torch.gradient(t, dim=0)[0] ** 3, lambda a: jnp.gradient(a, axis=0) ** 3, x
    )
