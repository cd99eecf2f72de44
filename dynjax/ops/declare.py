"""How an operation is declared: one pure JAX function whose annotations say what its arguments are.

From that come the function, the method, the in-place form, `out=`, the gradient (`jax.vjp` of the
body) and the registry by which tests and documentation find it. The front function of each
operation is generated as source, specialised to its arguments: it only looks the call up in the
trace; whatever is new goes to `Op.slow`.
"""

from __future__ import annotations

import builtins
import inspect
import linecache
import math
import weakref
from collections import namedtuple
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..autograd.dispatch import assign, check_inplace, into, unwatched
from ..core import dtypes
from ..engine.kernel import Kernel, camel, kernels
from ..engine.random import Generator, default_generator, make_key
from ..engine.trace import Step, Trace, runner, state
from ..engine.value import Value
from ..tensor.parameter import Parameter
from ..tensor.storage import Alias, ViewStep, refresh, share
from ..tensor.tensor import Tensor as TensorHandle
from ..tensor.tensor import from_host, from_jax, value_of, wrap

SAME, PROMOTE, FLOAT = "same", "promote", "float"


class ArgKind:
    """What an argument of an operation is; `kind | None` makes it optional."""

    def __init__(self, name: str, optional: bool = False) -> None:
        self.name, self.optional = name, optional

    def __or__(self, other: None) -> ArgKind:
        return ArgKind(self.name, True)

    def __repr__(self) -> str:
        return self.name + (" | None" if self.optional else "")


Tensor = ArgKind("Tensor")
Operand = ArgKind("Operand")
Tensors = ArgKind("Tensors")
Number = ArgKind("Number")
Int = ArgKind("Int")
Ints = ArgKind("Ints")
Size = ArgKind("Size")
Bool = ArgKind("Bool")
Float = ArgKind("Float")
Str = ArgKind("Str")
Dtype = ArgKind("Dtype")
Static = ArgKind("Static")
Key = ArgKind("Key")

OPS: dict[str, Op] = {}
# Where functions live: "torch", "nn.functional", ... -> name -> function.
NAMES: dict[str, dict[str, Callable]] = {}

_NO_NUMBER = object()


class Param:
    """One parameter of an operation."""

    __slots__ = ("name", "kind", "optional", "default", "keyword")

    def __init__(self, parameter: inspect.Parameter, kind: ArgKind) -> None:
        self.name = parameter.name
        self.kind = kind.name
        self.default = parameter.default
        self.optional = kind.optional or parameter.default is None
        self.keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY


