"""Limited-memory BFGS, as `torch.optim.LBFGS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..autograd import enable_grad, no_grad
from ..autograd.multi_tensor import MultiTensor
from ..engine.kernel import Kernel, kernels
from ..engine.trace import state as trace_state
from ..tensor.tensor import Tensor, from_host, value_of, wrap
from ._line_search import Point, strong_wolfe
from ._rule import check_lr
from ._update import number, zeros_like
from .optimizer import Optimizer, ParamsT

__all__ = ["LBFGS"]

_LEAST_CURVATURE = 1e-10  # what a pair of changes must show to be remembered


class LBFGS(Optimizer):
    """L-BFGS: a quasi-Newton method that remembers the last changes of parameters and gradient.

    One `step` makes up to `max_iter` iterations and evaluates the closure in each: what it decides
    on has to be read from the device, so an iteration costs a few synchronisations.

    Args:
        params: Tensors or `(name, Tensor)` pairs: one group only.
        lr: length of a step, a number or a one-element Tensor.
        max_iter: iterations in one `step`.
        max_eval: evaluations of the closure in one `step`; None for 5/4 of `max_iter`.
        tolerance_grad: done when no element of the gradient is larger.
        tolerance_change: done when parameters or loss change less.
        history_size: how many changes are remembered.
        line_search_fn: None, or "strong_wolfe".

    Raises:
        ValueError: a value out of range, several groups.
        RuntimeError: on `step()`: an unknown line search.

    Source: torch.optim.LBFGS; Nocedal and Wright, Numerical Optimization, algorithms 7.4, 3.5, 3.6.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_lr(lr)
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    @no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Iterate.

        Args:
            closure: computes the loss anew, with gradients, and returns it.

        Returns:
            The loss before the first iteration.
        """
        (group,) = self.param_groups
        lr, tolerance = number(group["lr"]), group["tolerance_change"]
        state = self.state[group["params"][0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        def evaluate() -> Point:
            with enable_grad():
                loss = closure()
            return Point(loss, float(loss), self._flat_grad())

        point = evaluate()
        first = point.result
        evaluations = 1
        state["func_evals"] += 1
        if float(point.grad.abs().max()) <= group["tolerance_grad"]:
            return first
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                direction = -point.grad
                state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
                t = min(1.0, 1.0 / float(point.grad.abs().sum())) * lr
            else:
                self._remember(state, point.grad, group["history_size"])
                direction = _direction(state, point.grad, group["history_size"])
                t = lr
            slope = float(point.grad.dot(direction))
            before = point.loss
            state.update(d=direction, t=t, prev_flat_grad=point.grad, prev_loss=before)
            if slope > -tolerance:
                break
            calls = 0
            if group["line_search_fn"] is not None:
                if group["line_search_fn"] != "strong_wolfe":
                    raise RuntimeError("only 'strong_wolfe' is supported")
                point, t, calls = self._search(
                    evaluate, point, direction, slope, t, group["max_eval"] - evaluations
                )
                state["t"] = t
                self._move(direction, t)
            else:
                self._move(direction, t)
                if iteration != group["max_iter"]:
                    point = evaluate()
                    calls = 1
            evaluations += calls
            state["func_evals"] += calls
            if iteration == group["max_iter"] or evaluations >= group["max_eval"]:
                break
            if float(point.grad.abs().max()) <= group["tolerance_grad"]:
                break
            if float(direction.abs().max()) * abs(t) <= tolerance:
                break
            if abs(point.loss - before) < tolerance:
                break
        return first

    def _flat_grad(self) -> Tensor:
        """All gradients in one vector, complex ones as pairs of real numbers."""
        grads = [
            zeros_like(param) if param._grad is None else param._grad
            for param in self.param_groups[0]["params"]
        ]
        return _recorded("lbfgs_gather", _gather, grads)[0]

    def _move(self, direction: Tensor, t: float) -> None:
        """Add `t` times the direction to the parameters."""
        _add(params=self.param_groups[0]["params"], direction=[direction], t=t)

    def _search(
        self,
        evaluate: Callable[[], Point],
        point: Point,
        direction: Tensor,
        slope: float,
        t: float,
        most: int,
    ) -> tuple[Point, float, int]:
        params = self.param_groups[0]["params"]
        start = [param.clone() for param in params]

        def at(t: float) -> Point:
            self._move(direction, t)
            found = evaluate()
            _restore(params=params, start=start)
            found.slope = float(found.grad.dot(direction))
            return found

        point.slope = slope
        return strong_wolfe(at, point, t, float(direction.abs().max()), most)

    def _remember(self, state: dict[str, Any], grad: Tensor, most: int) -> None:
        """Keep the last changes of gradient and parameters, if they show positive curvature."""
        y, s = grad - state["prev_flat_grad"], state["d"] * state["t"]
        ys = y.dot(s)
        if float(ys) > _LEAST_CURVATURE:
            for name, new in (("old_dirs", y), ("old_stps", s), ("ro", 1.0 / ys)):
                kept = state[name]
                if len(kept) == most:
                    kept.pop(0)
                kept.append(new)
            state["H_diag"] = ys / y.dot(y)


def _recorded(name: str, fn: Callable[..., tuple], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Record a pure function of arrays, without gradient."""
    values = [value_of(tensor) for tensor in tensors]
    avals = [jax.ShapeDtypeStruct(v.kind.shape, v.kind.dtype.np) for v in values]
    key = (fn, tuple((a.shape, a.dtype) for a in avals))
    kernel = kernels.get(key, lambda: Kernel(name, key, fn, avals))
    return [wrap(value) for value in trace_state.trace.record(kernel, values, grad=False)]


