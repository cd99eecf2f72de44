"""What the tests of the operations share: comparison of values, and of gradients with JAX's."""

import jax
import numpy as np

import dynjax as torch


def tensor(x, dtype=None, requires_grad=False):
    return torch.tensor(np.asarray(x).tolist(), dtype=dtype, requires_grad=requires_grad)


def assert_close(result, expected, rtol=1e-5, atol=1e-6):
    """The result's elements, shape and type are those of a NumPy array."""
    expected = np.asarray(expected)
    found = result.detach().numpy()
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)


def gradient(function, x):
    """The gradient of sum(function(x)) by the tape, at a list of numbers."""
    x = torch.tensor(x, requires_grad=True)
    function(x).sum().backward()
    return x.grad.numpy()


def assert_gradient(function, pure, *arrays, rtol=1e-4, atol=1e-6):
    """The tape's gradients by all arguments are those of `jax.grad` of the pure function."""
    leaves = [torch.tensor(a.tolist(), requires_grad=True) for a in arrays]
    function(*leaves).sum().backward()
    expected = jax.grad(lambda *a: pure(*a).sum(), tuple(range(len(arrays))))(*arrays)
    for leaf, e in zip(leaves, expected):
        np.testing.assert_allclose(leaf.grad.numpy(), e, rtol=rtol, atol=atol)
