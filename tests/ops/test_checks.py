"""The checks that operations share: dimensions, shapes, kinds of types."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dynjax.ops import checks


@pytest.mark.parametrize(
    "dtype, name",
    [(np.float32, "Float"), (np.int64, "Long"), (np.bool_, "Bool"), (jnp.bfloat16, "BFloat16")],
)
def test_type_names(dtype, name):
    assert checks.type_name(dtype) == name


@given(st.integers(1, 6), st.data())
def test_wrap_dim_counts_from_the_end(ndim, data):
    dim = data.draw(st.integers(-ndim, ndim - 1))
    assert checks.wrap_dim(dim, ndim) == range(ndim)[dim]


@pytest.mark.parametrize(
    "dim, ndim, span", [(2, 2, "[-2, 1]"), (-3, 2, "[-2, 1]"), (1, 0, "[-1, 0]")]
)
def test_wrap_dim_refuses(dim, ndim, span):
    with pytest.raises(IndexError) as error:
        checks.wrap_dim(dim, ndim)
    assert str(error.value) == (
        f"Dimension out of range (expected to be in range of {span}, but got {dim})"
    )


def test_wrap_dims_refuses_repetition():
    with pytest.raises(RuntimeError, match="^dim 1 appears multiple times in the list of dims$"):
        checks.wrap_dims((1, -1), 2)


def test_reduced_dims_of_nothing_are_all():
    assert checks.reduced_dims(None, 3) == checks.reduced_dims((), 3) == (0, 1, 2)
    assert checks.reduced_dims(-1, 0) == ()


@given(hnp.mutually_broadcastable_shapes(num_shapes=3))
def test_broadcast_shapes_agrees_with_numpy(shapes):
    assert checks.broadcast_shapes(*shapes.input_shapes) == shapes.result_shape


def test_broadcast_shapes_names_the_dimension():
    with pytest.raises(RuntimeError) as error:
        checks.broadcast_shapes((5, 2, 3), (4, 3))
    assert str(error.value) == (
        "The size of tensor a (2) must match the size of tensor b (4) at non-singleton dimension 1"
    )


@pytest.mark.parametrize("dtype, letter", [(np.bool_, "b"), (np.uint8, "i"), (np.complex64, "c")])
def test_check_kind(dtype, letter):
    x = np.zeros(1, dtype)
    checks.check_kind(x, "bic".replace(letter, ""), "some_cpu")
    with pytest.raises(NotImplementedError, match=r'^"some_cpu" not implemented for \''):
        checks.check_kind(x, letter, "some_cpu")


def test_in_opmath_rounds_once():
    def body(x):
        assert x.dtype == np.float32
        return x / 3 * 3

    x = jnp.asarray([1.0, 7.0], jnp.bfloat16)
    result = checks.in_opmath(body)(x)
    assert result.dtype == jnp.bfloat16
    assert (result == x).all()
