"""A matrix of blocks along its diagonal.

Source: https://pytorch.org/docs/stable/generated/torch.block_diag.html
"""

import jax
import jax.numpy as jnp

from .declare import PROMOTE, Tensors, composite, op


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
