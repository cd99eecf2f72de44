"""When dynjax is loaded: at its import, but in the workers of loaders when it is first asked for.

Loading it, and JAX with it, takes a worker over a second and 200 MB, and most datasets need NumPy
alone. In a worker `import dynjax` is therefore as good as free: `dynjax.utils.data` is there, and
any other name loads the whole.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib import import_module
from multiprocessing.process import current_process
from types import ModuleType

from .suggest import missing

WORKER = "dynjax-loader-"  # how the names of these processes begin: known before any import

_PACKAGE = __name__.partition(".")[0]
_LIGHT = ("utils",)  # subpackages that can be imported on their own
_lock = threading.RLock()
_state: str | None = None  # None, "loading", "loaded"
_afterwards: list[Callable[[], object]] = []


def in_worker() -> bool:
    """Whether this process is a loader's worker."""
    return current_process().name.startswith(WORKER)


def load() -> ModuleType:
    """The package, with all of its names."""
    global _state
    package = sys.modules[_PACKAGE]
    with _lock:
        if _state is None:
            _state = "loading"
            try:
                front = vars(import_module(f"{_PACKAGE}._front"))
            except BaseException:
                _state = None
                raise
            vars(package).update((k, v) for k, v in front.items() if not k.startswith("_"))
            package.__version__ = front["__version__"]
            _state = "loaded"
            while _afterwards:
                _afterwards.pop(0)()
    return package


def loaded() -> ModuleType | None:
    """The package if it has been loaded, without doing that."""
    return sys.modules[_PACKAGE] if _state == "loaded" else None


def when_loaded(call: Callable[[], object]) -> None:
    """Make a call now, or when the package will have been loaded."""
    if loaded():
        call()
    else:
        _afterwards.append(call)


def attribute(name: str) -> object:
    """What the package's `__getattr__` returns.

    Raises:
        AttributeError: there is no such name.
    """
    package = sys.modules[_PACKAGE]
    if _state is None and not (name.startswith("__") and name != "__version__"):
        if name in _LIGHT:
            return import_module(f"{_PACKAGE}.{name}")
        load()
        if name in vars(package):
            return vars(package)[name]
    raise missing(_PACKAGE, name, vars(package))
