"""Loss functions, as `torch.nn.functional` has them.

Each loss is one fused operation on tensors and its `reduction`, behind a function with PyTorch's
parameters that warns on every call where PyTorch does. Half types are computed in `float32`.

What PyTorch refuses because of the data (a class out of range, a probability outside [0, 1], a
negative variance) cannot be refused when recording: the loss is NaN then.

Source: https://pytorch.org/docs/stable/nn.functional.html#loss-functions
"""

import math
import warnings

import jax
import jax.numpy as jnp
from jax import lax

from ..engine.frames import user_stacklevel
from .checks import (
    broadcast_shapes,
    check_kind,
    in_opmath,
    is_integral,
    type_name,
)
from .declare import FLOAT, PROMOTE, SAME, Bool, Float, Int, Operand, Str, Tensor, composite, op
from .pick import pick
from .pointwise import absolute

LOSS = {"module": "nn.functional", "method": False}


def kernel(name, grad_name, types=PROMOTE):
    """Declare the operation behind a loss: a body that ends in `reduction`."""

    def declare(body):
        return op(name=name, types=types, grad_name=grad_name, function=False, method=False)(
            in_opmath(body)
        )

    return declare


def reduced(loss, reduction):
    """The loss of each element, or their mean or sum. Raises ValueError for another reduction."""
    if reduction == "mean":
        if is_integral(loss):
            raise RuntimeError(
                "mean(): could not infer output dtype. Input dtype must be either a floating "
                f"point or complex dtype. Got: {type_name(loss.dtype)}"
            )
        return jnp.mean(loss)
    if reduction == "sum":
        return jnp.sum(loss)
    if reduction == "none":
        return loss
    raise ValueError(f"{reduction} is not a valid value for reduction")


def _weighted(loss, weight, reduction):
    """As `reduced`, with weights of the elements in the mean's divisor too."""
    if weight is None:
        return reduced(loss, reduction)
    if reduction == "mean":
        return jnp.sum(loss * weight) / jnp.sum(weight)
    return reduced(loss * weight, reduction)


def _warn(message):
    warnings.warn(message, UserWarning, stacklevel=user_stacklevel())


def size_of(x):
    return f"torch.Size({list(x.shape)})"


def reduction_of(size_average, reduce, reduction):
    """The reduction that the deprecated arguments stand for, if they are given."""
    if size_average is None and reduce is None:
        return reduction
    reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
    _warn(
        "size_average and reduce args will be deprecated, please use "
        f"reduction='{reduction}' instead."
    )
    return reduction


def _warn_of_broadcast(input, target):
    if input.shape != target.shape:
        _warn(
            f"Using a target size ({size_of(target)}) that is different to the input size "
            f"({size_of(input)}). This will likely lead to incorrect results due to broadcasting. "
            "Please ensure they have the same size."
        )


def _check_weight(input, weight):
    if weight is not None and weight.shape != input.shape:
        raise ValueError("Weights and input must have the same size.")


# --- differences --------------------------------------------------------------------------------


@kernel("mse_loss", "MseLossBackward0")
def _mse_loss(input: Tensor, target: Tensor, weight: Tensor | None, reduction: Str):
    broadcast_shapes(input.shape, target.shape)
    check_kind(input, "bi", "mse_cpu")
    return _weighted(jnp.square(input - target), weight, reduction)


@composite(**LOSS)
def mse_loss(
    input, target, size_average=None, reduce=None, reduction="mean", weight=None
):  # fmt: skip
    """The squared difference of `input` and `target`.

    Args:
        input, target: of one shape; others broadcast, with a warning.
        size_average, reduce: deprecated, use `reduction`.
        reduction: "mean", "sum" or "none".
        weight: of each element, of the shape of `input`.

    Returns:
        A 0-dim tensor, or one of the broadcast shape if reduction is "none".

    Raises:
        RuntimeError: the shapes do not broadcast.
        ValueError: an unknown reduction, a weight of another shape.
    """
    if input.shape != target.shape:
        _warn_of_broadcast(input, target)
    _check_weight(input, weight)
    return _mse_loss(input, target, weight, reduction_of(size_average, reduce, reduction))


@kernel("l1_loss", "MeanBackward0")
def _l1_loss(input: Tensor, target: Tensor, weight: Tensor | None, reduction: Str):
    broadcast_shapes(input.shape, target.shape)
    return _weighted(absolute(input - target), weight, reduction)


