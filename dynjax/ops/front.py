"""The front function of an operation: generated source, specialised to the operation's arguments.

It only looks the call up in the trace: a hit costs about a microsecond, tensor and tape included.
Whatever is new, or unusual, goes to the operation's `slow`.
"""

# ruff: noqa: E501  (templates of source lines)
from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable
from typing import Any

from ..autograd.dispatch import into
from ..engine.random import default_generator
from ..engine.trace import Step, Trace, state
from ..engine.value import Value
from ..tensor.parameter import Parameter
from ..tensor.storage import Alias, refresh, share
from ..tensor.tensor import Tensor as TensorHandle
from ..tensor.tensor import wrap
from .kinds import number_key


def attach_view(base: TensorHandle, view: TensorHandle, step: Step, k: int, grad: bool) -> None:
    """Make a view operation's result share its base's storage."""
    alias = base._alias or share(base)
    family = base if alias.base is None else alias.base
    made = view._alias = Alias(alias.storage, family, (*alias.chain, step.views[k]), grad)
    made.silent = alias.silent
    if len(step.views) > 1:
        made.many = (step.kernel.grad_name, k)
    view._v.watch = alias.storage.watch()


def _many(trace: Trace, step: Step, base: Any) -> Any:
    results = [wrap(v) for v in trace.results(step)]
    if step.views is not None:
        for k, t in enumerate(results):
            attach_view(base, t, step, k, trace.grad)
    return results[0] if step.wrap is None else step.wrap(results)


_TENSOR = """\
        v_{p} = {p}._v if (a := {p}._alias) is None or a.seen == a.storage.stamp else _refresh({p})
        r_{p} = v_{p}.idx if v_{p}.trace is tr else tr.enter(v_{p})
"""
_OPTIONAL = """\
        if {p} is None:
            r_{p} = None
        else:
            v_{p} = {p}._v if (a := {p}._alias) is None or a.seen == a.storage.stamp else _refresh({p})
            r_{p} = v_{p}.idx if v_{p}.trace is tr else tr.enter(v_{p})
"""
_OPERAND = """\
        c = {p}.__class__
        if c is _Tensor or c is _Parameter:
            v_{p} = {p}._v if (a := {p}._alias) is None or a.seen == a.storage.stamp else _refresh({p})
            r_{p} = v_{p}.idx if v_{p}.trace is tr else tr.enter(v_{p})
        elif c is float and {p} != 0.0 and {p} != 1.0:
            r_{p} = float
        elif c is float or c is int:
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
        for t in {p}:
            v = t._v if (a := t._alias) is None or a.seen == a.storage.stamp else _refresh(t)
            r_{p}.append(v.idx if v.trace is tr else tr.enter(v))
        r_{p} = tuple(r_{p})
"""
_SINGLE = """\
    v = _new(_Value)
    v.trace = tr
    v.idx = step.base
    v.kind = step.kind
    v.array = v.node = v.watch = None
    tr.vals.append(v)
    t = _new(_Tensor)
    t._v = v
    t._alias = t._grad = t._meta = None
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


def generate(op: Any) -> Callable:
    """The front function of an operation (of its params, out, view and slow)."""
    names: dict[str, Any] = {
        "_op": op, "_state": state, "_slow": op.slow, "_refresh": refresh, "_new": object.__new__,
        "_Value": Value, "_Tensor": TensorHandle, "_Parameter": Parameter, "_many": _many,
        "_number_key": number_key, "_into": into, "_attach": attach_view,
        "_generator": default_generator,
    }  # fmt: skip
    signature, args = _signature(op, names)
    front = op.name if op.name.isidentifier() else "front"
    lines = [f"def {front}({signature}):\n"]
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
        lines.append(
            f"    if out is not None:\n        return _into(out, {front}({call}), {op.name!r})\n"
        )
    lines.append("    tr = _state.trace\n    try:\n")
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
    lines.append(f"        step = tr.cur.next.get((_op, tr.grad, {', '.join(key)}))\n")
    lines.append(f"    except (AttributeError, TypeError):\n        return _slow({args})\n")
    lines.append(f"    if step is None:\n        return _slow({args})\n")
    if numbers:
        lines.append("    k = tr.cur.nnum\n")
        for p in numbers:
            if p.kind == "Key":
                lines.append(
                    "    g = generator or _generator\n    tr.numbers[k] = g.key\n"
                    "    tr.numbers[k + 1] = g.counter\n    g.counter += 1\n    k += 2\n"
                )
            else:
                n = p.name
                lines.append(
                    f"    if r_{n} is float or r_{n} is int:\n"
                    f"        tr.numbers[k] = {n}\n        k += 1\n"
                )
    lines.append("    tr.cur = step\n")
    first = next((p.name for p in op.params if p.kind in ("Tensor", "Operand")), "None")
    lines.append(f"    if step.wrap is not None:\n        return _many(tr, step, {first})\n")
    lines.append(_SINGLE)
    if op.view is not None:
        lines.append(f"    _attach({first}, t, step, 0, tr.grad)\n")
    lines.append("    return t\n")
    source = "".join(lines)
    filename = f"<op {op.name}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    exec(compile(source, filename, "exec"), names)
    function = names[front]
    function.__doc__ = op.fn.__doc__
    function.__module__ = "dynjax"
    return function
