"""Tensors print as PyTorch's do, character by character."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dynjax.core import dtypes
from dynjax.core.devices import device
from dynjax.tensor import printing

torch = pytest.importorskip("torch")

HARD = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-4, 9.9e-5, 1000.0, 1001.0, 1e8, 1.1e8, 1e30, -2.5e-7, 0.99999]
FLOATS = st.one_of(
    st.sampled_from([*HARD, float("inf"), float("-inf"), float("nan")]),
    st.integers(-3000, 3000).map(float),
    st.floats(-1000, 1000),
    st.floats(width=32),
)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9)


def torch_type(dtype):
    return getattr(torch, dtype.name)


def torch_tensor(array, dtype):
    if dtype is dtypes.bfloat16:
        return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    return torch.from_numpy(np.array(array))


def same_text(array, dtype, *, requires_grad=False, node=None):
    expected = torch_tensor(array, dtype)
    if requires_grad:
        expected.requires_grad_()
    if node:
        expected = expected.clone()
    ours = printing.format_tensor(
        array, dtype, requires_grad=requires_grad, grad_fn_name=node, device=device("cpu")
    )
    assert ours == repr(expected).replace("torch.", "dynjax.")


@st.composite
def arrays(draw, shapes=SHAPES):
    dtype = draw(st.sampled_from(dtypes.ALL))
    shape = draw(shapes)
    if dtype.is_floating_point or dtype.is_complex:
        values = draw(hnp.arrays(np.float64, shape, elements=FLOATS, fill=FLOATS))
        if dtype.is_complex:
            other = draw(hnp.arrays(np.float64, shape, elements=FLOATS, fill=FLOATS))
            values = np.stack([values, other], -1)
            parts = values.astype(dtype.to_real().np)
            return parts.view(dtype.np).reshape(shape), dtype
        return values.astype(dtype.np), dtype
    return draw(hnp.arrays(dtype.np, shape)), dtype


@pytest.fixture(autouse=True)
def unbothered_by_overflow():
    # Casting to a narrow type is how these tests get their infinities.
    with np.errstate(over="ignore", invalid="ignore"):
        yield


@given(arrays())
def test_any_values_of_any_type(case):
    same_text(*case)


@given(arrays(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=9)), st.data())
def test_gradient_notes(case, data):
    array, dtype = case
    if not (dtype.is_floating_point or dtype.is_complex):
        return
    same_text(
        array, dtype, requires_grad=True, node=data.draw(st.sampled_from([None, "CloneBackward0"]))
    )


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "profile": st.sampled_from(["default", "short", "full"]),
        "precision": st.integers(0, 8),
        "threshold": st.integers(0, 40),
        "edgeitems": st.integers(0, 4),
        "linewidth": st.integers(1, 120),
        "sci_mode": st.booleans(),
    },
)


@given(arrays(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=12)), OPTIONS)
def test_print_options(case, options):
    with torch._tensor_str.printoptions(**options), printing.printoptions(**options):
        same_text(*case)


@pytest.mark.parametrize(
    "shape", [(1001,), (40, 40), (2, 600), (600, 2), (7, 13, 13), (3, 3, 3, 99)]
)
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e6])
def test_large_tensors_are_summarised(shape, scale):
    values = np.random.default_rng(0).normal(size=shape) * scale
    for dtype in (dtypes.float32, dtypes.float64, dtypes.bfloat16, dtypes.int64, dtypes.complex64):
        same_text(values.astype(dtype.np), dtype)


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=repr)
def test_empty_tensors(dtype):
    for shape in [(0,), (0, 3), (2, 0, 1)]:
        same_text(np.empty(shape, dtype.np), dtype)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_the_default_type_is_not_said(name):
    torch.set_default_dtype(getattr(torch, name))
    dtypes.set_default_dtype(getattr(dtypes, name))
    try:
        for dtype in dtypes.ALL:
            same_text(np.ones((2,), dtype.np), dtype)
            same_text(np.ones((0,), dtype.np), dtype)
    finally:
        torch.set_default_dtype(torch.float32)
        dtypes.set_default_dtype(dtypes.float32)


def test_parameters():
    values = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    ours = printing.format_tensor(values, dtypes.float32, requires_grad=True, is_parameter=True)
    assert ours == repr(torch.nn.Parameter(torch.from_numpy(values)))


def test_narrow_floats():
    values = np.array([1.5, -2.25, 3.0, 1e-3], np.float32)
    same_text(values.astype(ml_dtypes.bfloat16), dtypes.bfloat16)
    same_text(values.astype(np.float16), dtypes.float16)
