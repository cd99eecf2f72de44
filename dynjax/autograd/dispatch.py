"""Recording for tensors: in-place changes, `out=`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..engine.frames import user_stacklevel
from ..engine.kernel import Kernel, kernels
from ..engine.trace import state
from ..engine.value import Value, concrete
from ..tensor.storage import alias_kernel, as_leaf, write
from ..tensor.tensor import Tensor, value_of, wrap


def check_inplace(tensor: Tensor) -> None:
    """Refuse an in-place change that PyTorch refuses, before anything is recorded.

    Raises:
        RuntimeError: a leaf that requires grad, a view of one, or a view that may not be changed.
    """
    if not state.trace.grad:
        return
    kind = value_of(tensor).kind
    alias = tensor._alias
    if kind.leaf:
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation."
        )
    if alias is None or alias.base is None:
        return
    base = alias.base._v.kind
    if base.leaf and alias.tracked:
        raise RuntimeError(
            "a view of a leaf Variable that requires grad is being used in an in-place operation."
        )
    if alias.many is not None and (kind.requires_grad or base.requires_grad):
        raise RuntimeError(
            f"Output {alias.many[1]} of {alias.many[0]} is a view and is being modified inplace. "
            "This view is the output of a function that returns multiple views. Such functions do "
            "not allow the output views to be modified inplace. You should replace the inplace "
            "operation by an out-of-place one."
        )
    if not alias.tracked and base.requires_grad:
        raise RuntimeError(
            "A view was created in no_grad mode and is being modified inplace with grad mode "
            "enabled. Given that this use case is ambiguous and error-prone, it is forbidden. You "
            "can clarify your code by moving both the view and the inplace either both inside the "
            "no_grad block (if you don't want the inplace to be tracked) or both outside (if you "
            "want the inplace to be tracked)."
        )


def assign(tensor: Tensor, result: Tensor, name: str) -> Tensor:
    """Make an operation's result the content of the tensor it was applied to; returns that tensor.

    Raises:
        RuntimeError: the result has another shape, or a type that does not fit.
    """
    value, kind = result._v, tensor._v.kind
    if value.kind.shape != kind.shape:
        raise RuntimeError(
            f"output with shape {list(kind.shape)} doesn't match the broadcast shape "
            f"{list(value.kind.shape)}"
        )
    if value.kind.dtype is not kind.dtype:
        check_castable(value.kind.dtype, kind.dtype)
        value = cast(value, kind.dtype)
    write(tensor, value)
    return tensor


def check_castable(source: Any, target: Any) -> None:
    """Refuse to store complex as real, floating as integral, or numbers as bool.

    Raises:
        RuntimeError: in PyTorch's words.
    """
    rank = _category(source), _category(target)
    if rank[0] > rank[1]:
        raise RuntimeError(
            f"result type {source.type_name} can't be cast to the desired output type "
            f"{target.type_name}"
        )


def _category(dtype: Any) -> int:
    if dtype.is_complex:
        return 3
    if dtype.is_floating_point:
        return 2
    return 0 if dtype.name == "bool" else 1


def cast(value: Value, dtype: Any) -> Value:
    """Record the conversion of a value to a type."""
    aval = jax.ShapeDtypeStruct(value.kind.shape, value.kind.dtype.np)
    target = dtype.np
    key = ("to", aval.shape, aval.dtype, target)

    def fn(x: Any) -> tuple:
        if jnp.issubdtype(x.dtype, jnp.complexfloating) and not jnp.issubdtype(
            target, jnp.complexfloating
        ):
            x = x.real
        return (x.astype(target),)

    kernel = kernels.get(key, lambda: Kernel("to", key, fn, [aval], grad_name="ToCopyBackward0"))
    return state.trace.record(kernel, [value])[0]


def unwatched(tensor: Tensor) -> Tensor:
    """A stand-in for a tensor about to be changed by an operation that saves it.

    PyTorch saves a copy of it in that case; the values here never change, so another name does.
    """
    value = value_of(tensor)
    if value.trace is None and not value.kind.requires_grad:
        return wrap(concrete(value.array, value.kind))
    return wrap(state.trace.record(alias_kernel(value.kind), [value])[0])


def into(out: Tensor | Sequence[Tensor], result: Any, name: str) -> Any:
    """Store a result in the tensor given as `out=`, resizing it if need be; returns it.

    Raises:
        RuntimeError: arguments that require grad, a type that does not fit.
    """
    if isinstance(result, (tuple, list)):
        if len(result) != len(out):
            raise TypeError(f"{name}(): expected {len(result)} tensors in out, got {len(out)}")
        for o, r in zip(out, result, strict=True):
            into(o, r, name)
        return type(result)(*out) if hasattr(result, "_fields") else tuple(out)
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    value_of(out)
    if state.trace.grad and out.requires_grad:
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, "
            "but one of the arguments requires grad."
        )
    if state.trace.grad and result.requires_grad:
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, "
            "but one of the arguments requires grad."
        )
    value, kind = result._v, out._v.kind
    check_castable(value.kind.dtype, kind.dtype)
    if value.kind.dtype is not kind.dtype:
        value = cast(value, kind.dtype)
    if value.kind.shape == kind.shape:
        write(out, value)
        return out
    if kind.shape.numel() != 0:
        warnings.warn(
            f"An output with one or more elements was resized since it had shape "
            f"{list(kind.shape)}, which does not match the required output shape "
            f"{list(value.kind.shape)}. This behavior is deprecated, and in a future PyTorch "
            "release outputs will not be resized unless they have zero elements. You can "
            "explicitly reuse an out tensor t by resizing it, inplace, to zero elements with "
            "t.resize_(0).",
            UserWarning,
            stacklevel=user_stacklevel(),
        )
    out._v, out._alias = value, None
    return out


def into_same_type(out: Tensor | Sequence[Tensor], result: Any, name: str) -> Any:
    """`into`, for operations that cast nothing.

    Raises:
        RuntimeError: as `into`; a tensor of another type than the result.
    """
    pairs = zip(out, result) if isinstance(result, (tuple, list)) else [(out, result)]
    for o, r in pairs:
        if isinstance(o, Tensor) and o.dtype is not r.dtype:
            raise RuntimeError(
                f"{name}(): Expected out tensor to have dtype {r.dtype.type_name}, but got "
                f"{o.dtype.type_name} instead"
            )
    return into(out, result, name)


__all__ = ["as_leaf", "assign", "cast", "check_inplace", "into", "into_same_type", "unwatched"]
