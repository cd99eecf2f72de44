"""Hooks of modules: registering them, for one module or for all.

`hooked_call.py` runs them.
"""

from __future__ import annotations

import functools
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..core.hooks import RemovableHandle

if TYPE_CHECKING:
    from .module import Module

__all__ = [
    "RemovableHandle",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]

_global_buffer_registration_hooks: OrderedDict[int, Callable] = OrderedDict()
_global_module_registration_hooks: OrderedDict[int, Callable] = OrderedDict()
_global_parameter_registration_hooks: OrderedDict[int, Callable] = OrderedDict()
_global_backward_pre_hooks: OrderedDict[int, Callable] = OrderedDict()
_global_backward_hooks: OrderedDict[int, Callable] = OrderedDict()
_global_forward_pre_hooks: OrderedDict[int, Callable] = OrderedDict()
_global_forward_hooks: OrderedDict[int, Callable] = OrderedDict()
_global_forward_hooks_always_called: OrderedDict[int, bool] = OrderedDict()
_global_forward_hooks_with_kwargs: OrderedDict[int, bool] = OrderedDict()
_global_is_full_backward_hook: bool | None = None

_MIXED_GLOBAL_HOOKS = (
    "Cannot use both regular backward hooks and full backward hooks as a global Module hook. "
    "Please use only one of them."
)
_MIXED_MODULE_HOOKS = (
    "Cannot use both regular backward hooks and full backward hooks on a single Module. "
    "Please use only one of them."
)

