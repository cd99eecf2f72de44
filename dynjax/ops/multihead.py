"""Multi-head attention: projections, masks and heads around scaled dot-product attention."""

from __future__ import annotations

import math
import warnings
from typing import Any

from ..core import dtypes
from ..tensor.tensor import Tensor
from .activations import softmax
from .attention import scaled_dot_product_attention
from .declare import composite
from .dropout import dropout
from .matmul import baddbmm, bmm, linear
from .shape import cat, pad


def _check_shapes(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None,
    attn_mask: Tensor | None,
    num_heads: int,
) -> bool:
    """Return whether the inputs have a batch dimension.

    Raises:
        AssertionError: their numbers of dimensions do not fit together.
    """
    ndim = len(query.shape)
    if ndim not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {ndim}-D query tensor"
        )
    batched = ndim == 3
    title = f"For {'batched' if batched else 'unbatched'} ({ndim}-D) `query`, expected"
    if len(key.shape) != ndim or len(value.shape) != ndim:
        raise AssertionError(
            f"{title} `key` and `value` to be {ndim}-D but found {len(key.shape)}-D and "
            f"{len(value.shape)}-D tensors respectively"
        )
    if key_padding_mask is not None and len(key_padding_mask.shape) != ndim - 1:
        raise AssertionError(
            f"{title} `key_padding_mask` to be `None` or {ndim - 1}-D but found "
            f"{len(key_padding_mask.shape)}-D tensor instead"
        )
    if attn_mask is not None:
        if len(attn_mask.shape) not in (2, 3):
            raise AssertionError(
                f"{title} `attn_mask` to be `None`, 2-D or 3-D but found "
                f"{len(attn_mask.shape)}-D tensor instead"
            )
        expected = (num_heads, query.shape[0], key.shape[0])
        if not batched and len(attn_mask.shape) == 3 and attn_mask.shape != expected:
            raise AssertionError(
                f"Expected `attn_mask` shape to be {expected} but got {attn_mask.shape}"
            )
    return batched


def _as_added(mask: Tensor | None, name: str, dtype: Any, other: Tensor | None) -> Tensor | None:
    """Return a mask as what is added to the attention scores.

    Raises:
        AssertionError: the mask is neither boolean nor floating point.
    """
    if mask is None:
        return None
    if other is not None and mask.dtype is not other.dtype:
        warnings.warn(
            f"Support for mismatched {name} and attn_mask is deprecated. "
            "Use same type for both instead.",
            stacklevel=3,
        )
    if mask.dtype.is_floating_point:
        return mask
    if mask.dtype is not dtypes.bool:
        raise AssertionError(f"only bool and floating types of {name} are supported")
    return mask.new_zeros(mask.shape, dtype=dtype).masked_fill(mask, -math.inf)


def _project(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    separate: tuple[Tensor | None, ...] | None,
) -> list[Tensor]:
    """Return query, key and value after the input projection, in as few products as possible."""
    if separate is not None:
        for name, each in zip("qkv", separate, strict=True):
            if each is None:
                raise AssertionError(
                    f"use_separate_proj_weight is True but {name}_proj_weight is None"
                )
        biases = (None,) * 3 if bias is None else bias.chunk(3)
        given = (query, key, value)
        return [linear(x, w, b) for x, w, b in zip(given, separate, biases, strict=True)]
    if weight is None:
        raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
    if query is key and key is value:
        return list(linear(query, weight, bias).chunk(3, -1))
    weights = weight.chunk(3)
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    if key is value:
        size = query.shape[-1]
        both = None if bias is None else bias[size:]
        return [
            linear(query, weights[0], biases[0]),
            *linear(key, weight[size:], both).chunk(2, -1),
        ]
    return [linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]


