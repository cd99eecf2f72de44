"""Optimizers that are a rule for one parameter: what all of them share, so that each is its rule.

A subclass names its numbers and state tensors and gives two pure JAX functions: `_scalars`, of the
numbers, and `_rule`, of one parameter. All parameters of a group are then one operation, whose
numbers are run-time inputs; complex parameters, missing gradients, counts that differ, `maximize`,
weight decay and `differentiable` are handled here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..autograd import enable_grad
from ..autograd.dispatch import check_inplace, unwatched
from ..autograd.multi_tensor import MultiTensor
from ..core.dtypes import get_default_dtype
from ..engine.kernel import Kernel, kernels
from ..engine.trace import state as trace_state
from ..tensor.storage import write
from ..tensor.tensor import Tensor, from_host, value_of
from ._grouped import GroupedOptimizer
from ._plan import Prepared, Steps
from ._update import computing_dtype, number, step_count, zeros_like

__all__ = ["RuleOptimizer", "check_betas", "check_lr", "check_not_negative", "full_like", "scalar"]


def check_lr(lr: float | Tensor, text: str = "Invalid learning rate: {}") -> None:
    """Raise PyTorch's error for a learning rate that is negative or has several elements."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    if not 0.0 <= lr:
        raise ValueError(text.format(lr))


def check_not_negative(text: str = "Invalid {} value: {}", **options: float) -> None:
    """Raise PyTorch's error for the first of these options that is negative."""
    for name, value in options.items():
        if not 0.0 <= value:
            raise ValueError(text.format(name, value))


def check_betas(betas: tuple[float, float]) -> None:
    """Raise PyTorch's error for a beta outside [0, 1)."""
    for i in range(2):
        if not 0.0 <= betas[i] < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {betas[i]}")


def full_like(param: Tensor, value: float) -> Tensor:
    """A state tensor of one value (of both parts, if complex), as a constant from the host."""
    if param.is_complex():
        value = complex(value, value)
    return from_host(np.full(param.shape, value, param.dtype.np), param.device)


def scalar(value: float) -> Tensor:
    """A 0-dim state tensor, of the type PyTorch keeps them in."""
    wide = get_default_dtype().np == np.float64
    return from_host(np.array(value, np.float64 if wide else np.float32))