@composite(**LOSS)
def l1_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """The absolute difference of `input` and `target`; arguments as for `mse_loss`."""
    _warn_of_broadcast(input, target)
    _check_weight(input, weight)
    return _l1_loss(input, target, weight, reduction_of(size_average, reduce, reduction))


@kernel("smooth_l1_loss", "SmoothL1LossBackward0")
def _smooth_l1_loss(input: Tensor, target: Tensor, reduction: Str, beta: Float):
    broadcast_shapes(input.shape, target.shape)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    difference = input - target
    size = absolute(difference)
    if beta == 0:
        return reduced(size, reduction)
    check_kind(input, "bi", "smooth_l1_cpu")
    near = 0.5 * jnp.square(difference) / beta
    return reduced(jnp.where(size < beta, near, size - 0.5 * beta), reduction)


@composite(**LOSS)
def smooth_l1_loss(input, target, size_average=None, reduce=None, reduction="mean", beta=1.0):
    """The squared difference over 2 * beta below `beta`, the absolute one less beta / 2 above.

    Other arguments as for `mse_loss`. Raises RuntimeError if beta < 0.
    """
    _warn_of_broadcast(input, target)
    return _smooth_l1_loss(input, target, reduction_of(size_average, reduce, reduction), beta)


@kernel("huber_loss", "HuberLossBackward0")
def _huber_loss(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: Str, delta: Float
):  # fmt: skip
    broadcast_shapes(input.shape, target.shape)
    check_kind(input, "bi", "huber_cpu")
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    difference = input - target
    size = absolute(difference)
    loss = jnp.where(size <= delta, 0.5 * jnp.square(difference), delta * (size - 0.5 * delta))
    return reduced(loss if weight is None else loss * weight, reduction)


@composite(**LOSS)
def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """Half the squared difference up to `delta`, linear above.

    Other arguments as for `mse_loss`. Raises RuntimeError if delta <= 0.
    """
    _warn_of_broadcast(input, target)
    _check_weight(input, weight)
    return _huber_loss(input, target, weight, reduction, delta)


# --- classes ------------------------------------------------------------------------------------


def _check_classes(input, target, weight):
    """Refuse targets that are not class indices for `input`; returns the axis of the classes."""
    if input.ndim == 0:
        raise ValueError(f"Expected 1 or more dimensions (got {input.ndim})")
    axis = 1 if input.ndim > 1 else 0
    if input.ndim > 1 and target.ndim and input.shape[0] != target.shape[0]:
        raise ValueError(
            f"Expected input batch_size ({input.shape[0]}) to match target batch_size "
            f"({target.shape[0]})."
        )
    if input.ndim < 3 and target.ndim > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    expected = input.shape[:axis] + input.shape[axis + 1 :]
    if input.ndim == 1 and target.shape == (1,):
        expected = (1,)
    if target.shape != expected:
        if input.ndim == 4 and target.ndim != 3:
            raise RuntimeError(
                "only batches of spatial targets supported (3D tensors) but got targets of "
                f"dimension: {target.ndim}"
            )
        if input.ndim == 4:
            raise RuntimeError(
                f"size mismatch (got input: {list(input.shape)} , target: {list(target.shape)}"
            )
        raise RuntimeError(f"Expected target size {list(expected)}, got {list(target.shape)}")
    if target.dtype not in (jnp.int64, jnp.uint8):
        raise RuntimeError(
            f"expected target dtype to be Long or Byte, but got {type_name(target.dtype)}"
        )
    if weight is not None and weight.shape != (input.shape[axis],):
        raise RuntimeError(
            f"weight tensor should be defined either for all {input.shape[axis]} classes or no "
            f"classes but got weight tensor of shape: {list(weight.shape)}"
        )
    if weight is not None and weight.dtype != input.dtype:
        raise RuntimeError(
            f"expected scalar type {type_name(input.dtype)} but found {type_name(weight.dtype)}"
        )
    return axis


def _counted(target, weight, ignore_index, dtype):
    """Safe indices, and how much each target counts: its class's weight, or 0 if ignored."""
    keep = target != ignore_index
    index = jnp.where(keep, target, 0).astype(jnp.int32)
    each = keep.astype(dtype) if weight is None else jnp.where(keep, weight[index], 0)
    return index, each


