"""Stochastic gradient descent, with momentum, as `torch.optim.SGD`."""

from functools import partial
from typing import Any

import jax
import numpy as np

from ..autograd import enable_grad
from ..autograd.multi_tensor import MultiTensor
from ..tensor.tensor import Tensor, from_host
from ._grouped import GroupedOptimizer
from ._plan import Prepared
from ._update import add, computing_dtype, number, numbers_for, zeros_like
from .optimizer import ParamsT, _to_scalar, check_fused

__all__ = ["SGD"]


class SGD(GroupedOptimizer):
    """Stochastic gradient descent, optionally with momentum.

    With g the gradient (negated if `maximize`) plus `weight_decay` times the parameter, and b the
    momentum buffer (g itself at a parameter's first update, not dampened):

        b = momentum * b + (1 - dampening) * g
        parameter -= lr * (g + momentum * b if nesterov else b)

    Args:
        params: Tensors, `(name, Tensor)` pairs, or dicts defining parameter groups.
        lr: learning rate, a number or a one-element Tensor.
        momentum: momentum factor; 0 keeps no buffers.
        dampening: dampening of the gradient that enters the buffer.
        weight_decay: L2 penalty.
        nesterov: Nesterov momentum.
        maximize: ascend instead of descend.
        foreach, fused: accepted for compatibility: all parameters of a group are always updated by
            one fused operation. With `fused`, a `GradScaler` leaves dividing gradients to `step()`.
        differentiable: record the update, of parameters that are no leaves, for backward: then one
            operation after another, and `lr` and `weight_decay` may be Tensors that want gradients.

    Raises:
        ValueError, RuntimeError: a value out of range, or flags that contradict each other.

    Source: torch.optim.SGD; Sutskever et al., "On the importance of initialization and momentum in
    deep learning", 2013.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if lr < 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if momentum < 0.0:
            raise ValueError(f"Invalid momentum value: {momentum}")
        if weight_decay < 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        self._set_fused(fused, foreach, differentiable)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("nesterov", False)
            group.setdefault("maximize", False)
            group.setdefault("foreach", None)
            group.setdefault("differentiable", False)
            group.setdefault("fused", False)

    def _update(self, group: dict[str, Any], candidates: list[Tensor]) -> None:
        params = [param for param in candidates if param._grad is not None]
        if not params:
            return
        if group["fused"]:
            for param in params:
                check_fused(param)
        self._apply(params, lambda: self._prepare(group, params))

    def _prepare(self, group: dict[str, Any], params: list[Tensor]) -> Prepared:
        momentum = number(group["momentum"])
        decay = number(group["weight_decay"])
        keep = 1 - number(group["dampening"])
        update = _momentum if momentum != 0 else _plain
        plan = self._plan(group, params, _BUFFER if momentum != 0 else (), _begin)
        extra = []
        if plan.begun is not None and keep != 1:
            # A first gradient enters undampened.
            new = [bool(begun) for _, begun in plan.begun]
            if not all(new):
                update = _momentum_mixed
                extra = [[from_host(np.where(new, 1.0, keep))]]
            keep = 1.0
        return Prepared(
            update,
            plan,
            extra,
            (-number(group["lr"]), momentum, keep, decay),
            (decay != 0, bool(group["nesterov"]), bool(group["maximize"])),
        )

    @enable_grad()
    def _update_differentiably(self, group: dict[str, Any], candidates: list[Tensor]) -> None:
        momentum = group["momentum"]
        for param in candidates:
            grad = param.grad
            if grad is None:
                continue
            # Clones of all that is overwritten below: backward may need what it was.
            old = param.clone()
            if group["maximize"]:
                grad = -grad
            if group["weight_decay"] != 0:
                grad = grad + old * group["weight_decay"]
            if momentum != 0:
                state = self.state[param]
                buffer = state.get("momentum_buffer")
                if buffer is None:
                    value = grad.detach()
                    state["momentum_buffer"] = value.clone()
                else:
                    value = buffer.clone() * momentum + grad * (1 - group["dampening"])
                    buffer.copy_(value)
                grad = grad + value * momentum if group["nesterov"] else value
            param.copy_(old - grad * _to_scalar(group["lr"]))


_BUFFER = ("momentum_buffer",)


def _begin(param: Tensor) -> dict[str, Any]:
    """The state of a parameter that was never updated."""
    return {"momentum_buffer": zeros_like(param)}


@partial(jax.jit, static_argnames=("decayed", "nesterov", "maximize"))
def _sgd(param, grad, buffer, numbers, keep, *, decayed, nesterov, maximize):
    """One parameter's update, in PyTorch's order of operations."""
    if maximize:
        grad = -grad
    if decayed:
        grad = add(grad, param, numbers["decay"])
    if buffer is not None:
        momentum = numbers["momentum"]
        dtype = buffer.dtype
        buffer = (buffer.astype(computing_dtype(dtype)) * momentum).astype(dtype)
        buffer = add(buffer, grad, keep)
        grad = add(grad, buffer, momentum) if nesterov else buffer
    return add(param, grad, numbers["negative_lr"]), buffer


def _sgd_all(*, params, grads, buffers=None, keeps=None, decayed, nesterov, maximize, **numbers):
    rounded = {dtype: numbers_for(dtype, numbers) for dtype in {param.dtype for param in params}}
    results = []
    for i, param in enumerate(params):
        ours = rounded[param.dtype]
        keep = ours["keep"] if keeps is None else keeps[0][i].astype(ours["keep"].dtype)
        buffer = None if buffers is None else buffers[i]
        results.append(
            _sgd(
                param,
                grads[i],
                buffer,
                ours,
                keep,
                decayed=decayed,
                nesterov=nesterov,
                maximize=maximize,
            )
        )
    new_params, new_buffers = zip(*results)
    return (list(new_params),) if buffers is None else (list(new_params), list(new_buffers))


_multi_tensor = partial(
    MultiTensor,
    _sgd_all,
    numbers=("negative_lr", "momentum", "keep", "decay"),
    statics=("decayed", "nesterov", "maximize"),
    name="sgd",
)
_plain = _multi_tensor(writes=("params",), reads=("grads",))
_momentum = _multi_tensor(writes=("params", "buffers"), reads=("grads",))
_momentum_mixed = _multi_tensor(writes=("params", "buffers"), reads=("grads", "keeps"))
