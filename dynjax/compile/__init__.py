"""`dynjax.compile`: calls of a function or Module recorded once and replayed without their Python.

How it works, a file each: `signature` (which recording a call wants), `record` (one run, captured
apart), `snapshot`, `watch`, `guards` (what the run changed, did and read), `part` (a recording, and
its replay as one step of a trace), `direct` (its replay as one program), `function`, `module` (what
the user holds). `unasked` does the same for Modules where nobody asked for it and nobody can tell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..nn.module import Module, later
from . import unasked as unasked
from .function import CompiledFunction
from .module import OptimizedModule

_MODES = (
    "default", "lite", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune", "check",
)  # fmt: skip
_BACKENDS = ("inductor", "xla", "openxla", "eager", "aot_eager", "cudagraphs")


def compile(
    model: Callable[..., Any] | None = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: str | Callable[..., Any] = "inductor",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
) -> Any:
    """Make each call of a function or Module one recorded step, replayed without its Python.

    Args:
        model: a function or Module; without it, a decorator is returned.
        fullgraph: raise where a call can't be replayed whole; else it runs as it would without
            `compile`, and one warning says why.
        dynamic: accepted; shapes are always part of what is recorded.
        backend: accepted (the names that PyTorch has, and "xla"); XLA compiles whatever it says.
        mode: PyTorch's modes are accepted and change nothing. "check" runs the Python at every
            call and raises where a replay would have differed.
        options: accepted.
        disable: return the model as it is.

    Returns:
        A function with the same arguments; for a Module an `OptimizedModule` around it.

    Raises:
        AssertionError: the model can't be called.
        RuntimeError: an unknown mode or backend, or both `mode` and `options`.
        Unsupported (a RuntimeError): from calls, with `fullgraph`.

    A call is recorded once for each signature: shapes, types, devices and requires_grad of the
    tensors in the arguments, the other arguments' values, the containers' structure, the modes.
    What it reads and changes in tensors (parameters, buffers, gradients, optimizer state) and
    random generators becomes input and output. Which Python values are guarded is in the README.

    Source: torch.compile.
    """
    if mode is not None and options is not None:
        raise RuntimeError(
            "Either mode or options can be specified, but both can't be specified at the same time."
        )
    if mode is not None and mode not in _MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(_MODES)}")
    if not callable(backend) and backend not in _BACKENDS:
        raise RuntimeError(f"Invalid backend: {backend!r}, should be one of: {_BACKENDS}")
    if model is None:

        def decorate(fn: Callable[..., Any]) -> Any:
            if fn is None:
                raise RuntimeError("Model can't be None")
            return compile(
                fn, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode,
                options=options, disable=disable,
            )  # fmt: skip

        return decorate
    if not callable(model):
        raise AssertionError(f"A callable function is expected, but {type(model)} is provided.")
    if disable:
        return model
    check = mode == "check"
    if isinstance(model, (OptimizedModule, CompiledFunction)):
        return model
    name = getattr(model, "__qualname__", type(model).__name__)
    compiled = CompiledFunction(model, name, fullgraph, check)
    return OptimizedModule(model, compiled) if isinstance(model, Module) else compiled


def _compile_call(module: Module, *args: Any, **kwargs: Any) -> Any:
    """What replaces a Module's own call by `Module.compile`."""
    compiled = compile(module._call_impl, *args, **kwargs)
    if isinstance(compiled, CompiledFunction):
        compiled._name = type(module).__name__
        return compiled
    return None


later["compile"] = _compile_call

__all__ = ["OptimizedModule", "compile"]
