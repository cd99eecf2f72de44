"""Averaged stochastic gradient descent, as `torch.optim.ASGD`."""

from typing import Any

import jax.numpy as jnp

from ..tensor.tensor import Tensor
from ._rule import RuleOptimizer, check_lr, check_not_negative, scalar
from ._update import number, zeros_like
from .optimizer import ParamsT

__all__ = ["ASGD"]


class ASGD(RuleOptimizer):
    """Stochastic gradient descent that keeps an average of the parameters (state "ax").

    With g the gradient (negated if `maximize`) plus `weight_decay` times the parameter, t the
    parameter's count of updates; eta is lr and mu is 1 at the first:

        parameter = (1 - lambd * eta) * parameter - eta * g
        ax += mu * (parameter - ax)
        eta = lr / (1 + lambd * lr * t)^alpha
        mu = 1 / max(1, t - t0)

    Args:
        params: Tensors, `(name, Tensor)` pairs, or dicts defining parameter groups.
        lr: learning rate, a number or a one-element Tensor.
        lambd: decay.
        alpha: power of the rate's fall.
        t0: the update at which averaging starts.
        weight_decay: L2 penalty.
        foreach, capturable: accepted for compatibility: all parameters of a group are always
            updated by one fused operation.
        maximize: ascend instead of descend.
        differentiable: record the update, of parameters that are no leaves, for backward.

    Raises:
        ValueError: a value out of range.

    Source: torch.optim.ASGD; Polyak and Juditsky, "Acceleration of stochastic approximation by
    averaging", 1992.
    """

    _state = ("eta", "mu", "ax")
    _numbers = ("lr", "lambd", "alpha", "t0", "weight_decay")

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative(weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _begin(self, group: dict[str, Any], param: Tensor) -> dict[str, Any]:
        eta = scalar(number(group["lr"]))
        return {"step": scalar(0.0), "eta": eta, "mu": scalar(1.0), "ax": zeros_like(param)}

    @staticmethod
    def _scalars(n: Any) -> None:
        n.next_eta = n.lr / (1 + n.lambd * n.lr * n.step) ** n.alpha
        n.next_mu = 1 / jnp.maximum(1.0, n.step - n.t0)

    @staticmethod
    def _rule(p: Any, g: Any, s: Any, n: Any, f: Any) -> Any:
        if f.decayed:
            g = g + n.weight_decay * p
        p = p * (1 - n.lambd * s.eta) - s.eta * g
        s.ax = jnp.where(s.mu == 1, p, s.ax + (p - s.ax) * s.mu)
        s.eta, s.mu = n.next_eta, n.next_mu
        return p
