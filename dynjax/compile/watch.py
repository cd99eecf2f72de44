"""Sees what Python does beside recording: calls into C with effects, and which code ran at all."""

from __future__ import annotations

import functools
import gc
import inspect
import os
import sys
import sysconfig
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import jax
import numpy as np

from ..engine.frames import Source, is_ours
from .alive import Newcomers

_STANDARD = tuple({sysconfig.get_path("stdlib") + os.sep, os.path.dirname(os.__file__) + os.sep})
_FOREIGN = tuple(os.path.dirname(module.__file__) + os.sep for module in (jax, np))
_LISTENERS = inspect.getsourcefile(jax.monitoring.record_event)  # calls what listens to JAX

# Modules whose functions, and types whose methods, act on or read the world outside.
_WORLD = frozenset(
    "time posix nt _io _random _socket _thread _queue _posixsubprocess _signal select signal mmap "
    "io _warnings _asyncio _contextvars atexit readline syslog termios fcntl _sqlite3 numpy.random "
    "secrets _uuid".split()
)
_BUILTINS = frozenset("print input open breakpoint exec eval setattr delattr globals".split())
# Modules whose functions and types keep nothing: what they do follows from what they are given.
PURE = frozenset(
    "builtins math cmath _operator operator itertools functools _functools collections "
    "_collections collections.abc _collections_abc typing dataclasses enum numbers types abc "
    "__future__".split()
)
_CHANGES = frozenset(
    "append appendleft extend extendleft insert pop popleft popitem remove clear sort reverse "
    "rotate update setdefault add discard difference_update intersection_update "
    "symmetric_difference_update __setitem__ __delitem__ move_to_end".split()
)


@functools.cache
def _kind_of_file(name: str) -> str:
    if is_ours(name):
        return "dynjax"
    if name.startswith("<frozen importlib") or name == _LISTENERS:
        return "import"
    if name.startswith(_FOREIGN):
        return "library"
    if "site-packages" not in name and (name.startswith(_STANDARD) or name.startswith("<frozen ")):
        return "standard"
    return "user"


def kind_of_code(code: CodeType) -> str:
    """Whose code this is: "user", "dynjax", "library", "import" (what it leads to is none of its
    caller's doing: imports, listeners), or "standard" (acts for its caller)."""
    return _kind_of_file(code.co_filename)


class Watch:
    """Context manager: watches this thread's Python.

    Attributes:
        user, ours: the code objects that ran, the user's and dynjax's.
        effects: (what, where) for every effect seen.
        strange: what else was called of which little is known.
        new: tells what was made meanwhile.
    """

    def __init__(self) -> None:
        self.user: set[CodeType] = set()
        self.ours: set[CodeType] = set()
        self.effects: list[tuple[str, Source | None]] = []
        self.strange: list[str] = []
        self._modes: list[str] = []
        self._mode = "dynjax"
        self.new = Newcomers()

    def __enter__(self) -> Watch:
        self._previous = sys.getprofile()
        self._numpy = _numpy_state()
        # The collector calls these whenever it happens to run.
        self._bystanders = {getattr(called, "__code__", None) for called in gc.callbacks}
        sys.setprofile(self._event if self._previous is None else self._both)
        return self

    def __exit__(self, *exc: Any) -> None:
        sys.setprofile(self._previous)
        if _numpy_state() != self._numpy:  # its functions are no C functions to a profile
            self.effects.append(("draws from numpy.random", None))

    def _both(self, frame: FrameType, event: str, arg: Any) -> None:
        previous: Callable = self._previous
        previous(frame, event, arg)
        self._event(frame, event, arg)

    def _event(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            code = frame.f_code
            kind = kind_of_code(code)
            self._modes.append(self._mode)
            if self._mode == "import":
                return
            if kind == "user":
                if code in self._bystanders:
                    self._mode = "import"
                    return
                self.user.add(code)
                self._mode = kind
            elif kind == "dynjax":
                self.ours.add(code)
                self._mode = kind
            elif kind in ("library", "import"):
                self._mode = kind
        elif event == "return":
            if self._modes:
                self._mode = self._modes.pop()
        elif event == "c_call" and self._mode == "user":
            self._called(frame, arg)

    def _called(self, frame: FrameType, function: Any) -> None:
        name = getattr(function, "__name__", "")
        owner = getattr(function, "__self__", None)
        module = getattr(function, "__module__", None)
        if owner is None or isinstance(owner, type(sys)):
            module = module if owner is None or module == "builtins" else owner.__name__
            if module not in PURE:
                self.strange.append(f"{module}.{name}()")
            if module in _WORLD or (module == "builtins" and name in _BUILTINS):
                self._note(f"calls {name if module == 'builtins' else f'{module}.{name}'}()", frame)
            return
        cls = type(owner)
        if cls.__module__ not in PURE:
            self.strange.append(f"{cls.__module__}.{cls.__name__}.{name}()")
        if cls.__module__ in _WORLD or _base_in_world(cls):
            self._note(f"calls {cls.__name__}.{name}()", frame)
        elif name in _CHANGES and isinstance(owner, (list, dict, set)) or cls.__name__ == "deque":
            if name in _CHANGES and self.new.existed(owner, True):
                self._note(f"calls {cls.__name__}.{name}() of an object from outside", frame)

    def _note(self, what: str, frame: FrameType | None) -> None:
        while frame is not None and kind_of_code(frame.f_code) != "user":
            frame = frame.f_back
        where = None
        if frame is not None:
            where = Source(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        self.effects.append((what, where))


def _numpy_state() -> tuple:
    name, key, *rest = np.random.get_state(legacy=True)
    return name, key.tobytes(), *rest


def _base_in_world(cls: type) -> bool:
    return any(
        c.__module__ in _WORLD or c.__module__.startswith("numpy.random") for c in cls.__mro__[:-1]
    )


__all__ = ["PURE", "Watch", "kind_of_code"]
