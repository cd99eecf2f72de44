"""Attention as a layer."""

from __future__ import annotations

from typing import Any

from ..tensor.tensor import Tensor
from . import functional as F
from . import init
from .linear import NonDynamicallyQuantizableLinear
from .module import Module, member
from .parameter import empty_parameter

__all__ = ["MultiheadAttention"]


class MultiheadAttention(Module):
    """Attention of several heads, with its input and output projections (arXiv:1706.03762).

    Args:
        embed_dim: the size of each vector, divided among the heads.
        num_heads: the number of heads.
        dropout: the probability to drop an attention weight while training.
        bias: whether the projections add a learned bias.
        add_bias_kv: whether to attend to a learned key and value too.
        add_zero_attn: whether to attend to a zero key and value too.
        kdim: the size of the keys given, by default `embed_dim`.
        vdim: the size of the values given, by default `embed_dim`.
        batch_first: the order of dimensions, `(N, L, E)` in place of `(L, N, E)`.
        device: where the parameters live.
        dtype: their type, by default the default dtype.

    Attributes:
        in_proj_weight: `(3 * embed_dim, embed_dim)`; None if the sizes differ, and then
            `q_proj_weight`, `k_proj_weight` and `v_proj_weight` take its place.
        in_proj_bias: `(3 * embed_dim,)`, zeros at first, or None.
        out_proj: the output projection.

    Raises:
        ValueError: a size that is not above 0.
        AssertionError: `num_heads` does not divide `embed_dim`.
    """

    __constants__ = ["batch_first"]
    in_proj_weight: Tensor | None = member()
    in_proj_bias: Tensor | None = member()
    q_proj_weight: Tensor | None = member()
    k_proj_weight: Tensor | None = member()
    v_proj_weight: Tensor | None = member()

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} "
                f"and num_heads={num_heads} instead"
            )
        super().__init__()
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError("embed_dim must be divisible by num_heads")
        sizes = {
            "q_proj_weight": (embed_dim, embed_dim),
            "k_proj_weight": (embed_dim, self.kdim),
            "v_proj_weight": (embed_dim, self.vdim),
            "in_proj_weight": (3 * embed_dim, embed_dim),
        }
        for name, size in sizes.items():
            packed = name == "in_proj_weight"
            param = None
            if packed == self._qkv_same_embed_dim:
                param = empty_parameter(size, device, dtype)
            self.register_parameter(name, param)
        self.register_parameter("in_proj_bias", None)
        if bias:
            self.in_proj_bias = empty_parameter((3 * embed_dim,), device, dtype)
        self.out_proj = NonDynamicallyQuantizableLinear(
            embed_dim, embed_dim, bias=bias, device=device, dtype=dtype
        )
        self.bias_k = self.bias_v = None
        if add_bias_kv:
            self.bias_k = empty_parameter((1, 1, embed_dim), device, dtype)
            self.bias_v = empty_parameter((1, 1, embed_dim), device, dtype)
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for weight in (
            self.in_proj_weight,
            self.q_proj_weight,
            self.k_proj_weight,
            self.v_proj_weight,
        ):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            query: `(L, N, E)`, `(N, L, E)` if `batch_first`, or `(L, E)`.
            key: `(S, N, kdim)`, and so on.
            value: `(S, N, vdim)`, and so on.
            key_padding_mask: `(N, S)` or `(S,)`: True, or what is added, at keys to ignore.
            need_weights: also return the attention weights.
            attn_mask: `(L, S)` or `(N * num_heads, L, S)`: True, or what is added, where not
                to attend.
            average_attn_weights: return the mean of the weights over the heads.
            is_causal: a hint that `attn_mask` is causal.

        Returns:
            The output, of the query's shape, and the weights `(N, L, S)` or None.
        """
        same = key is query, value is key
        turned = self.batch_first and len(query.shape) == 3
        if turned:
            query = query.transpose(1, 0)
            # What was one tensor stays one: the packed projection depends on it.
            key = query if same[0] else key.transpose(1, 0)
            value = key if same[1] else value.transpose(1, 0)
        output, weights = F.multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            use_separate_proj_weight=not self._qkv_same_embed_dim,
            q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return (output.transpose(1, 0) if turned else output), weights
