"""The base of every optimizer: parameter groups, state, hooks, checkpoints.

Behaves as `torch.optim.Optimizer` does, which was the source for every rule and message here.
"""

import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable
from copy import deepcopy
from itertools import chain
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

from ..autograd.multi_tensor import MultiTensor
from ..core.dtypes import float32
from ..core.hooks import RemovableHandle
from ..engine import flush
from ..engine.trace import state as trace_state
from ..tensor.tensor import Tensor, from_host
from ._plan import Plan, Prepared, Update

__all__ = [
    "Optimizer",
    "register_optimizer_step_post_hook",
    "register_optimizer_step_pre_hook",
    "required",
]

ParamsT: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
StateDict: TypeAlias = dict[str, Any]

_global_pre_hooks: OrderedDict[int, Callable] = OrderedDict()
_global_post_hooks: OrderedDict[int, Callable] = OrderedDict()


class _Required:
    """What `required` is: a default that says there is none."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def _register(hooks: OrderedDict[int, Callable], hook: Callable, prepend: bool = False):
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def register_optimizer_step_pre_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before `step()` of every optimizer.

    Returns a handle whose `remove()` takes the hook away. The hook may return
    `(new_args, new_kwargs)`; `args[0]` is the optimizer itself.
    """
    return _register(_global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after `step()` of every optimizer.

    Returns a handle whose `remove()` takes the hook away.
    """
    return _register(_global_post_hooks, hook)


def _with_hooks(step: Callable) -> Callable:
    """`step` between its hooks, and what it recorded sent to the device."""

    @functools.wraps(step)
    def hooked_step(*args, **kwargs):
        self = args[0]
        if _global_pre_hooks or self._optimizer_step_pre_hooks:
            for hook in chain(
                tuple(_global_pre_hooks.values()), tuple(self._optimizer_step_pre_hooks.values())
            ):
                result = hook(self, args, kwargs)
                if result is not None:
                    if not (isinstance(result, tuple) and len(result) == 2):
                        raise RuntimeError(
                            f"{step} must return None or a tuple of (new_args, new_kwargs), "
                            f"but got {result}."
                        )
                    args, kwargs = result
        out = step(*args, **kwargs)
        if _global_post_hooks or self._optimizer_step_post_hooks:
            for hook in chain(
                tuple(self._optimizer_step_post_hooks.values()), tuple(_global_post_hooks.values())
            ):
                hook(self, args, kwargs)
        # Once a step, after the hooks: forward, backward and update become one program.
        try:
            flush()
        except BaseException:
            for plan, _ in self._plans.values():
                plan.forget()
            raise
        return out

    hooked_step.hooked = True
    return hooked_step


def _typename(value: object) -> str:
    if isinstance(value, Tensor):
        return value.type()
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"


def _to_scalar(value):
    """A one-element Tensor as a 0-dim one; anything else as it is."""
    return value.squeeze() if isinstance(value, Tensor) and value.dim() != 0 else value


def check_fused(param: Tensor) -> None:
    """Raise PyTorch's error if `fused=True` does not allow this parameter."""
    if not param.is_floating_point():
        raise RuntimeError(
            "`fused=True` requires all the params to be floating point Tensors of "
            "supported devices: ['cpu', 'cuda', 'tpu'] "
            f"but {param.dtype} and {param.device.type}"
        )


def _zeros(*, grads):
    return ([jnp.zeros_like(grad) for grad in grads],)


_NO_PLAN: tuple[Plan | None, int] = (None, 0)
_zero = MultiTensor(_zeros, writes=("grads",), name="zero_grad")


class Optimizer:
    """Base class of all optimizers.

    Args:
        params: Tensors, `(name, Tensor)` pairs, or dicts that each define a parameter group, in an
            order that is the same in every run (so not a set).
        defaults: values of the options that a group does not give itself.

    Raises:
        TypeError: `params` is a Tensor or a set, or contains something other than Tensors.
        ValueError: no parameters, a parameter that is no leaf, a parameter in two groups, names
            for some of the parameters only, or an option without value that is `required`.

    A subclass defines `step(closure=None)`. Its `step` is called between the step hooks, and all
    that it recorded runs when it returns.
    """

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._add_missing_attributes()

        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be "
                "an iterable of Tensors or dicts, but got " + _typename(params)
            )

        self.state: defaultdict[Tensor, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._has_duplicates = False

        param_groups = list(params)
        if len(param_groups) == 0:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(param_groups[0], dict):
            param_groups = [{"params": param_groups}]
        for param_group in param_groups:
            self.add_param_group(param_group)

    def _add_missing_attributes(self) -> None:
        """Hooks, and the class's `step` made to call them: after `__init__` and unpickling."""
        for name in (
            "_optimizer_step_pre_hooks",
            "_optimizer_step_post_hooks",
            "_optimizer_state_dict_pre_hooks",
            "_optimizer_state_dict_post_hooks",
            "_optimizer_load_state_dict_pre_hooks",
            "_optimizer_load_state_dict_post_hooks",
        ):
            self.__dict__.setdefault(name, OrderedDict())
        for plan, _ in self.__dict__.get("_plans", {}).values():
            plan.release()
        # By group and names of state tensors, with how many were made.
        self._plans: dict[tuple[int, tuple[str, ...]], tuple[Plan, int]] = {}
        cls = type(self)
        if not getattr(cls.step, "hooked", False):
            cls.step = _with_hooks(cls.step)

    def _set_fused(self, fused: bool | None, foreach: bool | None, differentiable: bool) -> None:
        """Tell a `GradScaler` of `fused`; raise PyTorch's error if a flag contradicts it."""
        if fused and differentiable:
            raise RuntimeError("`fused` does not support `differentiable`")
        if fused and foreach:
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        if fused:
            self._step_supports_amp_scaling = True

    def __getstate__(self) -> dict[str, Any]:
        return {
            "defaults": self.defaults,
            "state": self.state,
            "param_groups": self.param_groups,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._add_missing_attributes()
        self.defaults.setdefault("differentiable", False)
        self._has_duplicates = any(_has_duplicates(group["params"]) for group in self.param_groups)

    def __repr__(self) -> str:
        text = type(self).__name__ + " ("
        for i, group in enumerate(self.param_groups):
            lines = [f"    {key}: {group[key]}\n" for key in sorted(group) if key != "params"]
            text += f"\nParameter Group {i}\n" + "".join(lines)
        return text + ")"

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before each `step()`.

        It may return `(new_args, new_kwargs)`; `args[0]` is the optimizer itself. Returns a handle
        whose `remove()` takes the hook away.
        """
        return _register(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after each `step()`; returns a removable handle."""
        return _register(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(
        self, hook: Callable[["Optimizer"], None], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer)` before `state_dict()`, first of all hooks if `prepend`."""
        return _register(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(
        self, hook: Callable[["Optimizer", StateDict], StateDict | None], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` on what `state_dict()` made; it may return another."""
        return _register(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Callable[["Optimizer", StateDict], StateDict | None], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` on what is to be loaded; it may return another."""
        return _register(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Callable[["Optimizer"], None], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer)` after `load_state_dict()`, first of all hooks if `prepend`."""
        return _register(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    def state_dict(self) -> StateDict:
        """The optimizer's state, of the form that PyTorch saves and loads.

        Returns:
            `{"state": {index: {name: value}}, "param_groups": [{option: value, "params":
            [index]}]}`, where parameters are counted through all groups. The tensors in it are the
            optimizer's own, not copies.
        """
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)

        index: dict[int, int] = {}
        start = 0
        param_groups = []
        for group in self.param_groups:
            packed = {key: value for key, value in group.items() if key != "params"}
            for i, param in enumerate(group["params"], start):
                index.setdefault(id(param), i)
            packed["params"] = [index[id(param)] for param in group["params"]]
            start += len(packed["params"])
            param_groups.append(packed)
        state = {
            (index[id(key)] if isinstance(key, Tensor) else key): value
            for key, value in self.state.items()
        }
        state_dict = {"state": state, "param_groups": param_groups}

        for hook in self._optimizer_state_dict_post_hooks.values():
            result = hook(self, state_dict)
            if result is not None:
                state_dict = result
        return state_dict

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over the state that `state_dict()`, dynjax's or PyTorch's, has given.

        Tensors are matched by the order of the parameters and cast to the parameter's dtype (if it
        is floating) and device; counts named "step" keep their dtype. NumPy arrays, and whatever
        converts to one, serve as tensors.

        Raises:
            ValueError: another number of groups, or of parameters in a group. Nothing is changed.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            result = hook(self, state_dict)
            if result is not None:
                state_dict = result

        groups = self.param_groups
        saved_groups = deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        for group, saved in zip(groups, saved_groups):
            if len(group["params"]) != len(saved["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group "
                    "that doesn't match the size of optimizer's group"
                )

        params: dict[Any, tuple[Tensor, bool]] = {}
        for group, saved in zip(groups, saved_groups):
            cast_step = bool(saved.get("fused") or saved.get("capturable"))
            for key, param in zip(saved["params"], group["params"]):
                params[key] = (param, cast_step)

        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            if key in params:
                param, cast_step = params[key]
                state[param] = _cast(param, value, cast_step)
            else:
                state[key] = value

        for group, saved in zip(groups, saved_groups):
            saved["params"] = group["params"]
            if "param_names" in group:
                saved.setdefault("param_names", group["param_names"])
        self.__setstate__({"state": state, "param_groups": saved_groups})

        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros in place.

        Args:
            set_to_none: set `.grad` to None, which makes the next `step()` skip parameters that
                then get no gradient; otherwise they take part in it with a gradient of zero.
        """
        if set_to_none:
            for group in self.param_groups:
                for param in group["params"]:
                    param._grad = None
            return
        grads = []
        for group in self.param_groups:
            for param in group["params"]:
                grad = param.grad
                if grad is not None:
                    if grad.grad_fn is not None:
                        grad.detach_()
                    else:
                        grad.requires_grad_(False)
                    grads.append(grad)
        if grads:
            _zero(grads=grads)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters once.

        Args:
            closure: computes the loss anew, with gradients, and returns it.

        Returns:
            What `closure` returned, or None without one.
        """
        raise NotImplementedError

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters with options of its own.

        Args:
            param_group: `{"params": Tensor or iterable, option: value, ...}`; options that it does
                not name take the optimizer's defaults. The dict itself becomes the group.

        Raises:
            TypeError, ValueError: as the constructor.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")

        params = param_group["params"]
        if isinstance(params, Tensor):
            params = [params]
        elif isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but "
                "the ordering of tensors in sets will change between runs. "
                "Please use a list instead."
            )
        else:
            params = list(params)
        names = [param[0] for param in params if isinstance(param, tuple)]
        params = [param[1] if isinstance(param, tuple) else param for param in params]
        param_group["params"] = params
        if names:
            if len(names) != len(params):
                raise ValueError(
                    "all optimizer params should be with/without names. "
                    "Some param names are missing"
                )
            param_group["param_names"] = names

        for param in params:
            if not isinstance(param, Tensor):
                raise TypeError(
                    "optimizer can only optimize Tensors, "
                    "but one of the params is " + _typename(param)
                )
            if not self.defaults.get("differentiable") and not (
                param.is_leaf or param.retains_grad
            ):
                raise ValueError("can't optimize a non-leaf Tensor")

        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(
                    "parameter group didn't specify a value of "
                    f"required optimization parameter {name}"
                )
            param_group.setdefault(name, default)

        duplicates = _has_duplicates(params)
        if duplicates:
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; "
                "in future, this will cause an error; "
                "see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )

        known: set[Tensor] = set()
        for group in self.param_groups:
            known.update(group["params"])
            if ("param_names" in param_group) != ("param_names" in group):
                which = "with names" if "param_names" in param_group else "without names"
                raise ValueError(
                    "all optimizer param groups should be with/without names. "
                    f"cannot add param group {which} to the optimizer"
                )
        if not known.isdisjoint(params):
            raise ValueError("some parameters appear in more than one parameter group")

        self.param_groups.append(param_group)
        self._has_duplicates |= duplicates

    def _plan(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        names: tuple[str, ...],
        begin: Callable[[Tensor], dict[str, Any]],
    ) -> Plan:
        """How to update parameters of a group.

        Args:
            group: the group.
            params: those that have a gradient.
            names: of the state tensors that the update writes.
            begin: the state of a parameter that has none of them.
        """
        state = self.state
        states = [state[param] for param in params] if names else []
        key = (id(group), names)
        plan, made = self._plans.get(key, _NO_PLAN)
        if plan is not None:
            if plan.fits(params, states):
                return plan
            plan.release()
        if trace_state.trace.capture is not None:
            trace_state.trace.capture.settled = False
        # Where the parameters that take part keep changing, their states are not joined again.
        packed = made < 3
        first = names[0] if names else None
        begun = None
        if first is not None and any(ours.get(first) is None for ours in states):
            begun = [
                {} if ours.get(first) is not None else begin(param)
                for param, ours in zip(params, states)
            ]
        counted = bool(names) and "step" in {**states[0], **(begun[0] if begun else {})}
        plan = Plan(params, states, begun, names, packed, counted)
        self._plans[key] = (plan, made + 1)
        return plan

    def _apply(self, params: list[Tensor], prepare: Callable[[], Prepared]) -> None:
        """Record the update that `prepare` describes, and store what it implies: both, or if
        interrupted neither. A part that is being captured will call `prepare` at every replay.
        """
        capture = trace_state.trace.capture
        if capture is None:
            prepared = prepare()
        else:
            capture.asking = True
            try:
                prepared = prepare()
            finally:
                capture.asking = False
            if prepared.extra:
                capture.give_up("updates parameters whose step counts differ")
            if self.hooked():
                capture.give_up("calls hooks of an optimizer's step()")
            capture.updates.append(Update(self, prepare, prepared, trace_state.trace.cur.nnum))
        update, plan, extra, numbers, statics = prepared
        reads = [[param._grad for param in params], *extra]
        first = plan.written.tensors[0]
        version = first._version
        try:
            update.run(plan.written, reads, numbers, statics)
            plan.commit()
        except BaseException:
            if first._version != version:
                plan.commit()
            raise

    def hooked(self) -> bool:
        """Whether `step()` calls hooks."""
        return bool(
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_pre_hooks
            or _global_post_hooks
        )


def _has_duplicates(params: list[Tensor]) -> bool:
    return len(params) != len(set(params))


def _cast(param: Tensor, value: Any, cast_step: bool, key: Hashable = None) -> Any:
    """`value` of a loaded state with its tensors as the policy for `param` wants them."""
    if not isinstance(value, Tensor) and hasattr(value, "__array__"):
        value = from_host(np.asarray(value).copy())
    if isinstance(value, Tensor):
        if key == "step":
            if not cast_step:
                return value
            return value.to(dtype=float32, device=param.device)
        if param.is_floating_point():
            return value.to(dtype=param.dtype, device=param.device)
        return value.to(device=param.device)
    if isinstance(value, dict):
        return {k: _cast(param, v, cast_step, k) for k, v in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return type(value)(_cast(param, v, cast_step) for v in value)
    return value
