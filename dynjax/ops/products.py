"""Combinations of elements and blocks: what several tensors make together.

Source: https://pytorch.org/docs/stable/torch.html#other-operations
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from .declare import PROMOTE, Bool, Int, Tensor, Tensors, composite, op


def _check_vector(x):
    if x.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(x.shape)}")


@op(types=PROMOTE, method=False, function=False)
def block_diag(tensors: Tensors):
    """A matrix with others along its diagonal."""
    for k, x in enumerate(tensors):
        if x.ndim > 2:
            raise RuntimeError(
                "torch.block_diag: Input tensors must have 2 or fewer dimensions. Input "
                f"{k} has {x.ndim} dimensions"
            )
    return jax.scipy.linalg.block_diag(*map(jnp.atleast_2d, tensors))


@composite(name="block_diag", method=False)
def join_diagonally(*tensors):
    """A matrix with the tensors as blocks along its diagonal, and zeros elsewhere.

    Args:
        tensors: of at most two dimensions; a vector is a row.

    Raises:
        RuntimeError: more dimensions.
    """
    return block_diag(list(tensors))


@op(method=False, function=False, grad_name="StackBackward0")
def cartesian_prod(tensors: Tensors):
    """All choices of one element of each vector, a row each."""
    for x in tensors:
        _check_vector(x)
        if x.dtype != tensors[0].dtype:
            raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    if len(tensors) == 1:
        return tensors[0]
    grids = jnp.meshgrid(*tensors, indexing="ij")
    return jnp.stack([g.reshape(-1) for g in grids], 1)


@composite(name="cartesian_prod", method=False)
def choices(*tensors):
    """All choices of one element of each vector, a row each; of one vector, itself.

    Raises:
        RuntimeError: no vectors, or vectors of several types.
    """
    return cartesian_prod(list(tensors))


@op(method=False, grad_name="StackBackward0")
def combinations(input: Tensor, r: Int = 2, with_replacement: Bool = False):
    """All choices of `r` elements of a vector, in order, a row each.

    Args:
        with_replacement: whether an element may be chosen several times.

    Raises:
        RuntimeError: no vector; r is negative.
    """
    _check_vector(input)
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return jnp.zeros(0, input.dtype)
    pick = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    positions = np.array(list(pick(range(input.shape[0]), r)), np.int64).reshape(-1, r)
    return input[positions]
