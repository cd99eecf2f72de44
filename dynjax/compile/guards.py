"""What a function can read of Python's state, and whether it is still what it was.

From a function everything is found that its code can name: closure cells, globals, defaults,
attributes of the objects and classes behind them, members of containers. The same walk serves
before a recording (to see afterwards what it changed) and after it (to guard what was read: only
names that the code which ran mentions).
"""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from types import CodeType
from typing import Any

import numpy as np

from ..core.size import Size
from ..nn.hooks import HOOK_DICTS
from ..nn.module import Module
from ..optim.optimizer import Optimizer
from ..tensor.tensor import Tensor
from .watch import PURE, kind_of_code

_LARGEST = 1000  # members of a container, past which only its length is looked at
_MOST = 100_000  # entries in all
_REFLECTION = frozenset(("getattr", "vars", "hasattr", "__dict__", "dir", "eval", "attrgetter"))
_TERMINAL = (
    int, float, complex, str, bytes, type(None), type(...), slice, range, np.ndarray, np.generic,
    np.dtype, Tensor, Size, types.BuiltinFunctionType, types.MethodDescriptorType, CodeType,
)  # fmt: skip
_DESCRIPTORS = (
    types.MethodWrapperType, types.WrapperDescriptorType, types.ClassMethodDescriptorType,
    types.GetSetDescriptorType, types.MemberDescriptorType, functools.cached_property,
)  # fmt: skip
_METHODS = (types.FunctionType, property, staticmethod, classmethod)
_DICTS = (dict, OrderedDict)
_OWN = {*HOOK_DICTS, "_modules", "_parameters", "_buffers"}  # a Module's dictionaries
_RANDOM = (np.random.Generator, np.random.RandomState, np.random.BitGenerator)
_LIBRARY = ("jax", "jaxlib", "numpy", "torch", "ml_dtypes", "builtins", "typing", "functools")


class Entry:
    """One thing that was read: `container[key]`, a cell's content, a class attribute, a length, or
    what a function consists of.

    Attributes:
        form: "item", "cell", "attribute", "function" or "length".
        container, key: where it stands.
        value: what it was; `missing` where it has to stay away.
        name: how a message calls it.
    """

    __slots__ = ("form", "container", "key", "value", "name")

    def __init__(self, form: str, container: Any, key: Any, value: Any, name: str) -> None:
        self.form, self.container, self.key = form, container, key
        self.value, self.name = value, name

    def now(self) -> Any:
        """What it is now; `missing` if it is gone."""
        try:
            if self.form == "item":
                return self.container[self.key]
            if self.form == "cell":
                return self.container.cell_contents
            if self.form == "attribute":
                return self.container.__dict__[self.key]
            if self.form == "function":
                return getattr(self.container, self.key)
            return len(self.container)
        except (KeyError, IndexError, ValueError):
            return missing

    def changed(self) -> bool:
        """Whether it is something else now."""
        now = self.now()
        return now is not self.value and not same(now, self.value)


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


missing = _Missing()


