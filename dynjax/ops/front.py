"""The front function of an operation: generated source, specialised to the operation's arguments.

It only looks the call up in the trace: a hit costs about a microsecond, tensor and tape included.
Whatever is new, or unusual, goes to the operation's `slow`.
"""

# ruff: noqa: E501  (templates of source lines)
from __future__ import annotations

import functools
import inspect
import linecache
from collections.abc import Callable, Hashable
from types import CodeType, FunctionType
from typing import Any

from ..autograd.dispatch import into, into_same_type
from ..core.dtypes import get_default_dtype
from ..engine.frames import user_place
from ..engine.random import default_generator
from ..engine.trace import Trace, state
from ..engine.trie import Step, Template
from ..engine.value import Value
from ..tensor.parameter import Parameter
from ..tensor.storage import Alias, refresh, share
from ..tensor.tensor import Tensor as TensorHandle
from ..tensor.tensor import wrap
from .kinds import number_key

_new = object.__new__


def attach_view(base: TensorHandle, view: TensorHandle, step: Step, k: int, grad: bool) -> None:
    """Make a view operation's result share its base's storage."""
    made = attach_known(base, view, step.views[k], grad)
    if len(step.views) > 1:
        made.many = (step.kernel.grad_name, k)


def attach_known(base: TensorHandle, view: TensorHandle, how: Any, tracked: bool = True) -> Alias:
    """Make a tensor a view of another; `how` is a ViewStep or a LaterView."""
    alias = base._alias
    if alias is None:
        alias = share(base)
    family = alias.base
    storage = alias.storage
    made = view._alias = _new(Alias)
    made.storage = storage
    made.base = base if family is None else family
    made.chain = (*alias.chain, how)
    made.seen = storage.stamp
    made.tracked = tracked
    made.silent = alias.silent
    made.plain = False
    made.many = None
    view._v.watch = storage.watch()
    return made


def _many(trace: Trace, step: Step, base: Any) -> Any:
    results = [wrap(v) for v in trace.results(step)]
    if step.views is not None:
        for k, t in enumerate(results):
            attach_view(base, t, step, k, trace.grad)
    return results[0] if step.wrap is None else step.wrap(results)


_TENSOR = """\
        v_{p} = {p}._v if (_a := {p}._alias) is None or _a.seen == _a.storage.stamp else _refresh({p})
        r_{p} = v_{p}.idx if v_{p}.trace is _tr else _tr.enter(v_{p})
"""
_OPTIONAL = """\
        if {p} is None:
            r_{p} = None
        else:
            v_{p} = {p}._v if (_a := {p}._alias) is None or _a.seen == _a.storage.stamp else _refresh({p})
            r_{p} = v_{p}.idx if v_{p}.trace is _tr else _tr.enter(v_{p})
"""
_OPERAND = """\
        _c = {p}.__class__
        if _c is _Tensor or _c is _Parameter:
            v_{p} = {p}._v if (_a := {p}._alias) is None or _a.seen == _a.storage.stamp else _refresh({p})
            r_{p} = v_{p}.idx if v_{p}.trace is _tr else _tr.enter(v_{p})
        elif _c is float and {p} != 0.0 and {p} != 1.0:
            r_{p} = float
        elif _c is float or _c is int:
            r_{p} = _number_key({p})
        elif {p} is None:
            r_{p} = None
        else:
            return _slow({args})
"""
_NUMBER = """\
        r_{p} = _number_key({p}) if {p} is not None else None
"""
_TENSORS = """\
        r_{p} = []
        for _t in {p}:
            _v = _t._v if (_a := _t._alias) is None or _a.seen == _a.storage.stamp else _refresh(_t)
            r_{p}.append(_v.idx if _v.trace is _tr else _tr.enter(_v))
        r_{p} = tuple(r_{p})
"""
_SINGLE = """\
    _v = _new(_Value)
    _v.trace = _tr
    _v.idx = _step.base
    _v.kind = _step.kind
    _v.array = _v.node = _v.watch = None
    _tr.vals.append(_v)
    _t = _new(_Tensor)
    _t._v = _v
    _t._alias = _t._grad = _t._meta = None
"""