class Op:
    """An operation: its declaration and the front function generated from it.

    Attributes:
        name: its name in the registry and, in camel case, on the tape.
        fn: the pure JAX function.
        params: its parameters.
        types: which promotion settles its types.
        front: the function that users call.
        module, method, inplace, out: where it appears.
    """

    def __init__(self, fn: Callable, name: str, options: dict[str, Any]) -> None:
        self.name, self.fn = name, fn
        self.types = options["types"]
        self.promoted = options["promote"]
        self.view = options["view"]
        self.grad_name = options["grad_name"]
        self.module, self.method = options["module"], options["method"]
        self.inplace, self.out = options["inplace"], options["out"]
        self.saves = options["saves"]
        self.returns = options["returns"]
        self.result_type = namedtuple(name, self.returns) if self.returns else None  # noqa: PYI024
        annotations = inspect.get_annotations(fn, eval_str=True)
        self.params: list[Param] = []
        for parameter in inspect.signature(fn).parameters.values():
            kind = annotations.get(parameter.name)
            if not isinstance(kind, ArgKind):
                raise TypeError(f"{name}: parameter {parameter.name!r} has no argument kind")
            self.params.append(Param(parameter, kind))
        self.front = _generate(self)

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    # --- the slow way: a call not seen before, or with arguments to be tidied

    def slow(self, *args: Any) -> Any:
        """Record a call the general way: tidy the arguments, settle types, infer shapes.

        Raises:
            TypeError: an argument of the wrong type. Whatever the body raises.
        """
        trace = state.trace
        if trace.parent is None and trace.cur.depth >= trace.trie.budget():
            runner.flush()
            trace = state.trace
        items = [self._tidy(i, p, a) for i, (p, a) in enumerate(zip(self.params, args, strict=True))]
        values: list[Value] = []
        numbers: list[Any] = []
        key: list[Hashable] = []
        shape_key: list[Hashable] = []
        plan: list[tuple] = []
        for p, item in zip(self.params, items, strict=True):
            if isinstance(item, TensorHandle):
                value = value_of(item)
                plan.append(("tensor", len(values), _category(value)))
                key.append(trace.ref(value))
                shape_key.append((value.kind.shape, value.kind.dtype))
                values.append(value)
            elif p.kind == "Tensors" and item is not None:
                group = [value_of(t) for t in item]
                plan.append(("tensors", len(values), [_category(v) for v in group]))
                key.append(tuple([trace.ref(v) for v in group]))
                shape_key.append(tuple([(v.kind.shape, v.kind.dtype) for v in group]))
                values.extend(group)
            elif p.kind == "Key":
                generator = item or default_generator
                plan.append(("key", len(numbers)))
                numbers += [generator.key, generator.counter]
                generator.counter += 1
            elif p.kind in ("Operand", "Number") and item is not None:
                mark = number_key(item)
                key.append(mark)
                shape_key.append(mark)
                if mark is float or mark is int:
                    plan.append(("number", len(numbers), mark))
                    numbers.append(item)
                else:
                    plan.append(("constant", item))
            else:
                fixed = "nan" if isinstance(item, float) and math.isnan(item) else item
                key.append(fixed)
                shape_key.append(_typed(fixed))
                plan.append(("static", item))
        full = (self, trace.grad, *key)
        step = trace.cur.next.get(full)
        if step is None:
            step = self._grow(trace, full, tuple(shape_key), values, plan, numbers)
        base = trace.cur.nnum
        for k, number in enumerate(numbers):
            trace.numbers[base + k] = number
        trace.cur = step
        results = [wrap(v) for v in trace.results(step)]
        if step.views is not None:
            for k, t in enumerate(results):
                attach_view(items[0], t, step, k, trace.grad)
        if trace.trie.eager and trace.parent is None:
            runner.flush()
        return results[0] if step.wrap is None else step.wrap(results)

    def _tidy(self, position: int, p: Param, arg: Any) -> Any:
        """An argument in its canonical form; refuses wrong types as PyTorch does."""
        kind = p.kind
        if kind == "Tensor" or kind == "Operand":
            if isinstance(arg, TensorHandle):
                return arg
            if arg is None and p.optional:
                return None
            if kind == "Operand" and isinstance(arg, (bool, int, float, complex)):
                return arg
            if isinstance(arg, np.generic) and kind == "Operand":
                return arg.item()
            if isinstance(arg, jax.Array):
                return from_jax(arg)
            raise self._wrong(position, p, arg, "Tensor")
        if kind == "Tensors":
            if arg is None and p.optional:
                return None
            if isinstance(arg, (list, tuple)):
                for k, t in enumerate(arg):
                    if not isinstance(t, TensorHandle):
                        raise TypeError(
                            f"expected Tensor as element {k} in argument {position}, "
                            f"but got {type(t).__name__}"
                        )
                return arg
            raise self._wrong(position, p, arg, "tuple of Tensors")
        if kind == "Key":
            if arg is None or isinstance(arg, Generator):
                return arg
            raise self._wrong(position, p, arg, "torch.Generator")
        if kind == "Number":
            if arg is None and p.optional:
                return None
            if isinstance(arg, TensorHandle):
                return arg.item()
            if isinstance(arg, np.generic):
                return arg.item()
            if isinstance(arg, (bool, int, float, complex)):
                return arg
            raise self._wrong(position, p, arg, "Number")
        if arg is None:
            if p.optional or p.default is None:
                return None
            if kind in ("Static", "Ints", "Size", "Dtype"):
                return None
            raise self._wrong(position, p, arg, _TYPE_NAMES.get(kind, kind))
        return _TIDY[kind](self, position, p, arg)

    def _wrong(self, position: int, p: Param, arg: Any, expected: str) -> TypeError:
        where = "" if p.keyword else f" (position {position + 1})"
        return TypeError(
            f"{self.name}(): argument '{p.name}'{where} must be {expected}, "
            f"not {type(arg).__name__}"
        )

    def _grow(
        self,
        trace: Trace,
        key: tuple,
        shape_key: tuple,
        values: list[Value],
        plan: list[tuple],
        numbers: list[Any],
    ) -> Step:
        default = dtypes.get_default_dtype()
        kernel_key = (self, default, shape_key)
        grad_name = self.grad_name
        if callable(grad_name):
            grad_name = grad_name(self._arguments(plan))
        made: dict[str, Any] = {}
        saves = self.saves
        if saves is None and any(
            p.kind == "Operand" and entry[0] in ("number", "constant")
            for p, entry in zip(self.params, plan, strict=True)
        ):
            saves = "number"

        def make() -> Kernel:
            fn = self._body(values, plan, made)
            kinds = tuple(int if isinstance(n, int) else float for n in numbers)
            avals = [jax.ShapeDtypeStruct(v.kind.shape, v.kind.dtype.np) for v in values]
            return Kernel(
                self.name, kernel_key, fn, avals, kinds, grad_name=grad_name, saves=saves
            )

        kernel = kernels.get(kernel_key, make)
        refs = tuple([trace.ref(v) for v in values])
        step = trace.add(key, kernel, refs, values, trace.grad, args=self._describe(plan))
        kernel_result = _results.get(kernel)
        if kernel_result is None:
            kernel_result = _results[kernel] = made.get("result", "one")
        if kernel_result != "one":
            step.wrap = self.result_type._make if self.returns else kernel_result
        if self.view is not None:
            step.views = [self._view_step(kernel, plan, k) for k in range(len(step.kinds))]
        return step

    def _arguments(self, plan: list[tuple]) -> dict[str, Any]:
        return {
            p.name: entry[1] if entry[0] in ("static", "constant") else ...
            for p, entry in zip(self.params, plan, strict=True)
        }

    def _describe(self, plan: list[tuple]) -> tuple:
        """The static arguments that differ from their defaults, for pictures and explanations."""
        return tuple(
            (p.name, entry[1])
            for p, entry in zip(self.params, plan, strict=True)
            if entry[0] in ("static", "constant") and entry[1] != p.default
        )

    def _body(self, values: Sequence[Value], plan: list[tuple], made: dict) -> Callable:
        """The declared function with types settled: from arrays and numbers to a flat tuple."""
        n = len(values)
        common = self._common(values, plan)
        compute = common
        if compute is None and values:
            compute = values[0].kind.dtype
        floating = compute is not None and (compute.is_floating_point or compute.is_complex)
        promoted = self._promoted_names()

        def number(x: Any, p: Param) -> Any:
            if common is not None and p.name in promoted:
                return jnp.asarray(x).astype(common.np)
            if floating:
                return jnp.asarray(x).astype(compute.np)
            return jnp.asarray(x)

        def fn(*args: Any) -> tuple:
            arrays, scalars = args[:n], args[n:]
            given = {}
            for p, entry in zip(self.params, plan, strict=True):
                kind = entry[0]
                cast = common is not None and p.name in promoted
                if kind == "tensor":
                    x = arrays[entry[1]]
                    given[p.name] = x.astype(common.np) if cast else x
                elif kind == "tensors":
                    group = arrays[entry[1] : entry[1] + len(entry[2])]
                    given[p.name] = [x.astype(common.np) if cast else x for x in group]
                elif kind == "number":
                    given[p.name] = number(scalars[entry[1]], p)
                elif kind == "key":
                    given[p.name] = make_key(scalars[entry[1]], scalars[entry[1] + 1])
                elif kind == "constant":
                    given[p.name] = number(entry[1], p)
                elif p.kind == "Dtype" and entry[1] is not None:
                    given[p.name] = entry[1].np
                else:
                    given[p.name] = entry[1]
            result = self.fn(**given)
            if isinstance(result, (tuple, list)):
                made["result"] = tuple if isinstance(result, tuple) else list
                return tuple(result)
            return (result,)

        return fn

    def _promoted_names(self) -> frozenset[str]:
        if self.promoted is not None:
            return frozenset(self.promoted)
        kinds = ("Tensor", "Operand", "Tensors")
        return frozenset(p.name for p in self.params if p.kind in kinds)

    def _common(self, values: Sequence[Value], plan: list[tuple]) -> Any:
        """The type that promotion settles on, or None where there is no promotion."""
        if self.types == SAME:
            return None
        names = self._promoted_names()
        operands = []
        for p, entry in zip(self.params, plan, strict=True):
            if p.name not in names:
                continue
            if entry[0] == "tensor":
                operands.append((values[entry[1]].kind.dtype, entry[2]))
            elif entry[0] == "tensors":
                group = values[entry[1] : entry[1] + len(entry[2])]
                operands += [(v.kind.dtype, c) for v, c in zip(group, entry[2], strict=True)]
            elif entry[0] == "number":
                operands.append((dtypes.number_dtype(entry[2](2)), dtypes.NUMBER))
            elif entry[0] == "constant":
                operands.append((dtypes.number_dtype(entry[1]), dtypes.NUMBER))
        if not operands:
            return None
        common = dtypes.result_dtype(operands)
        if self.types == FLOAT and not (common.is_floating_point or common.is_complex):
            common = dtypes.get_default_dtype()
        return common

    def _view_step(self, kernel: Kernel, plan: list[tuple], k: int) -> ViewStep:
        statics = {
            p.name: entry[1].np if p.kind == "Dtype" and entry[1] is not None else entry[1]
            for p, entry in zip(self.params[1:], plan[1:], strict=True)
        }
        read = kernel
        if len(kernel.out_avals) > 1:
            statics["output"] = k
            read_key = (kernel.key, "output", k)
            read = kernels.get(
                read_key,
                lambda: Kernel(
                    kernel.op, read_key, lambda x: (kernel.fn(x)[k],), kernel.in_avals,
                    out_avals=(kernel.out_avals[k],), grad_name=kernel.grad_name,
                ),
            )  # fmt: skip

        def write() -> Kernel:
            key = (kernel.key, "write", k)
            return kernels.get(
                key,
                lambda: Kernel(
                    self.name + "_write", key, lambda base, new: (self.view(base, new, **statics),),
                    [kernel.in_avals[0], kernel.out_avals[k]], grad_name="CopySlices",
                ),
            )  # fmt: skip

        return ViewStep(read, write)