def _direction(state: dict[str, Any], grad: Tensor, most: int) -> Tensor:
    """The estimated inverse Hessian times the negative gradient.

    The history is filled up with zeros, which change nothing, to a power of four, so that few
    programs exist.
    """
    known, size = len(state["ro"]), min(4, most)
    while size < known:
        size = min(4 * size, most)
    scale = state["H_diag"]
    if not isinstance(scale, Tensor):
        scale = _constant(grad, scale, ())
    changes = [
        tensor
        for name, shape in (("old_dirs", grad.shape), ("old_stps", grad.shape), ("ro", ()))
        for tensor in (*(_constant(grad, 0, shape) for _ in range(size - known)), *state[name])
    ]
    return _recorded("lbfgs_direction", _two_loops, [grad, scale, *changes])[0]


def _constant(like: Tensor, value: float, shape: Sequence[int]) -> Tensor:
    return from_host(np.full(shape, value, like.dtype.np), like.device)


def _two_loops(grad: Any, scale: Any, *changes: Any) -> tuple:
    size = len(changes) // 3
    y, s, ro = (jnp.stack(changes[k * size : (k + 1) * size]) for k in range(3))

    def back(q: Any, one: tuple) -> tuple:
        y, s, ro = one
        weight = jnp.vdot(s, q) * ro
        return q - weight * y, weight

    def forth(r: Any, one: tuple) -> tuple:
        y, s, ro, weight = one
        return r + s * (weight - jnp.vdot(y, r) * ro), None

    q, weights = jax.lax.scan(back, -grad, (y, s, ro), reverse=True)
    return (jax.lax.scan(forth, q * scale, (y, s, ro, weights))[0],)


def _gather(*grads: Any) -> tuple:
    parts = [jnp.stack((g.real, g.imag), -1) if jnp.iscomplexobj(g) else g for g in grads]
    return (jnp.concatenate([part.ravel() for part in parts]),)


def _add_all(*, params: Sequence[Any], direction: Sequence[Any], t: Any) -> tuple:
    (direction,) = direction
    moved, start = [], 0
    for param in params:
        pair = jnp.iscomplexobj(param)
        size = param.size * (1 + pair)
        part = direction[start : start + size] * t.astype(direction.dtype)
        if pair:
            part = jax.lax.complex(part[::2], part[1::2])
        moved.append(param + part.reshape(param.shape).astype(param.dtype))
        start += size
    return (moved,)


def _restored(*, params: Sequence[Any], start: Sequence[Any]) -> tuple:
    return (list(start),)


_add = MultiTensor(
    _add_all, writes=("params",), reads=("direction",), numbers=("t",), name="lbfgs_move"
)
_restore = MultiTensor(_restored, writes=("params",), reads=("start",), name="lbfgs_restore")
