"""Losses of distances, similarities and margins.

Source: https://pytorch.org/docs/stable/nn.functional.html#loss-functions
"""

import jax
import jax.numpy as jnp

from .checks import broadcast_shapes, in_opmath, wrap_dim
from .declare import FLOAT, PROMOTE, Bool, Float, Int, Str, Tensor, composite, op
from .losses import LOSS, at_least, kernel, reduced, reduction_of, size_of
from .reductions import vector_norm_of


def _hinge(x):
    """max(x, 0), with derivative 1 at 0 as PyTorch's `clamp_min`."""
    return jnp.where(x < 0, 0, x)


@op(types=PROMOTE, module=("torch", "nn.functional"), method=False, grad_name="SumBackward1")
@in_opmath
def cosine_similarity(x1: Tensor, x2: Tensor, dim: Int = 1, eps: Float = 1e-8):
    """The cosine of the angle between `x1` and `x2` along `dim`.

    Args:
        x1, x2: floating, broadcast.
        eps: lower bound of the two norms.
    """
    shape = broadcast_shapes(x1.shape, x2.shape)
    axis = wrap_dim(dim, len(shape))
    unit = []
    for x in (jnp.broadcast_to(x1, shape), jnp.broadcast_to(x2, shape)):
        unit.append(x / at_least(vector_norm_of(x, 2, (axis,) if shape else (), True), eps))
    return jnp.sum(unit[0] * unit[1], axis if shape else ())


def _distance(x1, x2, p, eps, keepdim=False):
    broadcast_shapes(x1.shape, x2.shape)
    difference = x1 - x2 + eps
    return vector_norm_of(difference, p, (difference.ndim - 1,), keepdim)


@op(types=FLOAT, module=("torch", "nn.functional"), method=False)
@in_opmath
def pairwise_distance(
    x1: Tensor, x2: Tensor, p: Float = 2.0, eps: Float = 1e-6, keepdim: Bool = False
):  # fmt: skip
    """The `p`-norm of x1 - x2 + eps along the last dimension."""
    return _distance(x1, x2, p, eps, keepdim)


@kernel("hinge_embedding_loss", "MeanBackward0", FLOAT)
def _hinge_embedding_loss(input: Tensor, target: Tensor, margin: Float, reduction: Str):
    broadcast_shapes(input.shape, target.shape)
    negative = jnp.where(target != 1, _hinge(margin - input), 0)
    return reduced(negative + jnp.where(target != -1, input, 0), reduction)


@composite(**LOSS)
def hinge_embedding_loss(
    input, target, margin=1.0, size_average=None, reduce=None, reduction="mean"
):  # fmt: skip
    """`input` where the target is 1, max(0, margin - input) where it is -1."""
    reduction = reduction_of(size_average, reduce, reduction)
    return _hinge_embedding_loss(input, target, margin, reduction)


@kernel("margin_ranking_loss", "MeanBackward0", FLOAT)
def _margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: Float, reduction: Str
):  # fmt: skip
    if not input1.ndim == input2.ndim == target.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {size_of(input1)}, input2: {size_of(input2)}, target: {size_of(target)} "
        )
    broadcast_shapes(input1.shape, input2.shape, target.shape)
    return reduced(_hinge(-target * (input1 - input2) + margin), reduction)


@composite(**LOSS)
def margin_ranking_loss(
    input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"
):  # fmt: skip
    """max(0, margin - target * (input1 - input2)), with target 1 or -1.

    Raises:
        RuntimeError: the numbers of dimensions differ.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    return _margin_ranking_loss(input1, input2, target, margin, reduction)


@kernel("triplet_margin_loss", "MeanBackward0", FLOAT)
def _triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: Float, p: Float, eps: Float,
    swap: Bool, reduction: Str,
):  # fmt: skip
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin:g}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            f"dimensions, but got: anchor {anchor.ndim}D, positive {positive.ndim}D, and negative "
            f"{negative.ndim}D inputs"
        )
    near, far = _distance(anchor, positive, p, eps), _distance(anchor, negative, p, eps)
    if swap:
        far = jnp.minimum(far, _distance(positive, negative, p, eps))
    return reduced(_hinge(margin + near - far), reduction)


@composite(**LOSS)
def triplet_margin_loss(
    anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False, size_average=None,
    reduce=None, reduction="mean",
):  # fmt: skip
    """max(0, margin + d(anchor, positive) - d(anchor, negative)), with `pairwise_distance` as d.

    Args:
        swap: measure the negative's distance from the positive if that is nearer.

    Raises:
        ValueError: margin is not positive, an unknown reduction.
        RuntimeError: the numbers of dimensions differ.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    return _triplet_margin_loss(anchor, positive, negative, margin, p, eps, swap, reduction)


@kernel("soft_margin_loss", "SoftMarginLossBackward0")
def _soft_margin_loss(input: Tensor, target: Tensor, reduction: Str):
    broadcast_shapes(input.shape, target.shape)
    return reduced(jax.nn.softplus(-target * input), reduction)


@composite(**LOSS)
def soft_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """log(1 + exp(-target * input)), with target 1 or -1."""
    return _soft_margin_loss(input, target, reduction_of(size_average, reduce, reduction))


@kernel("cosine_embedding_loss", "MeanBackward0", FLOAT)
def _cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: Float, reduction: Str
):  # fmt: skip
    if target.ndim + 1 != input1.ndim or target.ndim + 1 != input2.ndim:
        raise RuntimeError(
            f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors, but found "
            f"inputs with sizes {list(input1.shape)} and {list(input2.shape)}."
        )
    broadcast_shapes(input1.shape, input2.shape)
    axis = target.ndim
    product = jnp.sum(input1 * input2, axis)
    squares = [jnp.sum(jnp.square(x), axis) + 1e-12 for x in (input1, input2)]
    cosine = product / jnp.sqrt(squares[0] * squares[1])
    broadcast_shapes(target.shape, cosine.shape)
    loss = jnp.where(target == 1, 1 - cosine, 0)
    return reduced(loss + jnp.where(target == -1, _hinge(cosine - margin), 0), reduction)


@composite(**LOSS)
def cosine_embedding_loss(
    input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"
):  # fmt: skip
    """1 - cosine where the target is 1, max(0, cosine - margin) where it is -1.

    Raises:
        RuntimeError: the inputs do not have one dimension more than the target.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    return _cosine_embedding_loss(input1, input2, target, margin, reduction)
