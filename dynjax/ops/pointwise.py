"""Elementwise arithmetic and functions.

Each operation is its JAX function with PyTorch's parameters. Where a derivative is ambiguous (at
a tie, a bound, a zero), the body is written so that JAX's rule gives PyTorch's choice.

One thing cannot be checked when recording: integer division by a zero that is data. PyTorch
raises "ZeroDivisionError" then; XLA's result is -1 (a remainder gives the dividend).

Source: https://pytorch.org/docs/stable/torch.html#pointwise-ops
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..core import dtypes
from ..tensor.tensor import Tensor as TensorType
from .checks import (
    broadcast,
    broadcast_shapes,
    check_factor,
    check_kind,
    in_opmath,
    is_bool,
    is_complex,
    is_floating,
    is_integral,
    scalar_name,
)
from .declare import (
    FLOAT,
    PROMOTE,
    SAME,
    Float,
    Int,
    Number,
    Operand,
    Static,
    Tensor,
    composite,
    op,
)
from .inplace import inplace_form

# --- one argument -------------------------------------------------------------------------------


def unary(name, fn, doc, *, refused="", kernel="{}_vml_cpu", types=FLOAT, **options):
    """Declare an elementwise function of one tensor, with its in-place and `out=` forms.

    Args:
        refused: kinds of types without a kernel, as `check_kind` takes them.
        kernel: PyTorch's name of that kernel; `{}` stands for the operation's name.
    """

    def body(input: Tensor):
        check_kind(input, refused, kernel.format(name))
        return fn(input)

    options = {"inplace": True, "out": True} | options
    return op(name=name, types=types, doc=doc, **options)(body)


SPECIAL = ("torch", "special")

unary("acos", jnp.arccos, "The angle in [0, pi] whose cosine is x.", aliases=("arccos",))
unary("acosh", jnp.arccosh, "The inverse of cosh.", aliases=("arccosh",))
unary("asin", jnp.arcsin, "The angle whose sine is x.", aliases=("arcsin",))
unary("asinh", jnp.arcsinh, "The inverse of sinh.", aliases=("arcsinh",))
unary("atan", jnp.arctan, "The angle whose tangent is x.", aliases=("arctan",))
unary("atanh", jnp.arctanh, "The inverse of tanh.", aliases=("arctanh",))
unary("cos", jnp.cos, "Cosine of x in radians.")
unary("cosh", jnp.cosh, "Hyperbolic cosine.")
unary("sin", jnp.sin, "Sine of x in radians.")
unary("sinh", jnp.sinh, "Hyperbolic sine.")
unary("tan", jnp.tan, "Tangent of x in radians.", saves="result")
tanh = unary("tanh", jnp.tanh, "Hyperbolic tangent.", saves="result")
unary("sinc", jnp.sinc, "sin(pi x) / (pi x), and 1 at 0.", module=SPECIAL)

unary("exp", jnp.exp, "e to the power x.", saves="result")
unary("exp2", jnp.exp2, "2 to the power x.", module=SPECIAL, saves="result")
unary("expm1", jnp.expm1, "exp(x) - 1, exact near 0.", module=SPECIAL)
unary("log", jnp.log, "Natural logarithm.")
unary("log2", jnp.log2, "Logarithm to the base 2.")
unary("log10", jnp.log10, "Logarithm to the base 10.")
unary("log1p", jnp.log1p, "log(1 + x), exact near 0.", module=SPECIAL)
unary("sqrt", jnp.sqrt, "Square root.", saves="result")
unary("rsqrt", lax.rsqrt, "1 / sqrt(x).", saves="result")
unary("reciprocal", lambda x: 1 / x, "1 / x.", saves="result")
sigmoid = unary("sigmoid", jax.nn.sigmoid, "1 / (1 + exp(-x)).", saves="result")


def _scaling(name, factor, doc):
    def body(input: Tensor):
        if is_complex(input):
            raise RuntimeError(f"{name} is not supported for complex tensors.")
        return input * factor

    op(name=name, types=FLOAT, inplace=True, out=True, doc=doc)(body)


_scaling("deg2rad", math.pi / 180, "Degrees to radians.")
_scaling("rad2deg", 180 / math.pi, "Radians to degrees.")


# Functions that keep integers as they are


@jax.custom_jvp
def absolute(x):
    """|x|, with derivative 0 at 0."""
    return jnp.abs(x)


# JAX takes 1 there.
absolute.defjvps(
    lambda t, result, x: jax.jvp(jnp.abs, (x,), (t,))[1] if is_complex(x) else t * _sign(x)
)

unary(
    "abs",
    absolute,
    "Absolute value; its derivative at 0 is 0.",
    refused="b",
    kernel="abs_cpu",
    types=SAME,
    aliases=("absolute",),
)
unary(
    "square", lambda x: jnp.square(x.astype(np.int64) if is_bool(x) else x), "x * x.",
    types=SAME, grad_name="PowBackward0",
)  # fmt: skip


@op(inplace=True, out=True, aliases=("negative",))
def neg(input: Tensor):
    """-x. Raises RuntimeError for bool."""
    if is_bool(input):
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to "
            "invert a mask, use the `~` or `logical_not()` operator instead."
        )
    return -input


@op()
def positive(input: Tensor):
    """x itself. Raises RuntimeError for bool."""
    if is_bool(input):
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


def _sign(x):
    if is_complex(x):
        raise NotImplementedError(
            "Unlike NumPy, torch.sign is not intended to support complex numbers. "
            "Please use torch.sgn instead."
        )
    return x if is_bool(x) else (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)


def _sgn(z):
    if not is_complex(z):
        return _sign(z)
    zero = z == 0
    other = jnp.where(zero, 1, z)
    return jnp.where(zero, 0, other / jnp.abs(other))


unary("sign", _sign, "-1, 0 or 1; 0 for NaN. Refuses complex types.", types=SAME)
unary("sgn", _sgn, "`sign`, and z / |z| for complex numbers (0 at 0).", types=SAME)


def _rounding(name, fn, doc):
    def body(input: Tensor):
        if is_complex(input):
            raise NotImplementedError(f"{name} is not supported for complex inputs")
        check_kind(input, "b", f"{name}_vml_cpu")
        return fn(input) if is_floating(input) else input

    aliases = {"trunc": ("fix",)}.get(name, ())
    op(name=name, inplace=True, out=True, aliases=aliases, doc=doc)(body)


_rounding("floor", jnp.floor, "The largest integer that is at most x.")
_rounding("ceil", jnp.ceil, "The smallest integer that is at least x.")
_rounding("trunc", jnp.trunc, "The integer part of x.")


@op(name="round", inplace=True, out=True, module=SPECIAL)
@in_opmath
def round_(input: Tensor, *, decimals: Int = 0):
    """x rounded to `decimals` places, halves to the even neighbour."""
    check_kind(input, "bc", "round_vml_cpu")
    if not is_floating(input):
        check_kind(input, "i" if decimals else "", "round_cpu")
        return input
    scale = 10.0 ** abs(decimals)
    if decimals < 0:
        return lax.round(input / scale, lax.RoundingMethod.TO_NEAREST_EVEN) * scale
    if decimals == 0:
        return lax.round(input, lax.RoundingMethod.TO_NEAREST_EVEN)
    return lax.round(input * scale, lax.RoundingMethod.TO_NEAREST_EVEN) / scale


unary(
    "frac", lambda x: x - jnp.trunc(x), "x - trunc(x).", refused="bic", kernel="frac_cpu",
    types=SAME,
)  # fmt: skip


# --- arithmetic ---------------------------------------------------------------------------------


def _scaled(x, alpha):
    """`alpha * x`; a number's type does not change that of `x`."""
    if alpha is None:
        return x
    check_factor(x, alpha, "alpha")
    return x * alpha.astype(x.dtype)