def _pick_class(x, index, axis):
    """The entry of each target's class, in the shape of the targets."""
    at = jnp.expand_dims(index, axis) if x.ndim > 1 else index.reshape(1)
    return pick(x, at, axis).reshape(index.shape)


def _reduced_classes(loss, each, reduction):
    """As `reduced`, of losses that count `each` much."""
    loss = jnp.where(each != 0, loss * each, 0)
    if reduction == "mean":
        return jnp.sum(loss) / jnp.sum(each)
    return reduced(loss, reduction)


@kernel("nll_loss", "NllLossBackward0", SAME)
def _nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: Int, reduction: Str
):  # fmt: skip
    check_kind(input, "bic", "nll_loss_out_frame")
    axis = _check_classes(input, target, weight)
    index, each = _counted(target, weight, ignore_index, input.dtype)
    return _reduced_classes(-_pick_class(input, index, axis), each, reduction)


@composite(**LOSS)
def nll_loss(
    input, target, weight=None, size_average=None, ignore_index=-100, reduce=None,
    reduction="mean",
):  # fmt: skip
    """Minus the log-probability of each target's class.

    Args:
        input: log-probabilities, of shape (C), (N, C) or (N, C, d1, ..., dk).
        target: class indices (int64 or uint8), of that shape without C.
        weight: of each class, shape (C).
        size_average, reduce: deprecated, use `reduction`.
        ignore_index: a target that does not count.
        reduction: "mean" (weighted by the targets' weights), "sum" or "none".

    Raises:
        RuntimeError, ValueError: shapes or types do not fit, an unknown reduction.
    """
    if weight is not None and weight.dtype != input.dtype:
        found = [t.dtype.type_name for t in (input, weight)]
        raise RuntimeError(f"expected scalar type {found[0]} but found {found[1]}")
    reduction = reduction_of(size_average, reduce, reduction)
    return _nll_loss(input, target, weight, ignore_index, reduction)


def _shifted(x, axis):
    """x less its maximum along an axis, and the logarithm of the sum of its exponentials.

    Their difference is the log-softmax; a small loss of large logits keeps its digits so.
    """
    x = x - lax.stop_gradient(jnp.max(x, axis, keepdims=True, initial=-jnp.inf))
    return x, jnp.log(jnp.sum(jnp.exp(x), axis, keepdims=True))


def _per_class(weight, ndim, axis):
    """A vector of class weights, to broadcast against the logits."""
    return weight.reshape(-1, *(1,) * (ndim - axis - 1))


@kernel("cross_entropy", "NllLossBackward0", SAME)
def _cross_entropy_of_indices(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: Int, reduction: Str,
    label_smoothing: Float,
):  # fmt: skip
    check_kind(input, "bic", "log_softmax_lastdim_kernel_impl")
    _check_smoothing(label_smoothing)
    axis = _check_classes(input, target, weight)
    index, each = _counted(target, weight, ignore_index, input.dtype)
    x, log_total = _shifted(input, axis)
    loss = log_total.reshape(index.shape) - _pick_class(x, index, axis)
    if label_smoothing == 0:
        return _reduced_classes(loss, each, reduction)
    share = label_smoothing / input.shape[axis]
    others = log_total - x if weight is None else (log_total - x) * _per_class(weight, x.ndim, axis)
    smooth = jnp.sum(others, axis).reshape(index.shape)
    total = jnp.where(
        target != ignore_index, (1 - label_smoothing) * loss * each + share * smooth, 0
    )
    return jnp.sum(total) / jnp.sum(each) if reduction == "mean" else reduced(total, reduction)


@kernel("cross_entropy_of_probabilities", "DivBackward1")
def _cross_entropy_of_probabilities(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: Str, label_smoothing: Float
):  # fmt: skip
    check_kind(input, "bic", "log_softmax_lastdim_kernel_impl")
    _check_smoothing(label_smoothing)
    axis = 1 if input.ndim > 1 else 0
    classes = input.shape[axis] if input.ndim else 1
    if input.ndim == 0:
        input, target = input.reshape(1), target.reshape(1)
    if weight is not None and weight.shape != (classes,):
        raise RuntimeError(
            "cross_entropy: weight tensor should be defined either for all "
            f"{classes} classes or no classes but got weight tensor of shape: {list(weight.shape)}"
        )
    x, log_total = _shifted(input, axis)
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    if weight is not None:
        target = target * _per_class(weight, x.ndim, axis)
    loss = jnp.sum((log_total - x) * target, axis)
    return jnp.sum(loss) * classes / input.size if reduction == "mean" else reduced(loss, reduction)


