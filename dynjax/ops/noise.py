"""Functions with noise inside: rrelu, gumbel_softmax, native_dropout.

Source: https://pytorch.org/docs/stable/nn.functional.html
"""

import warnings

import jax
import jax.numpy as jnp

from ..engine.frames import user_stacklevel
from .checks import check_kind, in_opmath, opmath
from .declare import Bool, Float, Int, Key, Number, Tensor, composite, op, register
from .dropout import kept
from .inplace import inplace_form

_RRELU = {"function": False, "method": False, "grad_name": "RreluWithNoiseBackward0"}


@op(name="rrelu_with_noise", **_RRELU)
def _rrelu_noisy(input: Tensor, lower: Float, upper: Float, *, key: Key):
    check_kind(input, "bic", "rrelu_with_noise_out_cpu")
    slope = jax.random.uniform(key, input.shape, input.dtype, lower, upper)
    return jnp.where(input > 0, input, input * slope)


@op(name="rrelu_mean", **_RRELU)
@in_opmath
def _rrelu_mean(input: Tensor, lower: Float, upper: Float):
    check_kind(input, "bic", "leaky_relu_cpu")
    return jnp.where(input > 0, input, input * ((lower + upper) / 2))


@composite(method=False)
def rrelu(input, lower=1.0 / 8, upper=1.0 / 3, training=False, generator=None):
    """max(x, 0) + a * min(x, 0), with `a` drawn for each element if training, else the middle.

    Raises:
        RuntimeError: lower > upper. NotImplementedError: the input is not floating.
    """
    lower, upper = float(lower), float(upper)
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if training:
        return _rrelu_noisy(input, lower, upper, generator=generator)
    return _rrelu_mean(input, lower, upper)


rrelu_ = inplace_form(rrelu, "rrelu_")
register("torch", "rrelu_", rrelu_)


@composite(name="rrelu", module="nn.functional", method=False)
def _functional_rrelu(input, lower=1.0 / 8, upper=1.0 / 3, training=False, inplace=False):
    """`torch.rrelu`, in place if asked."""
    return (rrelu_ if inplace else rrelu)(input, lower, upper, training)


@op(name="gumbel_softmax", function=False, method=False, grad_name="SoftmaxBackward0")
def _gumbel_softmax(logits: Tensor, tau: Number, dim: Int, *, key: Key):
    check_kind(logits, "bic", "exponential_cpu")
    x = logits.astype(opmath(logits.dtype))
    noise = jax.random.gumbel(key, x.shape, x.dtype)
    return jax.nn.softmax((x + noise) / tau, dim).astype(logits.dtype)


@op(name="gumbel_choice", function=False, method=False, grad_name="AddBackward0")
def _straight_through(soft: Tensor, dim: Int):
    """1 at the largest of `soft` and 0 elsewhere, with the gradient of `soft`."""
    hard = jax.nn.one_hot(soft.argmax(dim), soft.shape[dim], dtype=soft.dtype, axis=dim)
    return hard - jax.lax.stop_gradient(soft) + soft


@composite(module="nn.functional", method=False)
def gumbel_softmax(logits, tau=1, hard=False, eps=1e-10, dim=-1):
    """A sample of the relaxed categorical distribution of unnormalised log-probabilities.

    Args:
        tau: its temperature.
        hard: a one-hot vector instead, with the gradient of the sample.
        eps: deprecated, no effect.

    Source: Jang et al.: Categorical Reparameterization with Gumbel-Softmax (arXiv:1611.01144).
    """
    if eps != 1e-10:
        warnings.warn(
            "`eps` parameter is deprecated and has no effect.", stacklevel=user_stacklevel()
        )
    soft = _gumbel_softmax(logits, tau, dim)
    return _straight_through(soft, dim) if hard else soft


@op(method=False, grad_name="NativeDropoutBackward0")
def native_dropout(input: Tensor, p: Float, train: Bool, *, key: Key):
    """Dropout, and the mask of what it kept; all of it unless `train`."""
    if not train:
        return input, jnp.ones(input.shape, bool)
    mask = kept(key, input.shape, jnp.asarray(1 - p))
    return jnp.where(mask, input / (1 - p) if p < 1 else 0, 0).astype(input.dtype), mask
