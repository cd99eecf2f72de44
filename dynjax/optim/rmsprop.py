"""RMSprop, as `torch.optim.RMSprop`."""

from typing import Any

import jax.numpy as jnp

from ..tensor.tensor import Tensor
from ._rule import RuleOptimizer, check_lr, check_not_negative
from .optimizer import ParamsT

__all__ = ["RMSprop"]


class RMSprop(RuleOptimizer):
    """RMSprop: steps divided by the root of a running average of squared gradients.

    With g the gradient (negated if `maximize`) plus `weight_decay` times the parameter:

        v = alpha * v + (1 - alpha) * g²
        a = alpha * a + (1 - alpha) * g                 if centered
        scaled = g / (sqrt(v - a² if centered else v) + eps)
        b = momentum * b + scaled                       if momentum
        parameter -= lr * (b if momentum else scaled)

    Args:
        params: Tensors, `(name, Tensor)` pairs, or dicts defining parameter groups.
        lr: learning rate, a number or a one-element Tensor.
        alpha: how much of the averages is kept.
        eps: added to the denominator.
        weight_decay: L2 penalty.
        momentum: momentum factor; 0 keeps no buffers.
        centered: divide by an estimate of the standard deviation.
        foreach, capturable: accepted for compatibility: all parameters of a group are always
            updated by one fused operation.
        maximize: ascend instead of descend.
        differentiable: record the update, of parameters that are no leaves, for backward.

    Raises:
        ValueError: a value out of range.

    Source: torch.optim.RMSprop; Hinton, lecture 6 of "Neural networks for machine learning", 2012;
    centered: Graves, https://arxiv.org/abs/1308.0850.
    """

    _numbers = ("lr", "alpha", "eps", "weight_decay", "momentum")
    _added = {**RuleOptimizer._added, "momentum": 0, "centered": False}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative(epsilon=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        momentum = ("momentum_buffer",) if group["momentum"] > 0 else ()
        return ("square_avg", *momentum, *(("grad_avg",) if group["centered"] else ()))

    @staticmethod
    def _scalars(n: Any) -> None:
        n.rest = 1 - n.alpha

    @staticmethod
    def _rule(p: Any, g: Any, s: Any, n: Any, f: Any) -> Any:
        if f.decayed:
            g = g + n.weight_decay * p
        s.square_avg = square = n.alpha * s.square_avg + n.rest * g * g
        if hasattr(s, "grad_avg"):
            s.grad_avg = s.grad_avg + n.rest * (g - s.grad_avg)
            square = square - s.grad_avg * s.grad_avg
        scaled = g / (jnp.sqrt(square) + n.eps)
        if hasattr(s, "momentum_buffer"):
            s.momentum_buffer = scaled = n.momentum * s.momentum_buffer + scaled
        return p - n.lr * scaled
