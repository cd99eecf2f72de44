"""Bessel and Airy functions.

Those with `I` in front are JAX's; the others are sums of the series in `chebyshev`. As in
PyTorch, only `i0`, `i0e`, `i1` and `i1e` are differentiable.

Source: https://pytorch.org/docs/stable/special.html; the definitions: https://dlmf.nist.gov/10,
https://dlmf.nist.gov/9
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import i0, i0e, i1, i1e

from . import chebyshev as tables
from .chebyshev import series
from .checks import in_opmath
from .pointwise import SPECIAL, unary

# --- modified, of the first kind ----------------------------------------------------------------


@jax.custom_jvp
def _i0(x):
    return i0(x)


@jax.custom_jvp
def _i1(x):
    return i1(x)


def _i1_slope(x):
    """The derivative of I1: I0(x) - I1(x) / x."""
    zero = x == 0
    return jnp.where(zero, 0.5, _i0(x) - _i1(x) / jnp.where(zero, 1, x))


# JAX's own rules are wrong at 0, where the derivative of |x| comes in.
_i0.defjvps(lambda t, result, x: t * _i1(x))
_i1.defjvps(lambda t, result, x: t * _i1_slope(x))

for _name, _fn, _module, _doc in (
    ("i0", _i0, SPECIAL, "Modified Bessel function of the first kind, order 0."),
    ("i0e", i0e, "special", "exp(-|x|) i0(x)."),
    ("i1", _i1, "special", "Modified Bessel function of the first kind, order 1."),
    ("i1e", i1e, "special", "exp(-|x|) i1(x)."),
):
    unary(_name, in_opmath(_fn), _doc, refused="c", kernel="{}_cpu", module=_module,
          inplace=_name == "i0")  # fmt: skip


# --- from series --------------------------------------------------------------------------------


def _wave(x, order):
    """For x >= 8, the amplitudes P and Q, and the cosine and sine of the phase."""
    t = 2 * jnp.square(8 / x) - 1
    size = jnp.sqrt(2 / (jnp.pi * x))
    p = size * series(t, (tables.P0, tables.P1)[order])
    q = size * series(t, (tables.Q0, tables.Q1)[order]) / x
    # cos(x - pi/4) and sin(x - pi/4) from those of x: the difference would lose digits.
    sine, cosine = jnp.sin(x) * math.sqrt(0.5), jnp.cos(x) * math.sqrt(0.5)
    c, s = cosine + sine, sine - cosine
    return (p, q, c, s) if order == 0 else (p, q, s, -c)


def _near(x, first, second, order):
    """A series for |x| <= 8, odd in x for order 1."""
    t = 2 * jnp.square(x / 8) - 1
    return series(t, first) if order == 0 else series(t, second) * x


def _j(x, order):
    size = jnp.abs(x)
    far = size > 8
    near = _near(jnp.where(far, 0, x), tables.J0, tables.J1, order)
    p, q, c, s = _wave(jnp.where(far, size, 8), order)
    wave = p * c - q * s
    return jnp.where(far, wave if order == 0 else jnp.where(x < 0, -wave, wave), near)


def _y(x, order):
    far = x > 8
    low = jnp.where(far, 1, x)
    singular = jnp.log(low) * _near(low, tables.J0, tables.J1, order) - order / low
    near = 2 / jnp.pi * singular + _near(low, tables.Y0, tables.Y1, order)
    p, q, c, s = _wave(jnp.where(far, x, 8), order)
    return jnp.where(x == 0, -jnp.inf, jnp.where(far, p * s + q * c, near))


def _k(x, order, scaled):
    far = x > 2
    low, high = jnp.where(far, 1, x), jnp.where(far, x, 2)
    rest = series(jnp.square(low) / 2 - 1, (tables.K0_NEAR, tables.K1_NEAR)[order])
    log = jnp.log(low / 2)
    near = rest - log * i0(low) if order == 0 else rest / low + log * i1(low)
    beyond = series(4 / high - 1, (tables.K0_FAR, tables.K1_FAR)[order]) / jnp.sqrt(high)
    near, beyond = (near * jnp.exp(low), beyond) if scaled else (near, beyond * jnp.exp(-high))
    return jnp.where(x == 0, jnp.inf, jnp.where(far, beyond, near))


def _airy(x):
    high, low = x > 2, x < -5
    size = jnp.where(high | low, jnp.abs(x), 5)
    z = 2 / 3 * size * jnp.sqrt(size)
    root = jnp.sqrt(jnp.sqrt(size)) * math.sqrt(math.pi)
    near = series((2 * jnp.where(high | low, 0, x) + 3) / 7, tables.AI_NEAR)
    decay = series(2 * (2 / 3 * 2**1.5) / z - 1, tables.AI_FAR) * jnp.exp(-z) / (2 * root)
    t = 2 * jnp.square(2 / 3 * 5**1.5 / z) - 1
    p, q = series(t, tables.AI_P), series(t, tables.AI_Q) / z
    c, s = jnp.cos(z) * math.sqrt(0.5), jnp.sin(z) * math.sqrt(0.5)
    wave = ((s + c) * p - (c - s) * q) / root
    result = jnp.where(high, decay, jnp.where(low, wave, near))
    return jnp.where(jnp.isinf(x), jnp.nan, result)


def _spherical_j0(x):
    special = (x == 0) | jnp.isinf(x)
    safe = jnp.where(special, 1, x)
    return jnp.where(special, jnp.where(x == 0, 1, 0), jnp.sin(safe) / safe)


def _declare(name, fn, doc):
    unary(
        name, in_opmath(fn), doc, refused="c", kernel="{}_cpu", inplace=False, module="special",
        differentiable=False,
    )  # fmt: skip


_declare("airy_ai", _airy, "Airy's function Ai; NaN at infinities.")
_declare("spherical_bessel_j0", _spherical_j0, "sin(x) / x, and 1 at 0.")
for _order, _i in enumerate((i0, i1)):
    _of = f"Bessel function of the {{}} kind, order {_order}"
    _declare(f"bessel_j{_order}", lambda x, n=_order: _j(x, n), f"{_of.format('first')}.")
    _declare(
        f"bessel_y{_order}", lambda x, n=_order: _y(x, n),
        f"{_of.format('second')}: -inf at 0, NaN below.",
    )  # fmt: skip
    _declare(f"modified_bessel_i{_order}", _i, f"Modified {_of.format('first')}.")
    _declare(
        f"modified_bessel_k{_order}", lambda x, n=_order: _k(x, n, scaled=False),
        f"Modified {_of.format('second')}: inf at 0, NaN below.",
    )  # fmt: skip
    _declare(
        f"scaled_modified_bessel_k{_order}", lambda x, n=_order: _k(x, n, scaled=True),
        f"exp(x) modified_bessel_k{_order}(x).",
    )  # fmt: skip
