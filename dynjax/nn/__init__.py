"""Modules, their parameters, and the functions that they call."""

from ..core.suggest import missing as _missing
from . import functional, init, modules, parameter, utils
from .activation import *  # noqa: F403
from .activation import __all__ as _activation
from .adaptive import *  # noqa: F403
from .adaptive import __all__ as _adaptive
from .attention import *  # noqa: F403
from .attention import __all__ as _attention
from .batchnorm import *  # noqa: F403
from .batchnorm import __all__ as _batchnorm
from .containers import *  # noqa: F403
from .containers import __all__ as _containers
from .conv import *  # noqa: F403
from .conv import __all__ as _conv
from .distance import *  # noqa: F403
from .distance import __all__ as _distance
from .dropout import *  # noqa: F403
from .dropout import __all__ as _dropout
from .flatten import *  # noqa: F403
from .flatten import __all__ as _flatten
from .instancenorm import *  # noqa: F403
from .instancenorm import __all__ as _instancenorm
from .lazy import *  # noqa: F403
from .lazy import __all__ as _lazy
from .linear import *  # noqa: F403
from .linear import __all__ as _linear
from .linear_loss import *  # noqa: F403
from .linear_loss import __all__ as _linear_loss
from .loss import *  # noqa: F403
from .loss import __all__ as _loss
from .module import Module
from .normalization import *  # noqa: F403
from .normalization import __all__ as _normalization
from .padding import *  # noqa: F403
from .padding import __all__ as _padding
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter
from .pooling import *  # noqa: F403
from .pooling import __all__ as _pooling
from .recurrent import *  # noqa: F403
from .recurrent import __all__ as _recurrent
from .recurrent_cells import *  # noqa: F403
from .recurrent_cells import __all__ as _recurrent_cells
from .sparse import *  # noqa: F403
from .sparse import __all__ as _sparse
from .transformer import *  # noqa: F403
from .transformer import __all__ as _transformer
from .unpooling import *  # noqa: F403
from .unpooling import __all__ as _unpooling
from .vision import *  # noqa: F403
from .vision import __all__ as _vision

__all__ = [
    "Buffer",
    "Module",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "functional",
    "init",
    "modules",
    "parameter",
    "utils",
    *_activation,
    *_adaptive,
    *_attention,
    *_batchnorm,
    *_containers,
    *_conv,
    *_distance,
    *_dropout,
    *_flatten,
    *_instancenorm,
    *_lazy,
    *_linear,
    *_linear_loss,
    *_loss,
    *_normalization,
    *_padding,
    *_pooling,
    *_recurrent,
    *_recurrent_cells,
    *_sparse,
    *_transformer,
    *_unpooling,
    *_vision,
]


def __getattr__(name: str) -> object:
    raise _missing(__name__, name, __all__)
