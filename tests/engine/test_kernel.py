"""Kernels: how often their Python runs, and what a vector-Jacobian product reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynjax
from dynjax.engine.kernel import Kernel
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


def test_an_operation_runs_its_python_once_for_all_programs_and_its_gradient():
    runs = []

    def fn(x):
        runs.append(1)
        return (jnp.sin(x),)

    kernel = Kernel("counted", object(), fn, [jax.ShapeDtypeStruct((3,), np.float32)])
    product = kernel.vjp((0,), (0,))
    x = np.arange(3, dtype=np.float32)
    for _ in range(2):  # in two programs
        with jax.enable_x64(True):
            got = jax.jit(lambda x: product.fn(x, kernel.fn(x)[0]))(x)[0]
        np.testing.assert_allclose(got, np.cos(x) * np.sin(x), rtol=1e-6)
    assert len(runs) == 1
    assert kernel.body(np.zeros((2, 3)))[0].shape == (2, 3)  # any number of rows


def test_what_a_product_does_not_need_is_left_out_of_it():
    kernel = Kernel("scaled", object(), lambda x, y, n: (x * y * n, x + y),
                    [jax.ShapeDtypeStruct((3,), np.float64)] * 2, (float,))  # fmt: skip
    assert kernel.needs((0,)) == (1,)
    for given, wanted in (((0,), [4, 6, 8]), ((0, 1), [5, 7, 9]), ((1,), [1, 1, 1])):
        product = kernel.vjp((0,), given)
        with jax.enable_x64(True):
            found = product.fn(np.arange(2.0, 5), *[np.ones(3)] * len(given), np.float64(2))
        np.testing.assert_array_equal(found[0], wanted)
