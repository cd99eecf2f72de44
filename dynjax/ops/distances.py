"""Distances between all rows of matrices.

Source: https://pytorch.org/docs/stable/generated/torch.cdist.html
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from .checks import check_same_dtype, is_floating, type_name
from .declare import Float, Static, Tensor, op
from .linalg_common import product
from .reductions import vector_norm_of

_MANY = 25  # rows from which PyTorch multiplies matrices for Euclidean distances
_MODES = (
    "use_mm_for_euclid_dist_if_necessary",
    "use_mm_for_euclid_dist",
    "donot_use_mm_for_euclid_dist",
)


def _length(difference, p):
    """The p-norm over the last dimension."""
    if p == math.inf and not difference.shape[-1]:
        return jnp.zeros(difference.shape[:-1], difference.dtype)
    if p == 0:
        difference = lax.stop_gradient(difference)
    return vector_norm_of(difference, p, (-1,), False)


def _euclidean(a, b):
    """Distances by a product of matrices; gradient 0 where one is 0."""
    squares = jnp.square(a).sum(-1)[..., :, None] + jnp.square(b).sum(-1)[..., None, :]
    squares = squares - 2 * product(a, jnp.swapaxes(b, -1, -2))
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)


def _check_cdist(x1, x2, p, mode):
    for x, name in ((x1, "X1"), (x2, "X2")):
        if x.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {x.ndim}D")
    if x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(
            f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}"
        )
    for x, name in ((x1, "X1"), (x2, "X2")):
        if not is_floating(x):
            raise RuntimeError(
                f"cdist only supports floating-point dtypes, {name} got: {type_name(x.dtype)}"
            )
    check_same_dtype(x1, x2)
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    if mode not in _MODES:
        raise ValueError(f"{mode} is not a valid value for compute_mode")


@op(method=False)
def cdist(x1: Tensor, x2: Tensor, p: Float = 2.0, compute_mode: Static = _MODES[0]):
    """The p-norms of the differences of every row of x1 and every row of x2.

    Args:
        x1, x2: (*, m, d) and (*, n, d); batches broadcast.
        p: at least 0; 0 counts differing elements.
        compute_mode: whether to multiply matrices for p = 2, which is fast and less exact for
            rows close to each other: "use_mm_for_euclid_dist_if_necessary" (past 25 rows),
            "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist".

    Returns: (*, m, n).

    Raises:
        RuntimeError: no floating matrices of one type with equally long rows; a negative p.
        ValueError: another mode.
    """
    _check_cdist(x1, x2, p, compute_mode)
    many = compute_mode == _MODES[1] or (
        compute_mode == _MODES[0] and max(x1.shape[-2], x2.shape[-2]) > _MANY
    )
    if p == 2 and many:
        return _euclidean(x1, x2)
    return _length(x1[..., :, None, :] - x2[..., None, :, :], p)


@op(method=False, module=("torch", "nn.functional"))
def pdist(input: Tensor, p: Float = 2.0):
    """The p-norms of the differences of all pairs of rows (i, j), i < j.

    Args:
        input: (n, d).

    Returns: (n * (n - 1) / 2,).

    Raises:
        RuntimeError: no floating matrix; a negative p.
    """
    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    if not is_floating(input):
        raise RuntimeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    first, second = np.triu_indices(input.shape[0], 1)
    return _length(input[first] - input[second], p)
