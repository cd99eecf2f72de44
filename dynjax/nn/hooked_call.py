"""Calling a module that has hooks.

`Module.__call__` asks only whether a hook exists; everything that then happens is here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..autograd.function import Function
from ..engine.trace import state
from ..tensor.tensor import Tensor
from .hooks import (
    WrappedHook,
    _global_backward_pre_hooks,
    _global_forward_hooks,
    _global_forward_hooks_always_called,
    _global_forward_hooks_with_kwargs,
    _global_forward_pre_hooks,
)
from .parameter import filled

if TYPE_CHECKING:
    from .module import Module


class BackwardHookFunction(Function):
    """The identity: a node on the tape where a module's inputs or outputs can be watched."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tensors

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        return grads


class BackwardHook:
    """The full backward hooks of one call of one module.

    One identity node goes around the inputs that require grad, one around the outputs that do.
    The user's hooks run at the input node, when both gradients are known. As in PyTorch, the
    gradient of another Tensor is zeros as an input and None as an output, and that of an argument
    that is no Tensor is None.
    """

    def __init__(self, module: Module, hooks: list[Callable], pre_hooks: list[Callable]) -> None:
        self.module = module
        self.hooks = hooks
        self.pre_hooks = pre_hooks
        self.grad_outputs: tuple | None = None
        self.input_index: list[int] | None = None
        self.output_index: list[int] | None = None
        self.inputs: list[tuple[tuple[int, ...], Any] | None] = []
        self.n_outputs = 0

    def setup_input_hook(self, args: tuple) -> tuple:
        self.inputs = [(a.shape, a.dtype) if isinstance(a, Tensor) else None for a in args]
        args, self.input_index = self._watch(args, self._on_grad_input)
        return args

    def setup_output_hook(self, result: Any) -> Any:
        outputs = result if isinstance(result, tuple) else (result,)
        self.n_outputs = len(outputs)
        outputs, self.output_index = self._watch(outputs, self._on_grad_output)
        return outputs if isinstance(result, tuple) else outputs[0]

    @staticmethod
    def _watch(values: tuple, hook: Callable) -> tuple[tuple, list[int] | None]:
        index = [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.requires_grad]
        if not (state.trace.grad and index):
            return values, None
        watched = BackwardHookFunction.apply(*[values[i] for i in index])
        watched[0].grad_fn.register_hook(hook)
        result = list(values)
        for i, tensor in zip(index, watched, strict=True):
            result[i] = tensor
        return (tuple(result) if type(values) is tuple else type(values)(*result)), index

    def _on_grad_input(self, grad_input: tuple, _: tuple) -> tuple | None:
        # None: the gradient reached the inputs without passing the outputs (double backward).
        if self.grad_outputs is None:
            return None
        known = dict(zip(self.input_index, grad_input, strict=True))
        grads = tuple(
            known.get(i) if i in known or info is None else filled(info[0], dtype=info[1])
            for i, info in enumerate(self.inputs)
        )
        for hook in self.hooks:
            out = hook(self.module, grads, self.grad_outputs)
            if out is None:
                continue
            if len(out) != len(grads):
                raise RuntimeError(
                    "Backward hook returned an invalid number of grad_input, "
                    f"got {len(out)}, but expected {len(grads)}"
                )
            grads = out
        self.grad_outputs = None
        return tuple(grads[i] for i in self.input_index)

    def _on_grad_output(self, _: tuple, grad_output: tuple) -> tuple:
        known = dict(zip(self.output_index, grad_output, strict=True))
        grads = tuple(known.get(i) for i in range(self.n_outputs))
        for hook in self.pre_hooks:
            out = hook(self.module, grads)
            if out is None:
                continue
            if len(out) != len(grads):
                raise RuntimeError(
                    "Backward pre hook returned an invalid number of grad_output, "
                    f"got {len(out)}, but expected {len(grads)}"
                )
            grads = out
        self.grad_outputs = grads
        if self.input_index is None:
            self._without_grad_input()
        return tuple(grads[i] for i in self.output_index)

    def _without_grad_input(self) -> None:
        warnings.warn(
            "Full backward hook is firing when gradients are computed with respect to module "
            "outputs since no inputs require gradients. See "
            "https://docs.pytorch.org/docs/main/generated/torch.nn.Module.html"
            "#torch.nn.Module.register_full_backward_hook for more details.",
            stacklevel=5,
        )
        grads = (None,) * len(self.inputs)
        for hook in self.hooks:
            out = hook(self.module, grads, self.grad_outputs)
            if out is not None and not (isinstance(out, tuple) and all(g is None for g in out)):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires "
                    "gradient should always return None or None for all gradients."
                )
        self.grad_outputs = None


def call_with_hooks(module: Module, forward: Callable, args: tuple, kwargs: dict) -> Any:
    """Call `forward(*args, **kwargs)` with all hooks of `module` around it."""
    run = _HookedCall(module, args, kwargs)
    try:
        return run(forward)
    except Exception:
        run.after_error()
        raise


