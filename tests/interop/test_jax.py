"""JAX's side of the door: Modules as pure functions, JAX functions as operations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynjax
from dynjax import nn
from dynjax.interop.jax import from_function, from_jax, to_jax


def model():
    dynjax.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def inputs():
    return np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)


def test_a_module_is_a_pure_function_of_its_parameters():
    net, x = model(), inputs()
    apply, params = to_jax(net)
    expected = net(dynjax.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(apply(params, x), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(apply)(params, x), expected, rtol=1e-6)
    assert set(params) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_jax_grad_of_it_equals_backward():
    net, x = model(), inputs()
    apply, params = to_jax(net)
    gradients = jax.grad(lambda p: (apply(p, x) ** 2).mean())(params)
    (net(dynjax.from_numpy(x)) ** 2).mean().backward()
    for name, p in net.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), gradients[name], rtol=1e-5, atol=1e-6)


def test_vmap_and_second_order():
    net, x = model(), inputs()
    apply, params = to_jax(net)
    each = jax.vmap(lambda row: apply(params, row[None])[0])(x)
    np.testing.assert_allclose(each, apply(params, x), rtol=1e-5)
    hessian = jax.hessian(lambda row: apply(params, row[None]).sum())(x[0])
    assert hessian.shape == (3, 3) and np.isfinite(hessian).all()


def test_the_module_is_left_as_it_was():
    net, x = model(), inputs()
    before = [p.tolist() for p in net.parameters()]
    pending = net[0].weight * 2
    apply, params = to_jax(net)
    jax.jit(apply)({name: value + 1 for name, value in params.items()}, x)
    with pytest.raises(KeyError, match="params lacks"):
        apply({}, x)
    assert [p.tolist() for p in net.parameters()] == before
    assert all(p.requires_grad and p.is_leaf for p in net.parameters())
    assert (pending / 2).tolist() == before[0]


def test_a_jax_function_is_an_operation_on_the_tape():
    bessel = from_function(jax.scipy.special.i0e)
    x = dynjax.tensor([0.5, 1.0], requires_grad=True)
    (bessel(x) * 2).sum().backward()
    expected = jax.vmap(jax.grad(jax.scipy.special.i0e))(jnp.array([0.5, 1.0])) * 2
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-6)


def test_it_keeps_the_structure_of_its_result():
    single = from_function(lambda x: (x + 1,))
    for _ in range(2):
        assert isinstance(single(dynjax.ones(2)), tuple)
    pair = from_function(lambda x: (x + 1, x * 2))
    assert [t.tolist() for t in pair(dynjax.ones(2))] == [[2, 2], [2, 2]]


def test_arrays_cross_without_a_change_of_type():
    x = from_jax(jnp.arange(3))
    assert x.dtype is dynjax.int32 and (x + 1).tolist() == [1, 2, 3]
    assert dynjax.ones(2).__jax_array__().dtype == jnp.float32


@pytest.mark.parametrize("compiled", [False, True])
def test_a_rule_for_gradients_may_close_over_values_of_the_function(compiled):
    def sorted_cubes(x):
        order = jnp.argsort(x)

        @jax.custom_jvp
        def cubes(y):
            return y[order] ** 3

        @cubes.defjvp
        def tangent(primals, tangents):
            return cubes(*primals), 3 * primals[0][order] ** 2 * tangents[0][order]

        return cubes(x) * jnp.arange(3.0)

    operation = from_function(sorted_cubes)
    f = lambda x: operation(x).sum()  # noqa: E731
    f = dynjax.compile(f) if compiled else f
    x = dynjax.tensor([1.0, 3.0, 2.0], requires_grad=True)
    (got,) = dynjax.autograd.grad(f(x), x, create_graph=True)
    first = jax.grad(lambda x: sorted_cubes(x).sum())
    np.testing.assert_allclose(got.detach().numpy(), first(jnp.array([1.0, 3.0, 2.0])), rtol=1e-6)
    (second,) = dynjax.autograd.grad(got.sum(), x)
    want = jax.grad(lambda x: first(x).sum())(jnp.array([1.0, 3.0, 2.0]))
    np.testing.assert_allclose(second.numpy(), want, rtol=1e-6)
