"""Automatic differentiation: the front that users see as `dynjax.autograd`."""

from . import hooks as hooks
from .backward import backward, grad
from .function import Function, once_differentiable
from .modes import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .node import Node

__all__ = [
    "Function",
    "Node",
    "backward",
    "enable_grad",
    "grad",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "once_differentiable",
    "set_grad_enabled",
]
