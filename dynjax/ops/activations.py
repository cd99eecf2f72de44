"""Activation functions, as `torch.nn.functional` has them.

At a kink each body is written so that JAX's derivative is PyTorch's: a `where` passes the gradient
of the branch that it takes.

Source: https://pytorch.org/docs/stable/nn.functional.html#non-linear-activation-functions
"""

import functools
import inspect
import math
import warnings

import jax
import jax.numpy as jnp
from jax import lax

from ..engine.frames import user_stacklevel
from .checks import check_kind, in_opmath, is_bool, is_complex, is_integral, type_name, wrap_dim
from .declare import FLOAT, Dtype, Float, Int, Str, Tensor, composite, op
from .inplace import inplace_form
from .pointwise import absolute, sigmoid, tanh

_FUNCTIONAL = "nn.functional"


def _smooth(kernel, refused="bic", **options):
    """Declare an activation without `inplace`; half types are computed in `float32`.

    Args:
        kernel: PyTorch's name of the kernel, for the types that it refuses.
        refused: those types, as `check_kind` takes them.
    """
    options = {"module": _FUNCTIONAL} | options

    def declare(body):
        @functools.wraps(body)
        def checked(input, *args, **kwargs):
            check_kind(input, refused, kernel)
            return body(input, *args, **kwargs)

        return op(**options)(in_opmath(checked))

    return declare


def _activation(kernel, refused="bic", forms=(), **options):
    """Declare an activation whose functional form has `inplace=False`.

    Args:
        forms: namespaces that also have it as `name_`.
        options: as for `op`; the operation itself is a function only if `module` is given.
    """
    options = {"method": False, "function": "module" in options} | options

    def declare(body):
        front = _smooth(kernel, refused, **options)(body)
        name = body.__name__
        form = inplace_form(front, name + "_")
        if forms:
            composite(name=name + "_", module=forms, method=False)(form)
        _functional(front, form, body)
        return front

    return declare


def _functional(front, form, body):
    """The function in `nn.functional` that is either of two forms by its last argument."""
    last = len(inspect.signature(body).parameters)

    def function(input, *args, inplace=False, **kwargs):
        if len(args) == last:
            *args, inplace = args
        return (form if inplace else front)(input, *args, **kwargs)

    def plain(input, inplace=False):
        return form(input) if inplace else front(input)

    chosen = plain if last == 1 else function
    chosen.__name__ = chosen.__qualname__ = body.__name__
    chosen.__doc__ = body.__doc__
    composite(module=_FUNCTIONAL, method=False)(chosen)


# --- piecewise linear ---------------------------------------------------------------------------


@jax.custom_jvp
def _relu(x):
    return jnp.maximum(x, 0)


# NaN stays NaN, and at 0 the derivative is 0.
_relu.defjvps(lambda t, result, x: jnp.where(result <= 0, 0, t))


@op(inplace=True, saves="result")
def relu(input: Tensor):
    """max(x, 0); its derivative at 0 is 0. Raises RuntimeError for bool."""
    if is_bool(input):
        raise RuntimeError("Boolean inputs not supported for relu")
    if is_complex(input):
        raise NotImplementedError("clamp is not supported for complex types")
    return _relu(input)


def _relu_signature(input: Tensor):
    """max(x, 0), elementwise; its derivative at 0 is 0."""


_relu_signature.__name__ = "relu"
_functional(relu, inplace_form(relu, "relu_"), _relu_signature)


def _between(x, low, high):
    """x clamped, with the bounds outside: there the gradient is 0."""
    if is_bool(x):
        raise RuntimeError("Bool inputs not supported for hardtanh")
    if is_complex(x):
        raise NotImplementedError("clamp is not supported for complex types")
    if low > high:
        raise ValueError("min_val cannot be greater than max_val")
    if is_integral(x):
        low, high = int(low), int(high)
    return jnp.where(x <= low, low, jnp.where(x >= high, high, x)).astype(x.dtype)


@_activation("", "", grad_name="HardtanhBackward0", forms=(_FUNCTIONAL,))
def hardtanh(input: Tensor, min_val: Float = -1.0, max_val: Float = 1.0):
    """x clamped to [min_val, max_val]. Raises ValueError if the bounds are in the wrong order."""
    return _between(input, min_val, max_val)


@_activation("", "", grad_name="HardtanhBackward0")
def relu6(input: Tensor):
    """x clamped to [0, 6]."""
    return _between(input, 0, 6)


