"""Choices, products and powers of the elements of vectors.

Source: https://pytorch.org/docs/stable/torch.html#other-operations
"""

import itertools
import math

import jax.numpy as jnp
import numpy as np

from .declare import Bool, Int, Tensor, composite, op
from .shape import meshgrid, stack


@op(method=False, grad_name="StackBackward0")
def combinations(input: Tensor, r: Int = 2, with_replacement: Bool = False):
    """All choices of `r` elements of a vector, in its order, as the rows of a matrix.

    Raises:
        RuntimeError: another number of dimensions, a negative `r`.
    """
    if input.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return input[:0]
    chosen = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    n = input.size
    count = math.comb(n + r - 1, r) if with_replacement and n else math.comb(n, r)
    rows = np.fromiter(itertools.chain(*chosen(range(n), r)), np.int64, count * r)
    return input[jnp.asarray(rows.reshape(count, r))]


@composite(method=False)
def cartesian_prod(*tensors):
    """All pairs, triples, ... of an element from each vector, as the rows of a matrix.

    Raises:
        RuntimeError: tensors that are not vectors, or of different types.
    """
    for k, t in enumerate(tensors):
        if not hasattr(t, "ndim"):
            raise TypeError(
                f"expected Tensor as element {k} in argument 0, but got {type(t).__name__}"
            )
        if t.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(t.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    return stack([grid.reshape(-1) for grid in meshgrid(*tensors)], 1)


@op(method=False, grad_name="FlipBackward0")
def vander(x: Tensor, N: Int = None, increasing: Bool = False):  # noqa: N803
    """The powers of each element, from N - 1 down to 0 or upwards, as the rows of a matrix.

    Raises:
        RuntimeError: not a vector, a negative `N`.
    """
    if x.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    if N is not None and N < 0:
        raise RuntimeError("N must be non-negative.")
    return jnp.vander(x, N, increasing)