def _check_smoothing(label_smoothing):
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing:g}")


@composite(**LOSS)
def cross_entropy(
    input, target, weight=None, size_average=None, ignore_index=-100, reduce=None,
    reduction="mean", label_smoothing=0.0,
):  # fmt: skip
    """The cross entropy of logits and targets: `nll_loss` of their `log_softmax`, in one pass.

    Args:
        input: logits, of shape (C), (N, C) or (N, C, d1, ..., dk).
        target: class indices of that shape without C, or class probabilities of that shape.
        weight: of each class, shape (C).
        size_average, reduce: deprecated, use `reduction`.
        ignore_index: a class index that does not count.
        reduction: "mean" (weighted by the targets' weights), "sum" or "none".
        label_smoothing: the share of each target that is spread evenly over the classes.

    Raises:
        RuntimeError, ValueError: shapes or types do not fit, an unknown reduction.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    if input.shape != target.shape:
        return _cross_entropy_of_indices(
            input, target, weight, ignore_index, reduction, label_smoothing
        )
    if not target.dtype.is_floating_point:
        raise RuntimeError(
            "Expected floating point type for target with class probabilities, got "
            f"{target.dtype.type_name}"
        )
    if ignore_index >= 0:
        raise RuntimeError("ignore_index is not supported for floating point target")
    return _cross_entropy_of_probabilities(input, target, weight, reduction, label_smoothing)


# --- probabilities ------------------------------------------------------------------------------


@jax.custom_jvp
def _bernoulli_loss(x, target):
    """-(t * log(x) + (1 - t) * log(1 - x)), each logarithm at least -100."""
    log_x, log_rest = jnp.log(x), jnp.log1p(-x)
    return (target - 1) * jnp.maximum(log_rest, -100) - target * jnp.maximum(log_x, -100)


@_bernoulli_loss.defjvp
def _bernoulli_loss_jvp(primals, tangents):
    (x, target), (dx, dt) = primals, tangents
    by_x = (x - target) / jnp.maximum((1 - x) * x, 1e-12)
    by_target = jnp.log1p(-x) - jnp.log(x)
    return _bernoulli_loss(x, target), by_x * dx + by_target * dt


@kernel("binary_cross_entropy", "BinaryCrossEntropyBackward0", SAME)
def _binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: Str
):  # fmt: skip
    if target.shape != input.shape:
        raise ValueError(
            f"Using a target size ({size_of(target)}) that is different to the input size "
            f"({size_of(input)}) is deprecated. Please ensure they have the same size."
        )
    check_kind(input, "bic", "binary_cross_entropy")
    if input.dtype != target.dtype:
        raise RuntimeError(
            f"Found dtype {type_name(target.dtype)} but expected {type_name(input.dtype)}"
        )
    loss = _bernoulli_loss(input, target)
    if weight is not None:
        broadcast_shapes(input.shape, weight.shape)
        loss = loss * weight
    return reduced(loss, reduction)


@composite(**LOSS)
def binary_cross_entropy(
    input, target, weight=None, size_average=None, reduce=None, reduction="mean"
):  # fmt: skip
    """The cross entropy of probabilities and targets in [0, 1].

    Args:
        input, target: of one shape and type.
        weight: of each element, broadcast.
        size_average, reduce: deprecated, use `reduction`.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the shapes differ, an unknown reduction.
        RuntimeError: the types differ.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    return _binary_cross_entropy(input, target, weight, reduction)


@kernel("binary_cross_entropy_with_logits", "BinaryCrossEntropyWithLogitsBackward0")
def _binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, reduction: Str
):  # fmt: skip
    if target.shape != input.shape:
        raise ValueError(
            f"Target size ({size_of(target)}) must be the same as input size ({size_of(input)})"
        )
    check_kind(input, "bic", "log_sigmoid_cpu")
    other = jax.nn.softplus(-input)
    if pos_weight is not None:
        broadcast_shapes(pos_weight.shape, target.shape)
        other = ((pos_weight - 1) * target + 1) * other
    loss = (1 - target) * input + other
    if weight is not None:
        broadcast_shapes(loss.shape, weight.shape)
        loss = loss * weight
    return reduced(loss, reduction)