HOOK_DICTS = (
    "_backward_pre_hooks",
    "_backward_hooks",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def _add(
    hooks: OrderedDict[int, Callable],
    hook: Callable,
    extra: list[dict[int, bool]] | None = None,
    prepend: bool = False,
) -> RemovableHandle:
    handle = RemovableHandle(hooks, extra_dict=extra)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, buffer)` whenever any module registers a buffer.

    Returns:
        A handle whose `remove()` takes the hook away. A value that the hook returns replaces
        the buffer.
    """
    return _add(_global_buffer_registration_hooks, hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, submodule)` whenever any module registers a child.

    Returns:
        A handle whose `remove()` takes the hook away. A value that the hook returns replaces
        the child.
    """
    return _add(_global_module_registration_hooks, hook)


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, parameter)` whenever any module registers a parameter.

    Returns:
        A handle whose `remove()` takes the hook away. A value that the hook returns replaces
        the parameter.
    """
    return _add(_global_parameter_registration_hooks, hook)


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, args)` before the forward of every module.

    Returns:
        A handle whose `remove()` takes the hook away. What the hook returns, if not None,
        replaces the positional arguments.
    """
    return _add(_global_forward_pre_hooks, hook)


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call `hook(module, args, output)` after the forward of every module.

    Args:
        hook: what it returns, if not None, replaces the output.
        with_kwargs: call `hook(module, args, kwargs, output)` instead.
        always_call: call it even when forward raised.
    """
    extra = [_global_forward_hooks_always_called, _global_forward_hooks_with_kwargs]
    handle = _add(_global_forward_hooks, hook, extra)
    if with_kwargs:
        _global_forward_hooks_with_kwargs[handle.id] = True
    if always_call:
        _global_forward_hooks_always_called[handle.id] = True
    return handle


def register_module_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` at the last operation of every module.

    Kept for old code: `register_module_full_backward_hook` sees the module's own gradients.
    """
    global _global_is_full_backward_hook
    if _global_is_full_backward_hook is True:
        raise RuntimeError(_MIXED_GLOBAL_HOOKS)
    _global_is_full_backward_hook = False
    return _add(_global_backward_hooks, hook)


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_output)` before the gradients of every module are computed.

    Returns:
        A handle whose `remove()` takes the hook away. What the hook returns, if not None,
        replaces `grad_output`.
    """
    return _add(_global_backward_pre_hooks, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` when every module's gradients are known.

    Returns:
        A handle whose `remove()` takes the hook away. What the hook returns, if not None,
        replaces `grad_input`.
    """
    global _global_is_full_backward_hook
    if _global_is_full_backward_hook is False:
        raise RuntimeError(_MIXED_GLOBAL_HOOKS)
    _global_is_full_backward_hook = True
    return _add(_global_backward_hooks, hook)


class HooksMixin:
    """The part of `Module` that registers hooks around its call and its gradients."""

    _backward_pre_hooks: OrderedDict[int, Callable]
    _backward_hooks: OrderedDict[int, Callable]
    _is_full_backward_hook: bool | None
    _forward_hooks: OrderedDict[int, Callable]
    _forward_hooks_with_kwargs: OrderedDict[int, bool]
    _forward_hooks_always_called: OrderedDict[int, bool]
    _forward_pre_hooks: OrderedDict[int, Callable]
    _forward_pre_hooks_with_kwargs: OrderedDict[int, bool]

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, grad_output)` before the module's gradients are computed; what it
        returns, if not None, replaces `grad_output`.
        """
        return _add(self._backward_pre_hooks, hook, prepend=prepend)

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the gradients of the module's inputs
        are known; what it returns, if not None, replaces `grad_input`.

        Both are tuples, with None for arguments that are no Tensors. With `prepend` the hook
        comes before those that exist (hooks of all modules still come first).
        """
        if self._is_full_backward_hook is False:
            raise RuntimeError(_MIXED_MODULE_HOOKS)
        self._is_full_backward_hook = True
        return _add(self._backward_hooks, hook, prepend=prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` at the module's last operation.

        Kept for old code: `register_full_backward_hook` sees the module's own gradients.
        """
        if self._is_full_backward_hook is True:
            raise RuntimeError(_MIXED_MODULE_HOOKS)
        self._is_full_backward_hook = False
        return _add(self._backward_hooks, hook)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before `forward`; what it returns, if not None, replaces the
        positional arguments.

        With `with_kwargs`, `hook(module, args, kwargs)` may return new `(args, kwargs)`.
        """
        flags = self._forward_pre_hooks_with_kwargs
        handle = _add(self._forward_pre_hooks, hook, [flags], prepend)
        if with_kwargs:
            flags[handle.id] = True
        return handle

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after `forward`; what it returns, if not None,
        replaces the output.

        With `with_kwargs` it is `hook(module, args, kwargs, output)`. With `always_call` it runs
        even when `forward` raised, with output None.
        """
        flags = [self._forward_hooks_with_kwargs, self._forward_hooks_always_called]
        handle = _add(self._forward_hooks, hook, flags, prepend)
        for flag, hooks in zip((with_kwargs, always_call), flags, strict=True):
            if flag:
                hooks[handle.id] = True
        return handle

    def _get_backward_hooks(self) -> tuple[list[Callable], list[Callable]]:
        """Return the full and the old-style backward hooks, those of all modules first."""
        found: dict[bool | None, list[Callable]] = {True: [], False: [], None: []}
        found[_global_is_full_backward_hook] += _global_backward_hooks.values()
        found[self._is_full_backward_hook] += self._backward_hooks.values()
        return found[True], found[False]


class WrappedHook:
    """A hook that may want the module it belongs to, held weakly: no circle through its dict."""

    def __init__(self, hook: Callable, module: Module | None = None) -> None:
        self.hook = hook
        functools.update_wrapper(self, hook)
        self.with_module = module is not None
        if module is not None:
            self.module: weakref.ReferenceType[Module] = weakref.ref(module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.with_module:
            return self.hook(*args, **kwargs)
        module = self.module()
        if module is None:
            raise RuntimeError("You are trying to call the hook of a dead Module!")
        return self.hook(module, *args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        result: dict[str, Any] = {"hook": self.hook, "with_module": self.with_module}
        if self.with_module:
            result["module"] = self.module()
        return result

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.hook = saved["hook"]
        self.with_module = saved["with_module"]
        if self.with_module:
            if saved["module"] is None:
                raise RuntimeError("You are trying to revive the hook of a dead Module!")
            self.module = weakref.ref(saved["module"])
