"""Losses over labels: margins between classes, several labels at once, unaligned sequences.

As elsewhere, what is wrong with the data (a class out of range) is not refused when recording.

Source: https://pytorch.org/docs/stable/nn.functional.html#loss-functions
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..tensor.tensor import Tensor as TensorHandle
from ..tensor.tensor import from_host, to_host
from .checks import broadcast_shapes, check_kind, type_name
from .declare import NAMES, PROMOTE, SAME, Bool, Float, Int, Str, Tensor, composite, op
from .losses import LOSS, kernel, reduced, reduction_of
from .margins import pairwise_distance

# --- margins between classes ----------------------------------------------------------------------


def _known(reduction):
    """The reduction. Raises ValueError for an unknown one."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def _positive(x):
    """max(x, 0), with derivative 0 at 0."""
    return jnp.where(x > 0, x, 0)


def _rows(input, target, name):
    """Input and target with a batch dimension. Raises RuntimeError."""
    if input.ndim > 2 or 0 in input.shape[1:]:
        raise RuntimeError(
            "Expected non-empty vector or matrix with optional 0-dim batch size, but got: "
            f"{list(input.shape)}"
        )
    if target.dtype != np.int64:
        raise RuntimeError(f"expected scalar type Long but found {type_name(target.dtype)}")
    check_kind(input, "bic", name)
    return input.reshape(-1, input.shape[-1] if input.ndim else 1)


@kernel("multi_margin_loss", "MultiMarginLossBackward0", SAME)
def _multi_margin_loss(
    input: Tensor, target: Tensor, p: Int, margin: Float, weight: Tensor | None, reduction: Str
):
    x = _rows(input, target, "multi_margin_loss_cpu_kernel")
    n, classes = x.shape
    if target.ndim > 1 or target.size != n:
        raise RuntimeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of "
            f"input samples (batch size). Expected target size [{n}], but got "
            f"{list(target.shape)}. Input has shape {list(input.shape)}."
        )
    if weight is not None and weight.size != classes:
        raise RuntimeError(
            f"inconsistent weight size, expected {classes} but got {list(weight.shape)}"
        )
    at = target.reshape(-1, 1)
    size = _positive(margin - jnp.take_along_axis(x, at, 1) + x)
    size = size if p == 1 else size * size
    if weight is not None:
        size = size * weight[at]
    loss = jnp.where(jnp.arange(classes) == at, 0, size).sum(1) / classes
    return reduced(loss.reshape(target.shape) if reduction == "none" else loss, reduction)


@composite(**LOSS)
def multi_margin_loss(
    input, target, p=1, margin=1.0, weight=None, size_average=None, reduce=None, reduction="mean"
):
    """max(0, margin - input[target] + input[i]) ** p, averaged over the classes i.

    Args:
        input: (N, C) or (C). target: class indices (N) or ().
        p: 1 or 2. weight: of each class, (C).

    Raises:
        ValueError: another p, a weight of more dimensions. RuntimeError: shapes do not fit.
    """
    reduction = _known(reduction_of(size_average, reduce, reduction))
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError("weight must be one-dimensional")
    return _multi_margin_loss(input, target, p, margin, weight, reduction)


@kernel("multilabel_margin_loss", "MultilabelMarginLossBackward0", SAME)
def _multilabel_margin_loss(input: Tensor, target: Tensor, reduction: Str):
    x = _rows(input, target, "multilabel_margin_loss_forward_out_frame")
    if target.size != input.size or (input.ndim == 2 and target.shape != input.shape):
        raise RuntimeError(
            f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}"
        )
    labels = target.reshape(x.shape)
    listed = jnp.cumprod(labels >= 0, 1).astype(bool)  # up to the first negative one
    labels = jnp.where(listed, labels, 0)
    classes = jnp.arange(x.shape[1])
    chosen = ((labels[:, :, None] == classes) & listed[:, :, None]).any(1)
    distance = _positive(1 - jnp.take_along_axis(x, labels, 1)[:, :, None] + x[:, None])
    counts = listed[:, :, None] & ~chosen[:, None]
    loss = jnp.where(counts, distance, 0).sum((1, 2)) / x.shape[1]
    return reduced(loss.reshape(input.shape[:-1]) if reduction == "none" else loss, reduction)