@composite(module="nn.functional", method=False)
def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention of several heads between input and output projections (arXiv:1706.03762).

    `nn.MultiheadAttention` describes the arguments; `static_k` and `static_v`, of shape
    `(N * num_heads, S, head_dim)`, take the place of projected keys and values.

    Returns:
        The output `(L, N, E)` or `(L, E)`, and the weights or None.

    Raises:
        AssertionError, RuntimeError: shapes or masks that do not fit together.
    """
    batched = _check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        same = key is query, value is key
        query = query.unsqueeze(1)
        key = query if same[0] else key.unsqueeze(1)
        value = key if same[1] else value.unsqueeze(1)
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    length, batch, size = query.shape
    key_padding_mask = _as_added(key_padding_mask, "key_padding_mask", query.dtype, attn_mask)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module "
            "method `generate_square_subsequent_mask` to create this mask."
        )
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None
    else:
        attn_mask = _as_added(attn_mask, "attn_mask", query.dtype, None)
        is_causal = False
    if size != embed_dim_to_check:
        raise AssertionError(
            f"was expecting embedding dimension of {embed_dim_to_check}, but got {size}"
        )
    head_dim = size // num_heads
    if head_dim * num_heads != size:
        raise AssertionError(f"embed_dim {size} not divisible by num_heads {num_heads}")
    separate = None
    if use_separate_proj_weight:
        if key.shape[:2] != value.shape[:2]:
            raise AssertionError(
                f"key's sequence and batch dims {key.shape[:2]} do not match value's "
                f"{value.shape[:2]}"
            )
        separate = (q_proj_weight, k_proj_weight, v_proj_weight)
    elif key.shape != value.shape:
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")
    q, k, v = _project(query, key, value, in_proj_weight, in_proj_bias, separate)
    attn_mask = _check_mask(attn_mask, length, key.shape[0], batch, num_heads)

    def add_column() -> None:
        nonlocal attn_mask, key_padding_mask
        if attn_mask is not None:
            attn_mask = pad(attn_mask, (0, 1))
        if key_padding_mask is not None:
            key_padding_mask = pad(key_padding_mask, (0, 1))

    if bias_k is not None and bias_v is not None:
        for static, name in ((static_k, "key"), (static_v, "value")):
            if static is not None:
                raise AssertionError(f"bias cannot be added to static {name}.")
        k = cat([k, bias_k.repeat(1, batch, 1)])
        v = cat([v, bias_v.repeat(1, batch, 1)])
        add_column()
    elif bias_k is not None or bias_v is not None:
        here, gone = ("k", "v") if bias_v is None else ("v", "k")
        raise AssertionError(f"bias_{here} is set but bias_{gone} is None")

    heads = batch * num_heads

    def split(x: Tensor, static: Tensor | None, name: str) -> Tensor:
        if static is None:
            return x.reshape(x.shape[0], heads, head_dim).transpose(0, 1)
        for dim, expected in ((0, heads), (2, head_dim)):
            if static.shape[dim] != expected:
                raise AssertionError(
                    f"expecting static_{name}.size({dim}) of {expected}, but got "
                    f"{static.shape[dim]}"
                )
        return static

    q, k, v = split(q, None, "q"), split(k, static_k, "k"), split(v, static_v, "v")
    if add_zero_attn:
        k = cat([k, k.new_zeros((heads, 1, head_dim))], dim=1)
        v = cat([v, v.new_zeros((heads, 1, head_dim))], dim=1)
        add_column()
    span = k.shape[1]
    if key_padding_mask is not None:
        for dim, expected in ((0, batch), (1, span)):
            if key_padding_mask.shape[dim] != expected:
                raise AssertionError(
                    f"Expected key_padding_mask.shape[{dim}] to be {expected}, but got "
                    f"{key_padding_mask.shape[dim]}"
                )
        spread = key_padding_mask.view(batch, 1, 1, span).expand(-1, num_heads, -1, -1)
        spread = spread.reshape(heads, 1, span)
        attn_mask = spread if attn_mask is None else attn_mask + spread
    drop = dropout_p if training else 0.0

    weights = None
    if need_weights:
        q = q * math.sqrt(1.0 / head_dim)
        turned = k.transpose(-2, -1)
        scores = bmm(q, turned) if attn_mask is None else baddbmm(attn_mask, q, turned)
        weights = softmax(scores, -1)
        if drop > 0.0:
            weights = dropout(weights, p=drop)
        output = bmm(weights, v).transpose(0, 1)
        weights = weights.view(batch, num_heads, length, span)
        if average_attn_weights:
            weights = weights.mean(1)
    else:
        shape = (batch, num_heads, -1, head_dim)
        if attn_mask is not None:
            by_head = (batch, num_heads, -1, span)
            attn_mask = (
                attn_mask.unsqueeze(0) if attn_mask.shape[0] == 1 else (attn_mask.view(by_head))
            )
        output = scaled_dot_product_attention(
            q.view(shape), k.view(shape), v.view(shape), attn_mask, drop, is_causal
        )
        output = output.permute(2, 0, 1, 3)
    output = linear(output.reshape(length * batch, size), out_proj_weight, out_proj_bias)
    output = output.view(length, batch, output.shape[1])
    if not batched:
        output = output.squeeze(1)
        weights = None if weights is None else weights.squeeze(0)
    return output, weights


def _check_mask(
    mask: Tensor | None, length: int, span: int, batch: int, num_heads: int
) -> Tensor | None:
    """Return the mask with a dimension for the heads.

    Raises:
        RuntimeError: its shape fits neither `(L, S)` nor `(N * num_heads, L, S)`.
    """
    if mask is None:
        return None
    if len(mask.shape) == 2:
        if mask.shape != (length, span):
            raise RuntimeError(
                f"The shape of the 2D attn_mask is {mask.shape}, but should be {(length, span)}."
            )
        return mask.unsqueeze(0)
    if mask.shape != (batch * num_heads, length, span):
        raise RuntimeError(
            f"The shape of the 3D attn_mask is {mask.shape}, but should be "
            f"{(batch * num_heads, length, span)}."
        )
    return mask
