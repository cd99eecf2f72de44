"""A backward is one step of the trace, and one operation of a program until it is written out."""

import jax
import jax.numpy as jnp
import numpy as np

import dynjax
from dynjax.engine.lower import lower
from dynjax.engine.trace import state


def lowered(*wanted):
    trace = state.trace
    return lower(trace.path(), [trace.ref(t._v) for t in wanted])


def names(program):
    return [kernel.op for kernel, _, _ in program]


def leaf(*values):
    return dynjax.tensor(list(values), requires_grad=True)


def test_a_backward_is_one_step_and_its_products_are_written_out_when_lowered():
    x = leaf(0.5, -1.0)
    before = state.trace.cur.depth
    y = (x.sin() * x).sum()
    recorded = state.trace.cur.depth - before
    y.backward()
    assert state.trace.cur.depth == before + recorded + 1
    found = lowered(x.grad)
    assert names(found.program)[-1] == "backward"
    whole = found.written_out()
    assert "backward" not in names(whole.program)
    assert names(whole.program)[-1] == "add"  # x is used twice
    np.testing.assert_allclose(x.grad.numpy(), jax.grad(lambda v: (jnp.sin(v) * v).sum())(
        jnp.array([0.5, -1.0])), rtol=1e-6)  # fmt: skip


def test_what_the_gradients_do_not_need_is_not_written():
    x = leaf(0.5, -1.0)
    y = x.exp() + x.cosh().sin()
    (3 * x).sum().backward()
    whole = lowered(x.grad).written_out()
    assert not {"exp", "cosh", "sin"} & set(names(whole.program))
    assert y.grad_fn is not None


def test_gradients_end_where_they_were_recorded_to():
    x = leaf(0.5, -1.0)
    middle = x.tan().detach().requires_grad_()
    (middle * x * x.square().detach()).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.tan([0.5, -1.0]) * np.square([0.5, -1.0]), 1e-6)
    np.testing.assert_allclose(middle.grad.numpy(), np.array([0.5, -1.0]) ** 3, 1e-6)


def test_a_later_backward_walks_past_an_earlier_one():
    x = leaf(0.5, -1.0)
    y = x.exp()
    y.sum().backward(retain_graph=True)
    (y * y).sum().backward()
    expected = np.exp([0.5, -1.0]) + 2 * np.exp([1.0, -2.0])
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-6)


def test_cotangents_numbers_and_several_roots():
    x = leaf(0.5, -1.0)
    a, b = x * 1.7, x / 0.3
    dynjax.autograd.backward([a, b], [dynjax.tensor([1.0, 2.0]), dynjax.tensor([0.5, 0.25])])
    np.testing.assert_allclose(x.grad.numpy(), [1.7 + 0.5 / 0.3, 3.4 + 0.25 / 0.3], rtol=1e-6)


def test_a_root_that_is_a_leaf_gets_its_cotangent():
    x = leaf(2.0)
    x.backward(dynjax.tensor([3.0]))
    assert x.grad.tolist() == [3.0]


def test_a_step_that_comes_again_compiles_nothing():
    x = leaf(0.5, -1.0)

    def step():
        x.grad = None
        (x.atan() * 0.7).sum().backward()
        return x.grad.numpy()

    first = step()
    with dynjax.explain() as compiles:
        np.testing.assert_array_equal(step(), first)
    assert not compiles


def test_what_fails_in_a_backward_is_named():
    from dynjax.interop.jax import from_function

    @jax.custom_vjp
    def broken(v):
        return v * 2

    def no_product(_, ct):
        jax.block_until_ready(jnp.zeros(1))
        raise ValueError("no product of this")

    broken.defvjp(lambda v: (v * 2, None), no_product)
    x = leaf(1.0)
    other = dynjax.ones(2) * 3
    y = from_function(broken)(x)
    try:
        y.sum().backward()
        x.grad.numpy()
    except (RuntimeError, ValueError) as error:
        assert "no product of this" in str(error)
    else:
        raise AssertionError("it did not fail")
    assert other.tolist() == [3.0, 3.0]