BOTH, INPUT = ("input", "other"), ("input",)


def binary(name, fn, doc, *, types=PROMOTE, refused="", kernel="{}_cpu", tensors=(), **options):
    """Declare a function of two broadcast operands, with its in-place and `out=` forms.

    Args:
        tensors: the operands (`BOTH`, `INPUT`) for which PyTorch takes no Python number.
    """

    def body(input: Operand, other: Operand):
        broadcast_shapes(input.shape, other.shape)
        check_kind(input, refused, kernel.format(name))
        return fn(input, other)

    body.__annotations__ |= dict.fromkeys(tensors, Tensor)
    options = {"inplace": True, "out": True} | options
    return op(name=name, types=types, doc=doc, **options)(body)


@op(saves="nothing", types=PROMOTE, inplace=True, out=True)
def add(input: Operand, other: Operand, *, alpha: Number = None):
    """input + alpha * other."""
    broadcast_shapes(input.shape, other.shape)
    return jnp.add(input, _scaled(other, alpha))


def _subtract(a, b, alpha):
    broadcast_shapes(a.shape, b.shape)
    if is_bool(a):
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. "
            "Use the `^` or `logical_xor()` operator instead."
        )
    return a - _scaled(b, alpha)


@op(saves="nothing", types=PROMOTE, inplace=True, out=True, aliases=("subtract",))
def sub(input: Operand, other: Operand, *, alpha: Number = None):
    """input - alpha * other. Raises RuntimeError for bool."""
    return _subtract(input, other, alpha)


