"""Positions in order, against NumPy's stable sort."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import dynjax as torch
from dynjax.ops.order import order_of

DTYPES = ["float32", "float16", "int32", "int8", "uint8", "int16", "bool"]
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, -np.nan, 1e-45, -1e-45, 3.4e38]


def expected(x, axis, descending):
    """NaN the largest, equal elements as they come."""
    if descending:
        back = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
        return np.flip(x.shape[axis] - 1 - back, axis)
    return np.argsort(x, axis=axis, kind="stable")


@given(
    hnp.arrays(np.float32, (3, 6), elements=st.sampled_from(SPECIAL)),
    st.sampled_from([0, 1]),
    st.booleans(),
)
def test_order_of_special_numbers(x, axis, descending):
    with jax.enable_x64(True):
        found = order_of(jnp.asarray(x), axis, descending)
    np.testing.assert_array_equal(found, expected(x, axis, descending))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("descending", [False, True])
def test_order_of_every_type(dtype, descending):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, (4, 30)) if dtype in ("bool", "uint8") else rng.integers(-4, 5, (4, 30))
    x = x.astype(dtype)
    result = torch.argsort(torch.from_numpy(x), 1, descending, stable=True)
    assert result.dtype is torch.int64
    np.testing.assert_array_equal(result.numpy(), expected(x, 1, descending))


@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_order_of_numbers_that_fill_64_bits(dtype):
    big = 1 << 53
    x = np.array([big + 2, big, 3, -big - 2, big, -5], dtype)
    for descending in (False, True):
        result = torch.argsort(torch.from_numpy(x), 0, descending, stable=True)
        np.testing.assert_array_equal(result.numpy(), expected(x, 0, descending))


def test_order_of_unsigned_numbers_that_fill_32_bits():
    x = np.array([2**32 - 1, 5, 2**31, 0, 2**31 - 1, 5], np.uint32)
    for descending in (False, True):
        with jax.enable_x64(True):
            found = order_of(jnp.asarray(x), 0, descending)
        np.testing.assert_array_equal(found, expected(x, 0, descending))


def test_bfloat16_has_an_order_too():
    x = torch.tensor([1.5, -2.0, float("nan"), 1.5, 0.0], dtype=torch.bfloat16)
    assert torch.argsort(x, stable=True).tolist() == [1, 4, 0, 3, 2]
    assert torch.argsort(x, descending=True, stable=True).tolist() == [2, 0, 3, 4, 1]


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
@given(data=st.data())
def test_the_first_extreme(axis, data):
    x = data.draw(hnp.arrays(np.float32, (2, 3, 2), elements=st.sampled_from(SPECIAL[:7])))
    for ours, theirs in ((torch.argmax, np.argmax), (torch.argmin, np.argmin)):
        np.testing.assert_array_equal(ours(torch.from_numpy(x), axis).numpy(), theirs(x, axis))