# What each kernel's body returned: one array, a tuple or a list.
_results: weakref.WeakKeyDictionary[Kernel, Any] = weakref.WeakKeyDictionary()

_TYPE_NAMES = {
    "Int": "int", "Bool": "bool", "Float": "float", "Str": "str", "Ints": "tuple of ints",
    "Size": "tuple of ints", "Dtype": "torch.dtype",
}  # fmt: skip


def _category(value: Value) -> int:
    return dtypes.DIMENSIONED if value.kind.shape else dtypes.ZERO_DIM


def _typed(item: Any) -> Hashable:
    """A static value that does not equal one of another type (1, 1.0 and True do)."""
    if isinstance(item, tuple):
        return tuple([_typed(x) for x in item])
    return (type(item), item)


def number_key(x: Any) -> Hashable:
    """How a Python number enters a key: float or int for a run-time input, else the constant.

    Raises:
        RuntimeError: an int beyond 64 bits.
    """
    kind = type(x)
    if kind is float:
        if x == 1.0 or (x == 0.0 and math.copysign(1.0, x) > 0):
            return (float, x)
        return float
    if kind is int:
        if x == 0 or x == 1:
            return (int, x)
        if not -(1 << 63) <= x < (1 << 63):
            raise RuntimeError("value cannot be converted to type int64_t without overflow")
        return int
    if isinstance(x, bool):
        return (bool, x)
    if isinstance(x, complex):
        return (complex, repr(x))
    return number_key(float(x) if isinstance(x, float) else int(x))