@composite(**LOSS)
def binary_cross_entropy_with_logits(
    input, target, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None
):  # fmt: skip
    """`binary_cross_entropy` of sigmoid(input), exact for large logits.

    Args:
        pos_weight: of the positive targets, broadcast; others as for `binary_cross_entropy`.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    return _binary_cross_entropy_with_logits(input, target, weight, pos_weight, reduction)


@kernel("kl_div", "MeanBackward0")
def _kl_div(input: Tensor, target: Tensor, reduction: Str, log_target: Bool):
    broadcast_shapes(input.shape, target.shape)
    if is_integral(input):
        raise RuntimeError("kl_div: Integral inputs not supported.")
    if log_target:
        return reduced(jnp.exp(target) * (target - input), reduction)
    safe = jnp.where(target == 0, 1, target)
    return reduced(jnp.where(target == 0, 0, safe * jnp.log(safe)) - target * input, reduction)


@composite(**LOSS)
def kl_div(input, target, size_average=None, reduce=None, reduction="mean", log_target=False):
    """The Kullback-Leibler divergence of log-probabilities `input` from `target`.

    Args:
        reduction: "batchmean" (the divergence proper), "mean", "sum" or "none".
        log_target: whether `target` holds log-probabilities too.
    """
    if size_average is not None or reduce is not None:
        reduction = reduction_of(size_average, reduce, reduction)
    elif reduction == "mean":
        _warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition."
            "'mean' will be changed to behave the same as 'batchmean' in the next major release."
        )
    if reduction == "batchmean":
        total = _kl_div(input, target, "sum", log_target)
        return total / input.shape[0] if input.ndim else total
    return _kl_div(input, target, reduction, log_target)


def at_least(x, bound):
    """x bounded from below, differentiated as if it were not: PyTorch clamps out of its sight."""
    return x + lax.stop_gradient(jnp.maximum(x, bound) - x)


@kernel("gaussian_nll_loss", "MeanBackward0", FLOAT)
def _gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Operand, full: Bool, eps: Float, reduction: Str
):  # fmt: skip
    if var.shape not in (input.shape, ()):
        differing = [b for a, b in zip(input.shape, var.shape) if a != b]
        if input.shape[:-1] == var.shape:
            var = var[..., None]
        elif input.ndim != var.ndim or sum(differing) != 1:
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    broadcast_shapes(input.shape, target.shape)
    var = at_least(var, eps)
    loss = 0.5 * (jnp.log(var) + jnp.square(input - target) / var)
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


@composite(**LOSS)
def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """Minus the log-likelihood of targets under normal distributions.

    Args:
        input: means; target: of the same shape, or broadcast.
        var: variances, a number or a tensor of that shape, or with a last dimension of 1 or none.
        full: add the constant term.
        eps: lower bound of the variances.

    Raises:
        ValueError: a negative number or a shape that does not fit as `var`, an unknown reduction.
    """
    if isinstance(var, float) and var < 0:
        raise ValueError("var has negative entry/entries")
    return _gaussian_nll_loss(input, target, var, full, eps, reduction)


@kernel("poisson_nll_loss", "MeanBackward0", FLOAT)
def _poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: Bool, full: Bool, eps: Float, reduction: Str
):  # fmt: skip
    broadcast_shapes(input.shape, target.shape)
    loss = jnp.exp(input) - target * input if log_input else input - target * jnp.log(input + eps)
    if full:
        t = jnp.where(target > 1, target, 1)
        stirling = t * jnp.log(t) - t + 0.5 * jnp.log(2 * math.pi * t)
        loss = loss + jnp.where(target > 1, stirling, 0)
    return reduced(loss, reduction)


@composite(**LOSS)
def poisson_nll_loss(
    input, target, log_input=True, full=False, size_average=None, eps=1e-8, reduce=None,
    reduction="mean",
):  # fmt: skip
    """Minus the log-likelihood of targets under Poisson distributions.

    Args:
        input: logarithms of the rates, or the rates if not `log_input`.
        full: add Stirling's approximation of the term that is constant in `input`.
        eps: added to rates before their logarithm.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    return _poisson_nll_loss(input, target, log_input, full, eps, reduction)
