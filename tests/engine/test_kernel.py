"""Kernels: what of their inputs a vector-Jacobian product reads."""

import pytest

import dynjax
from dynjax.engine.trace import state

F = dynjax.nn.functional


def last_kernel():
    return next(s.kernel for s in reversed(state.trace.path()) if s.kernel is not None)


PARTS = {
    "a sum reads nothing": (lambda x, y: (x + 1.0) - y * 2.0, ()),
    "a product reads the other": (lambda x, y: x * y, (0, 1)),
    "what was computed from it": (lambda x, y: dynjax.tanh(x + 1.0) + y, (0,)),
    "through more than one": (lambda x, y: F.relu((x * 2.0 + 1.0).sum(0)) * 3.0 - y, (0,)),
    "what passes no gradient counts": (lambda x, y: (x.detach() * 2.0).exp() + y.sin(), (0, 1)),
}


@pytest.mark.parametrize("f, wanted", PARTS.values(), ids=PARTS.keys())
def test_a_part_needs_what_its_operations_need(f, wanted):
    x, y = (dynjax.rand(3, requires_grad=True) for _ in range(2))
    dynjax.compile(f, fullgraph=True)(x, y)
    kernel = last_kernel()
    assert kernel.parts is not None
    assert kernel.parts.read_by_vjp((0, 1)) == wanted
    assert set(kernel.needs((0, 1))) <= set(wanted)  # by the jaxpr of the whole part


def test_kernels_that_differ_in_the_number_of_rows_need_the_same(monkeypatch):
    def needs(n):
        table = dynjax.ones(5, 2, requires_grad=True)
        F.embedding(dynjax.zeros(n, dtype=dynjax.int64), table)
        kernel = last_kernel()
        return kernel.needs((1,)), kernel

    found, first = needs(3)
    traced = []
    monkeypatch.setattr(
        type(first), "_read_by_vjp", lambda self, wrt: traced.append(self) or (0, 1)
    )
    again, second = needs(4)
    assert second is not first and again == found == (0,) and not traced
