"""Orthogonal polynomials of degree n at x.

The degree is data (cut to an integer; below 0 the result is 0), so each is computed by its
three-term recurrence, in a loop that runs as far as the largest degree needs. As in PyTorch, none
is differentiable.

Source: https://pytorch.org/docs/stable/special.html; the recurrences: https://dlmf.nist.gov/18.9
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from .checks import broadcast, check_kind, in_opmath
from .declare import FLOAT, Operand, op


def _recurrence(x, n, first, following):
    """p_n(x), where p_0 = 1, p_1 = first, p_{k+1} = following(k, p_k, p_{k-1})."""

    def step(carry):
        k, p, previous = carry
        # What has reached its degree, or has overflowed, stays.
        more = (k < n) & ~jnp.isnan(p)
        return (
            k + 1,
            jnp.where(more, following(k.astype(x.dtype), p, previous), p),
            jnp.where(more, p, previous),
        )

    last = jnp.max(n, initial=0)
    start = (jnp.ones((), n.dtype), first, jnp.ones_like(x))
    _, p, _ = lax.while_loop(lambda carry: carry[0] < last, step, start)
    return jnp.where(n < 0, 0, jnp.where(n == 0, 1, p))


def _chebyshev(x, n, first, at_one, at_minus_one, inside):
    """Those with p_{k+1} = 2 x p_k - p_{k-1}; of high degree inside of [-1, 1] in closed form."""
    direct = (n > 8) & (jnp.abs(x) < 1)
    looped = _recurrence(x, jnp.where(direct, 1, n), first, lambda k, p, q: 2 * x * p - q)
    angle = jnp.arccos(jnp.where(direct, x, 0))
    edge = jnp.where(x > 0, at_one(n), jnp.where(n % 2 == 0, 1, -1) * at_minus_one(n))
    result = jnp.where(direct, inside(angle, n), jnp.where(jnp.abs(x) == 1, edge, looped))
    return jnp.where(n < 0, 0, result)


def _one(n):
    return jnp.ones_like(n)


def _next(n):
    return n + 1


def _odd(n):
    return 2 * n + 1


def _t(x, n):
    return _chebyshev(x, n, x, _one, _one, lambda a, n: jnp.cos(n * a))


def _u(x, n):
    return _chebyshev(
        x, n, 2 * x, _next, _next, lambda a, n: jnp.sin((n + 1) * a) / jnp.sin(a)
    )  # fmt: skip


def _v(x, n):
    return _chebyshev(
        x, n, 2 * x - 1, _one, _odd, lambda a, n: jnp.cos((n + 0.5) * a) / jnp.cos(a / 2)
    )  # fmt: skip


def _w(x, n):
    return _chebyshev(
        x, n, 2 * x + 1, _odd, _one, lambda a, n: jnp.sin((n + 0.5) * a) / jnp.sin(a / 2)
    )  # fmt: skip


def _hermite(factor):
    def polynomial(x, n):
        """NaN above the degree at which PyTorch stops, where results overflow."""
        limit = 512 if x.dtype == np.float64 else 128
        value = _recurrence(
            x, jnp.minimum(n, limit), factor * x, lambda k, p, q: factor * (x * p - k * q)
        )
        return jnp.where(n > limit, jnp.nan, value)

    return polynomial


def _laguerre(x, n):
    return _recurrence(x, n, 1 - x, lambda k, p, q: ((2 * k + 1 - x) * p - k * q) / (k + 1))


def _legendre(x, n):
    value = _recurrence(x, n, x, lambda k, p, q: ((2 * k + 1) * x * p - k * q) / (k + 1))
    return jnp.where((jnp.abs(x) == 1) & (n >= 0), jnp.where((x > 0) | (n % 2 == 0), 1, -1), value)


def _declare(name, polynomial, doc):
    @op(name=name, doc=doc, types=FLOAT, out=True, module="special", differentiable=False)
    def function(x: Operand, n: Operand):
        check_kind(x, "c", f"{name}_cpu")
        x, n = broadcast(x, jnp.where(jnp.isnan(n), -1, n))
        return in_opmath(polynomial)(x, n.astype(np.int64))


for _kind, _fn in (("t", _t), ("u", _u), ("v", _v), ("w", _w)):
    _name = f"chebyshev_polynomial_{_kind}"
    _which = {"t": "first", "u": "second", "v": "third", "w": "fourth"}[_kind]
    _declare(_name, _fn, f"Chebyshev's polynomial of the {_which} kind, of degree n at x.")
    _declare(
        f"shifted_{_name}", lambda x, n, fn=_fn: fn(2 * x - 1, n), f"`{_name}` at 2 x - 1."
    )  # fmt: skip
_declare("hermite_polynomial_h", _hermite(2), "The physicists' Hermite polynomial of degree n.")
_declare("hermite_polynomial_he", _hermite(1), "The probabilists' Hermite polynomial of degree n.")
_declare("laguerre_polynomial_l", _laguerre, "Laguerre's polynomial of degree n at x.")
_declare("legendre_polynomial_p", _legendre, "Legendre's polynomial of degree n at x.")