class RuleOptimizer(GroupedOptimizer):
    """Base of the optimizers that are a rule for one parameter.

    Attributes, for a subclass to set:
        _state: the state tensors that an update writes, without "step".
        _numbers: options that are run-time numbers.
        _pairs: options that are two numbers, with the names of these.
        _flags: options that are part of what is compiled.
        _added: options that checkpoints of old versions may lack.
    """

    _state: tuple[str, ...] = ()
    _numbers: tuple[str, ...] = ("lr", "eps", "weight_decay")
    _pairs: dict[str, tuple[str, str]] = {}
    _flags: tuple[str, ...] = ()
    _added: dict[str, Any] = {
        "foreach": None, "maximize": False, "differentiable": False, "capturable": False
    }  # fmt: skip

    def _names(self, group: dict[str, Any], param: Tensor) -> tuple[str, ...]:
        """The state tensors of this parameter, if not of all `_state`."""
        return self._state

    def _begin(self, group: dict[str, Any], param: Tensor) -> dict[str, Any]:
        """The state of a parameter that was never updated."""
        names = self._names(group, param)
        return {"step": step_count(0.0, None), **{name: zeros_like(param) for name in names}}

    @staticmethod
    def _scalars(n: SimpleNamespace) -> None:
        """Add to the numbers what follows from them alone: float64, as PyTorch's Python floats;
        `n.step` is the count of updates, this one included."""

    @staticmethod
    def _rule(p: Any, g: Any, s: SimpleNamespace, n: SimpleNamespace, f: SimpleNamespace) -> Any:
        """The parameter's new value from its value, gradient, state (to be changed), numbers and
        flags; arrays and numbers of the real type that is computed in. `f` also tells whether there
        is weight decay, the parameter's type and those in which its state is `stored`."""
        raise NotImplementedError

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, default in self._added.items():
                group.setdefault(name, default)
            for param in group["params"]:
                ours = self.state.get(param, {})
                for name in ("step", "eta", "mu", "mu_product"):
                    # Checkpoints of old versions hold these as numbers.
                    if name in ours and not isinstance(ours[name], Tensor):
                        ours[name] = scalar(float(ours[name]))

    def _update(self, group: dict[str, Any], candidates: list[Tensor]) -> None:
        for names, params in self._parts(group, candidates).items():
            self._apply(params, partial(self._prepare, group, params, names))

    def _update_differentiably(self, group: dict[str, Any], candidates: list[Tensor]) -> None:
        for names, params in self._parts(group, candidates).items():
            self._record_differentiably(group, params, names)

    def _parts(
        self, group: dict[str, Any], candidates: list[Tensor]
    ) -> dict[tuple[str, ...], list[Tensor]]:
        """The parameters with a gradient, by the state tensors that they have."""
        parts: dict[tuple[str, ...], list[Tensor]] = {}
        for param in candidates:
            if param._grad is not None:
                self._check(group, param)
                parts.setdefault(self._names(group, param), []).append(param)
        return parts

    def _check(self, group: dict[str, Any], param: Tensor) -> None:
        """Refuse a parameter that the optimizer cannot update."""

    def _options(self, group: dict[str, Any]) -> tuple[list[Any], tuple]:
        """The values of the numbers (see `_number_names`), and the structure of the update."""
        numbers = [group[name] for name in self._numbers]
        for name in self._pairs:
            numbers += group[name]
        return numbers, (
            bool(group.get("maximize")),
            bool("weight_decay" in group and group["weight_decay"] != 0),
            *(group[name] for name in self._flags),
        )

    def _prepare(
        self, group: dict[str, Any], params: list[Tensor], names: tuple[str, ...]
    ) -> Prepared:
        plan = self._plan(group, params, names, partial(self._begin, group))
        counts = plan.steps.advance() if plan.steps is not None else [0.0]
        numbers, statics = self._options(group)
        numbers = [number(value) for value in numbers]
        options = numbers, statics
        known, prepared = plan.prepared
        if options == known and len(counts) == 1:
            return prepared
        mixed = len(counts) > 1
        extra = [[from_host(np.array(counts))]] if mixed else []
        update = _update(type(self), names, plan.steps is not None, mixed)
        prepared = Prepared(update, plan, extra, numbers, (statics,))
        plan.prepared = (None if mixed else options), prepared
        return prepared

    @enable_grad()
    def _record_differentiably(
        self, group: dict[str, Any], params: list[Tensor], names: tuple[str, ...]
    ) -> None:
        numbers, statics = self._options(group)
        given = {k: v.squeeze() for k, v in enumerate(numbers) if isinstance(v, Tensor)}
        for param in params:
            check_inplace(param)
            state = self.state[param]
            if not state:
                state.update(self._begin(group, param))
            steps = Steps([state["step"]])
            (count,) = steps.advance()
            written = [param, *(state[name] for name in names)]
            reads = [param.grad, *given.values()]
            # Stand-ins for all that is overwritten below: backward may need what it was.
            values = [*(value_of(unwatched(t)) for t in written), *map(value_of, reads)]
            plain = [v for k, v in enumerate(numbers) if k not in given]
            kernel = _kernel(type(self), names, statics, tuple(given), len(plain) + 1, values)
            results = trace_state.trace.record(kernel, values, [*map(float, plain), count])
            for tensor, value in zip(written, results, strict=True):
                write(tensor, value)
            steps.commit()


def _number_names(cls: type[RuleOptimizer]) -> tuple[str, ...]:
    return (*cls._numbers, *(name for pair in cls._pairs.values() for name in pair))