def _signature(op: Any, names: dict[str, Any]) -> tuple[str, str]:
    """The front's parameters as source, and the tuple of arguments for the slow way."""
    parts, args, starred = [], [], False
    for p in op.params:
        name = "generator" if p.kind == "Key" else p.name
        args.append(name)
        default = ""
        if p.kind == "Key":
            default = "=None"
        elif p.default is not inspect.Parameter.empty:
            names[f"_default_{p.name}"] = p.default
            default = f"=_default_{p.name}"
        if p.kind == "Size" and not default and not p.keyword and p is op.params[-1]:
            parts.append(f"*{name}_, {name}=None")
            starred = True
            continue
        if (p.keyword or p.kind == "Key") and not starred:
            parts.append("*")
            starred = True
        parts.append(name + default)
    if op.out:
        parts.append("out=None" if starred else "*, out=None")
    return ", ".join(parts), ", ".join(args)


def _likeness(op: Any) -> tuple[list[str], list[str]]:
    """Source of what calls must have in common to be alike but for the values they are applied to,
    and of the indices of those values."""
    like, refs = [], []
    for p in op.params:
        n = p.name
        if p.kind == "Tensors":
            like.append(f"tuple([_t._v.kind for _t in {n}])")
            refs.append(f"*r_{n}")
        elif p.kind == "Tensor" and not p.optional:
            like.append(f"v_{n}.kind")
            refs.append(f"r_{n}")
        elif p.kind in ("Tensor", "Operand"):
            like.append(f"v_{n}.kind if r_{n}.__class__ is int else r_{n}")
            refs.append(f"*((r_{n},) if r_{n}.__class__ is int else ())")
        elif p.kind == "Number":
            like.append(f"r_{n}")
        elif p.kind != "Key":
            like += [n, f"{n}.__class__"]
    return like, refs


def _again(
    op: Any, trace: Trace, like: Hashable, key: Hashable, refs: tuple[int, ...]
) -> Step | None:
    """A new step for a call like one seen before; None where the general way must be gone."""
    template = op.templates.get(like)
    if template is None or trace.trie.eager:
        return None
    if trace.parent is None and trace.cur.depth >= trace.trie.budget():
        return None
    return trace.extend(
        template, key, refs, user_place(3), trace.module_path(), trace.cur.depth + 1
    )


def _learn(op: Any, like: Hashable, result: Any) -> Any:
    """Remember the step that a call has just recorded for calls like it; returns the result."""
    step = state.trace.cur
    if step.kernel is not None and type(step.key) is tuple and step.key[0] is op:
        if len(op.templates) > _MOST_TEMPLATES:
            op.templates.clear()
        op.templates[like] = Template(
            step.kernel, step.kinds, step.args, step.wrap, step.views, step.wrt
        )
    return result


_MOST_TEMPLATES = 1024  # kept for one operation


def generate(op: Any) -> Callable:
    """The front function of an operation (of its params, out, view and slow).

    Its code is generated when it is first called: most programs use few of all operations.
    """
    names: dict[str, Any] = {}
    front = FunctionType(_unsettled.__code__, names, op.name)
    front.__qualname__ = op.name
    front.__doc__, front.__module__, front.__wrapped__ = op.fn.__doc__, "dynjax", op.fn

    def settle(args: tuple, kwargs: dict) -> Any:
        real = _settled(op)
        names.update(real.__globals__, front=front)
        front.__defaults__, front.__kwdefaults__ = real.__defaults__, real.__kwdefaults__
        front.__code__ = real.__code__
        return front(*args, **kwargs)

    names["_settle"] = settle
    return front


def _unsettled(*args: Any, **kwargs: Any) -> Any:
    return _settle(args, kwargs)  # noqa: F821  (a global of the function made with this code)


