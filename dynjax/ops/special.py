"""Error functions and logarithms, and the less common elementwise functions of two arguments.

Source: https://pytorch.org/docs/stable/special.html
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from .chebyshev import ERFCX, series
from .checks import broadcast_shapes, check_kind, in_opmath, is_complex, is_floating
from .declare import FLOAT, SAME, Float, Tensor, op, register
from .pointwise import BOTH, INPUT, SPECIAL, binary, sigmoid, unary

# --- one argument -------------------------------------------------------------------------------

unary("erf", lax.erf, "The error function.", refused="c", module=SPECIAL)
unary("erfc", lax.erfc, "1 - erf(x), exact for large x.", refused="c", module=SPECIAL)
unary("erfinv", lax.erf_inv, "The inverse of erf on (-1, 1).", refused="c", module=SPECIAL)


@jax.custom_jvp
def _erfcx(x):
    """exp(x**2) erfc(x); JAX's loses digits in the type float32."""
    size = jnp.abs(x)
    right = series(1 - 7.5 / (size + 3.75), ERFCX) / (1 + 2 * size)
    return jnp.where(x < 0, 2 * jnp.exp(jnp.square(x)) - right, right)


_erfcx.defjvps(lambda t, result, x: t * (2 * x * result - 2 / math.sqrt(math.pi)))


@jax.custom_jvp
def _ndtri(x):
    return jax.scipy.special.ndtri(x)


_ndtri.defjvps(lambda t, y, x: t * math.sqrt(2 * math.pi) * jnp.exp(jnp.square(y) / 2))


@jax.custom_jvp
def _log_ndtr(x):
    """log(ndtr(x)), from the scaled function where ndtr is small."""
    left, z = x < -1, x * -math.sqrt(0.5)
    scaled = jnp.log(_erfcx(jnp.where(left, z, 1)) / 2) - jnp.square(z)
    return jnp.where(left, scaled, jnp.log1p(-lax.erfc(jnp.where(left, 1, -z)) / 2))


_log_ndtr.defjvps(
    lambda t, result, x: t * math.sqrt(2 / math.pi) / _erfcx(x * -math.sqrt(0.5))
)  # fmt: skip


@jax.custom_jvp
def _entr(x):
    return jnp.where(x < 0, -jnp.inf, -x * jnp.log(jnp.where(x == 0, 1, x)))


_entr.defjvps(lambda t, result, x: t * (-jnp.log(x) - 1))

for _name, _fn, _doc in (
    ("erfcx", _erfcx, "exp(x**2) erfc(x), the scaled complementary error function."),
    ("ndtr", jax.scipy.special.ndtr, "The normal distribution's share below x."),
    ("ndtri", _ndtri, "The inverse of `ndtr` on (0, 1)."),
    ("log_ndtr", _log_ndtr, "log(ndtr(x)), exact where ndtr is close to 0 or 1."),
    ("entr", _entr, "-x log(x): 0 at 0, -inf below."),
):
    unary(_name, in_opmath(_fn), _doc, refused="c", kernel="{}_cpu", inplace=False,
          module="special")  # fmt: skip

register("special", "expit", sigmoid)


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


@jax.custom_jvp
def _mantissa(x):
    return jnp.frexp(x)[0]


_mantissa.defjvps(lambda t, result, x: t * jnp.exp2(-jnp.frexp(x)[1].astype(x.dtype)))


@op(out=True, returns=("mantissa", "exponent"))
def frexp(input: Tensor):
    """x as mantissa * 2**exponent, the mantissa in (-1, -0.5], [0.5, 1) or 0.

    Raises:
        RuntimeError: other than floating types.
    """
    if not is_floating(input):
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    return _mantissa(input), jnp.frexp(input)[1].astype(jnp.int32)


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
def _xlog1py(x, y):
    return jnp.where((x == 0) & ~jnp.isnan(y), 0, x * jnp.log1p(y))


_xlog1py.defjvps(
    lambda t, result, x, y: t * jnp.log1p(jnp.where((x == 0) & (y <= -1), 0, y)),
    lambda t, result, x, y: t * x / (y + 1),
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
    "xlog1py", in_opmath(_xlog1py), "input * log1p(other), and 0 where input is 0.",
    types=FLOAT, refused="c", inplace=False, module="special",
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
