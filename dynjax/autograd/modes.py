"""Grad modes: whether what is computed is put on the tape."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from ..engine.trace import state
from .mixed import graded

F = TypeVar("F", bound=Callable[..., Any])


class _Mode:
    """A context manager that also decorates functions and generators."""

    def __call__(self, func: F) -> F:
        if inspect.isclass(func):
            raise TypeError(
                f"{type(self).__name__} decorates functions, not classes: {func.__name__}"
            )
        if inspect.isgeneratorfunction(func):

            @functools.wraps(func)
            def generator(*args: Any, **kwargs: Any) -> Any:
                running = func(*args, **kwargs)
                sent: Any = None
                while True:
                    with self._clone():
                        try:
                            item = running.send(sent)
                        except StopIteration as stop:
                            return stop.value
                    sent = yield item

            return generator  # type: ignore[return-value]

        @functools.wraps(func)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self._clone():
                return func(*args, **kwargs)

        return wrapper  # type: ignore[return-value]

    def _clone(self) -> Any:
        return type(self)()

    def __enter__(self) -> None:
        raise NotImplementedError

    def __exit__(self, *exc: Any) -> None:
        raise NotImplementedError


class no_grad(_Mode):
    """Results of operations inside do not require grad. Context manager and decorator."""

    def __new__(cls, orig_func: Any = None) -> Any:
        new = object.__new__(cls)
        return new if orig_func is None else new(orig_func)

    def __enter__(self) -> None:
        trace = state.trace
        self.prev = mode = trace.grad
        trace.grad = False if mode.__class__ is bool else graded(mode, False)

    def __exit__(self, *exc: Any) -> None:
        state.trace.grad = self.prev


class enable_grad(no_grad):
    """Records the tape inside, even within `no_grad`. Context manager and decorator."""

    def __enter__(self) -> None:
        trace = state.trace
        self.prev = mode = trace.grad
        trace.grad = True if mode.__class__ is bool else graded(mode, True)


class set_grad_enabled(_Mode):
    """Sets the grad mode at once; as a context manager, until its end.

    Args:
        mode: whether the tape is recorded.
    """

    def __init__(self, mode: bool) -> None:
        self.prev = state.trace.grad
        self.mode = mode
        state.trace.grad = graded(self.prev, bool(mode))

    def __call__(self, func: F) -> F:
        state.trace.grad = self.prev
        return super().__call__(func)

    def __enter__(self) -> None:
        state.trace.grad = graded(state.trace.grad, bool(self.mode))

    def __exit__(self, *exc: Any) -> None:
        state.trace.grad = self.prev

    def _clone(self) -> Any:
        return type(self)(self.mode)

    def __repr__(self) -> str:
        return f"set_grad_enabled(mode={self.mode})"


class inference_mode(_Mode):
    """As `no_grad`; `is_inference_mode_enabled()` tells inside. Context manager and decorator.

    Args:
        mode: whether inference mode is on (a function decorates it directly).
    """

    def __new__(cls, mode: Any = True) -> Any:
        new = object.__new__(cls)
        if callable(mode) and not isinstance(mode, bool):
            new.mode = True
            return new(mode)
        return new

    def __init__(self, mode: bool = True) -> None:
        self.mode = mode

    def __enter__(self) -> None:
        trace = state.trace
        self.prev = trace.grad, trace.inference
        if self.mode:
            trace.grad = graded(trace.grad, False)
        trace.inference = bool(self.mode)

    def __exit__(self, *exc: Any) -> None:
        state.trace.grad, state.trace.inference = self.prev

    def _clone(self) -> Any:
        return type(self)(self.mode)


def is_grad_enabled() -> bool:
    """Whether operations are recorded on the tape now."""
    return bool(state.trace.grad)


def is_inference_mode_enabled() -> bool:
    """Whether inference mode is on."""
    return state.trace.inference
