"""Special functions, and the less common elementwise functions of two arguments.

Source: https://pytorch.org/docs/stable/special.html
"""

import jax
import jax.numpy as jnp
from jax import lax

from .checks import broadcast_shapes, check_kind, in_opmath, is_complex
from .declare import FLOAT, SAME, Float, Tensor, op
from .pointwise import BOTH, INPUT, SPECIAL, binary, unary

# --- one argument -------------------------------------------------------------------------------

unary("erf", lax.erf, "The error function.", refused="c", module=SPECIAL)
unary("erfc", lax.erfc, "1 - erf(x), exact for large x.", refused="c", module=SPECIAL)
unary("erfinv", lax.erf_inv, "The inverse of erf on (-1, 1).", refused="c", module=SPECIAL)


@jax.custom_jvp
def _bessel_i0(x):
    return jax.scipy.special.i0(x)


# JAX's own rule is wrong at 0, where the derivative of |x| comes in.
_bessel_i0.defjvps(lambda t, result, x: t * jax.scipy.special.i1(x))

unary(
    "i0",
    in_opmath(_bessel_i0),
    "Modified Bessel function of the first kind, order 0.",
    refused="c",
    module=SPECIAL,
)


def _trigamma(x):
    """The derivative of digamma; JAX's holds for positive x, the rest is by reflection."""
    left = x < 0.5
    right = jax.scipy.special.polygamma(1, jnp.where(left, 1 - x, x))
    return jnp.where(left, jnp.square(jnp.pi / jnp.sin(jnp.pi * x)) - right, right)


@jax.custom_jvp
def _digamma(x):
    return jnp.where(x == 0, jnp.copysign(jnp.inf, -x), lax.digamma(x))


_digamma.defjvps(lambda t, result, x: t * _trigamma(x))


@jax.custom_jvp
def _lgamma(x):
    return lax.lgamma(x)


_lgamma.defjvps(lambda t, result, x: t * _digamma(x))
unary("lgamma", in_opmath(_lgamma), "Logarithm of |gamma(x)|.", refused="c")


@op(types=FLOAT, inplace=True, out=True, module=SPECIAL)
@in_opmath
def digamma(input: Tensor):
    """The derivative of `lgamma`; infinite at 0 and undefined at negative integers."""
    check_kind(input, "c", "digamma")
    return _digamma(input)


@jax.custom_jvp
def _logit(x):
    return jnp.log(x / (1 - x))


_logit.defjvps(lambda t, result, x: t * jnp.where((x < 0) | (x > 1), jnp.nan, 1 / (x * (1 - x))))


@op(types=FLOAT, inplace=True, out=True, module=SPECIAL)
@in_opmath
def logit(input: Tensor, eps: Float = None):
    """log(x / (1 - x)); with `eps`, of x clamped to [eps, 1 - eps]."""
    check_kind(input, "c", "logit_cpu")
    if eps is not None:
        input = jnp.where(input < eps, eps, jnp.where(input > 1 - eps, 1 - eps, input))
    return _logit(input)


# --- two arguments ------------------------------------------------------------------------------


def _atan2(y, x):
    # At the origin PyTorch's gradient is 0.
    origin = (x == 0) & (y == 0)
    return jnp.where(
        origin, lax.stop_gradient(jnp.arctan2(y, x)), jnp.arctan2(y, jnp.where(origin, 1, x))
    )


def _copysign(a, b):
    # By a factor, whose gradient PyTorch takes as 0 at a = 0.
    negative = jnp.signbit(b)
    flipped = jnp.where(jnp.signbit(a) == negative, a, -a)
    return jnp.where(a == 0, lax.stop_gradient(flipped), flipped)


@op(types=SAME, inplace=True, out=True)
def heaviside(input: Tensor, values: Tensor):
    """The step function, and `values` where input is 0; RuntimeError for other types."""
    if is_complex(input) or is_complex(values):
        raise RuntimeError("heaviside is not yet implemented for complex tensors.")
    if input.dtype != values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    broadcast_shapes(input.shape, values.shape)
    return jnp.where(input == 0, values, (input > 0).astype(input.dtype))


@jax.custom_jvp
def _nextafter(a, b):
    return jnp.nextafter(a, b)


_nextafter.defjvps(lambda t, result, a, b: jnp.where(a == b, 0, t), None)


@jax.custom_jvp
def _xlogy(x, y):
    return jnp.where((x == 0) & ~jnp.isnan(y), 0, x * jnp.log(y))


_xlogy.defjvps(
    lambda t, result, x, y: t * jnp.log(jnp.where((x == 0) & (y <= 0), 1, y)),
    lambda t, result, x, y: t * x / y,
)


@jax.custom_jvp
def _hypot(a, b):
    return jnp.hypot(a, b)


_hypot.defjvps(lambda t, result, a, b: t * a / result, lambda t, result, a, b: t * b / result)


binary(
    "atan2", in_opmath(_atan2), "The angle of the point (other, input).", types=FLOAT,
    refused="c", aliases=("arctan2",), tensors=BOTH,
)  # fmt: skip
binary(
    "copysign", _copysign, "|input| with the sign of other.", types=FLOAT, refused="c",
    tensors=INPUT,
)  # fmt: skip
binary(
    "hypot", in_opmath(_hypot), "The length of (input, other).", refused="bic", tensors=BOTH,
)  # fmt: skip
binary(
    "logaddexp", in_opmath(jnp.logaddexp), "log(exp(input) + exp(other)).", refused="bi",
    inplace=False, tensors=BOTH,
)  # fmt: skip
binary(
    "logaddexp2", in_opmath(jnp.logaddexp2), "log2(2**input + 2**other).", refused="bic",
    inplace=False, tensors=BOTH,
)  # fmt: skip
binary(
    "xlogy", in_opmath(_xlogy), "input * log(other), and 0 where input is 0.", types=FLOAT,
    refused="c", module=SPECIAL,
)  # fmt: skip
binary(
    "nextafter", _nextafter, "The next number from input towards other.", refused="bic",
    tensors=BOTH,
)  # fmt: skip
binary("gcd", jnp.gcd, "Greatest common divisor.", refused="bfc", tensors=BOTH)
binary("lcm", jnp.lcm, "Least common multiple.", refused="bfc", tensors=BOTH)
binary(
    "ldexp", in_opmath(lambda a, b: a * jnp.exp2(b)), "input * 2**other.", types=FLOAT,
    tensors=BOTH,
)  # fmt: skip
