"""Adagrad, as `torch.optim.Adagrad`."""

from typing import Any

import jax.numpy as jnp

from ..tensor.tensor import Tensor
from ._rule import RuleOptimizer, check_lr, check_not_negative, full_like
from ._update import step_count
from .optimizer import ParamsT, check_fused

__all__ = ["Adagrad"]


class Adagrad(RuleOptimizer):
    """Adagrad: steps divided by the root of the sum of all squared gradients.

    With g the gradient (negated if `maximize`) plus `weight_decay` times the parameter, t the
    parameter's count of updates:

        sum += g²
        parameter -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(sum) + eps)

    Args:
        params: Tensors, `(name, Tensor)` pairs, or dicts defining parameter groups.
        lr: learning rate, a number or a one-element Tensor.
        lr_decay: how fast it falls.
        weight_decay: L2 penalty.
        initial_accumulator_value: what the sums start from.
        eps: added to the denominator.
        foreach, fused: accepted for compatibility: all parameters of a group are always updated by
            one fused operation. With `fused`, a `GradScaler` leaves dividing gradients to `step()`.
        maximize: ascend instead of descend.
        differentiable: record the update, of parameters that are no leaves, for backward.

    Raises:
        ValueError, RuntimeError: a value out of range, or flags that contradict each other.

    Source: torch.optim.Adagrad; Duchi et al., https://jmlr.org/papers/v12/duchi11a.html.
    """

    _state = ("sum",)
    _numbers = ("lr", "lr_decay", "weight_decay", "eps")
    _added = {"foreach": None, "maximize": False, "differentiable": False, "fused": None}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_not_negative(
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
        )
        check_not_negative(epsilon=eps)
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        self._set_fused(fused, foreach, differentiable)
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param] = self._begin(group, param)

    def _begin(self, group: dict[str, Any], param: Tensor) -> dict[str, Any]:
        start = self.defaults["initial_accumulator_value"]
        return {"step": step_count(0.0, group["fused"]), "sum": full_like(param, start)}

    def _check(self, group: dict[str, Any], param: Tensor) -> None:
        if group["fused"]:
            check_fused(param)

    @staticmethod
    def _scalars(n: Any) -> None:
        n.rate = n.lr / (1 + (n.step - 1) * n.lr_decay)

    @staticmethod
    def _rule(p: Any, g: Any, s: Any, n: Any, f: Any) -> Any:
        if f.decayed:
            g = g + n.weight_decay * p
        s.sum = s.sum + g * g
        return p - n.rate * g / (jnp.sqrt(s.sum) + n.eps)
