"""Muon: momentum whose updates are made orthogonal, as `torch.optim.Muon`."""

import math
from typing import Any

import jax.numpy as jnp

from ..tensor.tensor import Tensor
from ._rule import RuleOptimizer, check_lr, check_not_negative
from ._update import zeros_like
from .optimizer import ParamsT

__all__ = ["Muon"]


class Muon(RuleOptimizer):
    """Muon, for the matrices of hidden layers: steps along the nearest orthogonal matrix.

    With g the gradient:

        b += (1 - momentum) * (g - b)
        u = orthogonalized(g + momentum * (b - g) if nesterov else b)
        parameter *= 1 - lr * weight_decay
        parameter -= lr * ratio(shape) * u

    Orthogonalized by `ns_steps` iterations x = a*x + (b*xx' + c*(xx')²)x, in bfloat16.

    Args:
        params: matrices, `(name, Tensor)` pairs, or dicts defining parameter groups.
        lr: learning rate, a number or a one-element Tensor.
        weight_decay: the decay's rate.
        momentum: momentum factor.
        nesterov: Nesterov momentum.
        ns_coefficients: a, b and c.
        eps: the least norm that a matrix is divided by.
        ns_steps: how many iterations, less than 100.
        adjust_lr_fn: the ratio: None or "original" for sqrt(max(1, rows / columns)),
            "match_rms_adamw" for 0.2 * sqrt(max(rows, columns)).

    Raises:
        ValueError: a value out of range, a parameter that is no matrix; on `step()`: too many
            iterations, or not three coefficients.
        RuntimeError: on `step()`: a complex parameter.

    Source: torch.optim.Muon; Jordan, https://kellerjordan.github.io/posts/muon/; the second ratio:
    Liu et al., https://arxiv.org/abs/2502.16982.
    """

    _state = ("momentum_buffer",)
    _numbers = ("lr", "weight_decay", "momentum", "eps")
    _flags = ("nesterov", "ns_coefficients", "ns_steps", "adjust_lr_fn")
    _added = {}

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        check_lr(lr, "Learning rate should be >= 0 but is: {}")
        check_not_negative("{} should be >= 0 but is: {}", momentum=momentum)
        check_not_negative("weight decay should be >= 0 but is: {1}", weight_decay=weight_decay)
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for param in group["params"]:
                if param.ndim != 2:
                    raise ValueError(
                        "Muon only supports 2D parameters whereas we found a parameter with size: "
                        f"{param.size()}"
                    )

    def _begin(self, group: dict[str, Any], param: Tensor) -> dict[str, Any]:
        return {"momentum_buffer": zeros_like(param)}

    def _check(self, group: dict[str, Any], param: Tensor) -> None:
        if param.is_complex():
            raise RuntimeError("Muon does not support complex parameters")
        if group["ns_steps"] >= 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")
        if len(group["ns_coefficients"]) != 3:
            raise ValueError("Coefficients must be a tuple of exactly 3 values")

    def _options(self, group: dict[str, Any]) -> tuple[list[Any], tuple]:
        return super()._options({**group, "ns_coefficients": tuple(group["ns_coefficients"])})

    @staticmethod
    def _scalars(n: Any) -> None:
        n.weight = 1 - n.momentum
        n.decay = 1 - n.lr * n.weight_decay

    @staticmethod
    def _rule(p: Any, g: Any, s: Any, n: Any, f: Any) -> Any:
        s.momentum_buffer = buffer = s.momentum_buffer + n.weight * (g - s.momentum_buffer)
        update = g + n.momentum * (buffer - g) if f.nesterov else buffer
        update = _orthogonalized(update, f.ns_coefficients, f.ns_steps, n.eps)
        rows, columns = p.shape
        if f.adjust_lr_fn == "match_rms_adamw":
            ratio = 0.2 * math.sqrt(max(rows, columns))
        else:
            ratio = math.sqrt(max(1, rows / columns))
        return p * n.decay - n.lr * ratio * update.astype(p.dtype)


def _orthogonalized(x: Any, coefficients: tuple[float, ...], steps: int, eps: Any) -> Any:
    """A matrix with about the singular vectors of `x`, and singular values near 1: bfloat16."""
    a, b, c = coefficients
    tall = x.shape[0] > x.shape[1]
    x = x.astype(jnp.bfloat16)
    x = x.T if tall else x
    norm = jnp.linalg.norm(x.astype(jnp.float32)).astype(x.dtype)
    x = x / jnp.maximum(norm, eps.astype(x.dtype))
    for _ in range(steps):
        gram = _dot(x, x.T).astype(x.dtype)
        update = (b * gram.astype(jnp.float32) + c * _dot(gram, gram)).astype(x.dtype)
        x = (a * x.astype(jnp.float32) + _dot(update, x)).astype(x.dtype)
    return x.T if tall else x


def _dot(x: Any, y: Any) -> Any:
    return jnp.matmul(x, y, preferred_element_type=jnp.float32)
