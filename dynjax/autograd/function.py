"""Operations whose backward the user writes: autograd.Function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from ..engine.kernel import Kernel, kernels
from ..engine.trace import state
from ..engine.value import Value
from ..tensor.tensor import Tensor, value_of, wrap
from .backward import _fill, _mode
from .dispatch import cast
from .node import FREED, Node


class FunctionCtx:
    """What forward leaves for backward.

    Attributes:
        needs_input_grad: for every argument of `apply`, whether it needs a gradient.
        saved_tensors: what `save_for_backward` kept.
    """

    def __init__(self) -> None:
        self.needs_input_grad: tuple[bool, ...] = ()
        self.materialize_grads = True
        self._saved: tuple[tuple[Tensor | None, Any], ...] = ()
        self._freed = False
        self._dirty: tuple = ()
        self._non_differentiable: tuple = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for backward; noticed if they are modified in place since."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument is of type "
                    f"{type(t).__name__}"
                )
        self._saved = tuple((t, None if t is None else value_of(t)) for t in tensors)

    save_for_forward = save_for_backward

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """The tensors kept by `save_for_backward`.

        Raises:
            RuntimeError: they were freed by an earlier backward, or modified in place.
        """
        if self._freed:
            raise RuntimeError(FREED)
        for _, value in self._saved:
            watch = value.watch if value is not None else None
            if watch is not None and watch[0].now != watch[1]:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an "
                    f"inplace operation: [torch.{value.kind.dtype.type_name}Tensor "
                    f"{list(value.kind.shape)}] is at version {watch[0].now}; expected "
                    f"version {watch[1]} instead. Hint: the backtrace further above shows the "
                    "operation that failed to compute its gradient. The variable in question was "
                    "changed in there or anywhere later. Good luck!"
                )
        return tuple(
            None if t is None else (t if t._v is value else wrap(value)) for t, value in self._saved
        )

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Say which inputs forward modified in place."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Say which outputs have no gradient."""
        self._non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether missing cotangents arrive as zeros (the default) or as None."""
        self.materialize_grads = value


class FunctionNode(Node):
    """The tape node of a Function: runs the user's backward."""

    __slots__ = ("ctx", "function", "inputs", "positions", "n_args", "input_kinds")

    def __init__(self, function: type[Function], ctx: FunctionCtx, positions: list[int]) -> None:
        super().__init__(function.__name__ + "Backward", ())
        self.function, self.ctx, self.positions = function, ctx, positions
        self.inputs = len(positions)
        self.n_args = len(ctx.needs_input_grad)
        self.input_kinds: list = []

    def apply(self, grads: list[Value | None], create_graph: bool) -> list[Value | None]:
        ctx = self.ctx
        given: list[Tensor | None] = []
        for g, (shape, dtype) in zip(grads, self.output_info, strict=True):
            if g is None and ctx.materialize_grads:
                g = _fill(shape, dtype.np, 0)
            given.append(None if g is None else wrap(g))
        with _mode(create_graph):
            results = self.function.backward(ctx, *given)
        if not isinstance(results, tuple):
            results = (results,)
        name = self.function.__name__
        if len(results) > self.n_args and all(r is None for r in results[self.n_args :]):
            results = results[: self.n_args]
        if len(results) != self.n_args:
            raise RuntimeError(
                f"function {name}Backward returned an incorrect number of gradients "
                f"(expected {self.n_args}, got {len(results)})"
            )
        out: list[Value | None] = []
        for k, position in enumerate(self.positions):
            r = results[position]
            if r is None:
                out.append(None)
                continue
            if not isinstance(r, Tensor):
                raise TypeError(f"expected Variable or None (got {type(r).__name__})")
            shape, dtype = self.input_info[k]
            if r.shape != shape:
                try:
                    r = r.sum_to_size(shape)
                except RuntimeError:
                    raise RuntimeError(
                        f"Function {name}Backward returned an invalid gradient at index "
                        f"{position} - got {list(r.shape)} but expected shape compatible with "
                        f"{list(shape)}"
                    ) from None
            value = value_of(r)
            out.append(value if value.kind.dtype is dtype else cast(value, dtype))
        return out

    def free(self) -> None:
        self.freed = True
        self.ctx._freed = True
        self.ctx._saved = ()