@_activation("leaky_relu_cpu", forms=(_FUNCTIONAL,))
def leaky_relu(input: Tensor, negative_slope: Float = 0.01):
    """x where positive, else negative_slope * x."""
    return jnp.where(input > 0, input, input * negative_slope)


@_activation("hardsigmoid_cpu")
def hardsigmoid(input: Tensor):
    """x / 6 + 1 / 2, clamped to [0, 1]."""
    return jnp.where(input <= -3, 0, jnp.where(input >= 3, 1, input / 6 + 0.5))


@_activation("hardswish_cpu")
def hardswish(input: Tensor):
    """x * hardsigmoid(x)."""
    return input * jnp.where(input <= -3, 0, jnp.where(input >= 3, 6, input + 3)) / 6


@_activation("threshold_cpu", "bc", module="torch", forms=("torch", _FUNCTIONAL))
def threshold(input: Tensor, threshold: Float, value: Float):
    """x where above `threshold`, else `value`."""
    return jnp.where(input <= threshold, jnp.asarray(value).astype(input.dtype), input)


@_smooth("hardshrink_cpu", module="torch", out=True)
def hardshrink(input: Tensor, lambd: Float = 0.5):
    """0 where |x| <= lambd, else x."""
    return jnp.where((input >= -lambd) & (input <= lambd), 0, input)


@_smooth("softshrink_check", out=True)
def softshrink(input: Tensor, lambd: Float = 0.5):
    """x moved towards 0 by `lambd`, and 0 nearer to it. Raises RuntimeError if lambd < 0."""
    if lambd < 0:
        raise RuntimeError(
            f"lambda must be in range [0, {float(jnp.finfo(input.dtype).max):g}] for input dtype "
            f"{type_name(input.dtype)}, but found {lambd:g}"
        )
    inside = jnp.where(jnp.isnan(input), input, 0)
    return jnp.where(input > lambd, input - lambd, jnp.where(input < -lambd, input + lambd, inside))


@_smooth("", "", module="torch", grad_name="PreluKernelBackward0")
def prelu(input: Tensor, weight: Tensor):
    """x where positive, else weight * x.

    Args:
        weight: 0-dim or of one element, or one element for each channel (dim 1).

    Raises:
        RuntimeError: types differ, or the number of weights does not fit.
    """
    if input.dtype != weight.dtype:
        raise RuntimeError(
            f"prelu: Type promoting not supported. Got {type_name(input.dtype)} and "
            f"{type_name(weight.dtype)}"
        )
    if weight.ndim > 1:
        raise RuntimeError(
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}"
        )
    if weight.size != 1:
        channels = input.shape[1] if input.ndim > 1 else 1
        if input.ndim == 0:
            raise RuntimeError("Not allow zero-dim input tensor.")
        if weight.size != channels:
            raise RuntimeError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                f"{weight.size} and channel size = {channels}."
            )
        weight = weight.reshape(1, -1, *(1,) * (input.ndim - 2))
    else:
        weight = weight.reshape(())
    return jnp.where(input > 0, input, weight * input)


# --- smooth -------------------------------------------------------------------------------------


def _elu(x, alpha, scale=1.0, slope=1.0):
    negative = jnp.where(x <= 0, x, 0)  # keeps the unused branch's exponential finite
    return jnp.where(x <= 0, scale * alpha * jnp.expm1(negative * slope), scale * x)


@_activation("elu_cpu", forms=(_FUNCTIONAL,))
def elu(input: Tensor, alpha: Float = 1.0):
    """x where positive, else alpha * (exp(x) - 1)."""
    return _elu(input, alpha)


@_activation("elu_cpu", module="torch", grad_name="EluBackward0", forms=("torch", _FUNCTIONAL))
def selu(input: Tensor):
    """`elu`, scaled to keep mean 0 and variance 1."""
    return _elu(input, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946)


