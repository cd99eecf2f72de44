"""Data padded factor by factor, and cut again."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dynjax.engine.padding.extents import Size, axis_from
from dynjax.engine.padding.host import narrowed, widened

N, M = Size(0), Size(1)
AXES = st.lists(st.one_of(st.integers(1, 3), st.just(N), st.just(M)), max_size=3).map(axis_from)


def test_a_product_is_padded_factor_by_factor():
    wide = widened(np.arange(6), [(2, N)], (4,), (3,))
    assert wide.tolist() == [0, 1, 2, 0, 3, 4, 5, 0]


@given(st.lists(AXES, max_size=3), st.tuples(*[st.integers(1, 3)] * 2), st.integers(0, 2))
def test_what_is_cut_is_what_was_padded(axes, symbols, more):
    shape = [int(np.prod([symbols[f.symbol] if f in (N, M) else f for f in a])) for a in axes]
    data = np.random.default_rng(0).standard_normal(shape)
    padded = tuple([n + more for n in symbols])
    wide = widened(data, axes, padded, symbols)
    np.testing.assert_array_equal(narrowed(wide, axes, padded, symbols), data)
    assert np.isclose(wide.sum(), data.sum())  # the rest is zero
