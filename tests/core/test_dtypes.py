"""Element types: their properties, promotion, the default type, limits."""

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest

from dynjax.core import dtypes as dt
from dynjax.core.dtypes import DIMENSIONED, NUMBER, ZERO_DIM


@pytest.fixture
def default_dtype():
    yield dt.set_default_dtype
    dt.set_default_dtype(dt.float32)


def test_a_type_prints_its_name():
    assert repr(dt.float32) == str(dt.float32) == "dynjax.float32"
    assert repr(dt.bool) == "dynjax.bool"


def test_other_names_are_the_same_objects():
    assert (dt.half, dt.float, dt.double) == (dt.float16, dt.float32, dt.float64)
    assert (dt.short, dt.int, dt.long) == (dt.int16, dt.int32, dt.int64)
    assert (dt.cfloat, dt.cdouble) == (dt.complex64, dt.complex128)


def test_properties():
    assert dt.bfloat16.is_floating_point and dt.bfloat16.itemsize == 2
    assert dt.complex64.is_complex and not dt.complex64.is_floating_point
    assert dt.int8.is_signed and not dt.uint8.is_signed and not dt.bool.is_signed
    assert dt.int64.is_integer and not dt.bool.is_integer
    assert (dt.int64.type_name, dt.bfloat16.abbr) == ("Long", "bf16")


def test_there_is_one_instance_of_a_type():
    for t in dt.ALL:
        assert copy.deepcopy(t) is t
        assert pickle.loads(pickle.dumps(t)) is t
    with pytest.raises(TypeError, match="cannot create 'dynjax.dtype' instances"):
        dt.dtype()


def test_real_and_complex_counterparts():
    assert dt.complex128.to_real() is dt.float64
    assert dt.int32.to_real() is dt.int32
    assert dt.float64.to_complex() is dt.complex128
    with pytest.raises(RuntimeError, match="Unknown Complex ScalarType for Long"):
        dt.int64.to_complex()


def test_half_precision_has_no_complex_type_of_its_own():
    # PyTorch answers complex32, which XLA does not have.
    assert dt.float16.to_complex() is dt.complex64
    assert dt.result_dtype([(dt.float16, DIMENSIONED), (dt.complex64, NUMBER)]) is dt.complex64


# --- from other libraries' types


@pytest.mark.parametrize("t", dt.ALL, ids=repr)
def test_numpy_types_go_both_ways(t):
    assert dt.of(t.np) is t
    assert dt.of(t.np.type) is t


def test_byte_order_does_not_matter():
    assert dt.of(np.dtype(">f4")) is dt.float32


def test_bfloat16_is_that_of_ml_dtypes():
    assert dt.of(ml_dtypes.bfloat16) is dt.bfloat16


@pytest.mark.parametrize("other", [np.dtype(object), np.dtype("U3"), np.dtype("M8[s]"), "nonsense"])
def test_types_that_tensors_cannot_have(other):
    with pytest.raises(TypeError, match="can't convert np.ndarray of type .* only supported types"):
        dt.of(other)


def test_what_may_be_passed_as_dtype():
    assert dt.as_dtype(dt.int8) is dt.int8
    assert [dt.as_dtype(t) for t in (bool, int, float, complex)] == [
        *(dt.bool, dt.int64, dt.float64, dt.complex128)
    ]
    assert dt.as_dtype(np.float16) is dt.as_dtype(np.dtype("float16")) is dt.float16
    for wrong in ("float32", 3, str):
        with pytest.raises(TypeError, match=r"zeros\(\): argument 'dtype' must be dynjax.dtype"):
            dt.as_dtype(wrong, "zeros")


def test_jax_types_may_be_passed_as_dtype():
    jnp = pytest.importorskip("jax.numpy")
    assert dt.as_dtype(jnp.bfloat16) is dt.bfloat16
    assert dt.as_dtype(jnp.float32) is dt.float32


# --- the default type


def test_default_type(default_dtype):
    assert dt.get_default_dtype() is dt.float32
    default_dtype(dt.float64)
    assert dt.get_default_dtype() is dt.float64
    assert dt.get_default_complex_dtype() is dt.complex128
    assert dt.number_dtype(1.5) is dt.float64
    assert dt.finfo().dtype == "float64"


@pytest.mark.parametrize("wrong", [dt.int32, dt.complex64, dt.bool])
def test_the_default_type_is_a_floating_one(wrong):
    with pytest.raises(
        TypeError, match="^only floating-point types are supported as the default type$"
    ):
        dt.set_default_dtype(wrong)
    assert dt.get_default_dtype() is dt.float32