@_activation("elu_cpu", module="torch", forms=("torch", _FUNCTIONAL))
def celu(input: Tensor, alpha: Float = 1.0):
    """x where positive, else alpha * (exp(x / alpha) - 1). Raises RuntimeError if alpha is 0."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _elu(input, alpha, slope=1 / alpha)


@_activation("silu_cpu", "bi")
def silu(input: Tensor):
    """x * sigmoid(x)."""
    return input * jax.nn.sigmoid(input)


@_activation("mish_cpu")
def mish(input: Tensor):
    """x * tanh(softplus(x))."""
    return input * jnp.tanh(jax.nn.softplus(input))


@_smooth("GeluKernelImpl", out=True)
def gelu(input: Tensor, *, approximate: Str = "none"):
    """x * (probability that a standard normal variable is below x).

    Args:
        approximate: "none", or "tanh" for the approximation by tanh.

    Raises:
        RuntimeError: another approximation.
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    if approximate == "none":
        return 0.5 * input * (1 + lax.erf(input * math.sqrt(0.5)))
    inner = math.sqrt(2 / math.pi) * (input + 0.044715 * input * input * input)
    return 0.5 * input * (1 + jnp.tanh(inner))


@_smooth("softplus_cpu", out=True)
def softplus(input: Tensor, beta: Float = 1.0, threshold: Float = 20.0):
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x is above `threshold`."""
    linear = input * beta > threshold
    return jnp.where(linear, input, jax.nn.softplus(jnp.where(linear, 0, input * beta)) / beta)


@_smooth("log_sigmoid_cpu", out=True, grad_name="LogSigmoidBackward0")
def logsigmoid(input: Tensor):
    """log(sigmoid(x))."""
    return -jax.nn.softplus(-input)


@_smooth("abs_cpu", "b", types=FLOAT, grad_name="DivBackward0")
def softsign(input: Tensor):
    """x / (1 + |x|)."""
    return input / (1 + absolute(input))


@_smooth("sub_cpu", "b", types=FLOAT, grad_name="SubBackward0")
def tanhshrink(input: Tensor):
    """x - tanh(x)."""
    return input - jnp.tanh(input)


@_smooth("glu_cpu", "bi")
def glu(input: Tensor, dim: Int = -1):
    """The first half along `dim` times the sigmoid of the second. Raises RuntimeError if odd."""
    if input.ndim == 0:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    axis = wrap_dim(dim, input.ndim)
    if input.shape[axis] % 2:
        raise RuntimeError(
            f"Halving dimension must be even, but dimension {axis} is size {input.shape[axis]}"
        )
    value, gate = jnp.split(input, 2, axis)
    return value * jax.nn.sigmoid(gate)


composite(module=_FUNCTIONAL, method=False)(sigmoid)
composite(module=_FUNCTIONAL, method=False)(tanh)


# --- softmax ------------------------------------------------------------------------------------


def _normalised(name, fn, prepare=lambda x: x):
    """The body of one of the softmax family."""

    def body(input: Tensor, dim: Int, dtype: Dtype = None):
        x = prepare(input)
        x = x if dtype is None else x.astype(dtype)
        check_kind(x, "bic", f"{name}_lastdim_kernel_impl")
        axis = wrap_dim(dim, x.ndim)
        return in_opmath(fn)(x, axis=axis if x.ndim else None)

    return body


softmax = op(
    name="softmax", module=("torch", "special"), saves="result", out=True,
    doc="exp(x) / sum(exp(x)) along `dim`, in the type `dtype` if given.",
)(_normalised("softmax", jax.nn.softmax))  # fmt: skip
log_softmax = op(
    name="log_softmax", module=("torch", "special"), saves="result", out=True,
    doc="log(softmax(x)) along `dim`, in the type `dtype` if given.",
)(_normalised("log_softmax", jax.nn.log_softmax))  # fmt: skip
_softmin = op(
    name="softmin", function=False, method=False, saves="result", grad_name="SoftmaxBackward0",
    doc="softmax(-x) along `dim`, in the type `dtype` if given.",
)(_normalised("softmax", jax.nn.softmax, jnp.negative))  # fmt: skip


def _implicit_dim(name, front):
    def function(input, dim=None, _stacklevel=3, dtype=None):
        if dim is None:
            warnings.warn(
                f"Implicit dimension choice for {name} has been deprecated. "
                "Change the call to include dim=X as an argument.",
                UserWarning,
                stacklevel=user_stacklevel(),
            )
            dim = 0 if input.ndim in (0, 1, 3) else 1
        return front(input, dim, dtype)

    function.__doc__ = front.__doc__ + " Without `dim` it warns and takes dim 0 or 1."
    composite(name=name, module=_FUNCTIONAL, method=False)(function)


_implicit_dim("softmax", softmax)
_implicit_dim("log_softmax", log_softmax)
_implicit_dim("softmin", _softmin)
