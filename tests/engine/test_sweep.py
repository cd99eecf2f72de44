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


def test_sums_of_gradients_begin_with_zeros_when_written_out():
    w = leaf(0.5, -1.0)
    h = leaf(0.25, 2.0)
    for _ in range(4):
        h = (h * w).sin()
    h.sum().backward()
    whole = lowered(w.grad).written_out()
    found = names(whole.program)
    assert found.count("zeros") == 1 and found.count("add") == 4
    # Every repetition is the same operations.
    begin = found.index("sin_backward")
    assert found[begin : begin + 12] == ["sin_backward", "mul_backward", "add"] * 4
    assert whole.written_out().program == whole.program
    assert len(whole.steps) == len(whole.program)


def test_a_value_that_begins_a_sum_and_is_read_elsewhere_stays():
    x, y = leaf(0.5, -1.0), leaf(2.0, 3.0)
    total = (x * y).sum() + (x * x * y.detach()).sum()
    total.backward()
    np.testing.assert_allclose(x.grad.numpy(), [2 + 2.0, 3 - 6.0], rtol=1e-6)
    twice = leaf(0.5, 1.5)
    g = dynjax.autograd.grad((twice + twice).cos().sum(), twice, create_graph=True)[0]
    (g * g).sum().backward()
    expected = jax.grad(lambda v: (jax.grad(lambda u: jnp.cos(2 * u).sum())(v) ** 2).sum())(
        jnp.array([0.5, 1.5])
    )
    np.testing.assert_allclose(twice.grad.numpy(), expected, rtol=1e-5)


def test_one_of_many_equal_operations_takes_gradients_that_nobody_asks_for():
    w = leaf(0.5, -1.0)
    h = dynjax.tensor([0.25, 2.0])  # takes no gradient
    for _ in range(7):
        h = (h * w).sin()
    h.sum().backward()
    products = [k for k, _, _ in lowered(w.grad).written_out().program if k.op == "mul_backward"]
    assert len(products) == 7 and len(set(products)) == 1
    expected = jax.grad(lambda w: _iterated(w, 7))(jnp.array([0.5, -1.0]))
    np.testing.assert_allclose(w.grad.numpy(), expected, rtol=1e-5)


def _iterated(w, times):
    h = jnp.array([0.25, 2.0])
    for _ in range(times):
        h = jnp.sin(h * w)
    return h.sum()
