"""Layers that normalise over the features of each sample."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

from ..tensor.tensor import Tensor
from . import functional as F
from . import init
from .module import Module, member
from .parameter import empty_parameter

__all__ = ["CrossMapLRN2d", "GroupNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm"]


def _as_shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, numbers.Integral) else tuple(shape)


class LocalResponseNorm(Module):
    """Divides each value by a power of the sum of squares over `size` neighbouring channels."""

    __constants__ = ["size", "alpha", "beta", "k"]
    size: int
    alpha: float
    beta: float
    k: float

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(LocalResponseNorm):
    """`LocalResponseNorm` of (N, C, H, W) over the channels at most `(size - 1) // 2` away, and
    over the first channel, as PyTorch sums them."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise.

        Raises:
            ValueError: another number of dimensions.
        """
        if input.dim() != 4:
            raise ValueError(f"CrossMapLRN2d: Expected input to be 4D, got {input.dim()}D instead.")
        near, channels = (self.size - 1) // 2, input.shape[1]
        squares = F.pad(input.square(), (0, 0, 0, 0, near, near))
        total = squares[:, :channels]
        for k in range(1, 2 * near + 1):
            total = total + squares[:, k : k + channels]
        if channels > near + 1:  # PyTorch's sum that moves along never lets go of the first
            first = squares[:, near : near + 1].expand(-1, channels - near - 1, -1, -1)
            total = total + F.pad(first, (0, 0, 0, 0, near + 1, 0))
        return input / (self.k + self.alpha / self.size * total) ** self.beta


class Affine(Module):
    """Base of normalisations with a learned weight, ones at first, and bias, zeros."""

    weight: Tensor | None = member()
    bias: Tensor | None = member()

    def _add_affine(
        self, shape: tuple[int, ...], weight: bool, bias: bool, device: Any, dtype: Any
    ) -> None:
        made = empty_parameter(shape, device, dtype) if weight else None
        self.register_parameter("weight", made)
        made = empty_parameter(shape, device, dtype) if weight and bias else None
        self.register_parameter("bias", made)

    def reset_parameters(self) -> None:
        """Set the weight to ones, the bias to zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


class LayerNorm(Affine):
    """Normalises over the last dimensions to mean 0 and variance 1 (arXiv:1607.06450).

    Args:
        normalized_shape: the sizes of these dimensions.
        eps: what is added to the variance.
        elementwise_affine: whether to scale by a learned weight.
        bias: whether to add a learned bias too.
        device: where the parameters live.
        dtype: their type, by default the default dtype.

    Shapes:
        input and output `(*, *normalized_shape)`.

    Attributes:
        weight: ones of `normalized_shape` at first, or None.
        bias: zeros of `normalized_shape` at first, or None.
    """

    __constants__ = ["normalized_shape", "eps", "elementwise_affine"]
    normalized_shape: tuple[int, ...]
    eps: float
    elementwise_affine: bool

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _as_shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self._add_affine(self.normalized_shape, elementwise_affine, bias, device, dtype)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class GroupNorm(Affine):
    """Normalises over groups of channels to mean 0 and variance 1 (arXiv:1803.08494).

    Args:
        num_groups: the number of groups, which divides `num_channels`.
        num_channels: the size of dimension 1 of the input.
        eps: what is added to the variance.
        affine: whether to scale by a learned weight.
        device: where the parameters live.
        dtype: their type, by default the default dtype.
        bias: whether to add a learned bias too.

    Raises:
        ValueError: the channels do not divide into the groups.
    """

    __constants__ = ["num_groups", "num_channels", "eps", "affine"]
    num_groups: int
    num_channels: int
    eps: float
    affine: bool

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups != 0:
            raise ValueError(
                f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self._add_affine((num_channels,), affine, bias, device, dtype)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Divides by the root mean square over the last dimensions (arXiv:1910.07467).

    Args:
        normalized_shape: the sizes of these dimensions.
        eps: what is added to the mean square; None means the dtype's epsilon.
        elementwise_affine: whether to scale by a learned weight, ones at first.
        device: where the parameters live.
        dtype: their type, by default the default dtype.
    """

    __constants__ = ["normalized_shape", "eps", "elementwise_affine"]
    normalized_shape: tuple[int, ...]
    eps: float | None
    elementwise_affine: bool
    weight: Tensor | None = member()

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _as_shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        if elementwise_affine:
            self.weight = empty_parameter(self.normalized_shape, device, dtype)
        else:
            self.register_parameter("weight", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to ones."""
        if self.elementwise_affine:
            init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )
