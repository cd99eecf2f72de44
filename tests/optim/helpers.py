"""Parameters and gradients for the optimizers' tests."""

from collections.abc import Sequence

import numpy as np

from dynjax.tensor.tensor import Tensor, from_host


def parameter(values: object, dtype: object = np.float32) -> Tensor:
    """A leaf that requires grad."""
    return from_host(np.array(values, dtype)).requires_grad_()


def give(param: Tensor, values: object) -> None:
    """Set a parameter's gradient."""
    param.grad = from_host(np.broadcast_to(np.asarray(values, param.dtype.np), param.shape).copy())


def parameters(*shapes: Sequence[int], seed: int = 0) -> list[Tensor]:
    """Parameters of normal numbers, with gradients of normal numbers."""
    draw = np.random.default_rng(seed).standard_normal
    params = [parameter(draw(shape)) for shape in shapes]
    for param in params:
        give(param, draw(param.shape))
    return params


def numpy(tensor: Tensor) -> np.ndarray:
    """A tensor's values now."""
    return np.array(tensor.detach().numpy())


def check_differentiable(cls: type, **options: object) -> None:
    """Updates that backward can go through lead to where the others lead, state included."""
    params, others = parameters((2, 3), (3,)), parameters((2, 3), (3,))
    optimizer = cls(params, lr=0.1, **options)
    leaves = [param.clone() for param in others]
    for leaf, other in zip(leaves, others):
        leaf.grad = other.grad
    differentiable = cls(leaves, lr=0.1, differentiable=True, **options)
    for _ in range(3):
        optimizer.step()
        differentiable.step()
    for param, leaf in zip(params, leaves):
        assert leaf.grad_fn is not None
        np.testing.assert_allclose(numpy(leaf), numpy(param), rtol=1e-5)
        assert optimizer.state[param].keys() == differentiable.state[leaf].keys()
        for name, value in optimizer.state[param].items():
            found = differentiable.state[leaf][name]
            np.testing.assert_allclose(numpy(found), numpy(value), rtol=1e-5)
