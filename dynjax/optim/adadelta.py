"""Adadelta, as `torch.optim.Adadelta`."""

from typing import Any

import jax.numpy as jnp

from ..tensor.tensor import Tensor
from ._rule import RuleOptimizer, check_lr, check_not_negative
from .optimizer import ParamsT

__all__ = ["Adadelta"]


class Adadelta(RuleOptimizer):
    """Adadelta: steps in the units of the parameter, from running averages of squares.

    With g the gradient (negated if `maximize`) plus `weight_decay` times the parameter:

        v = rho * v + (1 - rho) * g²
        d = sqrt(u + eps) / sqrt(v + eps) * g
        u = rho * u + (1 - rho) * d²
        parameter -= lr * d

    Args:
        params: Tensors, `(name, Tensor)` pairs, or dicts defining parameter groups.
        lr: what a step is multiplied by, a number or a one-element Tensor.
        rho: how much of the averages is kept.
        eps: added under the roots.
        weight_decay: L2 penalty.
        foreach, capturable: accepted for compatibility: all parameters of a group are always
            updated by one fused operation.
        maximize: ascend instead of descend.
        differentiable: record the update, of parameters that are no leaves, for backward.

    Raises:
        ValueError: a value out of range.

    Source: torch.optim.Adadelta; Zeiler, https://arxiv.org/abs/1212.5701.
    """

    _state = ("square_avg", "acc_delta")
    _numbers = ("lr", "rho", "eps", "weight_decay")

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_not_negative(epsilon=eps, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    @staticmethod
    def _scalars(n: Any) -> None:
        n.rest = 1 - n.rho

    @staticmethod
    def _rule(p: Any, g: Any, s: Any, n: Any, f: Any) -> Any:
        if f.decayed:
            g = g + n.weight_decay * p
        s.square_avg = n.rho * s.square_avg + n.rest * g * g
        delta = jnp.sqrt(s.acc_delta + n.eps) / jnp.sqrt(s.square_avg + n.eps) * g
        s.acc_delta = n.rho * s.acc_delta + n.rest * delta * delta
        return p - n.lr * delta