@op(saves="nothing", types=PROMOTE, method=False, grad_name="RsubBackward1")
def rsub(input: Tensor, other: Operand, *, alpha: Number = None):
    """other - alpha * input. Raises RuntimeError for bool."""
    return _subtract(other, input, alpha)


mul = binary("mul", jnp.multiply, "input * other.", aliases=("multiply",))
true_divide = binary(
    "true_divide", jnp.divide, "input / other; of integers in the default type.",
    types=FLOAT, grad_name="DivBackward0",
)  # fmt: skip


def _floor_quotient(a, b):
    if not is_floating(a):
        return jnp.floor_divide(a, b)
    quotient = jnp.floor_divide(a, b)
    return lax.stop_gradient(jnp.where(b == 0, a / b, quotient))


def _truncated_quotient(a, b):
    return jnp.trunc(a / b) if is_floating(a) else lax.div(*broadcast(a, b))


def _remainder(a, b):
    a, b = broadcast(a, b)
    r = lax.rem(a, b)
    return jnp.where((r != 0) & ((r < 0) != (b < 0)), r + b, r)


floor_divide = binary(
    "floor_divide", in_opmath(_floor_quotient), "floor(input / other).", refused="bc",
    kernel="div_floor_cpu",
)  # fmt: skip
_div_trunc = binary(
    "div_trunc", _truncated_quotient, "trunc(input / other).", refused="bc",
    kernel="div_trunc_cpu", inplace=False, method=False, function=False, grad_name="DivBackward2",
)  # fmt: skip
binary(
    "remainder", in_opmath(_remainder), "input - floor(input / other) * other.",
    refused="bc",
)  # fmt: skip
binary(
    "fmod", in_opmath(lambda a, b: lax.rem(*broadcast(a, b))),
    "input - trunc(input / other) * other.", refused="bc", tensors=INPUT,
)  # fmt: skip


@composite(aliases=("divide",))
def div(input, other, *, rounding_mode=None, out=None):
    """input / other, then rounded.

    Args:
        rounding_mode: None (true division), "trunc" or "floor".

    Raises:
        RuntimeError: an unknown rounding mode.
    """
    if rounding_mode is None:
        return true_divide(input, other, out=out)
    if rounding_mode not in ("trunc", "floor"):
        raise RuntimeError(
            "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
            f"'{rounding_mode}'"
        )
    return (_div_trunc if rounding_mode == "trunc" else floor_divide)(input, other, out=out)


composite(name="div_", aliases=("divide_",))(inplace_form(div, "div_"))


# --- powers -------------------------------------------------------------------------------------

# Up to here repeated multiplication is as exact as the general power, and quicker.
_MAX_PRODUCT = 16


def _power(x, exponent):
    """x to a constant power, in the form that is cheapest and has PyTorch's derivative at 0."""
    if is_integral(x):
        if exponent < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        return x | (not exponent) if is_bool(x) else lax.integer_pow(x, int(exponent))
    if abs(exponent) == 0.5:
        return jnp.sqrt(x) if exponent > 0 else lax.rsqrt(x)
    if isinstance(exponent, complex) or exponent != exponent // 1 or abs(exponent) > _MAX_PRODUCT:
        return jnp.power(x, exponent)
    return lax.integer_pow(x, int(exponent))


