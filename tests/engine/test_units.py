"""A program as uses of parts that recur."""

import dynjax
from dynjax.engine.loops import starts_of
from dynjax.engine.lower import lower
from dynjax.engine.trace import state
from dynjax.engine.units import units


def found_in(*results):
    trace = state.trace
    lowered = lower(trace.path(), [trace.ref(t._v) for t in results]).written_out()
    program = lowered.program
    first = starts_of(program, len(lowered.leaves))
    return units(program, first, list(range(len(program))), [])


def names(found):
    return [[kernel.op for kernel, _, _ in part.ops] for (part, *_), _ in found]


def test_what_recurs_is_one_part():
    x = dynjax.rand(5)
    for _ in range(6):
        x = (x.asinh() * 0.5).atan()
    found = found_in(x)
    assert names(found) == [["asinh", "mul", "atan"]] * 6
    assert len({part for (part, *_), _ in found}) == 1
    assert [len(unit.floats) for _, unit in found] == [1] * 6


def test_what_happens_to_stand_beside_it_is_another_part():
    a, b = dynjax.rand(3), dynjax.rand(4)
    for _ in range(6):
        once, other = a.sinh(), b.expm1()
        a, b = once.cosh(), other.log1p()
    found = found_in(a, b)
    assert sorted(names(found)) == [["expm1", "log1p"]] * 6 + [["sinh", "cosh"]] * 6
    for _, unit in found:
        assert len(unit.inputs) == 1 and len(unit.results) == 2


def test_a_part_found_within_another_is_known_where_it_stands_alone():
    a, b = dynjax.rand(3), dynjax.rand(4)
    for _ in range(6):
        a, b = a.erfc().floor(), b.erf().ceil()
    for _ in range(2):
        b = b.erf().ceil()
    found = found_in(a, b)
    assert sorted(names(found)) == [["erf", "ceil"]] * 8 + [["erfc", "floor"]] * 6