@composite(**LOSS)
def multilabel_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """max(0, 1 - input[label] + input[i]), summed over labels and other classes i, per class.

    Args:
        input: (N, C) or (C).
        target: class indices of that shape; the first negative one ends the list.

    Raises:
        RuntimeError: shapes do not fit.
    """
    reduction = _known(reduction_of(size_average, reduce, reduction))
    return _multilabel_margin_loss(input, target, reduction)


def _soft_name(arguments):
    return {"none": "DivBackward0", "sum": "SumBackward0"}.get(
        arguments["reduction"], "MeanBackward0"
    )


@kernel("multilabel_soft_margin_loss", _soft_name, PROMOTE)
def _multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: Str
):
    broadcast_shapes(input.shape, target.shape)
    loss = target * jax.nn.softplus(-input) + (1 - target) * jax.nn.softplus(input)
    if weight is not None:
        broadcast_shapes(loss.shape, weight.shape)
        loss = loss * weight
    return reduced(loss.sum(input.ndim - 1) / input.shape[-1], reduction)


@composite(**LOSS)
def multilabel_soft_margin_loss(
    input, target, weight=None, size_average=None, reduce=None, reduction="mean"
):
    """The binary cross entropy of each class's logit, averaged over the last dimension.

    Raises:
        ValueError: an unknown reduction. RuntimeError: shapes do not broadcast.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    return _multilabel_soft_margin_loss(input, target, weight, reduction)


@composite(**LOSS)
def triplet_margin_with_distance_loss(
    anchor, positive, negative, *, distance_function=None, margin=1.0, swap=False,
    reduction="mean",
):  # fmt: skip
    """`triplet_margin_loss` with any function of two tensors as distance.

    Raises:
        ValueError: margin is not positive, an unknown reduction.
        RuntimeError: the numbers of dimensions differ.
    """
    _known(reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            f"dimensions, but got: anchor {anchor.dim()}D, positive {positive.dim()}D, and "
            f"negative {negative.dim()}D inputs"
        )
    distance = distance_function or pairwise_distance
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    loss = (margin + near - far).clamp_min(0)
    return loss if reduction == "none" else getattr(loss, reduction)()


@composite(**LOSS)
def linear_cross_entropy(
    input, linear_weight, target, *, linear_bias=None, weight=None, reduction="mean",
    ignore_index=None, label_smoothing=0.0, options=None,
):  # fmt: skip
    """`cross_entropy` of `linear(input, linear_weight, linear_bias)`.

    Args:
        input: (N, in_features) or (in_features).
        linear_weight: (C, *out_features, in_features). linear_bias: (C, *out_features).
        options: accepted; PyTorch computes in pieces then, which is left to the compiler here.
        Others as for `cross_entropy`.

    Raises:
        RuntimeError: shapes do not fit.
    """
    if input.dim() not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.dim()}")
    if linear_weight.dim() < 2:
        raise RuntimeError(
            f"expected linear_weight with dimensionality at least 2, got {linear_weight.dim()}"
        )
    *batch, features = input.shape
    *outputs, expected = linear_weight.shape
    if features != expected:
        raise RuntimeError(
            "expected equal input and linear_weight last dimensions (in_features), got "
            f"{features} and {expected}, respectively"
        )
    if linear_bias is not None and tuple(linear_bias.shape) != tuple(outputs):
        raise RuntimeError(
            f"expected linear_bias shape {tuple(outputs)}, got {tuple(linear_bias.shape)}"
        )
    if len(outputs) > 1 and not batch:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(linear_weight.shape)} "
            f"requires batched input, (N, {features}), got unbatched input with shape "
            f"{tuple(input.shape)}"
        )
    if tuple(target.shape) == (*batch, *outputs) and ignore_index is not None:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    functional = NAMES["nn.functional"]
    bias = None if linear_bias is None else linear_bias.reshape(-1)
    logits = functional["linear"](input, linear_weight.reshape(math.prod(outputs), features), bias)
    return functional["cross_entropy"](
        logits.reshape(*batch, *outputs), target, weight=weight, reduction=reduction,
        ignore_index=-100 if ignore_index is None else ignore_index,
        label_smoothing=label_smoothing,
    )  # fmt: skip


# --- unaligned sequences --------------------------------------------------------------------------

_IMPOSSIBLE = -1e30  # the logarithm of 0: finite, so that gradients stay numbers


@jax.custom_jvp
def _normalizer(log_probs, scale):
    """0 for each sequence, with the derivative of the sum of its probabilities, times `scale`.

    PyTorch's gradient of the loss is that by the logits behind `log_probs`, softmax included.
    """
    return jnp.zeros(log_probs.shape[1], log_probs.dtype)


@_normalizer.defjvp
def _normalizer_jvp(primals, tangents):
    (log_probs, scale), (t, _) = primals, tangents
    return _normalizer(*primals), (jnp.exp(log_probs) * t * scale[..., None]).sum((0, 2))


def _alignments(log_probs, targets, input_lengths, target_lengths, blank, zero_infinity):
    """Minus the log-probability of all alignments of each (T, N, C) with its row of targets."""
    steps, count, _ = log_probs.shape
    labels = jnp.full((count, 2 * targets.shape[1] + 1), blank, targets.dtype)
    labels = labels.at[:, 1::2].set(targets)  # blanks around every label
    place = jnp.arange(labels.shape[1])
    within = place < 2 * target_lengths[:, None] + 1
    two_back = jnp.pad(labels, ((0, 0), (2, 0)), constant_values=blank)[:, :-2]
    skips = (labels != blank) & (labels != two_back) & (place > 1)
    emitted = jnp.take_along_axis(log_probs, labels[None], 2)
    emitted = jnp.where(within, emitted, _IMPOSSIBLE)

    def back(alpha, n):
        return jnp.pad(alpha, ((0, 0), (n, 0)), constant_values=_IMPOSSIBLE)[:, : alpha.shape[1]]

    def step(alpha, now):
        emission, t = now
        moved = jnp.logaddexp(alpha, back(alpha, 1))
        moved = jnp.logaddexp(moved, jnp.where(skips, back(alpha, 2), _IMPOSSIBLE))
        new = jnp.maximum(moved + emission, _IMPOSSIBLE)
        return jnp.where(t < input_lengths[:, None], new, alpha), None

    alpha = jnp.where(place < 2, emitted[0], _IMPOSSIBLE)
    if steps > 1:
        alpha, _ = lax.scan(step, alpha, (emitted[1:], jnp.arange(1, steps)))
    last = jnp.take_along_axis(alpha, 2 * target_lengths[:, None], 1)[:, 0]
    before = jnp.take_along_axis(alpha, jnp.maximum(2 * target_lengths - 1, 0)[:, None], 1)[:, 0]
    total = jnp.logaddexp(last, jnp.where(target_lengths > 0, before, _IMPOSSIBLE))
    # No steps at all align with no labels at all.
    total = jnp.where(input_lengths > 0, total, jnp.where(target_lengths > 0, _IMPOSSIBLE, 0))
    impossible = total <= _IMPOSSIBLE / 2
    loss, slope = (0, 0) if zero_infinity else (jnp.inf, jnp.nan)  # where no alignment is
    scale = jnp.where(impossible, slope, jnp.ones((), log_probs.dtype))
    used = jnp.arange(steps)[:, None] < input_lengths
    normalizer = _normalizer(log_probs, jnp.where(used, scale, 0))
    return jnp.where(impossible, loss, -total) + normalizer


def _ctc_name(arguments):
    return {"none": "CtcLossBackward0", "sum": "SumBackward0"}.get(
        arguments["reduction"], "MeanBackward0"
    )


@op(name="ctc_loss", function=False, method=False, grad_name=_ctc_name)
def _ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor,
    longest: Int, blank: Int, reduction: Str, zero_infinity: Bool,
):  # fmt: skip
    check_kind(log_probs, "bic", "ctc_loss_cpu")
    x = log_probs if log_probs.ndim == 3 else log_probs[:, None]
    count = x.shape[1]
    for name, lengths in (("input", input_lengths), ("target", target_lengths)):
        if lengths.size != count:
            raise RuntimeError(f"{name}_lengths must be of size batch_size")
    input_lengths, target_lengths = input_lengths.reshape(-1), target_lengths.reshape(-1)
    targets = targets.astype(np.int32)
    if targets.ndim == 1:  # one after the other
        starts = jnp.cumsum(target_lengths) - target_lengths
        at = starts[:, None] + jnp.arange(longest)
        targets = targets.at[at].get(mode="fill", fill_value=0)
    loss = _alignments(x, targets, input_lengths, target_lengths, blank, zero_infinity)
    if reduction == "mean":
        loss = loss / jnp.maximum(target_lengths, 1)
    return reduced(loss if log_probs.ndim == 3 or reduction != "none" else loss[0], reduction)


def _lengths(given, name, most):
    """Lengths as a tensor; those given as numbers are checked."""
    if isinstance(given, TensorHandle):
        return given
    worst = max(given, default=0)
    if worst > most:
        raise RuntimeError(
            f"Expected {name} to have value at most {most}, but got value {worst} (while checking "
            "arguments for ctc_loss_allocate_outputs)"
        )
    return from_host(np.asarray(given, np.int64))


def _ctc(log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity):
    if not 0 <= blank < log_probs.shape[-1]:
        raise RuntimeError("blank must be in label range")
    input_lengths = _lengths(input_lengths, "input_lengths", log_probs.shape[0])
    target_lengths = _lengths(target_lengths, "target_lengths", math.inf)
    lengths = to_host(target_lengths)
    longest, checking = int(lengths.max(initial=0)), "ctc_loss_allocate_outputs"
    if targets.dim() == 1 and targets.shape[0] != int(lengths.sum()):
        raise RuntimeError(
            f"Expected tensor to have size {int(lengths.sum())} at dimension 0, but got size "
            f"{targets.shape[0]} for argument #2 'targets' (while checking arguments for "
            f"{checking})"
        )
    if targets.dim() == 2 and targets.shape[1] < longest:
        raise RuntimeError(
            f"Expected tensor to have size at least {longest} at dimension 1, but got size "
            f"{targets.shape[1]} for argument #2 'targets' (while checking arguments for "
            f"{checking})"
        )
    longest = -(-longest // 8) * 8  # few programs for many lengths
    return _ctc_loss(
        log_probs, targets, input_lengths, target_lengths, longest, blank, reduction,
        zero_infinity,
    )  # fmt: skip


@composite(**LOSS)
def ctc_loss(
    log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean",
    zero_infinity=False,
):  # fmt: skip
    """Minus the log-probability of targets under all their alignments with longer sequences.

    Args:
        log_probs: (T, N, C) or (T, C), logarithms of probabilities.
        targets: class indices, (N, S) or all of them one after the other.
        input_lengths, target_lengths: (N) or (), tensors or numbers. Target lengths are read on
            the host; input lengths given as a tensor are not checked.
        blank: the class that stands for no label.
        reduction: "none", "sum" or "mean" (each loss divided by its target's length).
        zero_infinity: 0 for targets that no alignment reaches.

    Raises:
        RuntimeError: sizes do not fit. ValueError: an unknown reduction.

    Source: Graves et al.: Connectionist Temporal Classification (2006).
    """
    return _ctc(
        log_probs, targets, input_lengths, target_lengths, blank, _known(reduction), zero_infinity
    )


@composite(name="ctc_loss", method=False)
def _ctc_loss_numbered(
    log_probs, targets, input_lengths, target_lengths, blank=0, reduction=1, zero_infinity=False
):
    """`nn.functional.ctc_loss` with its reduction as a number: 0 none, 1 mean, 2 sum."""
    name = ("none", "mean", "sum")[reduction]
    return _ctc(log_probs, targets, input_lengths, target_lengths, blank, name, zero_infinity)
