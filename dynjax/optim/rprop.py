"""Resilient backpropagation, as `torch.optim.Rprop`."""

from typing import Any

import jax.numpy as jnp

from ..tensor.tensor import Tensor
from ._rule import RuleOptimizer, check_lr, full_like
from ._update import number, step_count, zeros_like
from .optimizer import ParamsT

__all__ = ["Rprop"]


class Rprop(RuleOptimizer):
    """Rprop: every element has a step size of its own, which the gradient's sign alone changes.

    With g the gradient (negated if `maximize`): where it keeps its sign the step grows by the
    second of `etas`; where it changes it, the step shrinks by the first and is not taken, and the
    next is taken whatever the sign.

    Args:
        params: Tensors, `(name, Tensor)` pairs, or dicts defining parameter groups.
        lr: the first step size, a number or a one-element Tensor.
        etas: factors of shrinking and growing.
        step_sizes: the smallest and the largest step.
        foreach, capturable: accepted for compatibility: all parameters of a group are always
            updated by one fused operation.
        maximize: ascend instead of descend.
        differentiable: record the update, of parameters that are no leaves, for backward.

    Raises:
        ValueError: a value out of range.

    Source: torch.optim.Rprop; Riedmiller and Braun, "A direct adaptive method for faster
    backpropagation learning", 1993.
    """

    _state = ("prev", "step_size")
    _numbers = ()
    _pairs = {"etas": ("shrink", "grow"), "step_sizes": ("least", "most")}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _begin(self, group: dict[str, Any], param: Tensor) -> dict[str, Any]:
        size = full_like(param, number(group["lr"]))
        return {"step": step_count(0.0, None), "prev": zeros_like(param), "step_size": size}

    @staticmethod
    def _rule(p: Any, g: Any, s: Any, n: Any, f: Any) -> Any:
        agrees = g * s.prev
        factor = jnp.where(agrees > 0, n.grow, jnp.where(agrees < 0, n.shrink, 1.0))
        s.step_size = jnp.clip(s.step_size * factor, n.least, n.most)
        s.prev = jnp.where(agrees < 0, 0.0, g)
        return p - jnp.sign(s.prev) * s.step_size
