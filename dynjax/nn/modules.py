"""PyTorch's `torch.nn.modules`: the layers once more, and the files that they are in."""

from __future__ import annotations

from . import (
    activation,
    adaptive,
    attention,
    batchnorm,
    containers,
    conv,
    distance,
    dropout,
    flatten,
    instancenorm,
    lazy,
    linear,
    linear_loss,
    loss,
    module,
    normalization,
    padding,
    pooling,
    recurrent,
    recurrent_cells,
    sparse,
    transformer,
    unpooling,
    vision,
)

_FILES = (
    activation, adaptive, attention, batchnorm, containers, conv, distance, dropout, flatten,
    instancenorm, lazy, linear, linear_loss, loss, module, normalization, padding, pooling,
    recurrent, recurrent_cells, sparse, transformer, unpooling, vision,
)  # fmt: skip

# The names of PyTorch's files where they differ.
container, rnn = containers, recurrent

_layers = {name: getattr(file, name) for file in _FILES for name in file.__all__}
globals().update(_layers)

__all__ = sorted(_layers)