class _HookedCall:
    """One call of a module that has hooks."""

    def __init__(self, module: Module, args: tuple, kwargs: dict) -> None:
        self.module, self.args, self.kwargs = module, args, kwargs
        self.result: Any = None
        self.called: set[int] = set()

    def __call__(self, forward: Callable) -> Any:
        module = self.module
        pre_hooks = [*_global_backward_pre_hooks.values(), *module._backward_pre_hooks.values()]
        full_hooks, plain_hooks = module._get_backward_hooks()
        self._run_pre_hooks()
        watch = None
        if full_hooks or pre_hooks:
            watch = BackwardHook(module, full_hooks, pre_hooks)
            self.args = watch.setup_input_hook(self.args)
        self.result = forward(*self.args, **self.kwargs)
        for hook_id, hook in [*_global_forward_hooks.items(), *module._forward_hooks.items()]:
            self._run_forward_hook(hook_id, hook)
        if watch is not None:
            if not isinstance(self.result, (Tensor, tuple)):
                warnings.warn(
                    "For backward hooks to be called, module output should be a Tensor or a "
                    f"tuple of Tensors but received {type(self.result)}",
                    stacklevel=4,
                )
            self.result = watch.setup_output_hook(self.result)
        if plain_hooks:
            self._add_plain_hooks(plain_hooks)
        return self.result

    def _run_pre_hooks(self) -> None:
        module = self.module
        with_kwargs = module._forward_pre_hooks_with_kwargs
        hooks = [*_global_forward_pre_hooks.items(), *module._forward_pre_hooks.items()]
        for hook_id, hook in hooks:
            if hook_id in with_kwargs:
                out = hook(module, self.args, self.kwargs)
                if out is None:
                    continue
                if not (isinstance(out, tuple) and len(out) == 2):
                    raise RuntimeError(
                        "forward pre-hook must return None or a tuple of "
                        f"(new_args, new_kwargs), but got {out}."
                    )
                self.args, self.kwargs = out
            else:
                out = hook(module, self.args)
                if out is not None:
                    self.args = out if isinstance(out, tuple) else (out,)

    def _run_forward_hook(self, hook_id: int, hook: Callable) -> None:
        module = self.module
        self.called.add(hook_id)
        if (
            hook_id in module._forward_hooks_with_kwargs
            or hook_id in _global_forward_hooks_with_kwargs
        ):
            out = hook(module, self.args, self.kwargs, self.result)
        else:
            out = hook(module, self.args, self.result)
        if out is not None:
            self.result = out

    def after_error(self) -> None:
        """Run the `always_call` hooks that have not run; what they raise becomes a warning."""
        module = self.module
        groups = (
            ("global module", _global_forward_hooks, _global_forward_hooks_always_called),
            ("module", module._forward_hooks, module._forward_hooks_always_called),
        )
        for kind, hooks, always in groups:
            for hook_id, hook in list(hooks.items()):
                if hook_id not in always or hook_id in self.called:
                    continue
                try:
                    self._run_forward_hook(hook_id, hook)
                except Exception as error:
                    warnings.warn(
                        f"{kind} forward hook with ``always_call=True`` raised an exception "
                        f"that was silenced as another error was raised in forward: {error}",
                        stacklevel=4,
                    )

    def _add_plain_hooks(self, hooks: list[Callable]) -> None:
        """Hang old-style backward hooks on the node of the first tensor of the result."""
        value = self.result
        while not isinstance(value, Tensor):
            if isinstance(value, dict):
                value = next(v for v in value.values() if isinstance(v, Tensor))
            else:
                value = value[0]
        node = value.grad_fn
        if node is None:
            return
        for hook in hooks:
            node.register_hook(WrappedHook(hook, self.module))
        _warn_plain_hooks(self.args, self.result, node)


def _warn_plain_hooks(inputs: Any, result: Any, node: Any) -> None:
    """Say what an old-style backward hook will not see."""
    missing = _plain_hook_problem(inputs, result, node)
    if missing is not None:
        warnings.warn(missing, FutureWarning, stacklevel=6)


def _plain_hook_problem(inputs: Any, result: Any, node: Any) -> str | None:
    use_full = " Please use register_full_backward_hook to get the documented behavior."
    outputs = (result,) if isinstance(result, Tensor) else result
    if not (isinstance(outputs, tuple) and all(isinstance(r, Tensor) for r in outputs)):
        return (
            "Using non-full backward hooks on a Module that does not return a "
            "single Tensor or a tuple of Tensors is deprecated and will be removed "
            "in future versions. This hook will be missing some of the grad_output." + use_full
        )
    if not all(isinstance(i, Tensor) for i in inputs):
        return (
            "Using non-full backward hooks on a Module that does not take as input a "
            "single Tensor or a tuple of Tensors is deprecated and will be removed "
            "in future versions. This hook will be missing some of the grad_input." + use_full
        )
    nodes = {r.grad_fn for r in outputs if r.grad_fn is not None}
    if not nodes or (len(nodes) == 1 and node not in nodes):
        return (
            "Using a non-full backward hook when outputs are nested in python data structure "
            "is deprecated and will be removed in future versions. This hook will be missing "
            "some grad_output."
        )
    if len(nodes) > 1:
        return (
            "Using a non-full backward hook when outputs are generated by different autograd "
            "Nodes is deprecated and will be removed in future versions. This hook will be "
            "missing some grad_output." + use_full
        )
    if {i.grad_fn for i in inputs if i.grad_fn is not None} != {n[0] for n in node.next_functions}:
        return (
            "Using a non-full backward hook when the forward contains multiple autograd Nodes "
            "is deprecated and will be removed in future versions. This hook will be missing "
            "some grad_input." + use_full
        )
    return None
