"""Element types, devices and sizes behave as PyTorch's."""

import itertools
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynjax.core import dtypes as dt
from dynjax.core.devices import device
from dynjax.core.size import Size

torch = pytest.importorskip("torch")

DTYPES = st.sampled_from(dt.ALL)


def theirs(dtype):
    return getattr(torch, dtype.name)


def outcome(call):
    """A result's text, or the exception's type and text, with PyTorch's name read as ours."""
    try:
        result = call()
    except Exception as error:
        result = type(error).__name__, str(error)
    return str(result).replace("torch", "dynjax")


@pytest.mark.parametrize("dtype", dt.ALL, ids=repr)
def test_properties(dtype):
    for name in ("itemsize", "is_floating_point", "is_complex", "is_signed", "abbr"):
        assert getattr(dtype, name) == getattr(theirs(dtype), name)
    assert str(dtype.to_real()) == str(theirs(dtype).to_real()).replace("torch", "dynjax")
    assert f"torch.{dtype.type_name}Tensor" == torch.empty(0, dtype=theirs(dtype)).type()


@pytest.mark.parametrize("dtype", [t for t in dt.ALL if t is not dt.float16], ids=repr)
def test_complex_counterparts(dtype):
    assert outcome(dtype.to_complex) == outcome(theirs(dtype).to_complex)


def test_every_promotion():
    for a, b in itertools.product(dt.ALL, repeat=2):
        ours = outcome(partial(dt.promote_types, a, b))
        assert ours == outcome(partial(torch.promote_types, theirs(a), theirs(b))), (a, b)


def test_every_cast():
    for a, b in itertools.product(dt.ALL, repeat=2):
        assert dt.can_cast(a, b) == torch.can_cast(theirs(a), theirs(b))


NUMBERS = st.sampled_from([True, 2, 2.5, 2j])
TENSORS = st.tuples(DTYPES, st.sampled_from([dt.ZERO_DIM, dt.DIMENSIONED]))
FLOATING = st.sampled_from([t for t in dt.ALL if t.is_floating_point and t is not dt.float16])


def as_pair(operand):
    return operand if isinstance(operand, tuple) else (dt.number_dtype(operand), dt.NUMBER)


def as_torch(operand):
    if not isinstance(operand, tuple):
        return operand
    dtype, category = operand
    return torch.ones(() if category == dt.ZERO_DIM else (1,), dtype=theirs(dtype))


@given(TENSORS, st.one_of(NUMBERS, TENSORS), FLOATING)
def test_types_of_results(a, b, default):
    torch.set_default_dtype(theirs(default))
    dt.set_default_dtype(default)
    try:
        expected = outcome(lambda: torch.result_type(as_torch(a), as_torch(b)))
        ours = outcome(lambda: dt.result_dtype([as_pair(a), as_pair(b)]))
    finally:
        torch.set_default_dtype(torch.float32)
        dt.set_default_dtype(dt.float32)
    # XLA has no complex32.
    assert ours == expected.replace("complex32", "complex64")


@pytest.mark.parametrize("dtype", dt.ALL, ids=repr)
@pytest.mark.parametrize("limits", ["finfo", "iinfo"])
def test_limits(dtype, limits):
    def described(module, dtype):
        info = getattr(module, limits)(dtype)
        names = [name for name in dir(torch.finfo(torch.float32)) if not name.startswith("_")]
        return repr(info), {name: getattr(info, name, None) for name in names}

    assert outcome(lambda: described(dt, dtype)) == outcome(lambda: described(torch, theirs(dtype)))


@pytest.mark.parametrize("wrong", ["int32", "bool", "complex64", None, 3])
def test_what_cannot_be_the_default_type(wrong):
    ours = getattr(dt, wrong) if isinstance(wrong, str) else wrong
    other = getattr(torch, wrong) if isinstance(wrong, str) else wrong
    assert outcome(lambda: dt.set_default_dtype(ours)) == outcome(
        lambda: torch.set_default_dtype(other)
    )


INDEX = st.one_of(st.none(), st.integers(-2, 100), st.sampled_from(["1", 1.5]))
NAMES = st.one_of(
    st.sampled_from(["cpu", "cuda", "cuda:1", "xla", "meta", "mps", "", "foo", "cuda:", "cpu:01"]),
    st.text(st.sampled_from("cpuda:01-_ M"), max_size=6),
)


@given(NAMES, INDEX)
def test_device_names(name, index):
    args = (name,) if index is None else (name, index)
    ours = outcome(lambda: device(*args)).replace(", tpu device type", " device type")
    assert ours == outcome(lambda: torch.device(*args))


@given(st.lists(st.integers(0, 5), max_size=4), st.lists(st.integers(0, 5), max_size=3))
def test_sizes(a, b):
    def described(cls):
        one, two = cls(a), cls(b)
        return one, one.numel(), one + two, one + tuple(b), tuple(b) + one, one[1:], one * 2

    assert outcome(lambda: described(Size)) == outcome(lambda: described(torch.Size))