def _settled(op: Any) -> FunctionType:
    """A front whose code is made for the operation's arguments."""
    names: dict[str, Any] = {
        "_op": op, "_name": op.name, "_state": state, "_slow": op.slow, "_refresh": refresh,
        "_new": _new,
        "_Value": Value, "_Tensor": TensorHandle, "_Parameter": Parameter, "_many": _many,
        "_number_key": number_key, "_into": into_same_type if op.out == "same type" else into, "_attach": attach_known,
        "_generator": default_generator, "_again": _again, "_learn": _learn,
        "_floats": get_default_dtype,
    }  # fmt: skip
    signature, args = _signature(op, names)
    lines = [f"def front({signature}):\n"]
    size = next((p for p in op.params if p.kind == "Size" and f"*{p.name}_" in signature), None)
    if size is not None:
        s = size.name
        lines.append(f"""\
    if {s} is None:
        {s} = {s}_
        if len({s}) == 1 and {s}[0].__class__ is not int:
            {s} = {s}[0]
            if {s}.__class__ is list:
                {s} = tuple({s})
""")
    if op.out:
        call = ", ".join(
            f"{n}={n}" if p.keyword else n for n, p in zip(args.split(", "), op.params, strict=True)
        )
        lines.append(f"    if out is not None:\n        return _into(out, front({call}), _name)\n")
    lines.append("    _tr = _state.trace\n    try:\n")
    key, numbers, statics = [], [], []
    for p in op.params:
        if p.kind == "Tensor":
            lines.append((_OPTIONAL if p.optional else _TENSOR).format(p=p.name))
            key.append(f"r_{p.name}")
        elif p.kind == "Operand":
            lines.append(_OPERAND.format(p=p.name, args=args))
            key.append(f"r_{p.name}")
            numbers.append(p)
        elif p.kind == "Tensors":
            lines.append(_TENSORS.format(p=p.name))
            key.append(f"r_{p.name}")
        elif p.kind == "Number":
            lines.append(_NUMBER.format(p=p.name))
            key.append(f"r_{p.name}")
            numbers.append(p)
        elif p.kind == "Key":
            numbers.append(p)
        else:
            statics.append(p.name)
            if p.kind in ("Ints", "Size", "Static"):
                lines.append(
                    f"        if {p.name}.__class__ is list:\n            {p.name} = tuple({p.name})\n"
                )
            key.append(p.name)
            if p.kind in ("Ints", "Static"):  # 0 and False are equal, and different arguments
                key.append(f"{p.name}.__class__")
    lines.append(f"        _cur = _tr.cur\n        _key = (_op, _tr.grad, {', '.join(key)})\n")
    if statics:  # may be anything, such as a tensor, which `!=` would compare by elements
        lines.append("        _step = _cur.next.get(_key)\n")
    else:
        lines.append(
            "        _step = _cur.last\n        if _step.key != _key:\n"
            "            _step = _cur.next.get(_key)\n"
            "            if _step is not None:\n                _cur.last = _step\n"
        )
    lines.append(f"    except (AttributeError, TypeError):\n        return _slow({args})\n")
    lines.append("    if _step is None:\n")
    like, refs = _likeness(op)
    if not refs:  # what is made of nothing depends on the default device
        lines.append(f"        return _slow({args})\n")
    else:
        lines.append(
            f"        _like = (_tr.grad, _floats(), {', '.join(like)})\n"
            f"        _step = _again(_op, _tr, _like, _key, ({', '.join(refs)},))\n"
            "        if _step is None:\n"
            f"            return _learn(_op, _like, _slow({args}))\n"
        )
    if numbers:
        lines.append("    _k = _cur.nnum\n")
        for p in numbers:
            if p.kind == "Key":
                lines.append(
                    "    _g = generator or _generator\n    _tr.numbers[_k] = _g.key\n"
                    "    _tr.numbers[_k + 1] = _g.counter\n    _g.counter += 1\n    _k += 2\n"
                )
            else:
                n = p.name
                lines.append(
                    f"    if r_{n} is float or r_{n} is int:\n"
                    f"        _tr.numbers[_k] = {n}\n        _k += 1\n"
                )
    lines.append("    _tr.cur = _step\n")
    first = next((p.name for p in op.params if p.kind in ("Tensor", "Operand")), "None")
    lines.append(f"    if _step.wrap is not None:\n        return _many(_tr, _step, {first})\n")
    lines.append(_SINGLE)
    if op.view is not None:
        lines.append(f"    _attach({first}, _t, _step.views[0], _tr.grad)\n")
    lines.append("    return _t\n")
    source = "".join(lines)
    exec(_code(source), names)
    return names["front"]


@functools.cache
def _code(source: str) -> CodeType:
    """The code of a front; operations with equal parameters share it, which halves import time."""
    filename = f"<op {len(linecache.cache)}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    return compile(source, filename, "exec")
