"""Look-up tables: embedding, bags of embeddings, one-hot encoding."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..autograd.modes import no_grad
from .checks import type_name
from .declare import Bool, Float, Int, Str, Tensor, composite, op
from .reductions import vector_norm_of


def _check_indices(indices: Any, weight: Any, function: str) -> None:
    if indices.dtype.name not in ("int32", "int64"):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar "
            f"types: Long, Int; but got torch.{type_name(indices.dtype)}Tensor instead (while "
            f"checking arguments for {function})"
        )
    if weight.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")


def _rows(weight: jax.Array, indices: jax.Array) -> jax.Array:
    """Gather rows; those out of range are NaN, for the device cannot raise.

    The gradient is a scatter-add: 0.03 ms for 512 of 65 rows of 128, the product with one-hot
    rows 0.13.
    """
    return weight.at[indices].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)


def _scaled_gradient(rows: jax.Array, scale: jax.Array) -> jax.Array:
    """Return `rows`, their gradient multiplied by `scale`."""
    fixed = lax.stop_gradient(rows)
    return fixed + (rows - fixed) * scale


def _by_frequency(rows: jax.Array, indices: jax.Array, count: int) -> jax.Array:
    times = jnp.zeros(count, rows.dtype).at[indices].add(1)
    return _scaled_gradient(rows, 1 / times[indices][..., None])


def _without(rows: jax.Array, indices: jax.Array, padding_idx: int | None) -> jax.Array:
    if padding_idx is None:
        return rows
    return jnp.where((indices == padding_idx)[..., None], lax.stop_gradient(rows), rows)


def _wrap_padding(padding_idx: int | None, count: int) -> int | None:
    if padding_idx is None:
        return None
    if not -count <= padding_idx < count:
        raise AssertionError("Padding_idx must be within num_embeddings")
    return padding_idx % count


@op(
    name="_embedding", function=False, method=False, grad_name="EmbeddingBackward0",
    rows=lambda given: "each" if given["input"].shape and not given["scale_grad_by_freq"] else None,
)  # fmt: skip
def _embedding(input: Tensor, weight: Tensor, padding_idx: Int | None, scale_grad_by_freq: Bool):
    """Rows of `weight`; the row `padding_idx` gets no gradient."""
    _check_indices(input, weight, "embedding")
    rows = _without(_rows(weight, input), input, padding_idx)
    return _by_frequency(rows, input, weight.shape[0]) if scale_grad_by_freq else rows


@op(name="_embedding_renorm", function=False, method=False)
def _embedding_renorm(weight: Tensor, indices: Tensor, max_norm: Float, norm_type: Float):
    """Scale the rows that are looked up and longer than `max_norm` down to it."""
    norms = vector_norm_of(weight, norm_type, (1,), True)
    used = jnp.zeros((weight.shape[0], 1), bool).at[indices.reshape(-1)].set(True)
    shrink = used & (norms > max_norm)
    return jnp.where(shrink, weight * (max_norm / (norms + 1e-7)), weight)


def _renorm(weight: Any, indices: Any, max_norm: float | None, norm_type: float) -> None:
    if max_norm is not None:
        with no_grad():
            weight.copy_(_embedding_renorm(weight, indices, float(max_norm), float(norm_type)))


@composite(module=("nn.functional", "torch"), method=False)
def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    """Look up rows of `weight`.

    Args:
        input: (*), int32 or int64.
        weight: (V, D).
        padding_idx: a row that gets no gradient.
        max_norm: first scale the rows looked up down to this norm, in place.
        scale_grad_by_freq: divide a row's gradient by how often it is looked up.
        sparse: accepted; gradients are dense.

    Returns: (*, D). An index out of range gives a row of NaN, where PyTorch raises an
    IndexError: the operation runs on the device, later.

    Raises:
        RuntimeError, AssertionError: types, shapes or settings do not fit.

    Source: torch.nn.functional.embedding.
    """
    padding_idx = _wrap_padding(padding_idx, weight.shape[0] if weight.shape else 0)
    _renorm(weight, input, max_norm, norm_type)
    return _embedding(input, weight, padding_idx, scale_grad_by_freq)


def _bag_max(rows: jax.Array, bags: jax.Array, count: int, valid: jax.Array) -> jax.Array:
    """Maxima over each bag; the first of equal rows gets the gradient, empty bags are 0."""
    fixed = jnp.where(valid[:, None], lax.stop_gradient(rows), -jnp.inf)
    best = jnp.full((count, rows.shape[1]), -jnp.inf, rows.dtype).at[bags].max(fixed)
    place = jnp.arange(rows.shape[0], dtype=np.int32)[:, None]
    place = jnp.where((fixed == best[bags]) & valid[:, None], place, rows.shape[0])
    first = jnp.full(best.shape, rows.shape[0], np.int32).at[bags].min(place)
    chosen = rows.at[first, jnp.arange(rows.shape[1])].get(mode="fill", fill_value=0)
    return jnp.where(first < rows.shape[0], chosen, 0)


@op(name="_embedding_bag", function=False, method=False, grad_name="EmbeddingBagBackward0")
def _embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None,
    per_sample_weights: Tensor | None,
    scale_grad_by_freq: Bool,
    mode: Str,
    include_last_offset: Bool,
    padding_idx: Int | None,
):
    """Sums, means or maxima of bags of rows."""
    _check_indices(input, weight, "embedding_bag")
    if offsets is None:
        count = input.shape[0]
        bags = jnp.asarray(np.repeat(np.arange(count), input.shape[1]))
    else:
        starts = offsets[:-1] if include_last_offset else offsets
        count = starts.shape[0]
        position = jnp.arange(input.shape[0], dtype=offsets.dtype)
        bags = jnp.searchsorted(starts, position, side="right") - 1
    indices = input.reshape(-1)
    valid = jnp.ones(indices.shape, bool) if padding_idx is None else indices != padding_idx
    rows = _rows(weight, indices)
    if scale_grad_by_freq:
        rows = _by_frequency(rows, indices, weight.shape[0])
    if mode == "max":
        return _bag_max(rows, bags, count, valid)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1, 1)
    rows = jnp.where(valid[:, None], rows, 0)
    total = jnp.zeros((count, weight.shape[1]), rows.dtype).at[bags].add(rows)
    if mode == "sum":
        return total
    times = jnp.zeros((count, 1), rows.dtype).at[bags].add(valid[:, None].astype(rows.dtype))
    return total / jnp.maximum(times, 1)


def _check_bag(input, offsets, mode, per_sample_weights) -> None:
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if input.dim() == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a "
                "mini-batch of fixed length sequences. However, found offsets of type "
                f"{type(offsets)}"
            )
    elif input.dim() == 1:
        if offsets is None or offsets.dim() != 1:
            raise ValueError(
                "offsets has to be a 1D Tensor but got None" if offsets is None else
                "offsets has to be a 1D Tensor"
            )  # fmt: skip
    else:
        raise ValueError(
            f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.dim()}"
        )
    if per_sample_weights is None:
        return
    if tuple(per_sample_weights.shape) != tuple(input.shape):
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, "
            f"then it must have the same shape as the input ({input.shape})"
        )
    if mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only "
            f"supported for mode='sum' (got mode='{mode}'). Please open a feature request on "
            "GitHub."
        )


@composite(module="nn.functional", method=False)
def embedding_bag(
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """Look up bags of rows and reduce each to its sum, mean or maximum.

    Args:
        input: (B, N), or (N,) with `offsets`, where each bag starts.
        weight: (V, D).
        mode: "sum", "mean" or "max".
        per_sample_weights: factors for the rows, of input's shape; for "sum" only.
        include_last_offset: the last offset is the end of the last bag.
        padding_idx: a row that does not count.

    Returns: (B, D); 0 for an empty bag.

    Raises:
        ValueError, NotImplementedError, RuntimeError: as PyTorch.

    Source: torch.nn.functional.embedding_bag.
    """
    _check_bag(input, offsets, mode, per_sample_weights)
    padding_idx = _wrap_padding(padding_idx, weight.shape[0])
    _renorm(weight, input, max_norm, norm_type)
    return _embedding_bag(
        input,
        weight,
        offsets,
        per_sample_weights,
        scale_grad_by_freq,
        mode,
        include_last_offset,
        padding_idx,
    )


@op(name="_one_hot", function=False, method=False)
def _one_hot(input: Tensor, num_classes: Int):
    """Encode each index as a row of zeros with a single 1."""
    classes = jnp.arange(num_classes, dtype=input.dtype)
    return (input[..., None] == classes).astype(np.int64)


@composite(module="nn.functional", method=False)
def one_hot(input: Any, num_classes: int = -1) -> Any:
    """Encode class indices as rows with a single 1.

    Args:
        input: (*), int64.
        num_classes: the rows' length; -1 takes the largest index plus one, which waits for it.

    Returns: (*, num_classes), int64; an index out of range gives a row of zeros.

    Raises:
        RuntimeError: wrong type, or no number of classes and nothing to infer it from.
    """
    if input.dtype.np != np.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if num_classes == -1:
        if input.numel() == 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        if int(input.min()) < 0:
            raise RuntimeError("Class values must be non-negative.")
        num_classes = int(input.max()) + 1
    if num_classes < 1:
        raise RuntimeError(
            "Class values must be smaller than num_classes." if input.numel() else
            "num_classes should be positive"
        )  # fmt: skip
    return _one_hot(input, num_classes)
