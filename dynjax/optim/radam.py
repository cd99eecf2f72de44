"""RAdam: Adam with a rectified variance, as `torch.optim.RAdam`."""

from typing import Any

import jax.numpy as jnp

from ..tensor.tensor import Tensor
from ._rule import RuleOptimizer, check_betas, check_lr, check_not_negative
from .optimizer import ParamsT

__all__ = ["RAdam"]


class RAdam(RuleOptimizer):
    """Adam that trusts its second moment only as far as its number of samples goes.

    With g the gradient (negated if `maximize`), t the parameter's count of updates,
    R = 2 / (1 - beta2) - 1 and r = R - 2 * t * beta2^t / (1 - beta2^t):

        g += weight_decay * parameter       or, if decoupled:  parameter *= 1 - lr * weight_decay
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g²
        step = lr * m / (1 - beta1^t)
        if r > 5:
            step *= sqrt((r - 4) * (r - 2) * R / ((R - 4) * (R - 2) * r))
            step *= sqrt(1 - beta2^t) / (sqrt(v) + eps)
        parameter -= step

    Args:
        params: Tensors, `(name, Tensor)` pairs, or dicts defining parameter groups.
        lr: learning rate, a number or a one-element Tensor.
        betas: beta1 and beta2.
        eps: added to the denominator.
        weight_decay: L2 penalty, or the decay's rate if `decoupled_weight_decay`.
        decoupled_weight_decay: decay the parameter itself, as AdamW.
        foreach, capturable: accepted for compatibility: all parameters of a group are always
            updated by one fused operation.
        maximize: ascend instead of descend.
        differentiable: record the update, of parameters that are no leaves, for backward.

    Raises:
        ValueError: a value out of range.

    Source: torch.optim.RAdam; Liu et al., https://arxiv.org/abs/1908.03265.
    """

    _state = ("exp_avg", "exp_avg_sq")
    _pairs = {"betas": ("beta1", "beta2")}
    _flags = ("decoupled_weight_decay",)
    _added = {**RuleOptimizer._added, "decoupled_weight_decay": False}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
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
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    @staticmethod
    def _scalars(n: Any) -> None:
        n.decay = 1 - n.lr * n.weight_decay
        n.weight1, n.weight2 = 1 - n.beta1, 1 - n.beta2
        n.correction1 = 1 - n.beta1**n.step
        correction2 = 1 - n.beta2**n.step
        most = 2 / (1 - n.beta2) - 1
        now = most - 2 * n.step * n.beta2**n.step / correction2
        n.rectified = jnp.where(now > 5, 1.0, 0.0)
        now = jnp.where(now > 5, now, 6.0)  # no root of a negative number on the other side
        size = (now - 4) * (now - 2) * most / ((most - 4) * (most - 2) * now)
        n.scale = jnp.sqrt(jnp.maximum(size, 0)) * jnp.sqrt(correction2)

    @staticmethod
    def _rule(p: Any, g: Any, s: Any, n: Any, f: Any) -> Any:
        if f.decayed and f.decoupled_weight_decay:
            p = p * n.decay
        elif f.decayed:
            g = g + n.weight_decay * p
        s.exp_avg = s.exp_avg + n.weight1 * (g - s.exp_avg)
        s.exp_avg_sq = n.beta2 * s.exp_avg_sq + n.weight2 * g * g
        trusted = n.rectified > 0
        # Gradients of both sides of a choice are taken: none may be infinite.
        root = jnp.sqrt(jnp.where(trusted, s.exp_avg_sq, 1.0))
        step = s.exp_avg / n.correction1 * n.lr
        return p - step * jnp.where(trusted, n.scale / (root + n.eps), 1.0)
