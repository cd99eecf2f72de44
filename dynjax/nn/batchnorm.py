"""Layers that normalise each channel over the batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.devices import as_device
from ..tensor.tensor import Tensor, from_host
from . import functional as F
from . import init
from .module import Module
from .normalization import Affine
from .parameter import filled

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"]


def _counter(device: Any = None) -> Tensor:
    return from_host(np.zeros((), np.int64), None if device is None else as_device(device))


class _NormBase(Affine):
    """Parameters and running statistics of a channel-wise normalisation."""

    # 2: with num_batches_tracked.
    _version = 2
    __constants__ = ["track_running_stats", "momentum", "eps", "num_features", "affine"]
    num_features: int
    eps: float
    momentum: float | None
    affine: bool
    track_running_stats: bool

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self._add_affine((num_features,), affine, bias, device, dtype)
        mean = var = count = None
        if track_running_stats:
            mean = filled((num_features,), 0.0, device, dtype)
            var = filled((num_features,), 1.0, device, dtype)
            count = _counter(device)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", var)
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the running statistics."""
        if self.track_running_stats:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def reset_parameters(self) -> None:
        """Forget the running statistics; set the weight to ones, the bias to zeros."""
        self.reset_running_stats()
        super().reset_parameters()

    def _check_input_dim(self, input: Tensor) -> None:
        raise NotImplementedError

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        *args: Any,
    ) -> None:
        key = prefix + "num_batches_tracked"
        old = local_metadata.get("version") is None or local_metadata["version"] < 2
        if old and self.track_running_stats and key not in state_dict:
            count = self.num_batches_tracked
            state_dict[key] = _counter() if count is None else count
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


class _BatchNorm(_NormBase):
    """Batch normalisation of inputs with a checked number of dimensions."""

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        buffers = self._buffers
        mean, var = buffers["running_mean"], buffers["running_var"]
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training:
            use_batch = True
            count = buffers["num_batches_tracked"]
            if not self.track_running_stats:
                mean = var = None
            elif count is not None:
                count.add_(1)
                if self.momentum is None:
                    # A cumulative average needs the count itself: this waits for it.
                    factor = 1.0 / float(count)
        else:
            use_batch = mean is None and var is None
        return F.batch_norm(input, mean, var, self.weight, self.bias, use_batch, factor, self.eps)


class BatchNorm1d(_BatchNorm):
    """Normalises each channel over the batch to mean 0 and variance 1 (arXiv:1502.03167).

    In evaluation it uses the running statistics in place of the batch's.

    Args:
        num_features: the number of channels.
        eps: what is added to the variance.
        momentum: the weight of the new batch in the running statistics; None means a
            cumulative average.
        affine: whether to scale by a learned weight.
        track_running_stats: whether to keep running statistics; without them evaluation uses
            the batch's too.
        device: where parameters and buffers live.
        dtype: their type, by default the default dtype.
        bias: whether to add a learned bias too.

    Shapes:
        input and output `(N, C)` or `(N, C, L)`.

    Raises:
        ValueError: (when called) another number of dimensions.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if len(input.shape) not in (2, 3):
            raise ValueError(f"expected 2D or 3D input (got {len(input.shape)}D input)")


class BatchNorm2d(_BatchNorm):
    """`BatchNorm1d` for `(N, C, H, W)`."""

    def _check_input_dim(self, input: Tensor) -> None:
        if len(input.shape) != 4:
            raise ValueError(f"expected 4D input (got {len(input.shape)}D input)")


class BatchNorm3d(_BatchNorm):
    """`BatchNorm1d` for `(N, C, D, H, W)`."""

    def _check_input_dim(self, input: Tensor) -> None:
        if len(input.shape) != 5:
            raise ValueError(f"expected 5D input (got {len(input.shape)}D input)")


class SyncBatchNorm(_BatchNorm):
    """`BatchNorm1d` for any number of dimensions from two on; of one process, as PyTorch's is.

    Args:
        process_group: accepted and kept.
        num_features, eps, momentum, affine, track_running_stats, device, dtype, bias: as of
            `BatchNorm1d`.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )
        self.process_group = process_group

    def _check_input_dim(self, input: Tensor) -> None:
        if len(input.shape) < 2:
            raise ValueError(f"expected at least 2D input (got {len(input.shape)}D input)")
        if input.shape[1] == 0:
            raise ValueError("SyncBatchNorm number of input channels should be non-zero")

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """Put a SyncBatchNorm in the place of each BatchNorm below, and return the module."""
        result = module
        if isinstance(module, _BatchNorm):
            result = cls(
                module.num_features,
                module.eps,
                module.momentum,
                module.affine,
                module.track_running_stats,
                process_group,
                bias=module.bias is not None,
            )
            result._parameters.update(module._parameters)
            result._buffers.update(module._buffers)
            result.training = module.training
        for name, child in module.named_children():
            result.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return result