@op(name="pow_scalar", out=True, method=False, function=False, grad_name="PowBackward0")
@in_opmath
def _pow_constant(input: Tensor, exponent: Static):
    """input to a constant power of its own kind."""
    if is_bool(input) and not isinstance(exponent, bool):
        input = input.astype(np.int64)
    return _power(input, exponent)


@op(name="pow_float", out=True, types=FLOAT, method=False, function=False, grad_name="PowBackward0")
def _pow_fraction(input: Tensor, exponent: Static):
    """An integral input to a constant floating power."""
    return _power(input, exponent)


@op(
    name="pow_tensor", types=PROMOTE, out=True, method=False, function=False,
    grad_name="PowBackward1",
)  # fmt: skip
@in_opmath
def _pow_operands(input: Operand, exponent: Operand):
    """input ** exponent, both possibly tensors."""
    base, exponent = broadcast(input, exponent)
    check_kind(base, "b", "pow")
    if is_integral(base):
        inverse = jnp.where(base == 1, 1, jnp.where(base == -1, 1 - 2 * (exponent & 1), 0))
        return jnp.where(exponent < 0, inverse, jnp.power(base, jnp.maximum(exponent, 0)))
    return _general_power(base, exponent)


@jax.custom_jvp
def _general_power(x, y):
    return lax.pow(x, y)


def _power_by_base(t, result, x, y):
    constant = y == 0
    return t * jnp.where(constant, 0, y * _general_power(x, jnp.where(constant, 1, y - 1)))


def _power_by_exponent(t, result, x, y):
    zero = (x == 0) & (y.real >= 0)
    return t * jnp.where(zero, 0, result * jnp.log(jnp.where(zero, 1, x)))


_general_power.defjvps(_power_by_base, _power_by_exponent)


@composite()
def pow(input, exponent, *, out=None):
    """input ** exponent.

    A Python number as exponent is a constant of the program: `x ** 2` compiles to a product.

    Raises:
        RuntimeError: an integer to a constant negative integer power.
    """
    if type(exponent) in (int, float, bool) and isinstance(input, TensorType):
        if type(exponent) is float and not (
            input.dtype.is_floating_point or input.dtype.is_complex
        ):
            return _pow_fraction(input, exponent, out=out)
        return _pow_constant(input, exponent, out=out)
    return _pow_operands(input, exponent, out=out)


composite(name="pow_")(inplace_form(pow, "pow_"))


@composite()
def float_power(input, exponent, *, out=None):
    """input ** exponent in double precision."""
    return pow(_wide(input), _wide(exponent), out=out)


def _wide(x):
    if not isinstance(x, TensorType):
        return x
    return x.to(dtypes.complex128 if x.is_complex() else dtypes.float64)


# --- extremes and bounds ------------------------------------------------------------------------


def _refusing_complex(name, fn):
    def checked(a, b):
        if is_complex(a):
            raise RuntimeError(f"{name} not implemented for complex tensors.")
        return fn(*broadcast(a, b))

    return checked


# At a tie JAX's rule, as PyTorch's, gives each half of the gradient.
maximum = binary(
    "maximum", _refusing_complex("maximum", lax.max), "The larger one; NaN wins.", inplace=False,
    tensors=BOTH,
)  # fmt: skip
minimum = binary(
    "minimum", _refusing_complex("minimum", lax.min), "The smaller one; NaN wins.", inplace=False,
    tensors=BOTH,
)  # fmt: skip
binary(
    "fmax", lambda a, b: jnp.where((a >= b) | (b != b), a, b), "The larger one; NaN loses.",
    refused="c", inplace=False, tensors=BOTH,
)  # fmt: skip
binary(
    "fmin", lambda a, b: jnp.where((a <= b) | (b != b), a, b), "The smaller one; NaN loses.",
    refused="c", inplace=False, tensors=BOTH,
)  # fmt: skip


def _clamped(x, low, high):
    """Bounds belong to the inside, where the gradient passes."""
    if is_complex(x):
        raise NotImplementedError("clamp is not supported for complex types")
    if low is None and high is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    broadcast_shapes(*(a.shape for a in (x, low, high) if a is not None))
    if low is not None:
        x = jnp.where((x < low) | (low != low), low, x)
    if high is not None:
        x = jnp.where((x > high) | (high != high), high, x)
    return x


@op(types=PROMOTE, inplace=True, out=True, aliases=("clip",), grad_name="ClampBackward1")
def clamp(input: Tensor, min: Operand | None = None, max: Operand | None = None):
    """x bounded to [min, max]; where min > max, max.

    Raises:
        RuntimeError: both bounds are None.
    """
    return _clamped(input, min, max)


@op(types=PROMOTE, inplace=True, out=True)
def clamp_min(input: Tensor, min: Operand):
    """x, but at least `min`."""
    return _clamped(input, min, None)


@op(types=PROMOTE, inplace=True, out=True)
def clamp_max(input: Tensor, max: Operand):
    """x, but at most `max`."""
    return _clamped(input, None, max)


# --- three arguments ----------------------------------------------------------------------------


@op(inplace=True, out=True)
@in_opmath
def lerp(input: Tensor, end: Tensor, weight: Operand):
    """input + weight * (end - input).

    Raises:
        RuntimeError: the types differ.
    """
    if input.dtype != end.dtype:
        raise RuntimeError(
            f"expected dtype {scalar_name(input.dtype)} for `end` but got dtype "
            f"{scalar_name(end.dtype)}"
        )
    broadcast_shapes(broadcast_shapes(input.shape, end.shape), weight.shape)
    check_kind(input, "bi", "lerp_kernel_" + ("tensor" if weight.ndim else "scalar"))
    w = weight.astype(input.dtype)
    # Exact at both ends.
    return jnp.where(jnp.abs(w) < 0.5, input + w * (end - input), end - (end - input) * (1 - w))


_NO_INTEGER_ADDCDIV = (
    "Integer division with addcdiv is no longer supported, and in a future  release addcdiv will "
    "perform a true division of tensor1 and tensor2. The historic addcdiv behavior can be "
    "implemented as (input + value * torch.trunc(tensor1 / tensor2)).to(input.dtype) for integer "
    "inputs and as (input + value * tensor1 / tensor2) for float inputs. The future addcdiv "
    "behavior is just the latter implementation: (input + value * tensor1 / tensor2), for all "
    "dtypes."
)


@op(types=PROMOTE, inplace=True, out=True)
@in_opmath
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = None):
    """input + value * tensor1 * tensor2."""
    broadcast_shapes(input.shape, tensor1.shape, tensor2.shape)
    return input + _scaled(tensor1, value) * tensor2


@op(types=PROMOTE, inplace=True, out=True)
@in_opmath
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = None):
    """input + value * tensor1 / tensor2. Raises RuntimeError for integers."""
    broadcast_shapes(input.shape, tensor1.shape, tensor2.shape)
    if is_integral(tensor1) and is_integral(tensor2):
        raise RuntimeError(_NO_INTEGER_ADDCDIV)
    return input + _scaled(tensor1, value) * (1 / tensor2)


def _replaced(x, nan, posinf, neginf):
    if is_complex(x):
        return lax.complex(*(_replaced(part, nan, posinf, neginf) for part in (x.real, x.imag)))
    limits = jnp.finfo(x.dtype)
    x = jnp.where(x == jnp.inf, limits.max if posinf is None else posinf, x)
    x = jnp.where(x == -jnp.inf, limits.min if neginf is None else neginf, x)
    return jnp.where(jnp.isnan(x), 0.0 if nan is None else nan, x)


@op(inplace=True, out=True)
def nan_to_num(input: Tensor, nan: Float = None, posinf: Float = None, neginf: Float = None):
    """NaN and infinities replaced: by 0 and the largest finite numbers unless given."""
    return (
        input if is_integral(input) else _replaced(input, nan, posinf, neginf).astype(input.dtype)
    )