def _int(op: Op, position: int, p: Param, arg: Any) -> int:
    if isinstance(arg, bool):
        return int(arg)
    if isinstance(arg, float) or isinstance(arg, (str, bytes)):
        raise op._wrong(position, p, arg, "int")
    try:
        return arg.__index__()
    except (AttributeError, TypeError):
        raise op._wrong(position, p, arg, "int") from None


def _ints(op: Op, position: int, p: Param, arg: Any) -> Any:
    if isinstance(arg, (tuple, list)):
        found = []
        for k, x in enumerate(arg):
            if isinstance(x, float) or not hasattr(x, "__index__"):
                raise TypeError(
                    f"{op.name}(): argument '{p.name}' must be tuple of ints, but found element "
                    f"of type {type(x).__name__} at pos {k}"
                )
            found.append(x.__index__())
        return tuple(found)
    return _int(op, position, p, arg)


def _size(op: Op, position: int, p: Param, arg: Any) -> tuple:
    sizes = _ints(op, position, p, arg)
    return sizes if isinstance(sizes, tuple) else (sizes,)


def _bool(op: Op, position: int, p: Param, arg: Any) -> bool:
    if isinstance(arg, (bool, np.bool_)) or arg == 0 or arg == 1:
        return bool(arg)
    raise op._wrong(position, p, arg, "bool")


