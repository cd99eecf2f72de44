"""Reductions: values against NumPy, gradients against `jax.grad` and in closed form, bad input."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import dynjax as torch
from tests.ops.common import assert_close, assert_gradient, gradient

X = np.array([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]], np.float32)
TIES = [[3.0, 1.0, 3.0], [0.0, 0.0, 0.0]]


def make(x=X):
    return torch.tensor(np.asarray(x).tolist())


@pytest.mark.parametrize("dim", [None, 0, 1, -1, (0, 1)])
@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "std", "var"])
def test_over_dimensions(name, dim, keepdim):
    expected = getattr(np, name)
    unbiased = {"ddof": 1} if name in ("std", "var") else {}
    if dim is None and name.startswith("a"):
        dim = ()
    axis = None if dim == () else dim
    result = getattr(torch, name)(make(), dim=dim, keepdim=keepdim)
    assert_close(result, expected(X, axis=axis, keepdims=keepdim, **unbiased))


@pytest.mark.parametrize("name, pure", [
    ("sum", jnp.sum), ("mean", jnp.mean), ("prod", jnp.prod), ("amax", jnp.max),
    ("var", lambda x: jnp.var(x, ddof=1)), ("std", lambda x: jnp.std(x, ddof=1)),
])  # fmt: skip
def test_gradients_over_everything(name, pure):
    assert_gradient(getattr(torch, name), pure, X)


@given(
    hnp.arrays(np.float32, (3, 4), elements=st.floats(-5, 5, width=32, allow_subnormal=False)),
    st.integers(0, 1),
)
def test_logsumexp_and_running_sums(x, axis):
    assert_close(torch.logsumexp(make(x), axis), np.log(np.exp(x).sum(axis)), rtol=1e-4, atol=1e-4)
    assert_close(torch.cumsum(make(x), axis), np.cumsum(x, axis), rtol=1e-4, atol=1e-4)
    assert_close(torch.cummax(make(x), axis).values, np.maximum.accumulate(x, axis), rtol=0, atol=0)


def test_logsumexp_of_infinities():
    x = torch.tensor([[-math.inf, -math.inf], [math.inf, 0.0], [1000.0, 1000.0]])
    expected = np.array([-np.inf, np.inf, 1000 + math.log(2)], np.float32)
    assert_close(torch.logsumexp(x, 1), expected)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32"])
def test_integers_are_summed_as_int64(dtype):
    x = torch.tensor([1, 1, 1], dtype=getattr(torch, dtype))
    for result in (x.sum(), x.prod(), x.cumsum(0)[2]):
        assert result.dtype is torch.int64
    assert x.sum().item() == 3
    assert torch.sum(x, dtype=torch.float64).dtype is torch.float64


def test_half_types_accumulate_in_float32():
    x = torch.tensor([1.0] * 1000, dtype=torch.bfloat16)
    assert x.sum().item() == 1000
    assert x.sum().dtype is torch.bfloat16
    assert x.cumsum(0)[-1].item() == 1000


def test_max_has_three_forms():
    x = make()
    assert torch.max(x).item() == 4.0
    values, indices = torch.max(x, 1)
    assert values.tolist() == [3.0, 4.0] and indices.tolist() == [2, 1]
    assert x.max(dim=0, keepdim=True).values.tolist() == [[1.0, 4.0, 3.0]]
    assert torch.max(x, torch.zeros(3)).tolist() == [[1.0, 0.0, 3.0], [0.5, 4.0, 0.0]]
    assert torch.min(x, dim=1).indices.tolist() == [1, 2]


def test_gradients_at_ties():
    shared = gradient(lambda x: x.amax(1), TIES)
    np.testing.assert_allclose(shared, [[0.5, 0, 0.5], [1 / 3] * 3], rtol=1e-6)
    assert gradient(lambda x: x.max(1).values, TIES).tolist() == [[1, 0, 0], [1, 0, 0]]
    assert gradient(lambda x: x.max(), TIES).tolist() == [[0.5, 0, 0.5], [0, 0, 0]]
    assert gradient(lambda x: x.median(), [1.0, 1.0, 2.0]).tolist() == [0.5, 0.5, 0]


def test_cummax_keeps_the_last_of_equals():
    values, indices = torch.cummax(torch.tensor([1.0, 3.0, 3.0, 2.0]), 0)
    assert values.tolist() == [1.0, 3.0, 3.0, 3.0]
    assert indices.tolist() == [0, 1, 2, 2]


def test_arg_extremes():
    x = make()
    assert x.argmax().item() == 4 and x.argmin(1).tolist() == [1, 2]
    assert x.argmax(0, keepdim=True).tolist() == [[0, 1, 0]]
    assert torch.argmax(torch.tensor([1.0, math.nan, 5.0])).item() == 1


@given(
    hnp.arrays(np.float32, 7, elements=st.floats(-5, 5, width=32, allow_subnormal=False)),
    st.integers(1, 7),
)
def test_median_is_the_lower_one(x, n):
    expected = np.sort(x[:n])[(n - 1) // 2]
    assert torch.median(make(x[:n])).item() == expected
    found = torch.median(make(x[:n]), 0)
    assert found.values.item() == expected == x[found.indices.item()]


def test_median_and_nan():
    x = torch.tensor([[1.0, math.nan, 3.0, 2.0]])
    assert math.isnan(x.median().item())
    assert x.median(1).indices.item() == 1
    assert torch.nanmedian(x).item() == 2.0
    assert torch.nansum(x).item() == 6.0 and torch.nanmean(x).item() == 2.0


@pytest.mark.parametrize("correction", [0, 1, 2])
def test_variance_with_correction(correction):
    expected = np.var(X, axis=1, ddof=correction)
    assert_close(torch.var(make(), 1, correction=correction), expected)
    variance, mean = torch.var_mean(make(), dim=1, correction=correction)
    assert_close(variance, expected)
    assert_close(mean, X.mean(1))


def test_variance_takes_unbiased_in_every_place():
    x = make()
    biased = np.var(X)
    for result in (x.var(False), x.var(unbiased=False), torch.var(x, None, False)):
        assert_close(result, biased)
    assert_close(x.std(1, True, True), np.std(X, axis=1, ddof=1, keepdims=True))


def test_deviation_of_equals_has_gradient_zero():
    assert gradient(lambda x: x.std(), [2.0, 2.0]).tolist() == [0.0, 0.0]


def test_variance_of_one_warns():
    with pytest.warns(UserWarning, match="degrees of freedom is <= 0"):
        assert math.isnan(torch.std(torch.tensor([1.0])).item())


@pytest.mark.parametrize("p", [0.5, 1, 1.5, 2, 3, math.inf, -math.inf, 0])
def test_norms(p):
    expected = np.linalg.norm(X.astype(np.float64), p, axis=1).astype(np.float32)
    assert_close(torch.norm(make(), p, 1), expected)
    assert torch.norm(make()).item() == pytest.approx(np.linalg.norm(X))


@pytest.mark.parametrize("p", [0.5, 1, 1.5, 2, 3, math.inf])
def test_norms_have_gradient_zero_at_zero(p):
    assert gradient(lambda x: x.norm(p), [0.0, 0.0]).tolist() == [0.0, 0.0]


def test_second_derivative_of_norm():
    x = torch.tensor([3.0, 4.0], requires_grad=True)
    (g,) = torch.autograd.grad(x.norm(), x, create_graph=True)
    (h,) = torch.autograd.grad(g[0], x)
    assert_close(h, np.array([16 / 125, -12 / 125], np.float32))


def test_product_with_zeros():
    assert gradient(lambda x: x.prod(), [0.0, 2.0, 3.0]).tolist() == [6.0, 0.0, 0.0]
    assert gradient(lambda x: x.cumprod(0), [0.0, 2.0]).tolist() == [3.0, 0.0]


def test_a_sum_to_no_dimensions_is_a_sum():
    assert torch.tensor(True).sum_to_size(()).dtype is torch.int64
    assert torch.tensor([True]).sum_to_size(1).dtype is torch.bool


def test_truth():
    x = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    assert x.all().item() is False and x.any().item() is True
    assert x.all(1).tolist() == [False, True] and x.count_nonzero(0).tolist() == [1, 2]
    assert torch.tensor([1, 2], dtype=torch.uint8).all().dtype is torch.uint8


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda t: make().sum(5), IndexError,
         "Dimension out of range (expected to be in range of [-2, 1], but got 5)"),
        (lambda t: make().sum((0, -2)), RuntimeError,
         "dim 0 appears multiple times in the list of dims"),
        (lambda t: t([1]).mean(), RuntimeError, "mean(): could not infer output dtype. Input dtype "
         "must be either a floating point or complex dtype. Got: Long"),
        (lambda t: t([1.0]).mean(dtype=torch.int64), RuntimeError,
         "mean(): could not infer output dtype. Optional dtype"),
        (lambda t: torch.zeros(0).max(), RuntimeError,
         "max(): Expected reduction dim to be specified for input.numel() == 0."),
        (lambda t: torch.zeros(0, 3).amin(0), IndexError,
         "amin(): Expected reduction dim 0 to have non-zero size."),
        (lambda t: torch.zeros(0).argmax(), IndexError,
         "argmax(): Expected reduction dim to be specified for input.numel() == 0."),
        (lambda t: t([True]).argmax(), RuntimeError, "argmax(): does not support bool input"),
        (lambda t: t([1j]).max(), NotImplementedError,
         "\"max_all\" not implemented for 'ComplexFloat'"),
        (lambda t: t([1]).std(), RuntimeError,
         "std and var only support floating point and complex dtypes"),
        (lambda t: t([1]).norm(), RuntimeError, "linalg.vector_norm: Expected a floating point or "
         "complex tensor as input. Got Long"),
        (lambda t: t([True]).median(), NotImplementedError,
         "\"median_cpu\" not implemented for 'Bool'"),
    ],
)  # fmt: skip
def test_bad_input(call, error, text):
    with pytest.raises(error) as caught:
        call(torch.tensor)
    assert str(caught.value).startswith(text)
