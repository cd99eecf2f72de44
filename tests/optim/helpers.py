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
