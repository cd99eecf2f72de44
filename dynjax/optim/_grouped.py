"""Optimizers whose step updates one group after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..autograd import enable_grad
from ..tensor.tensor import Tensor
from ._scaling import admitted
from .optimizer import Optimizer

__all__ = ["GroupedOptimizer"]


class GroupedOptimizer(Optimizer):
    """Base of the optimizers that update the parameters of a group together."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient; the arguments are `Optimizer.step`'s."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            differentiable = group.get("differentiable")
            update = self._update_differentiably if differentiable else self._update
            for params in self._rounds(group):
                update(group, params)
        return loss

    def _update(self, group: dict[str, Any], candidates: list[Tensor]) -> None:
        """Update those of a group's parameters, all different, that have a gradient."""
        raise NotImplementedError

    def _update_differentiably(self, group: dict[str, Any], candidates: list[Tensor]) -> None:
        """The same, recorded for backward."""
        raise NotImplementedError

    def _rounds(self, group: dict[str, Any]) -> Iterable[list[Tensor]]:
        """The parameters to update, those that appear twice (a warning says so) in later rounds."""
        params = group["params"]
        if group.get("fused") and not admitted(self, params):
            return ()
        if not self._has_duplicates:
            return (params,)
        rounds: list[dict[Tensor, None]] = []
        for param in params:
            for members in rounds:
                if param not in members:
                    members[param] = None
                    break
            else:
                rounds.append({param: None})
        return [list(members) for members in rounds]
