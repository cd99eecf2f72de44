"""Adam, with its variants AMSGrad and decoupled weight decay, as `torch.optim.Adam`."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..autograd import enable_grad
from ..autograd.multi_tensor import MultiTensor
from ..tensor.tensor import Tensor, from_host
from ._grouped import GroupedOptimizer
from ._plan import Prepared, Steps
from ._update import add, computing_dtype, number, numbers_for, step_count, zeros_like
from .optimizer import ParamsT, _to_scalar, check_fused

__all__ = ["Adam"]

_MOMENTS = {False: ("exp_avg", "exp_avg_sq"), True: ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")}


class Adam(GroupedOptimizer):
    """Adam: steps scaled by running averages of the gradient and of its square.

    With g the gradient (negated if `maximize`), t the parameter's count of updates:

        g += weight_decay * parameter       or, if decoupled:  parameter *= 1 - lr * weight_decay
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g²
        parameter -= lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)

    Args:
        params: Tensors, `(name, Tensor)` pairs, or dicts defining parameter groups.
        lr: learning rate, a number or a one-element Tensor.
        betas: beta1 and beta2, both floats or both one-element Tensors.
        eps: added to the denominator.
        weight_decay: L2 penalty, or the decay's rate if `decoupled_weight_decay`.
        amsgrad: divide by the largest v so far.
        maximize: ascend instead of descend.
        foreach, fused, capturable: accepted for compatibility, on every device: all parameters of
            a group are always updated by one fused operation. With `fused`, a `GradScaler` leaves
            dividing gradients to `step()`.
        differentiable: record the update, of parameters that are no leaves, for backward: then one
            operation after another, and `lr`, `betas` and `weight_decay` may be Tensors that want
            gradients. Not for complex parameters.
        decoupled_weight_decay: decay the parameter itself, as AdamW.

    Raises:
        ValueError, RuntimeError: a value out of range, or flags that contradict each other.
        NotImplementedError: on `step()`: a complex parameter and `differentiable`.

    Source: torch.optim.Adam; Kingma and Ba, https://arxiv.org/abs/1412.6980; AMSGrad: Reddi et al.,
    https://openreview.net/forum?id=ryQu7f-RZ.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        if isinstance(lr, Tensor):
            if foreach and not capturable:
                raise ValueError(
                    "lr as a Tensor is not supported for capturable=False and foreach=True"
                )
            if lr.numel() != 1:
                raise ValueError("Tensor lr must be 1-element")
        if not 0.0 <= lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 <= eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
        for i in range(2):
            if not 0.0 <= betas[i] < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {betas[i]}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        tensors = [isinstance(betas[i], Tensor) for i in range(2)]
        floats = [isinstance(betas[i], float) for i in range(2)]
        if not (all(tensors) or all(floats)):
            raise ValueError("betas must be either both floats or both Tensors")
        for i in range(2):
            if tensors[i]:
                if not capturable and foreach:
                    raise ValueError(
                        f"betas[{i}] as a Tensor is not supported "
                        "for capturable=False and foreach=True"
                    )
                if betas[i].numel() != 1:
                    raise ValueError(f"Tensor betas[{i}] must be 1-element")
        defaults = {
            "lr": lr,
            "betas": tuple(map(_to_scalar, betas)),
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)
        self._set_fused(fused, foreach, differentiable)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("amsgrad", False)
            group.setdefault("maximize", False)
            group.setdefault("foreach", None)
            group.setdefault("capturable", False)
            group.setdefault("differentiable", False)
            group.setdefault("decoupled_weight_decay", False)
            fused = group.setdefault("fused", None)
            for param in group["params"]:
                ours = self.state.get(param)
                if ours and not isinstance(ours["step"], Tensor):
                    # Checkpoints of old versions hold the count as a number.
                    ours["step"] = step_count(float(ours["step"]), fused)

    def _begin(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """The state of a parameter that was never updated."""
        if group["fused"]:
            check_fused(param)
        names = _MOMENTS[bool(group["amsgrad"])]
        step = step_count(0.0, group["fused"])
        return {"step": step, **{name: zeros_like(param) for name in names}}

    def _update(self, group: dict[str, Any], candidates: list[Tensor]) -> None:
        if group["foreach"] and isinstance(group["lr"], Tensor) and not group["capturable"]:
            raise RuntimeError(
                "lr as a Tensor is not supported for capturable=False and foreach=True"
            )
        params = [param for param in candidates if param._grad is not None]
        if not params:
            return
        self._apply(params, lambda: self._prepare(group, params))

    def _prepare(self, group: dict[str, Any], params: list[Tensor]) -> Prepared:
        amsgrad = bool(group["amsgrad"])
        plan = self._plan(group, params, _MOMENTS[amsgrad], lambda param: self._begin(param, group))
        counts = plan.steps.advance()
        lr, betas = number(group["lr"]), group["betas"]
        options = (
            lr, number(betas[0]), number(betas[1]), number(group["eps"]),
            number(group["weight_decay"]), group["decoupled_weight_decay"], group["maximize"],
        )  # fmt: skip
        known, prepared = plan.prepared
        if options == known and len(counts) == 1:
            return prepared
        _, beta1, beta2, eps, decay, decoupled, maximize = options
        mixed = len(counts) > 1
        extra = []
        if mixed:
            # In Python floats, as PyTorch does, so that rounding agrees.
            step_sizes = [-(lr / (1 - beta1**count)) for count in counts]
            corrections = [(1 - beta2**count) ** 0.5 for count in counts]
            extra = [[from_host(np.array(step_sizes)), from_host(np.array(corrections))]]
        prepared = Prepared(
            _UPDATES[amsgrad, mixed],
            plan,
            extra,
            (lr, beta1, 1 - beta1, beta2, 1 - beta2, eps, 1 - lr * decay if decoupled else decay),
            (
                ("decoupled" if decoupled else "penalty") if decay != 0 else "",
                1 - beta1 < 0.5,
                bool(maximize),
            ),
        )
        plan.prepared = (None if mixed else options), prepared
        return prepared

    @enable_grad()
    def _update_differentiably(self, group: dict[str, Any], candidates: list[Tensor]) -> None:
        lr = _to_scalar(group["lr"])
        beta1, beta2 = map(_to_scalar, group["betas"])
        decay = group["weight_decay"]
        for param in candidates:
            grad = param.grad
            if grad is None:
                continue
            if param.is_complex():
                raise NotImplementedError(
                    "differentiable=True does not support complex parameters, "
                    f"but got {param.dtype}"
                )
            state = self.state[param]
            if not state:
                state.update(self._begin(param, group))
            steps = Steps([state["step"]])
            (count,) = steps.advance()
            # Clones of all that is overwritten below: backward may need what it was.
            old, m, v = param.clone(), state["exp_avg"].clone(), state["exp_avg_sq"].clone()
            if group["maximize"]:
                grad = -grad
            if decay != 0 and not group["decoupled_weight_decay"]:
                grad = grad + old * decay
            elif decay != 0:
                old = old * (1 - lr * decay)
            m = m + (grad - m) * (1 - beta1)
            v = largest = v * beta2 + grad * grad * (1 - beta2)
            if group["amsgrad"]:
                largest = state["max_exp_avg_sq"].clone().maximum(v)
                state["max_exp_avg_sq"].copy_(largest)
            denominator = largest.sqrt() / (1 - beta2**count) ** 0.5 + group["eps"]
            new = old - lr / (1 - beta1**count) * m / denominator
            state["exp_avg"].copy_(m)
            state["exp_avg_sq"].copy_(v)
            param.copy_(new)
            steps.commit()


@partial(jax.jit, static_argnames=("decayed", "small_weight1", "maximize"))
def _adam(
    param, grad, m, v, v_max, numbers, step_size, correction, *, decayed, small_weight1, maximize
):
    """One parameter's update, in PyTorch's order of operations; v_max is None without AMSGrad."""
    dtype = param.dtype
    wide = computing_dtype(dtype)

    def rounded(function, *args):
        return function(*(x.astype(wide) for x in args)).astype(dtype)

    if maximize:
        grad = -grad
    if decayed == "decoupled":
        param = rounded(lambda p: p * numbers["decay"], param)
    elif decayed:
        grad = add(grad, param, numbers["decay"])
    weight1 = numbers["weight1"]
    if small_weight1:
        m = rounded(lambda m, g: m + weight1 * (g - m), m, grad)
    else:
        m = rounded(lambda m, g: g - (g - m) * (1 - weight1), m, grad)
    v = rounded(lambda v: v * numbers["beta2"], v)
    v = rounded(lambda v, g: v + numbers["weight2"] * g * g, v, grad)
    if v_max is not None:
        v_max = jnp.maximum(v_max, v)
    denominator = rounded(jnp.sqrt, v if v_max is None else v_max)
    denominator = rounded(lambda d: d / correction, denominator)
    denominator = rounded(lambda d: d + numbers["eps"], denominator)
    param = rounded(lambda p, m, d: p + step_size * m / d, param, m, denominator)
    return param, m, v, v_max


def _adam_all(
    *, params, exp_avgs, exp_avg_sqs, grads, counts, max_exp_avg_sqs=None, scales=None, lr, beta1,
    decayed, small_weight1, maximize, **numbers,
):  # fmt: skip
    if scales is None:
        # In float64, as PyTorch, whose Python floats these are.
        counts = [counts[0] + 1]
        numbers["step_size"] = -(lr / (1 - beta1 ** counts[0]))
        numbers["correction"] = jnp.sqrt(1 - numbers["beta2"] ** counts[0])
    rounded = {dtype: numbers_for(dtype, numbers) for dtype in {param.dtype for param in params}}
    v_maxs = max_exp_avg_sqs or [None] * len(params)
    results = []
    for i, (param, grad, *moments) in enumerate(zip(params, grads, exp_avgs, exp_avg_sqs, v_maxs)):
        ours = rounded[param.dtype]
        if scales is None:
            step_size, correction = ours["step_size"], ours["correction"]
        else:
            step_size, correction = (scale[i].astype(ours["beta2"].dtype) for scale in scales)
        one = partial(
            _adam,
            numbers=ours,
            step_size=step_size,
            correction=correction,
            decayed=decayed,
            small_weight1=small_weight1,
            maximize=maximize,
        )
        tensors = (param, grad, *moments)
        if jnp.iscomplexobj(param):
            # A complex parameter is a pair of real ones.
            real = one(*(x if x is None else x.real for x in tensors))
            imag = one(*(x if x is None else x.imag for x in tensors))
            results.append([x if x is None else jax.lax.complex(x, y) for x, y in zip(real, imag)])
        else:
            results.append(one(*tensors))
    columns = [list(column) for column in zip(*results)]
    return (*(columns if max_exp_avg_sqs else columns[:3]), counts)


def _multi_tensor(amsgrad: bool, mixed: bool):
    """The operation on one group; if `mixed`, counts differ and the numbers that depend on them
    are vectors.
    """
    return MultiTensor(
        # A function of its own: one that all shared would be told apart by the lists' sizes only.
        partial(_adam_all),
        writes=("params", "exp_avgs", "exp_avg_sqs") + ("max_exp_avg_sqs",) * amsgrad + ("counts",),
        reads=("grads",) + ("scales",) * mixed,
        numbers=("lr", "beta1", "weight1", "beta2", "weight2", "eps", "decay"),
        statics=("decayed", "small_weight1", "maximize"),
        name="adam",
    )


_UPDATES = {(a, m): _multi_tensor(a, m) for a in (False, True) for m in (False, True)}