@pytest.mark.parametrize("wrong", ["float64", None, float])
def test_the_default_type_is_a_dtype(wrong):
    with pytest.raises(TypeError, match="^invalid dtype object: only floating-point types are"):
        dt.set_default_dtype(wrong)


# --- promotion


@pytest.mark.parametrize(
    "a, b, result",
    [
        (dt.uint8, dt.int8, dt.int16),
        (dt.uint8, dt.int32, dt.int32),
        (dt.bool, dt.uint8, dt.uint8),
        (dt.int64, dt.float16, dt.float16),
        (dt.float16, dt.bfloat16, dt.float32),
        (dt.float64, dt.complex64, dt.complex128),
        (dt.int64, dt.complex64, dt.complex64),
        (dt.uint64, dt.bfloat16, dt.bfloat16),
    ],
)
def test_promotion(a, b, result):
    assert dt.promote_types(a, b) is dt.promote_types(b, a) is result


def test_wide_unsigned_types_promote_only_with_floats():
    with pytest.raises(
        RuntimeError,
        match="^Promotion for uint16, uint32, uint64 types is not supported, "
        "attempted to promote UInt16 and Char$",
    ):
        dt.promote_types(dt.uint16, dt.int8)


@pytest.mark.parametrize(
    "operands, result",
    [
        ([(dt.int32, DIMENSIONED), (dt.float32, NUMBER)], dt.float32),
        ([(dt.float16, DIMENSIONED), (dt.float64, NUMBER)], dt.float16),
        ([(dt.float32, DIMENSIONED), (dt.float64, ZERO_DIM)], dt.float32),
        ([(dt.uint8, DIMENSIONED), (dt.int64, ZERO_DIM), (dt.int64, NUMBER)], dt.uint8),
        ([(dt.bool, DIMENSIONED), (dt.int64, NUMBER)], dt.int64),
        ([(dt.int64, DIMENSIONED), (dt.float16, ZERO_DIM)], dt.float16),
        ([(dt.int64, ZERO_DIM), (dt.float64, NUMBER)], dt.float32),
        ([(dt.float64, DIMENSIONED), (dt.complex64, NUMBER)], dt.complex128),
        ([(dt.uint16, DIMENSIONED), (dt.int64, NUMBER)], dt.uint16),
    ],
)
def test_a_category_decides_only_by_its_kind(operands, result):
    assert dt.result_dtype(operands) is result
    assert dt.result_dtype(operands[::-1]) is result


def test_numbers_follow_the_default_type(default_dtype):
    default_dtype(dt.float64)
    assert dt.result_dtype([(dt.int32, DIMENSIONED), (dt.float32, NUMBER)]) is dt.float64


def test_types_of_numbers():
    numbers = {True: dt.bool, 2: dt.int64, 2.5: dt.float32, 2j: dt.complex64}
    for value, expected in numbers.items():
        assert dt.number_dtype(value) is expected
    with pytest.raises(TypeError, match="expected a Python number, got str"):
        dt.number_dtype("1")


def test_casts_may_widen_the_kind_only():
    assert dt.can_cast(dt.float64, dt.float16)
    assert dt.can_cast(dt.int64, dt.uint8)
    assert not dt.can_cast(dt.float32, dt.int64)
    assert not dt.can_cast(dt.int8, dt.bool)
    with pytest.raises(TypeError, match=r"can_cast\(\): argument 'to' \(position 2\) must be"):
        dt.can_cast(dt.float32, 3)


# --- limits


def test_limits_of_floats():
    assert repr(dt.finfo(dt.float32)) == (
        "finfo(resolution=1e-06, min=-3.40282e+38, max=3.40282e+38, eps=1.19209e-07, "
        "smallest_normal=1.17549e-38, tiny=1.17549e-38, dtype=float32)"
    )
    assert dt.finfo(dt.bfloat16).eps == 2.0**-7
    assert dt.finfo(dt.complex128) == dt.finfo(dt.float64) != dt.finfo(dt.float32)


def test_limits_of_integers():
    assert repr(dt.iinfo(dt.int32)) == "iinfo(min=-2.14748e+09, max=2.14748e+09, dtype=int32)"
    assert dt.iinfo(dt.uint64).max == 2**64 - 1
    assert dt.iinfo(dt.int8).bits == 8


def test_limits_of_the_wrong_kind():
    with pytest.raises(TypeError, match=r"finfo\(\) requires a floating point input type"):
        dt.finfo(dt.int64)
    with pytest.raises(TypeError, match=r"iinfo\(\) requires an integer input type"):
        dt.iinfo(dt.float32)
    with pytest.raises(TypeError, match=r"dynjax.bool is not supported by dynjax.iinfo"):
        dt.iinfo(dt.bool)
