"""Powers, exponentials and chains of matrices; products along a dimension.

Source: https://pytorch.org/docs/stable/linalg.html
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from ..autograd.dispatch import into
from .checks import broadcast_shapes, check_floating, in_opmath, is_bool, scalar_name, wrap_dim
from .declare import Int, Tensor, Tensors, composite
from .linalg_common import check_same_type, check_square, identity_like, linalg, product
from .linalg_solve import inv
from .views import diagonal as main_diagonal

# --- powers -------------------------------------------------------------------------------------


@linalg(register=False)
@in_opmath
def matrix_power(input: Tensor, n: Int):
    """The power n >= 0, by squaring."""
    check_square(input, "linalg.matrix_power")
    result, square = None, input
    while n:
        if n % 2:
            result = square if result is None else product(square, result)
        n //= 2
        square = product(square, square) if n else square
    return identity_like(input) if result is None else result


@composite(name="matrix_power", module=("linalg", "torch"))
def signed_matrix_power(input, n, *, out=None):
    """The n-th power of square matrices; a negative n is that of the inverse.

    Raises:
        LinAlgError: n is negative and a matrix is singular.
        RuntimeError: they are not square.
    """
    if isinstance(n, int) and n < 0:
        check_square(input, "linalg.matrix_power")
        input, n = inv(input), -n
    power = matrix_power(input, n)
    return power if out is None else into(out, power, "linalg_matrix_power")


_SQUARINGS = 32  # 2**32 is beyond any norm whose exponential is finite


@jax.custom_vjp
def _expm(a):
    return jax.scipy.linalg.expm(a, max_squarings=_SQUARINGS)


def _expm_forward(a):
    return _expm(a), a


def _expm_backward(a, g):
    # The derivative is a block of the exponential of a matrix of twice the size: R. Mathias,
    # SIAM J. Matrix Anal. Appl. 17 (1996). Compiles in a tenth of what JAX's own would need.
    n, a = a.shape[-1], jnp.swapaxes(a, -1, -2)
    both = jnp.block([[a, g], [jnp.zeros_like(a), a]])
    return (_expm(both)[..., :n, n:],)


_expm.defvjp(_expm_forward, _expm_backward)


@linalg(register=False)
def matrix_exp(A: Tensor):
    """exp(A), a matrix, of square matrices.

    Raises:
        RuntimeError: they are not square.
    """
    return _exponential(A)


@in_opmath
def _exponential(A):
    check_floating(A, "linalg.matrix_exp")
    check_square(A, "linalg.matrix_exp")
    if not A.shape[-1]:
        return A
    return _expm(A)


composite(name="matrix_exp", module=("linalg", "torch"))(matrix_exp)


# --- chains -------------------------------------------------------------------------------------


def _best_splits(sizes):
    """Where to split each run of matrices for the fewest multiplications.

    Source: T. H. Cormen et al., Introduction to Algorithms, section 15.2.
    """
    count = len(sizes) - 1
    cost = {(i, i): 0 for i in range(count)}
    split = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            cost[i, j], split[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )
    return split


def _check_chain(tensors):
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    for k, x in enumerate(tensors):
        ends = k in (0, len(tensors) - 1)
        if x.ndim != 2 and not (ends and x.ndim == 1):
            which = {0: "the first tensor", len(tensors) - 1: "the last tensor"}
            allowed = "1D or 2D" if ends else "2D"
            raise RuntimeError(
                f"multi_dot(): {which.get(k, f'tensor {k}')} must be {allowed} but got {x.ndim}D"
            )
        if x.dtype != tensors[0].dtype:
            raise RuntimeError(
                "multi_dot(): all tensors must have be the same dtype but tensor 0 is "
                f"{scalar_name(tensors[0].dtype)} and tensor {k} {scalar_name(x.dtype)}"
            )
    for k, (a, b) in enumerate(itertools.pairwise(tensors)):
        if a.shape[-1] != b.shape[0]:
            raise RuntimeError(
                f"multi_dot(): tensors {k} and {k + 1} with shapes {list(a.shape)} and "
                f"{list(b.shape)} cannot be multiplied"
            )


@linalg
def multi_dot(tensors: Tensors):
    """The product of two or more matrices, in the order that needs the fewest multiplications.

    Args:
        tensors: matrices; the first and the last may be vectors.

    Raises:
        RuntimeError: fewer than two; types or shapes don't fit.
    """
    _check_chain(tensors)
    row, column = tensors[0].ndim == 1, tensors[-1].ndim == 1
    chain = list(tensors)
    chain[0] = chain[0][None] if row else chain[0]
    chain[-1] = chain[-1][:, None] if column else chain[-1]
    split = _best_splits([chain[0].shape[0], *(x.shape[1] for x in chain)])

    def multiply(i, j):
        if i == j:
            return chain[i]
        return product(multiply(i, split[i, j]), multiply(split[i, j] + 1, j))

    result = multiply(0, len(chain) - 1)
    result = result[..., 0] if column else result
    return result[0] if row else result


# --- along a dimension --------------------------------------------------------------------------


@linalg
def vecdot(x: Tensor, y: Tensor, *, dim: Int = -1):
    """The sum of conj(x) * y along `dim`.

    Raises:
        RuntimeError: types or shapes don't fit, integers.
    """
    check_floating(x, "linalg.vecdot")
    check_same_type(x, y, "linalg.vecdot", ("x", "y"))
    ndim = len(broadcast_shapes(x.shape, y.shape))
    return (jnp.conj(x) * y).sum(wrap_dim(dim, ndim))


@linalg(register=False)
def vander(x: Tensor, N: Int = None):
    """The powers 0 to N - 1 of each element."""
    if is_bool(x):
        raise RuntimeError(
            "linalg.vander supports floating point, complex, and integer tensors, but got Bool"
        )
    count = N if N is not None else x.shape[-1] if x.ndim else 1
    if count <= 1:
        raise RuntimeError("N must be greater than 1.")
    x = jnp.atleast_1d(x)
    x = x if x.dtype.kind in "fc" else x.astype(np.int64)
    # Powers by products, as PyTorch: their gradient holds at 0.
    powers = itertools.accumulate([x] * (count - 1), jnp.multiply)
    return jnp.stack([jnp.ones_like(x), *powers], -1)


@composite(name="vander", module="linalg")
def vandermonde(x, *, N=None):
    """The powers 0 to N - 1 of each element of x (*, n), as a last dimension.

    Args:
        N: n by default.

    Raises:
        RuntimeError: bool; N is less than 2.
    """
    return vander(x, N)


@composite(module="linalg")
def diagonal(A, *, offset=0, dim1=-2, dim2=-1):
    """A view of the diagonals of matrices; see `torch.diagonal`."""
    return main_diagonal(A, offset, dim1, dim2)
