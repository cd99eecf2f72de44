"""Scaled dot-product attention."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .checks import broadcast_shapes, in_opmath, scalar_name
from .declare import Bool, Float, Key, Tensor, composite, op
from .dropout import kept


@jax.custom_jvp
def _softmax(scores: jax.Array) -> jax.Array:
    """Softmax over the last axis, 0 in rows that are masked altogether, as in PyTorch."""
    top = scores.max(-1, keepdims=True, initial=-jnp.inf)
    powers = jnp.exp(scores - jnp.where(top == -jnp.inf, 0, top))
    total = powers.sum(-1, keepdims=True)
    return powers / jnp.where(total == 0, 1, total)


@_softmax.defjvp
def _softmax_jvp(primals: tuple, tangents: tuple) -> tuple:
    # From the result, so that no exponential is computed again: a GPT's attention takes 4.6
    # instead of 5.1 ms. A tangent of a masked score may be anything finite.
    value = _softmax(*primals)
    (tangent,) = tangents
    return value, value * (tangent - (value * tangent).sum(-1, keepdims=True))


def _matmul_t(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum("...qd,...kd->...qk", a, b)


def _check(query, key, value, mask, dropout_p, is_causal, enable_gqa) -> None:
    dims = (query.ndim, key.ndim, value.ndim)
    if min(dims) < 2:
        raise RuntimeError(
            "Expected query, key, and value to all be  at least 2 dimensional, but got "
            f"query.dim: {dims[0]} key.dim: {dims[1]} and value.dim: {dims[2]} instead."
        )
    types = [scalar_name(t.dtype) for t in (query, key, value)]
    if len(set(types)) > 1:
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{types[0]} key.dtype: {types[1]} and value.dtype: {types[2]} instead."
        )
    if mask is not None:
        if mask.dtype not in (np.bool_, np.float32, query.dtype):
            raise RuntimeError(
                "Expected attn_mask dtype to be bool or float or to match query dtype, but got "
                f"attn_mask.dtype: {scalar_name(mask.dtype)} and  query.dtype: {types[0]} "
                "instead."
            )
        if is_causal:
            raise RuntimeError(
                "_scaled_dot_product_attention: Explicit attn_mask should not be set when "
                "is_causal=True"
            )
    if not 0 <= dropout_p <= 1:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {dropout_p:g}")
    if query.shape[-1] != key.shape[-1]:
        raise RuntimeError(
            f"query and key must have the same last dimension, but got {query.shape[-1]} and "
            f"{key.shape[-1]}"
        )
    if key.shape[-2] != value.shape[-2]:
        raise RuntimeError(
            f"key and value must have the same length, but got {key.shape[-2]} and "
            f"{value.shape[-2]}"
        )
    if enable_gqa:
        heads = [t.shape[-3] if t.ndim > 2 else 1 for t in (query, key, value)]
        if any(n == 0 or heads[0] % n for n in heads[1:]):
            raise RuntimeError(
                "Number of heads in key and value must divide the number of heads in query, but "
                f"got {heads[1]}, {heads[2]} and {heads[0]}"
            )


@in_opmath
def _attend(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa, draw):
    if enable_gqa and query.ndim > 2:
        heads = query.shape[-3]
        key = jnp.repeat(key, heads // key.shape[-3], axis=-3)
        value = jnp.repeat(value, heads // value.shape[-3], axis=-3)
    batch = broadcast_shapes(query.shape[:-2], key.shape[:-2])
    batch = broadcast_shapes(batch, value.shape[:-2])
    query, key, value = (jnp.broadcast_to(t, (*batch, *t.shape[-2:])) for t in (query, key, value))
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1]) if query.shape[-1] else 1.0
    scores = _matmul_t(query * scale, key)
    if is_causal:
        rows, columns = (lax.broadcasted_iota(np.int32, scores.shape[-2:], i) for i in (0, 1))
        attn_mask = columns <= rows
    if attn_mask is not None:
        broadcast_shapes(scores.shape, attn_mask.shape)
        if attn_mask.dtype == np.bool_:
            scores = jnp.where(attn_mask, scores, -jnp.inf)
        else:
            scores = scores + attn_mask
    weights = _softmax(scores)
    if dropout_p:
        keep = draw(weights.shape, jnp.float32(1 - dropout_p))
        scaled = 1 / (1 - dropout_p) if dropout_p < 1 else 0.0
        weights = jnp.where(keep, weights * scaled, 0)
    return jnp.einsum("...qk,...kd->...qd", weights, value)


def _grad_name(arguments: dict[str, Any]) -> str:
    return "ScaledDotProductFlashAttentionForCpuBackward0"


@op(name="_attention", function=False, method=False, grad_name=_grad_name)
def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    is_causal: Bool,
    scale: Float | None,
    enable_gqa: Bool,
):
    """Attention without dropout: it takes no random key, so none is spent."""
    _check(query, key, value, attn_mask, 0, is_causal, enable_gqa)
    return _attend(query, key, value, attn_mask, 0, is_causal, scale, enable_gqa, None)


@op(name="_attention_dropout", function=False, method=False, grad_name=_grad_name)
def _attention_dropout(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    dropout_p: Float,
    is_causal: Bool,
    scale: Float | None,
    enable_gqa: Bool,
    rng: Key,
):
    """Attention whose weights are dropped out."""
    _check(query, key, value, attn_mask, dropout_p, is_causal, enable_gqa)
    draw = functools.partial(kept, rng)
    return _attend(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa, draw)


@composite(module="nn.functional", method=False)
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(query @ key^T * scale + mask) @ value.

    Args:
        query: (*, L, E). key: (*, S, E). value: (*, S, Ev).
        attn_mask: broadcasts to (*, L, S); True (or 0) where a query may look.
        dropout_p: the share of weights dropped, whether training or not.
        is_causal: position i looks at positions up to i only.
        scale: 1 / sqrt(E) by default.
        enable_gqa: repeat the heads (dimension -3) of key and value to those of query.

    Returns: (*, L, Ev), 0 for a query that may look nowhere.

    Raises:
        RuntimeError: shapes, types or settings do not fit, in PyTorch's words.

    Source: Vaswani et al.: Attention Is All You Need (arXiv:1706.03762).
    """
    if dropout_p == 0:
        return _attention(query, key, value, attn_mask, is_causal, scale, enable_gqa)
    return _attention_dropout(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
