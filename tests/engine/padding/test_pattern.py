"""What traced functions of several samples have in common."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynjax.engine.padding.extents import Samples, Unpaddable
from dynjax.engine.padding.pattern import Pattern, flat, skeleton

SAMPLES = Samples([(5, 9)])


def traced(fn, n):
    return skeleton(jax.make_jaxpr(fn)(jax.ShapeDtypeStruct((n, 3), np.float32)))


def pattern(fn):
    return Pattern(SAMPLES, [traced(fn, n) for n in (5, 9)])


def test_nested_sequences_are_one_list_with_their_lengths():
    assert flat(((1, "a"), [2.0, ()])) == [2, 2, 1, "a", 2, 2.0, 0]


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: jnp.tanh(x).mean(0),
        lambda x: x[1:] - x[:-1],
        lambda x: jax.nn.softmax(x.reshape(-1)),
        lambda x: jax.lax.scan(lambda h, row: (h + row, h), x[0], x),
    ],
)
def test_a_function_of_sizes_fits_its_pattern(fn):
    assert pattern(fn).fits(traced(fn, 7), (7,))
    assert not pattern(fn).fits(traced(fn, 7), (8,))


def test_another_function_does_not():
    known = pattern(lambda x: x * 2 + 1)
    assert not known.fits(traced(lambda x: x * 2 - 1, 7), (7,))
    assert not known.fits(traced(lambda x: x * 3 + 1, 7), (7,))
    assert not known.fits(traced(lambda x: 2 + x * 1, 7), (7,))
    assert not known.fits(traced(lambda x: (x * 2 + 1) * 1, 7), (7,))


def test_one_that_goes_by_its_size_does_not_where_it_does_otherwise():
    def fn(x):
        return x.sum(0) if len(x) == 3 else x.mean(0)

    known = pattern(fn)
    assert known.fits(traced(fn, 4), (4,))
    assert not known.fits(traced(fn, 3), (3,))


def test_what_differs_between_samples_and_is_no_number_is_no_pattern():
    def fn(x):
        return jnp.sin(x) if len(x) == 5 else jnp.cos(x)

    with pytest.raises(Unpaddable, match="sin"):
        pattern(fn)
    with pytest.raises(Unpaddable, match="more of something"):
        pattern(lambda x: jnp.sin(x) if len(x) == 5 else jnp.sin(jnp.cos(x)))
