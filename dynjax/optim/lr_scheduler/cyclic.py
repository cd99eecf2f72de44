"""The rate up and down a triangle again and again, as `torch.optim.lr_scheduler.CyclicLR`."""

import math
import types
from collections.abc import Callable
from typing import Any, Literal

from ..optimizer import Optimizer
from .base import LRScheduler, Rates, per_group, require_optimizer, set_group_value

__all__ = ["CyclicLR"]

_SCALES: dict[str, Callable[[float, float], float]] = {
    "triangular": lambda x, gamma: 1.0,
    "triangular2": lambda x, gamma: 1 / (2.0 ** (x - 1)),
    "exp_range": lambda x, gamma: gamma**x,
}


class CyclicLR(LRScheduler):
    """The rate linearly from `base_lr` up to `max_lr` and back, again and again.

    The momentum goes the other way, if `cycle_momentum`. To be stepped after every batch.

    Args:
        optimizer, last_epoch: as `LRScheduler`.
        base_lr, max_lr: the ends, one for all groups or one for each.
        step_size_up, step_size_down: batches on the way up and down; the same if None.
        mode: how heights change: "triangular" (not), "triangular2" (halved every cycle),
            "exp_range" (times gamma^batch).
        gamma: for "exp_range".
        scale_fn, scale_mode: a function of one's own instead of `mode`, of the "cycle" (from 1) or
            of the number of "iterations".
        cycle_momentum: whether momentum, or beta1, is set too.
        base_momentum, max_momentum: its ends, one for all groups or one for each.

    Raises:
        ValueError: an unknown mode, an optimizer without momentum.

    Source: Smith, https://arxiv.org/abs/1506.01186.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float = 0.8,
        max_momentum: float = 0.9,
        last_epoch: int = -1,
    ) -> None:
        require_optimizer(optimizer)
        self.optimizer = optimizer
        groups = optimizer.param_groups
        base_lrs = per_group("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            for lr, group in zip(base_lrs, groups, strict=True):
                set_group_value(group, "lr", lr)
        self.max_lrs = per_group("max_lr", optimizer, max_lr)
        up = float(step_size_up)
        self.total_size = up + (up if step_size_down is None else float(step_size_down))
        self.step_ratio = up / self.total_size
        if mode not in _SCALES and scale_fn is None:
            raise ValueError("mode is invalid and scale_fn is None")
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = "cycle" if mode != "exp_range" else "iterations"
        if scale_fn is not None:
            self.scale_mode = scale_mode
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
                raise ValueError(
                    "optimizer must support momentum or beta1 with `cycle_momentum` option enabled"
                )
            self.use_beta1 = "betas" in optimizer.defaults
            self.base_momentums = per_group("base_momentum", optimizer, base_momentum)
            self.max_momentums = per_group("max_momentum", optimizer, max_momentum)
            if last_epoch == -1:
                self._set_momentums(self.max_momentums)
                for base, most, group in zip(
                    self.base_momentums, self.max_momentums, groups, strict=True
                ):
                    group["max_momentum"] = most
                    group["base_momentum"] = base
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """The factor of a cycle's height, of its number or that of the batch."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        return _SCALES[self.mode](x, self.gamma)

    def get_lr(self) -> Rates:
        """The rates for batch `last_epoch`, one per group; sets the momentum too."""
        self._warn_if_called_by_user()
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        up = x <= self.step_ratio
        share = x / self.step_ratio if up else (x - 1) / (self.step_ratio - 1)
        factor = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            ends = zip(self.base_momentums, self.max_momentums, strict=True)
            self._set_momentums([most - (most - base) * share * factor for base, most in ends])
        ends = zip(self.base_lrs, self.max_lrs, strict=True)
        return [base + (most - base) * share * factor for base, most in ends]

    def _set_momentums(self, momentums: list[float]) -> None:
        for momentum, group in zip(momentums, self.optimizer.param_groups, strict=True):
            if self.use_beta1:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum

    def state_dict(self) -> dict[str, Any]:
        """All attributes but the optimizer; of `scale_fn` the attributes, if it is an object."""
        state = super().state_dict()
        custom = state.pop("_scale_fn_custom")
        keeps = custom is not None and not isinstance(custom, types.FunctionType)
        state["_scale_fn_custom"] = custom.__dict__.copy() if keeps else None
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict()` gave."""
        state = dict(state_dict)
        custom = state.pop("_scale_fn_custom")
        super().load_state_dict(state)
        if custom is not None:
            self._scale_fn_custom.__dict__.update(custom)
