"""Adamax: Adam in the infinity norm, as `torch.optim.Adamax`."""

from typing import Any

import jax.numpy as jnp

from ..tensor.tensor import Tensor
from ._rule import RuleOptimizer, check_betas, check_lr, check_not_negative
from .optimizer import ParamsT

__all__ = ["Adamax"]


class Adamax(RuleOptimizer):
    """Adamax: Adam whose scale is the largest recent gradient.

    With g the gradient (negated if `maximize`) plus `weight_decay` times the parameter, t the
    parameter's count of updates:

        m = beta1 * m + (1 - beta1) * g
        u = max(beta2 * u, |g| + eps)
        parameter -= lr / (1 - beta1^t) * m / u

    Args:
        params: Tensors, `(name, Tensor)` pairs, or dicts defining parameter groups.
        lr: learning rate, a number or a one-element Tensor.
        betas: beta1 and beta2.
        eps: added to the gradient's size.
        weight_decay: L2 penalty.
        foreach, capturable: accepted for compatibility: all parameters of a group are always
            updated by one fused operation.
        maximize: ascend instead of descend.
        differentiable: record the update, of parameters that are no leaves, for backward.

    Raises:
        ValueError: a value out of range.

    Source: torch.optim.Adamax; Kingma and Ba, https://arxiv.org/abs/1412.6980.
    """

    _state = ("exp_avg", "exp_inf")
    _pairs = {"betas": ("beta1", "beta2")}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative(epsilon=eps)
        check_betas(betas)
        check_not_negative(weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    @staticmethod
    def _scalars(n: Any) -> None:
        n.weight1 = 1 - n.beta1
        n.rate = n.lr / (1 - n.beta1**n.step)

    @staticmethod
    def _rule(p: Any, g: Any, s: Any, n: Any, f: Any) -> Any:
        if f.decayed:
            g = g + n.weight_decay * p
        s.exp_avg = s.exp_avg + n.weight1 * (g - s.exp_avg)
        s.exp_inf = jnp.maximum(n.beta2 * s.exp_inf, jnp.abs(g) + n.eps)
        return p - n.rate * s.exp_avg / s.exp_inf
