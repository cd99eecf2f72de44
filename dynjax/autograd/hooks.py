"""What autograd adds to Tensor: grad_fn, backward, hooks, retained gradients."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from ..core.hooks import RemovableHandle
from ..engine.trace import state
from ..tensor.tensor import Tensor, meta_of, value_of
from . import backward as _backward
from .node import HookDict, Node, node_of


def _grad_fn(self: Tensor) -> Node | None:
    """The tape node that computed this tensor; None for leaves."""
    kind = value_of(self).kind
    if not kind.requires_grad or kind.leaf:
        return None
    return node_of(self._v)[0]


def _output_nr(self: Tensor) -> int:
    """Which result of its node this tensor is."""
    return 0 if self.is_leaf else node_of(value_of(self))[1]


def _run_backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add the gradients of this tensor with respect to the leaves to their `.grad`.

    Args:
        gradient: the cotangent, of this tensor's shape; not needed for one-element tensors.
        retain_graph: whether the graph may be walked again; defaults to `create_graph`.
        create_graph: whether the gradients are themselves differentiable.
        inputs: the leaves to accumulate into; all by default.

    Raises:
        RuntimeError: as `dynjax.autograd.backward`.
    """
    _backward.backward(self, gradient, retain_graph, create_graph, inputs=inputs)


def _register_hook(self: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Call `hook(grad)` when this tensor's gradient is computed; what it returns replaces it.

    Raises:
        RuntimeError: the tensor does not require grad.
    """
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if self.is_leaf:
        meta = meta_of(self)
        if meta.hooks is None:
            meta.hooks = HookDict()
        hooks = meta.hooks
    else:
        node, nr = node_of(value_of(self))
        if node.tensor_hooks is None:
            node.tensor_hooks = {}
        hooks = node.tensor_hooks.setdefault(nr, HookDict())
        state.trace.python = True
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def _register_post_accumulate(self: Tensor, hook: Callable[[Tensor], None]) -> RemovableHandle:
    """Call `hook(tensor)` after a gradient was added to this leaf's `.grad`.

    Raises:
        RuntimeError: the tensor is not a leaf or does not require grad.
    """
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if not self.is_leaf:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    meta = meta_of(self)
    if meta.post_hooks is None:
        meta.post_hooks = HookDict()
    handle = RemovableHandle(meta.post_hooks)
    meta.post_hooks[handle.id] = hook
    return handle


def _retain_grad(self: Tensor) -> None:
    """Keep the gradient of this non-leaf in `.grad` too.

    Raises:
        RuntimeError: the tensor does not require grad.
    """
    if not self.requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if self.is_leaf or self.retains_grad:
        return
    node, nr = node_of(value_of(self))
    if node.retained is None:
        node.retained = {}
    node.retained[nr] = weakref.ref(self)
    state.trace.python = True
    meta_of(self).retain = True


def _retains_grad(self: Tensor) -> bool:
    """Whether the gradient of this non-leaf is kept."""
    return self._meta is not None and self._meta.retain and not self.is_leaf


def _bind(name: str, member: Any) -> None:
    if callable(member):
        member.__name__ = name
        member.__qualname__ = f"Tensor.{name}"
    setattr(Tensor, name, member)


_bind("grad_fn", property(_grad_fn))
_bind("output_nr", property(_output_nr))
_bind("retains_grad", property(_retains_grad))
_bind("backward", _run_backward)
_bind("register_hook", _register_hook)
_bind("register_post_accumulate_grad_hook", _register_post_accumulate)
_bind("retain_grad", _retain_grad)
