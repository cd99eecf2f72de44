"""JAX's side of the door: Modules as pure functions, JAX functions as operations, arrays across."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from ..autograd.modes import no_grad
from ..engine.executor import flush
from ..engine.kernel import Kernel, kernels
from ..engine.trace import Trace, state
from ..engine.value import concrete
from ..nn.module import Module
from ..tensor.tensor import Tensor, from_host, from_jax, value_of, wrap


def to_jax(module: Module) -> tuple[Callable[..., Any], dict[str, jax.Array]]:
    """A Module as a pure function and its state, for `jax.grad`, `jit` and `vmap`.

    Args:
        module: any Module; it is not changed, now or by calls of the function.

    Returns:
        `(pure_fn, params)`: `params` maps the names of parameters and buffers to jax.Arrays;
        `pure_fn(params, *inputs, **kwargs)` is the Module's call with those values, on arrays
        (jax or NumPy) in place of tensors, giving arrays in the structure of the Module's result.
        Buffers that forward changes are changed inside only.
    """
    names = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    params = {name: t.detach().__jax_array__() for name, t in names.items()}

    def pure_fn(params: dict[str, Any], *inputs: Any, **kwargs: Any) -> Any:
        missing = names.keys() - params.keys()
        if missing:
            raise KeyError(f"params lacks {sorted(missing)}")
        with _apart(), _substituted(names, params), no_grad():
            result = module(*_tree(_to_tensor, inputs), **_tree(_to_tensor, kwargs))
            return _tree(_to_array, result)

    return pure_fn, params


def from_function(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A JAX function as an operation on the tape.

    Args:
        fn: takes arrays, returns an array or a tuple of them; pure.

    Returns:
        The same function over tensors, differentiable, fused with what surrounds it.
    """

    structures: dict[Any, bool] = {}  # kernel key -> whether it returned a sequence

    def operation(*tensors: Tensor) -> Any:
        values = [value_of(t) for t in tensors]
        avals = [jax.ShapeDtypeStruct(v.kind.shape, v.kind.dtype.np) for v in values]
        key = (operation, tuple((a.shape, a.dtype) for a in avals))

        def body(*arrays: Any) -> tuple:
            out = fn(*arrays)
            structures[key] = isinstance(out, (tuple, list))
            return tuple(out) if structures[key] else (out,)

        name = getattr(fn, "__name__", "function").strip("<>")
        kernel = kernels.get(key, lambda: Kernel(name, key, body, avals, by_python=True))
        results = [wrap(v) for v in state.trace.record(kernel, values)]
        return tuple(results) if structures[key] else results[0]

    return operation


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    """A trace of its own, so that tracers never meet the caller's open trace."""
    with jax.ensure_compile_time_eval():  # even inside somebody's jit, this is not part of it
        flush()
    outer = state.trace
    state.trace = Trace(outer.trie, outer.grad)
    try:
        yield
    finally:
        state.trace = outer


@contextlib.contextmanager
def _substituted(names: dict[str, Tensor], params: dict[str, Any]) -> Iterator[None]:
    """The tensors hold other arrays inside."""
    saved = [(t, t._v, t._alias) for t in names.values()]
    try:
        for name, t in names.items():
            t._v = concrete(params[name], t._v.kind.with_grad(False, False))
            t._alias = None
        yield
    finally:
        for t, value, alias in saved:
            t._v, t._alias = value, alias


def _tree(leaf: Callable, tree: Any) -> Any:
    return jax.tree.map(leaf, tree, is_leaf=lambda x: isinstance(x, Tensor))


def _to_tensor(x: Any) -> Any:
    if isinstance(x, Tensor) or not hasattr(x, "dtype"):
        return x
    return from_host(np.array(x)) if isinstance(x, (np.ndarray, np.generic)) else from_jax(x)


def _to_array(x: Any) -> Any:
    return x.__jax_array__() if isinstance(x, Tensor) else x


__all__ = ["from_function", "from_jax", "to_jax"]
