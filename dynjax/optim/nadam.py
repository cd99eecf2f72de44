"""NAdam: Adam with Nesterov momentum, as `torch.optim.NAdam`."""

from typing import Any

import jax.numpy as jnp

from ..tensor.tensor import Tensor
from ._rule import RuleOptimizer, check_betas, check_lr, check_not_negative, scalar
from ._update import zeros_like
from .optimizer import ParamsT

__all__ = ["NAdam"]


class NAdam(RuleOptimizer):
    """Adam whose first moment looks one update ahead, with a momentum that warms up.

    With g the gradient (negated if `maximize`), t the parameter's count of updates,
    mu(t) = beta1 * (1 - 0.96^(t * momentum_decay) / 2), and M the product of mu(1) ... mu(t):

        g += weight_decay * parameter       or, if decoupled:  parameter *= 1 - lr * weight_decay
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g²
        ahead = (1 - mu(t)) / (1 - M) * g + mu(t + 1) / (1 - M * mu(t + 1)) * m
        parameter -= lr * ahead / (sqrt(v / (1 - beta2^t)) + eps)

    Args:
        params: Tensors, `(name, Tensor)` pairs, or dicts defining parameter groups.
        lr: learning rate, a number or a one-element Tensor.
        betas: beta1 and beta2.
        eps: added to the denominator.
        weight_decay: L2 penalty, or the decay's rate if `decoupled_weight_decay`.
        momentum_decay: how fast the momentum warms up.
        decoupled_weight_decay: decay the parameter itself, as AdamW.
        foreach, capturable: accepted for compatibility: all parameters of a group are always
            updated by one fused operation.
        maximize: ascend instead of descend.
        differentiable: record the update, of parameters that are no leaves, for backward.

    Raises:
        ValueError: a value out of range.

    Source: torch.optim.NAdam; Dozat, "Incorporating Nesterov momentum into Adam", 2016.
    """

    _state = ("mu_product", "exp_avg", "exp_avg_sq")
    _numbers = ("lr", "eps", "weight_decay", "momentum_decay")
    _pairs = {"betas": ("beta1", "beta2")}
    _flags = ("decoupled_weight_decay",)
    _added = {**RuleOptimizer._added, "decoupled_weight_decay": False}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        check_not_negative(weight_decay=weight_decay, momentum_decay=momentum_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _begin(self, group: dict[str, Any], param: Tensor) -> dict[str, Any]:
        moments = {name: zeros_like(param) for name in ("exp_avg", "exp_avg_sq")}
        return {"step": scalar(0.0), "mu_product": scalar(1.0), **moments}

    @staticmethod
    def _scalars(n: Any) -> None:
        n.decay = 1 - n.lr * n.weight_decay
        n.weight1, n.weight2 = 1 - n.beta1, 1 - n.beta2
        n.correction2 = 1 - n.beta2**n.step
        n.mu = n.beta1 * (1.0 - 0.5 * 0.96 ** (n.step * n.momentum_decay))
        n.next_mu = n.beta1 * (1.0 - 0.5 * 0.96 ** ((n.step + 1) * n.momentum_decay))

    @staticmethod
    def _rule(p: Any, g: Any, s: Any, n: Any, f: Any) -> Any:
        if f.decayed and f.decoupled_weight_decay:
            p = p * n.decay
        elif f.decayed:
            g = g + n.weight_decay * p
        stored = f.stored["mu_product"]
        s.mu_product = (s.mu_product.astype(stored) * n.mu.astype(stored)).astype(n.mu.dtype)
        s.exp_avg = s.exp_avg + n.weight1 * (g - s.exp_avg)
        s.exp_avg_sq = n.beta2 * s.exp_avg_sq + n.weight2 * g * g
        denominator = jnp.sqrt(s.exp_avg_sq / n.correction2) + n.eps
        p = p - n.lr * (1 - n.mu) / (1 - s.mu_product) * g / denominator
        ahead = n.lr * n.next_mu / (1 - s.mu_product * n.next_mu)
        return p - ahead * s.exp_avg / denominator
