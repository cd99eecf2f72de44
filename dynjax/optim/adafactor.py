"""Adafactor, as `torch.optim.Adafactor`."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from ..tensor.tensor import Tensor, from_host
from ._rule import RuleOptimizer, check_lr, check_not_negative
from ._update import step_count
from .optimizer import ParamsT

__all__ = ["Adafactor"]


class Adafactor(RuleOptimizer):
    """Adafactor: second moments kept as one row and one column for each matrix.

    With g the gradient (negated if `maximize`), t the count of updates, w = t^beta2_decay
    and rms the root of the mean of squares:

        rate = max(eps2, rms(parameter)) * min(lr, 1 / sqrt(t))
        parameter *= 1 - lr * weight_decay
        row += w * (mean of g² over columns - row),  column likewise
        v = row * column / max(mean(row), eps1)         (of vectors, g²'s own running average)
        u = g / sqrt(max(v, eps1²))
        parameter -= rate * u / max(1, rms(u) / d)

    Args:
        params: Tensors, `(name, Tensor)` pairs, or dicts defining parameter groups.
        lr: the largest relative rate, a number or a one-element Tensor.
        beta2_decay: power of the averages' weight.
        eps: eps1, None for the parameter type's resolution, and eps2.
        d: an update whose rms is larger is scaled down to it.
        weight_decay: the decay's rate.
        foreach: accepted for compatibility: all parameters of a group are always updated by one
            fused operation.
        maximize: ascend instead of descend.

    Raises:
        ValueError: a value out of range.
        RuntimeError: on `step()`: a complex parameter.

    Source: torch.optim.Adafactor; Shazeer and Stern, https://arxiv.org/abs/1804.04235.
    """

    _numbers = ("lr", "beta2_decay", "d", "weight_decay")
    _pairs = {"eps": ("eps1", "eps2")}
    _flags = ("eps",)
    _added = {"foreach": None}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        check_lr(lr, "Learning rate should be >= 0 but is: {}")
        if not 0.0 >= beta2_decay:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        text = "{} should be >= 0 but is: {}"
        if eps[0] is not None:
            check_not_negative(text, epsilon1=eps[0])
        check_not_negative(text, epsilon2=eps[1])
        if not 1.0 <= d:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        check_not_negative(text, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        return ("row_var", "col_var") if param.dim() > 1 else ("variance",)

    def _begin(self, group: dict[str, Any], param: Tensor) -> dict[str, Any]:
        def zeros(shape: tuple[int, ...]) -> Tensor:
            return from_host(np.zeros(shape, param.dtype.np), param.device)

        shape = tuple(param.shape)
        if len(shape) < 2:
            state = {"variance": zeros(shape)}
        else:
            column = (*shape[:-2], 1, shape[-1])
            state = {"row_var": zeros((*shape[:-1], 1)), "col_var": zeros(column)}
        return {"step": step_count(0.0, None), **state}

    def _check(self, group: dict[str, Any], param: Tensor) -> None:
        if param.is_complex():
            raise RuntimeError("Adafactor does not support complex parameters")

    def _options(self, group: dict[str, Any]) -> tuple[list[Any], tuple]:
        given = group["eps"][0] is not None
        eps = (group["eps"][0] if given else 0.0, group["eps"][1])
        numbers, (*statics, _) = super()._options({**group, "eps": eps})
        return numbers, (*statics, given)

    @staticmethod
    def _scalars(n: Any) -> None:
        n.weight = n.step**n.beta2_decay
        n.relative = jnp.minimum(n.lr, 1 / jnp.sqrt(n.step))
        n.decay = 1 - n.lr * n.weight_decay

    @staticmethod
    def _rule(p: Any, g: Any, s: Any, n: Any, f: Any) -> Any:
        eps1 = n.eps1 if f.eps else jnp.finfo(f.dtype).eps
        rate = jnp.maximum(n.eps2, _rms(p)) * n.relative
        if f.decayed:
            p = p * n.decay
        square = g * g
        if hasattr(s, "row_var"):
            s.row_var += n.weight * (square.mean(-1, keepdims=True) - s.row_var)
            s.col_var += n.weight * (square.mean(-2, keepdims=True) - s.col_var)
            estimate = s.row_var * s.col_var
            estimate /= jnp.maximum(s.row_var.mean(-2, keepdims=True), eps1)
        else:
            s.variance += n.weight * (square - s.variance)
            estimate = s.variance
        update = g / jnp.sqrt(jnp.maximum(estimate, eps1 * eps1))
        return p - rate * update / jnp.maximum(1.0, _rms(update) / n.d)


def _rms(x: Any) -> Any:
    return jnp.sqrt(jnp.sum(x * x) / x.size)
