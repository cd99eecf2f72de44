"""Sizes of several samples as functions of a few symbols."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynjax.engine.padding.extents import Samples, Size, Unpaddable, axis_from, symbols_of, value_of

SAMPLES = Samples([(5, 9, 12), (4, 3, 8)])  # two symbols in three samples
N, M = Size(0), Size(1)


@pytest.mark.parametrize(
    ("seen", "axis"),
    [
        ((7, 7, 7), (7,)),
        ((1, 1, 1), ()),
        ((5, 9, 12), (N,)),
        ((4, 3, 8), (M,)),
        ((4, 8, 11), (Size(0, -1),)),
        ((8, 12, 15), (Size(0, 3),)),
        ((15, 27, 36), (3, N)),
        ((20, 27, 96), (N, M)),
        ((25, 81, 144), (N, N)),
        ((40, 54, 192), (2, N, M)),
    ],
)
def test_what_a_size_consists_of(seen, axis):
    assert SAMPLES.axis(seen) == axis
    assert SAMPLES.of(axis) == seen


@pytest.mark.parametrize("seen", [(2, 4, 6), (5, 9, 13), (30, 9, 12), (1, 2, 3)])
def test_what_is_no_function_of_the_symbols(seen):
    with pytest.raises(Unpaddable, match="sizes"):
        SAMPLES.axis(seen)


@pytest.mark.parametrize(
    ("seen", "value"),
    [
        ((3, 3, 3), 3),
        ((5, 9, 12), 20),
        ((9, 17, 23), 39),  # 2 n - 1
        ((1 / 5, 1 / 9, 1 / 12), 1 / 20),
        ((2.5, 4.5, 6.0), 10.0),
        ((3 / 4, 3 / 8, 3 / 11), 3 / 19),
        ((1 / 20, 1 / 27, 1 / 96), 1 / 140),
        ((16, 24, 88), 133),  # (n - 1) m
        ((10 / 9, 18 / 17, 24 / 23), 40 / 39),
    ],
)
def test_numbers_made_of_sizes(seen, value):
    assert SAMPLES.number(seen)([20, 7]) == pytest.approx(value, rel=1e-6)


def test_rounded_constants_over_a_size_are_taken_as_meant():
    # As a program's constants come: in single precision.
    import numpy as np

    seen = [float(np.float32(1 / n)) for n in (5, 9, 12)]
    assert SAMPLES.number(seen)([20, 7]) == 1 / 20


def test_half_of_a_size_is_not_one_that_is_a_little_less():
    halves = tuple([n // 2 for n in (5, 7)])
    with pytest.raises(Unpaddable):
        Samples([(5, 7)]).axis(halves)


def test_sizes_that_go_with_a_symbol_are_no_symbols():
    samples, places, axes = symbols_of([[(5, 4), (10,), (3,)], [(9, 8), (18,), (2,)]])
    assert samples.symbols == ((5, 9), (3, 2))
    assert places == [(0, 0), (2, 0)]
    assert axes == [((Size(0),), (Size(0, -1),)), ((2, Size(0)),), ((Size(1),),)]


def test_symbols_are_sizes_that_vary_together():
    samples, places, axes = symbols_of([[(2, 15), (15, 3), ()], [(4, 9), (9, 3), ()]])
    assert samples.symbols == ((2, 4), (15, 9))
    assert places == [(0, 0), (0, 1)]
    assert axes == [((Size(0),), (Size(1),)), ((Size(1),), (3,)), ()]


@given(
    st.lists(st.one_of(st.integers(1, 6), st.just(N), st.just(M))),
    st.tuples(*[st.integers(1, 9)] * 2),
)
def test_integers_next_to_each_other_are_one(factors, symbols):
    axis = axis_from(factors)
    assert value_of(axis, symbols) == value_of(factors, symbols)
    assert 1 not in axis
    assert not any(type(a) is type(b) is int for a, b in zip(axis, axis[1:], strict=False))
