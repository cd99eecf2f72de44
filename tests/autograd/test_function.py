"""autograd.Function: operations whose backward the user writes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynjax
from dynjax.autograd import Function, grad, once_differentiable


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 3 * x**2


def leaf(seed=0):
    data = np.random.default_rng(seed).standard_normal(4).astype(np.float32)
    return dynjax.from_numpy(data).requires_grad_(), jnp.asarray(data)


def close(tensor, array):
    np.testing.assert_allclose(tensor.detach().numpy(), np.asarray(array), rtol=2e-6, atol=1e-6)


def test_the_users_backward_is_the_gradient():
    x, jx = leaf()
    y = Cube.apply(x * 2)
    assert y.grad_fn.name() == "CubeBackward" and y.requires_grad
    y.sum().backward()
    close(x.grad, jax.grad(lambda x: ((2 * x) ** 3).sum())(jx))


def test_it_can_be_differentiated_again():
    x, jx = leaf()
    (first,) = grad(Cube.apply(x).sum(), x, create_graph=True)
    (second,) = grad(first.sum(), x)
    close(second, 6 * jx)


def test_setup_context_apart_from_forward():
    class Scale(Function):
        @staticmethod
        def forward(x, factor):
            return x * factor

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.factor = inputs[1]

        @staticmethod
        def backward(ctx, g):
            return g * ctx.factor, None

    x, _ = leaf()
    Scale.apply(x, 5.0).sum().backward()
    close(x.grad, jnp.full(4, 5.0))


def test_several_results_and_missing_cotangents():
    class Both(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, a, b):
            return a * 2 + b * 3

    x, _ = leaf()
    Both.apply(x)[1].sum().backward()
    close(x.grad, jnp.full(4, 3.0))


def test_needs_input_grad_and_plain_calls():
    seen = []

    class Add(Function):
        @staticmethod
        def forward(ctx, a, b):
            seen.append(ctx.needs_input_grad)
            return a + b

        @staticmethod
        def backward(ctx, g):
            return g, g

    x, _ = leaf()
    Add.apply(x, x.detach())
    with dynjax.no_grad():
        assert not Add.apply(x, x).requires_grad
    assert seen == [(True, False), (False, False)]


def test_once_differentiable_refuses_the_second_time():
    class Once(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            return g * 2 * ctx.saved_tensors[0]

    x, jx = leaf()
    (first,) = grad(Once.apply(x).sum(), x, create_graph=True)
    close(first, 2 * jx)
    x2, _ = leaf()
    scale = dynjax.ones(4).requires_grad_()
    (first,) = grad((Once.apply(x2) * scale).sum(), x2, create_graph=True)
    with pytest.raises(RuntimeError, match="marked with @once_differentiable"):
        first.sum().backward()


def test_saved_tensors_that_were_changed_or_freed():
    x, _ = leaf()
    y = x * 1.5
    z = Cube.apply(y)
    y.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()
    z = Cube.apply(x).sum()
    z.backward()
    with pytest.raises(RuntimeError, match="a second time"):
        z.backward()


def test_wrong_numbers_and_shapes_of_gradients():
    class Two(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g, g

    x, _ = leaf()
    with pytest.raises(RuntimeError, match=r"incorrect number of gradients \(expected 1, got 2\)"):
        Two.apply(x).sum().backward()
    with pytest.raises(RuntimeError, match="should not be instantiated"):
        Cube()