def _float(op: Op, position: int, p: Param, arg: Any) -> float:
    if isinstance(arg, (str, bytes, list, tuple)):
        raise op._wrong(position, p, arg, "float")
    return float(arg)


def _str(op: Op, position: int, p: Param, arg: Any) -> str:
    if not isinstance(arg, str):
        raise op._wrong(position, p, arg, "str")
    return arg


def _dtype(op: Op, position: int, p: Param, arg: Any) -> Any:
    if not isinstance(arg, dtypes.dtype):
        raise op._wrong(position, p, arg, "torch.dtype")
    return arg


def _static(op: Op, position: int, p: Param, arg: Any) -> Hashable:
    if isinstance(arg, list):
        return tuple([_static(op, position, p, x) for x in arg])
    hash(arg)
    return arg


_TIDY: dict[str, Callable] = {
    "Int": _int, "Ints": _ints, "Size": _size, "Bool": _bool, "Float": _float, "Str": _str,
    "Dtype": _dtype, "Static": _static,
}  # fmt: skip


def attach_view(base: TensorHandle, view: TensorHandle, step: Step, k: int, grad: bool) -> None:
    """Make a view operation's result share its base's storage."""
    alias = base._alias or share(base)
    family = base if alias.base is None else alias.base
    made = view._alias = Alias(alias.storage, family, (*alias.chain, step.views[k]), grad)
    made.silent = alias.silent
    if len(step.views) > 1:
        made.many = (step.kernel.grad_name, k)
    view._v.watch = alias.storage.watch()


# --- the generated front


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


def _signature(op: Op, names: dict[str, Any], first: str = "") -> tuple[str, str]:
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


def _generate(op: Op) -> Callable:
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
            f"{n}={n}" if p.keyword else n
            for n, p in zip(args.split(", "), op.params, strict=True)
        )
        lines.append(f"    if out is not None:\n        return _into(out, {front}({call}), {op.name!r})\n")
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


def _method(function: Callable, name: str) -> Callable:
    setattr(TensorHandle, name, function)
    return function


def _inplace(op: Op) -> Callable:
    """The in-place form of an operation."""
    front, name, kept = op.front, op.name + "_", op.saves == "result"

    def method(self: TensorHandle, *args: Any, **kwargs: Any) -> TensorHandle:
        check_inplace(self)
        if op.view is not None:
            return restructure(self, front(self, *args, **kwargs))
        watched = self._v.kind.requires_grad and not kept
        source = unwatched(self) if watched else self
        return assign(self, front(source, *args, **kwargs), name)

    method.__name__ = name
    method.__qualname__ = f"Tensor.{name}"
    method.__doc__ = f"In-place form of `{op.name}`."
    return method


