"""The array API standard: its names, its signatures, and what it asks for beyond PyTorch."""

import inspect

import numpy as np
import pytest

import dynjax
from dynjax import array_api as xp

STANDARD = """
    abs acos acosh add all any arange argmax argmin argsort asarray asin asinh astype atan atan2
    atanh bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor
    bool broadcast_arrays broadcast_to can_cast ceil clip complex128 complex64 concat conj copysign
    cos cosh count_nonzero cumulative_prod cumulative_sum diff divide e empty empty_like equal exp
    expand_dims expm1 eye finfo flip float32 float64 floor floor_divide from_dlpack full full_like
    greater greater_equal hypot iinfo imag inf int16 int32 int64 int8 isdtype isfinite isinf isnan
    less less_equal linspace log log10 log1p log2 logaddexp logical_and logical_not logical_or
    logical_xor matmul matrix_transpose max maximum mean meshgrid min minimum moveaxis multiply nan
    negative newaxis nextafter nonzero not_equal ones ones_like permute_dims pi positive pow prod
    real reciprocal remainder repeat reshape result_type roll round searchsorted sign signbit sin
    sinh sort sqrt square squeeze stack std subtract sum take take_along_axis tan tanh tensordot
    tile tril triu trunc uint16 uint32 uint64 uint8 unique_all unique_counts unique_inverse
    unique_values unstack var vecdot where zeros zeros_like
""".split()


def test_every_name_of_the_standard_is_there():
    assert not [name for name in STANDARD if not hasattr(xp, name)]
    assert set(STANDARD) <= set(xp.__all__)


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("add", "(x1, x2, /)"),
        ("sin", "(x, /)"),
        ("sum", "(x, /, *, axis, dtype, keepdims)"),
        ("max", "(x, /, *, axis, keepdims)"),
        ("std", "(x, /, *, axis, correction, keepdims)"),
        ("take", "(x, indices, /, *, axis)"),
        ("reshape", "(x, /, shape, *, copy)"),
        ("arange", "(start, /, stop, step, *, dtype, device)"),
        ("clip", "(x, /, min, max)"),
    ],
)
def test_signatures_are_the_standards(name, signature):
    parameters = [
        p.replace(default=p.empty, annotation=p.empty)
        for p in inspect.signature(getattr(xp, name)).parameters.values()
    ]
    assert str(inspect.Signature(parameters)) == signature


def test_an_array_knows_its_namespace():
    x = dynjax.ones(2)
    assert x.__array_namespace__() is xp
    assert x.__array_namespace__(api_version="2024.12") is xp
    with pytest.raises(ValueError, match="'1999.1' is not one of"):
        x.__array_namespace__(api_version="1999.1")
    assert x.to_device("cpu").device.type == "cpu"


def test_types_promote_whatever_the_dimensions():
    narrow, wide = dynjax.ones(2), dynjax.tensor(1.0, dtype=dynjax.float64)
    assert xp.add(narrow, wide).dtype is dynjax.float64
    assert xp.result_type(dynjax.uint16, dynjax.int8) is dynjax.int32
    assert xp.result_type(narrow, 1.5) is dynjax.float32
    assert xp.can_cast(dynjax.int32, dynjax.int64) and not xp.can_cast(dynjax.int64, dynjax.int32)
    assert xp.isdtype(dynjax.uint8, ("bool", "unsigned integer"))
    with pytest.raises(ValueError, match="unknown kind"):
        xp.isdtype(dynjax.uint8, "whole")


def test_reductions_over_any_axes():
    x = dynjax.arange(24.0).reshape(2, 3, 4)
    assert xp.sum(x, axis=(0, 2)).tolist() == x.numpy().sum((0, 2)).tolist()
    assert xp.prod(x + 1, axis=(1, -1), keepdims=True).shape == (2, 1, 1)
    assert xp.any(x > 22, axis=None).item() and xp.all(x >= 0, axis=(0, 1)).shape == (4,)
    assert xp.sum(dynjax.ones(3, dtype=dynjax.uint8)).dtype is dynjax.uint64
    assert xp.cumulative_sum(dynjax.ones(3), include_initial=True).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="needs an axis"):
        xp.cumulative_sum(x)


def test_shapes():
    x = dynjax.arange(6).reshape(2, 1, 3)
    assert xp.squeeze(x, 1).shape == (2, 3)
    assert xp.expand_dims(x, (0, -1)).shape == (1, 2, 1, 3, 1)
    assert xp.concat([x, x], axis=None).shape == (12,)
    with pytest.raises(ValueError, match="not all of length one"):
        xp.squeeze(x, 0)


def test_distinct_elements_know_where_they_are():
    x = dynjax.tensor([3, 1, 3, 2, 1])
    found = xp.unique_all(x)
    values, indices, inverse, counts = np.unique(x.numpy(), True, True, True)
    assert found.values.tolist() == values.tolist()
    assert found.indices.tolist() == indices.tolist()
    assert found.inverse_indices.tolist() == inverse.tolist()
    assert found.counts.tolist() == counts.tolist()


def test_what_can_be_asked():
    info = xp.__array_namespace_info__()
    assert info.default_dtypes()["real floating"] is dynjax.float32
    assert set(info.dtypes(kind="bool")) == {"bool"}
    assert info.capabilities()["boolean indexing"] and info.devices()


def test_cross_broadcasts():
    a, b = xp.asarray([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), xp.asarray([0.0, 0.0, 1.0])
    assert xp.linalg.cross(a, b).tolist() == [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]


@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions_over_no_axis(keepdims):
    x = xp.asarray([[1.0, -2.0]])
    for name in ("mean", "sum", "prod", "max", "min", "std"):
        result = getattr(xp, name)(x, axis=(), keepdims=keepdims)
        assert result.tolist() == ([[0.0, 0.0]] if name == "std" else [[1.0, -2.0]])