class _FunctionMeta(type):
    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            f"{cls} should not be instantiated. Methods on autograd functions "
            "are all static, so you should invoke them on the class itself. "
            "Instantiating an autograd function will raise an "
            "error in a future version of PyTorch."
        )


class Function(FunctionCtx, metaclass=_FunctionMeta):
    """Base of operations with a backward of their own.

    Define static methods `forward(ctx, *args)`, or `forward(*args)` with
    `setup_context(ctx, inputs, output)`, and `backward(ctx, *grads)`; call `apply(*args)`.
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the results."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: Any) -> None:
        """Save what backward needs, where `forward` takes no ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Any:
        """Gradients of the arguments, one each, None where there is none."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd."
            "Function to use it with backward mode AD."
        )

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run forward, and hang backward on the tape."""
        ctx = FunctionCtx()
        recording = bool(state.trace.grad)
        ctx.needs_input_grad = tuple(
            recording and isinstance(a, Tensor) and a.requires_grad for a in args
        )
        split = cls.setup_context is not Function.setup_context
        with _mode(False):
            if split:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
            else:
                result = cls.forward(ctx, *args)
        if not any(ctx.needs_input_grad):
            return result
        return _hang(cls, ctx, args, result)

    vjp = backward


def _hang(cls: type[Function], ctx: FunctionCtx, args: Sequence, result: Any) -> Any:
    many = isinstance(result, tuple)
    outputs = result if many else (result,)
    positions = [i for i, needs in enumerate(ctx.needs_input_grad) if needs]
    tensors = [t for t in outputs if isinstance(t, Tensor)]
    values = [value_of(args[i]) for i in positions]
    produced = [value_of(t) for t in tensors]
    n = len(values)
    avals = [jax.ShapeDtypeStruct(v.kind.shape, v.kind.dtype.np) for v in (*values, *produced)]
    key = (cls, n, tuple((a.shape, a.dtype) for a in avals))
    kernel = kernels.get(
        key,
        lambda: Kernel(
            cls.__name__, key, lambda *arrays: arrays[n:], avals,
            grad_name=cls.__name__ + "Backward", out_avals=tuple(avals[n:]),
        ),
    )  # fmt: skip
    trace = state.trace
    recorded = trace.record(kernel, [*values, *produced], grad=True)
    trace = state.trace
    node = FunctionNode(cls, ctx, positions)
    if trace.nodes is None:
        trace.nodes = {}
    trace.nodes[recorded[0].idx] = node
    trace.python = True
    skipped = {id(t) for t in ctx._non_differentiable}
    dirty = {id(t) for t in ctx._dirty}
    new = iter(recorded)
    results = []
    for t in outputs:
        if not isinstance(t, Tensor):
            results.append(t)
            continue
        value = next(new)
        if id(t) in skipped:
            results.append(t)
        elif id(t) in dirty:
            t._v = value
            if t._alias is not None:
                t._alias.seen = t._alias.storage.stamp
            results.append(t)
        else:
            results.append(wrap(value))
    return tuple(results) if many else results[0]


def once_differentiable(fn: Callable) -> Callable:
    """Decorates a backward whose result can't be differentiated again."""

    @functools.wraps(fn)
    def wrapper(ctx: FunctionCtx, *args: Any) -> Any:
        recording = state.trace.grad
        with _mode(False):
            outputs = fn(ctx, *args)
        if not recording or not any(isinstance(a, Tensor) and a.requires_grad for a in args):
            return outputs
        many = isinstance(outputs, tuple)
        group = outputs if many else (outputs,)
        refused = tuple(_Refuse.apply(t, *args) if isinstance(t, Tensor) else t for t in group)
        return refused if many else refused[0]

    return wrapper


class _Refuse(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, *args: Any) -> Tensor:
        return x.detach()

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Any:
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )


__all__ = ["Function", "FunctionCtx", "once_differentiable"]
