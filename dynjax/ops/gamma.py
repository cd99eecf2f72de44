"""The gamma function and its relatives.

Source: https://pytorch.org/docs/stable/special.html
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from .checks import broadcast, check_kind, in_opmath
from .declare import FLOAT, Int, Tensor, composite, op, register
from .pointwise import BOTH, SPECIAL, binary, unary


@jax.custom_jvp
def _zeta(x, q):
    """The sum of 1 / (k + q)**x over k >= 0, infinite where one of them is."""
    x, q = broadcast(x, q)
    pole = (q <= 0) & (q == jnp.floor(q)) & (x > 1)

    # JAX's holds for positive q: the terms before those are summed here.
    def add(carry):
        q, total = carry
        return jnp.where(q < 0, q + 1, q), total + jnp.where(q < 0, q**-x, 0)

    start = jnp.where(pole, 1, q), jnp.zeros_like(q)
    q, total = lax.while_loop(lambda carry: jnp.any(carry[0] < 0), add, start)
    return jnp.where(pole, jnp.inf, total + lax.zeta(x, q))


def _zeta_jvp(primals, tangents):
    (x, q), (x_tangent, q_tangent) = primals, tangents
    if not isinstance(x_tangent, SymbolicZero):
        raise NotImplementedError("the derivative for 'zeta' is not implemented.")
    result = _zeta(x, q)
    return result, (-x * _zeta(x + 1, q) * q_tangent).astype(result.dtype)


_zeta.defjvp(_zeta_jvp, symbolic_zeros=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _polygamma(n, x):
    """The derivative of order n + 1 of `lgamma`."""
    if n == 0:
        return jnp.where(x == 0, jnp.copysign(jnp.inf, -x), lax.digamma(x))
    if n == 1:  # JAX's holds for positive x, the rest is by reflection
        left = x < 0.5
        right = _zeta(jnp.asarray(2, x.dtype), jnp.where(left, 1 - x, x))
        return jnp.where(left, jnp.square(jnp.pi / jnp.sin(jnp.pi * x)) - right, right)
    factor = math.factorial(n) if n <= 170 else math.inf
    return (-factor if n % 2 == 0 else factor) * _zeta(jnp.asarray(n + 1, x.dtype), x)


_polygamma.defjvp(lambda n, x, t: (_polygamma(n, *x), t[0] * _polygamma(n + 1, *x)))


@jax.custom_jvp
def _lgamma(x):
    return lax.lgamma(x)


_lgamma.defjvps(lambda t, result, x: t * _polygamma(0, x))
lgamma = unary("lgamma", in_opmath(_lgamma), "Logarithm of |gamma(x)|.", refused="c")


@op(types=FLOAT, inplace=True, out=True, module=SPECIAL)
@in_opmath
def digamma(input: Tensor):
    """The derivative of `lgamma`; infinite at 0 and undefined at negative integers."""
    check_kind(input, "c", "digamma")
    return _polygamma(0, input)


@op(name="polygamma", types=FLOAT, out=True, inplace=True, function=False)
@in_opmath
def _polygamma_of(input: Tensor, n: Int):
    """The n-th derivative of `digamma`. Raises RuntimeError for a negative n."""
    check_kind(input, "c", "digamma" if n == 0 else "polygamma")
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    return _polygamma(n, input)


@composite(method=False, module=SPECIAL)
def polygamma(n: int, input, *, out=None):
    """The n-th derivative of `digamma`. Raises RuntimeError for a negative n."""
    return _polygamma_of(input, n, out=out)


@op(types=FLOAT, inplace=True, out=True)
@in_opmath
def mvlgamma(input: Tensor, p: Int):
    """The logarithm of the gamma function of `p` dimensions.

    Raises:
        RuntimeError: p < 1.
    """
    check_kind(input, "c", "mvlgamma")
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    terms = _lgamma(input[..., None] - jnp.arange(p, dtype=input.dtype) / 2)
    return jnp.sum(terms, -1) + p * (p - 1) / 4 * math.log(math.pi)


igamma = binary(
    "igamma", in_opmath(lambda a, x: lax.igamma(*broadcast(a, x))),
    "The regularised lower incomplete gamma function of order input.", refused="bic",
    tensors=BOTH,
)  # fmt: skip
igammac = binary(
    "igammac", in_opmath(lambda a, x: lax.igammac(*broadcast(a, x))),
    "The regularised upper incomplete gamma function of order input.", refused="bic",
    tensors=BOTH,
)  # fmt: skip
binary(
    "zeta", in_opmath(_zeta), "The sum over k >= 0 of 1 / (k + other)**input.", types=FLOAT,
    refused="c", inplace=False, module="special",
)  # fmt: skip

for _name, _function in (
    ("gammaln", lgamma), ("psi", digamma), ("multigammaln", mvlgamma), ("gammainc", igamma),
    ("gammaincc", igammac),
):  # fmt: skip
    register("special", _name, _function)
