"""PyTorch's `torch.nn.functional`: the names that the operations declare for it."""

from __future__ import annotations

from typing import Any

from .. import ops  # noqa: F401  (declares the operations)
from ..core.suggest import missing
from ..ops.declare import NAMES

# Functions that PyTorch shows both here and in its main namespace.
_SHARED = (
    "adaptive_avg_pool1d",
    "avg_pool1d",
    "bilinear",
    "celu",
    "celu_",
    "channel_shuffle",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cosine_similarity",
    "hardshrink",
    "pairwise_distance",
    "pdist",
    "pixel_shuffle",
    "pixel_unshuffle",
    "prelu",
    "relu",
    "relu_",
    "rrelu",
    "rrelu_",
    "selu",
    "selu_",
    "sigmoid",
    "tanh",
    "threshold_",
)

_functions = {name: NAMES["torch"][name] for name in _SHARED if name in NAMES["torch"]}
_functions |= NAMES["nn.functional"]
globals().update(_functions)

__all__ = sorted(_functions)


def __getattr__(name: str) -> Any:
    raise missing(__name__, name, _functions)