@cache
def _one(cls: type[RuleOptimizer], names: tuple[str, ...]) -> Callable[..., tuple]:
    """The rule of one parameter, traced once for equal ones: gives its and its state's values."""

    @partial(jax.jit, static_argnames=("statics",))
    def one(param: Any, grad: Any, state: list[Any], numbers: dict[str, Any], statics: tuple):
        maximize, decayed, *flags = statics
        stored = {name: x.dtype for name, x in zip(names, state, strict=True)}
        flags = dict(zip(cls._flags, flags, strict=True))
        f = SimpleNamespace(decayed=decayed, dtype=param.dtype, stored=stored, **flags)
        real = jnp.finfo(computing_dtype(param.dtype)).dtype
        n = SimpleNamespace(**{name: x.astype(real) for name, x in numbers.items()})

        def enter(x: Any) -> Any:
            # A complex number is a pair of real ones.
            return jnp.stack((x.real, x.imag), -1) if jnp.iscomplexobj(x) else x.astype(real)

        def leave(x: Any, dtype: Any) -> Any:
            if jnp.issubdtype(dtype, jnp.complexfloating):
                return jax.lax.complex(x[..., 0], x[..., 1])
            return x.astype(dtype)

        p, g = enter(param), enter(-grad if maximize else grad)
        s = SimpleNamespace(**{name: enter(x) for name, x in zip(names, state, strict=True)})
        p = cls._rule(p, g, s, n, f)
        new = [leave(getattr(s, name), dtype) for name, dtype in stored.items()]
        return leave(p, param.dtype), *new

    one.__name__ = cls.__name__.lower()
    return one


def _all_numbers(cls: type[RuleOptimizer], numbers: dict[str, Any], step: Any) -> dict[str, Any]:
    n = SimpleNamespace(**numbers, step=step)
    cls._scalars(n)
    return vars(n)


@cache
def _update(
    cls: type[RuleOptimizer], names: tuple[str, ...], counted: bool, mixed: bool
) -> MultiTensor:
    """The operation on one group; if `mixed`, counts differ and enter as a vector."""
    one = _one(cls, names)

    def update(*, params: Any, grads: Any, statics: tuple, counts: Any = None, now: Any = None,
               **given: Any) -> tuple:  # fmt: skip
        states = [given.pop(f"{name}s") for name in names]
        if counts is not None and now is None:
            counts = [counts[0] + 1]
            numbers = _all_numbers(cls, given, counts[0])
        results = []
        for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
            if now is not None:
                numbers = _all_numbers(cls, given, now[0][i])
            elif counts is None:
                numbers = _all_numbers(cls, given, jnp.zeros(()))
            results.append(one(param, grad, [members[i] for members in states], numbers, statics))
        columns = [list(column) for column in zip(*results, strict=True)]
        return (*columns, counts) if counted else tuple(columns)

    return MultiTensor(
        update,
        writes=("params", *(f"{name}s" for name in names)) + ("counts",) * counted,
        reads=("grads",) + ("now",) * mixed,
        numbers=_number_names(cls),
        statics=("statics",),
        name=cls.__name__.lower(),
    )


def _kernel(
    cls: type[RuleOptimizer],
    names: tuple[str, ...],
    statics: tuple,
    given: tuple[int, ...],
    n_numbers: int,
    values: list[Any],
) -> Kernel:
    """One parameter's update as an operation with gradients.

    Args:
        given: the positions of the numbers that are tensors: the last of the values.
    """
    avals = [jax.ShapeDtypeStruct(v.kind.shape, v.kind.dtype.np) for v in values]
    key = (cls, names, statics, given, tuple((a.shape, a.dtype) for a in avals))

    def fn(param: Any, *rest: Any) -> tuple:
        states, (grad, *rest) = rest[: len(names)], rest[len(names) :]
        tensors, plain = rest[: len(given)], list(rest[len(given) :])
        step = plain.pop()
        numbers = dict(zip(given, tensors, strict=True))
        left = iter(plain)
        order = _number_names(cls)
        by_name = {name: numbers[k] if k in numbers else next(left) for k, name in enumerate(order)}
        numbers = _all_numbers(cls, by_name, step)
        return _one(cls, names)(param, grad, list(states), numbers, statics)

    name = cls.__name__.lower()
    return kernels.get(key, lambda: Kernel(name, key, fn, avals, (float,) * n_numbers))