def restructure(tensor: TensorHandle, view: TensorHandle) -> TensorHandle:
    """Give a tensor the shape of a view of it (`unsqueeze_` and its like); returns it."""
    if tensor._alias.base is None and tensor._v.kind.leaf:
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation."
        )
    storage = tensor._alias.storage
    twin = wrap(tensor._v)
    twin._alias = tensor._alias
    made = view._alias
    if made.base is tensor:
        made.base = twin
    tensor._v, tensor._alias = view._v, made
    storage.version += 1
    storage.stamp += 1
    storage.writer = made.base
    twin._alias.seen = made.seen = storage.stamp
    tensor._v.watch = storage.watch()
    return tensor


def register(module: str | Sequence[str], name: str, function: Callable) -> None:
    """Put a function into the namespaces of that name."""
    for place in (module,) if isinstance(module, str) else module:
        NAMES.setdefault(place, {})[name] = function


_OPTIONS: dict[str, Any] = {
    "types": SAME, "promote": None, "inplace": False, "out": False, "method": True,
    "function": True, "module": "torch", "aliases": (), "view": None, "grad_name": None,
    "returns": None, "saves": None,
}  # fmt: skip


def op(
    body: Callable | None = None,
    /,
    *,
    name: str | None = None,
    doc: str | None = None,
    **options: Any,
) -> Any:
    """Declare an operation; decorates its pure JAX function and returns the front function.

    Args:
        name: if other than the function's.
        doc: if other than the function's docstring.
        types: SAME, PROMOTE or FLOAT: how argument types are settled before the body runs.
        promote: names of the parameters that take part; all tensors by default.
        inplace: also declare `name_`.
        out: accept `out=`.
        method, function: whether it is a method, a function.
        module: namespace or namespaces of the function; methods come with "torch".
        aliases: further names.
        view: `write(base, new, **statics)`: makes it a view operation.
        grad_name: its node's name, or a function from the static arguments to it.
        returns: field names of a named tuple of results.
        saves: what PyTorch keeps for backward where that is not the inputs that the gradient reads:
            "result", or "nothing" (which lets backward run twice).
    """
    unknown = options.keys() - _OPTIONS.keys()
    if unknown:
        raise TypeError(f"op() got unknown options {sorted(unknown)}")
    settings = {**_OPTIONS, **options}

    def declare(fn: Callable) -> Callable:
        if doc is not None:
            fn.__doc__ = doc
        declared = Op(fn, name or fn.__name__.rstrip("_"), settings)
        OPS[declared.name] = declared
        place(declared.front, declared.name, settings)
        if declared.inplace:
            form = _inplace(declared)
            for n in (declared.name, *settings["aliases"]):
                _method(form, n + "_")
                if settings["function"] and "torch" in _places(settings):
                    register("torch", n + "_", form)
        return declared.front

    return declare if body is None else declare(body)


def _places(settings: dict[str, Any]) -> tuple[str, ...]:
    module = settings["module"]
    return (module,) if isinstance(module, str) else tuple(module)


def place(front: Callable, name: str, settings: dict[str, Any]) -> None:
    """Bind a function to the namespaces and, as a method, to Tensor."""
    places = _places(settings)
    for n in (name, *settings["aliases"]):
        if settings["function"]:
            register(places, n, front)
        method = settings["method"]
        if method == "force" or (method and "torch" in places):
            _method(front, n)


def composite(
    body: Callable | None = None, /, *, name: str | None = None, **options: Any
) -> Any:
    """Declare a function over tensors that calls operations; options as for `op`."""
    settings = {**_OPTIONS, **options}

    def declare(fn: Callable) -> Callable:
        place(fn, name or fn.__name__.rstrip("_"), settings)
        return fn

    return declare if body is None else declare(body)


__all__ = [
    "FLOAT", "NAMES", "OPS", "PROMOTE", "SAME", "Bool", "Dtype", "Float", "Int", "Ints", "Key",
    "Number", "Op", "Operand", "Size", "Static", "Str", "Tensor", "Tensors", "builtins", "camel",
    "composite", "from_host", "op", "register",
]  # fmt: skip