def same(a: Any, b: Any) -> bool:
    """Whether two objects are equal values of one immutable type."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return a.hex() == b.hex()
    if isinstance(a, tuple):
        return len(a) == len(b) and all(x is y or same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, (types.MethodType, types.BuiltinMethodType)):
        return a == b
    return isinstance(a, (int, str, bytes, complex)) and a == b


class Reach:
    """Everything that is found from some roots.

    Args:
        roots: functions, modules, arguments.
        ran: the code that ran, whose names alone count; None for all code that is found.

    Attributes:
        entries: what was found.
        tensors: the tensors among it.
        iterators: what changes by being used (iterators, NumPy's generators), as (name, object).
        complete: False where a bound was met.
        strange: what may change without an entry that tells, by name.
    """

    def __init__(self, roots: Iterable[Any], ran: tuple[set, set] | None = None) -> None:
        self.entries: list[Entry] = []
        self.tensors: list[Tensor] = []
        self.iterators: list[tuple[str, Any]] = []
        self.complete = True
        self.strange: list[str] = []
        self._seen: dict[int, Any] = {}
        # By whether the user's code alone counts, and the word:
        self._later: dict[tuple[bool, str], list[tuple]] = {}
        self._fixed = ran is not None
        self._names: set[str] = set()
        self._users: set[str] = set()
        self._codes: set[CodeType] = set()
        self._all = False
        self._optimizers: list[Optimizer] = []
        self._ran: set[CodeType] = set() if ran is None else ran[0] | ran[1]
        if ran is not None:
            for code in ran[0]:
                self._users |= mentioned(code)
            self._names |= self._users
            for code in ran[1]:
                self._names |= mentioned(code)
            self._all = not self._users.isdisjoint(_REFLECTION)
        self._pending: deque[tuple[Any, str]] = deque((root, "") for root in roots)
        self._run()

    def _run(self) -> None:
        while self._pending:
            obj, name = self._pending.popleft()
            if id(obj) in self._seen or isinstance(obj, _TERMINAL):
                if isinstance(obj, Tensor) and id(obj) not in self._seen:
                    self._seen[id(obj)] = obj
                    self.tensors.append(obj)
                elif isinstance(obj, np.ndarray):
                    self.strange.append(name)
                continue
            if len(self.entries) > _MOST:
                self.complete = False
                self.strange.append(name)
                return
            self._seen[id(obj)] = obj
            self._visit(obj, name)
        if self._optimizers and not self._users.isdisjoint(("param_groups", "defaults")):
            groups = [group for o in self._optimizers for group in o.param_groups]
            self._optimizers.clear()
            self._pending.extend((group, "param_groups[]") for group in groups)
            self._run()

    # --- kinds of objects

    def _visit(self, obj: Any, name: str) -> None:
        if isinstance(obj, types.FunctionType):
            self._function(obj, name)
        elif isinstance(obj, types.MethodType):
            self._pending += ((obj.__func__, name), (obj.__self__, name))
        elif isinstance(obj, functools.partial):
            self._pending += ((obj.func, name), (obj.args, name), (obj.keywords, name))
        elif isinstance(obj, (dict, list, tuple, set, frozenset, deque)):
            self._container(obj, name)
        elif isinstance(obj, types.ModuleType):
            if _is_library(obj.__name__):
                if obj.__name__ not in PURE and obj.__name__ != "dynjax":
                    self.strange.append(name)
            else:
                of_users = obj.__name__.startswith("dynjax.")
                self._attributes(obj.__dict__, name or obj.__name__, of_users)
        elif isinstance(obj, type):
            self._class(obj)
        elif isinstance(obj, (property, staticmethod, classmethod)):
            parts = (getattr(obj, "__func__", None), getattr(obj, "fget", None))
            self._pending.extend((part, name) for part in parts if part is not None)
        elif isinstance(obj, Optimizer):
            self.strange.append(name)
            self._optimizers.append(obj)  # its updates are asked again at every replay
        elif hasattr(obj, "__next__") or isinstance(obj, _RANDOM):
            self.iterators.append((name, obj))
        else:
            self._instance(obj, name)

    def _function(self, fn: types.FunctionType, name: str) -> None:
        code = fn.__code__
        if self._fixed and not self._may_have_run(fn):
            return
        self._mention(code)
        for cell_name, cell in zip(code.co_freevars, fn.__closure__ or (), strict=True):
            self._add("cell", cell, None, cell_name)
        if kind_of_code(code) == "user":
            if self._fixed:
                for word in ("__code__", "__defaults__"):
                    self.entries.append(
                        Entry("function", fn, word, getattr(fn, word), f"{fn.__name__}.{word}")
                    )
            scope = fn.__globals__
            for word in global_names(code):
                if word in scope and (not self._fixed or word in self._names):
                    self._add("item", scope, word, word)
        for default in (fn.__defaults__, fn.__kwdefaults__, fn.__dict__ or None):
            if default:
                self._pending.append((default, name))
        wrapped = getattr(fn, "__wrapped__", None)
        if wrapped is not None:
            self._pending.append((wrapped, name))

    def _container(self, obj: Any, name: str) -> None:
        self.entries.append(Entry("length", obj, None, len(obj), f"len({name})"))
        if len(obj) > _LARGEST:
            self.strange.append(name)
            return
        if isinstance(obj, dict):
            for key in obj:
                self._add("item", obj, key, f"{name}[{key!r}]")
        elif isinstance(obj, (list, deque)):
            for key in range(len(obj)):
                self._add("item", obj, key, f"{name}[{key}]")
        else:
            self._pending.extend((member, name) for member in obj)

    def _instance(self, obj: Any, name: str) -> None:
        cls = type(obj)
        if _is_library(cls.__module__):
            if not cls.__module__.startswith("dynjax.") and not isinstance(obj, _DESCRIPTORS):
                self.strange.append(f"{name} ({cls.__name__})")
            return
        self._pending.append((cls, cls.__name__))
        own = getattr(obj, "__dict__", None)
        if isinstance(own, dict):
            self._attributes(own, name or cls.__name__)
            if self._fixed:
                self._shadowed(cls, own, name or cls.__name__)
            if self._all:
                self.entries.append(Entry("length", own, None, len(own), f"{name}.__dict__"))
        for slot in _slots(cls):
            value = getattr(obj, slot, None)
            self._pending.append((value, f"{name}.{slot}"))
        if isinstance(obj, Module):
            for members in ("_parameters", "_buffers", "_modules"):
                for word in own.get(members, ()):
                    if not self._fixed or word in self._names or members == "_modules":
                        self._pending.append((own[members][word], f"{name}.{word}"))

    def _shadowed(self, cls: type, own: dict[str, Any], name: str) -> None:
        """Note that methods that are called are not hidden by attributes of the instance."""
        for base in cls.__mro__:
            if not _is_library(base.__module__) and base is not object:
                for word, value in vars(base).items():
                    if (
                        isinstance(value, _METHODS)
                        and word not in own
                        and self._overridable(word, value)
                    ):
                        self.entries.append(Entry("item", own, word, missing, f"{name}.{word}"))

    def _overridable(self, word: str, method: Any) -> bool:
        """Whether a method may be called by the user's code, or stands for it."""
        return (word == "forward" or word in self._users) and self._may_have_run(method)

    def _may_have_run(self, method: Any) -> bool:
        """Whether Python of a function or method ran; what did not would not in a call like it."""
        codes = [fn.__code__ for fn in _functions(method)]
        return not codes or any(
            code in self._ran or kind_of_code(code) not in ("user", "dynjax") for code in codes
        )

    def _class(self, cls: type) -> None:
        for base in cls.__mro__:
            if _is_library(base.__module__) or base is object:
                continue
            ours = base.__module__.startswith("dynjax.")
            for word, value in list(vars(base).items()):
                if isinstance(value, _METHODS):
                    name = f"{base.__name__}.{word}"
                    if ours:
                        self._mention_all(value)
                        if self._fixed and self._overridable(word, value):
                            self.entries.append(Entry("attribute", base, word, value, name))
                    elif self._fixed and (
                        word in self._names or (word.startswith("__") and self._may_have_run(value))
                    ):
                        self._add("attribute", base, word, name)
                    elif not self._fixed:
                        self._pending.append((value, word))
                elif not word.startswith("__") and not ours:
                    self._when(word, "attribute", base, f"{base.__name__}.{word}")

    # --- names

    def _mention(self, code: CodeType) -> None:
        if self._fixed or code in self._codes:
            return
        self._codes.add(code)
        words = mentioned(code)
        new = [(False, word) for word in words - self._names]
        if kind_of_code(code) == "user":
            new += [(True, word) for word in words - self._users]
            self._users |= words
            self._all = self._all or not words.isdisjoint(_REFLECTION)
        self._names |= words
        for of_users, word in new:
            for form, container, name in self._later.pop((of_users, word), ()):
                self._add(form, container, word, name, of_users)

    def _mention_all(self, value: Any) -> None:
        for fn in _functions(value):
            self._mention(fn.__code__)

    def _attributes(self, own: dict[str, Any], name: str, of_users: bool = False) -> None:
        for word in list(own):
            if type(word) is str:
                self._when(word, "item", own, f"{name}.{word}", of_users)

    def _when(
        self, word: str, form: str, container: Any, name: str, of_users: bool = False
    ) -> None:
        """Add an attribute now or, if no code mentions it, once some does.

        Of dynjax's own modules only what the user's code mentions counts, and what lies behind a
        name there is the library's: to be the same object is enough.
        """
        known = self._users if of_users else self._names
        if word in known or (self._all and form == "item" and not of_users):
            self._add(form, container, word, name, of_users)
        elif not self._fixed:
            self._later.setdefault((of_users, word), []).append((form, container, name))

    def _add(self, form: str, container: Any, key: Any, name: str, of_users: bool = False) -> None:
        entry = Entry(form, container, key, None, name)
        entry.value = entry.now()
        if entry.value is not missing:
            self.entries.append(entry)
            if not of_users or not _is_ours(entry.value):
                self._pending.append((entry.value, name))

    # --- results

    def changes(self) -> list[str]:
        """What is something else now than when it was found."""
        return [entry.name for entry in self.entries if entry.changed()]


def _functions(value: Any) -> list[types.FunctionType]:
    """The functions that a method or property consists of."""
    parts = (value, *[getattr(value, name, None) for name in ("__func__", "fget", "fset", "fdel")])
    return [part for part in parts if isinstance(part, types.FunctionType)]


@functools.cache
def _slots(cls: type) -> tuple[str, ...]:
    found: list[str] = []
    for base in cls.__mro__:
        slots = base.__dict__.get("__slots__", ())
        found += [slots] if isinstance(slots, str) else list(slots)
    return tuple(s for s in found if not s.startswith("__"))


@functools.lru_cache(maxsize=10_000)
def mentioned(code: CodeType) -> frozenset[str]:
    """Every name and string in a code object, those of functions defined inside included."""
    found = set(code.co_names) | set(code.co_freevars)
    for constant in code.co_consts:
        if isinstance(constant, str):
            found.add(constant)
        elif isinstance(constant, tuple):
            found.update(c for c in constant if isinstance(c, str))
        elif isinstance(constant, CodeType):
            found |= mentioned(constant)
    return frozenset(found)


@functools.lru_cache(maxsize=10_000)
def global_names(code: CodeType) -> frozenset[str]:
    """The globals that a code object reads, functions defined inside included."""
    found = {
        i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= global_names(constant)
    return frozenset(found)


def _is_ours(obj: Any) -> bool:
    """Whether something in one of dynjax's modules was put there by dynjax, as all that it makes of
    functions and containers: not by a user, nor a module or class with names of its own."""
    if isinstance(obj, types.FunctionType):
        return kind_of_code(obj.__code__) == "dynjax"
    return isinstance(obj, (dict, list, tuple, set, frozenset))


def _is_library(module: str | None) -> bool:
    root = (module or "builtins").split(".")[0]
    return root in _LIBRARY or root in sys.stdlib_module_names or module == "dynjax" or (
        root == "dynjax" and module.split(".")[1] not in ("nn", "optim")
    )  # fmt: skip


class Guards:
    """Whether everything that was read is still what it was: one generated expression.

    Args:
        entries: what was read.
    """

    __slots__ = ("entries", "_check")

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = list({_place(e): e for e in entries}.values())
        self._check = _compiled(self.entries)

    def hold(self) -> bool:
        """Whether a replay does what the function would do."""
        try:
            if self._check():
                return True
        except (KeyError, IndexError, ValueError):
            return False
        differing = [e for e in self.entries if e.now() is not e.value]
        if any(e.changed() for e in differing):
            return False
        for entry in differing:  # other objects of the same values: remember these
            entry.value = entry.now()
        self._check = _compiled(self.entries)
        return True

    def failing(self) -> str | None:
        """The first thing that is not what it was."""
        for entry in self.entries:
            if entry.changed():
                return f"{entry.name} is {entry.now()!r:.60}, was {entry.value!r:.60}"
        return None


def _place(entry: Entry) -> tuple:
    return entry.form, id(entry.container), entry.key


def _compiled(entries: list[Entry]) -> Callable[[], bool]:
    names: dict[str, Any] = {"len": len}
    known: dict[int, str] = {}

    def name_of(obj: Any) -> str:
        found = known.get(id(obj))
        if found is None:
            found = known[id(obj)] = f"o{len(known)}"
            names[found] = obj
        return found

    terms, empty = [], []
    # Of a Module's own dictionaries it matters only that they are empty, not which they are.
    own = {id(e.value): e.value for e in entries if e.form == "item" and e.key in _OWN}
    idle = {ident for ident, held in own.items() if type(held) in _DICTS and not held}
    idle -= {id(e.value) for e in entries if e.form != "item" or e.key not in _OWN}
    for entry in entries:
        if entry.form == "length" and id(entry.container) in idle:
            continue
        if entry.form == "item" and id(entry.value) in idle:
            terms.append(f"not {name_of(entry.container)}[{entry.key!r}]")
            continue
        container = name_of(entry.container)
        value = name_of(entry.value)
        if entry.form == "length":
            if entry.value == 0:
                empty.append(container)
            else:
                terms.append(f"len({container}) == {entry.value}")
        elif entry.form == "cell":
            terms.append(f"{container}.cell_contents is {value}")
        elif entry.form == "function":
            terms.append(f"{container}.{entry.key} is {value}")
        elif entry.form == "attribute":
            terms.append(f"{container}.__dict__[{entry.key!r}] is {value}")
        else:
            plain = type(entry.key) in (str, int)
            key = repr(entry.key) if plain else name_of(entry.key)
            gone = entry.value is missing
            terms.append(f"{key} not in {container}" if gone else f"{container}[{key}] is {value}")
    terms += [f"not {container}" for container in empty]
    source = "lambda: " + (" and ".join(terms) or "True")
    return eval(source, names)  # noqa: S307  (the source is made of numbers and quoted keys)


__all__ = ["Entry", "Guards", "Reach", "same"]
