"""How an operation is declared: one pure JAX function whose annotations say what its arguments are.

From that come the function, the method, the in-place form, `out=`, the gradient (`jax.vjp` of the
body) and the registry by which tests and documentation find it. The front function of each
operation is generated as source, specialised to its arguments: it only looks the call up in the
trace; whatever is new goes to `Op.slow`.
"""

from __future__ import annotations

import inspect
import math
import weakref
from collections import namedtuple
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core import dtypes
from ..engine.kernel import Kernel, Rows, kernels
from ..engine.random import default_generator, make_key
from ..engine.trace import Trace, runner, state
from ..engine.trie import Step, Template
from ..engine.value import Kind, Value, concrete, kind_of
from ..tensor.storage import ViewStep
from ..tensor.tensor import Tensor as TensorHandle
from ..tensor.tensor import value_of, wrap
from .front import attach_view, generate
from .inplace import FUNCTIONS, inplace_form, inplace_view
from .kinds import (
    ArgKind,
    Bool,
    Dtype,
    Float,
    Int,
    Ints,
    Key,
    Number,
    Operand,
    Param,
    Size,
    Static,
    Str,
    Tensor,
    Tensors,
    number_key,
    tidy,
    typed,
    wrong_type,
)
from .precision import conversions

SAME, PROMOTE, FLOAT = "same", "promote", "float"


OPS: dict[str, Op] = {}
# Where functions live: "torch", "nn.functional", ... -> name -> function.
NAMES: dict[str, dict[str, Callable]] = {}


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
        self.rows = options["rows"]
        self.differentiable = options["differentiable"]
        self.returns = options["returns"]
        self.result_type = result_type(name, self.returns) if self.returns else None
        annotations = inspect.get_annotations(fn, eval_str=True)
        self.params: list[Param] = []
        for parameter in inspect.signature(fn).parameters.values():
            kind = annotations.get(parameter.name)
            if not isinstance(kind, ArgKind):
                raise TypeError(f"{name}: parameter {parameter.name!r} has no argument kind")
            self.params.append(Param(parameter, kind))
        # The first operand: one of them at least has to be a tensor.
        operands = ((i, p) for i, p in enumerate(self.params) if p.kind == "Operand")
        self.operand = next(operands, None)
        # What calls recorded, by what calls like them have in common; see `front`.
        self.templates: dict[Hashable, Template] = {}
        self.front = generate(self)

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
        items = [
            tidy(self.name, i, p, a) for i, (p, a) in enumerate(zip(self.params, args, strict=True))
        ]
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
                if p.kind in ("Ints", "Static"):
                    key.append(type(item))
                shape_key.append(typed(fixed))
                plan.append(("static", item))
        if not values and self.operand is not None:
            raise wrong_type(self.name, *self.operand, args[self.operand[0]], "Tensor")
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

    def _grow(
        self,
        trace: Trace,
        key: tuple,
        shape_key: tuple,
        values: list[Value],
        plan: list[tuple],
        numbers: list[Any],
    ) -> Step:
        mode = trace.grad
        casts = None if mode.__class__ is bool else conversions(self.name, mode, values)
        kernel, structure = self._kernel(shape_key, values, plan, numbers, casts)
        refs = tuple([trace.ref(v) for v in values])
        grad = trace.grad and self.differentiable
        step = trace.add(key, kernel, refs, values, grad, args=self._describe(plan))
        if structure is not None:
            step.wrap = self.result_type._make if self.returns else structure
        if self.view is not None:
            step.views = [self._view_step(kernel, plan, k) for k in range(len(step.kinds))]
        return step

    def _kernel(
        self,
        shape_key: tuple,
        values: list[Value],
        plan: list[tuple],
        numbers: list[Any],
        casts: tuple[Any, ...] | None = None,
    ) -> tuple[Kernel, Callable | None]:
        """The kernel of a call, and the sequence type of its results (None for one result).

        Args:
            casts: the types that autocast converts arguments to first.
        """
        types = dtypes.get_default_dtype()
        kernel_key = (self, types if casts is None else (types, casts), shape_key)
        grad_name = self.grad_name
        if callable(grad_name):
            grad_name = grad_name(self._arguments(plan, values))
        made: dict[str, Any] = {}
        saves = self.saves
        if saves is None and any(
            p.kind == "Operand" and entry[0] in ("number", "constant")
            for p, entry in zip(self.params, plan, strict=True)
        ):
            saves = "number"

        def converted() -> Callable:
            stand_ins = [
                v if to is None else concrete(None, kind_of(v.kind.shape, to, v.kind.device))
                for v, to in zip(values, casts, strict=True)
            ]
            body, n = self._body(stand_ins, plan, made), len(values)
            return lambda *args: body(
                *(x if to is None else x.astype(to.np) for x, to in zip(args, casts)), *args[n:]
            )

        def make() -> Kernel:
            fn = self._body(values, plan, made) if casts is None else converted()
            kinds = tuple(int if isinstance(n, int) else float for n in numbers)
            avals = [jax.ShapeDtypeStruct(v.kind.shape, v.kind.dtype.np) for v in values]
            kernel = Kernel(
                self.name, kernel_key, fn, avals, kinds, grad_name=grad_name, saves=saves
            )
            role = self.rows and self.rows(self._arguments(plan, values))
            if role:
                one = ((shape_key[0][0][1:], *shape_key[0][1:]), *shape_key[1:])
                kernel.rows = Rows(role, (*kernel_key[:-1], one))
            return kernel

        kernel = kernels.get(kernel_key, make)
        if kernel not in _results:
            _results[kernel] = made.get("result")
        return kernel, _results[kernel]

    def later_view(self, kind: Kind, *statics: Any) -> LaterView:
        """How to read and write a view of a tensor of this kind, settled when it is needed."""
        return LaterView(self, kind, statics)

    def _arguments(self, plan: list[tuple], values: list[Value]) -> dict[str, Any]:
        """What `grad_name` may look at: static values; of a tensor, its shape and type."""
        given: dict[str, Any] = {}
        for p, entry in zip(self.params, plan, strict=True):
            if entry[0] == "tensor":
                given[p.name] = values[entry[1]].kind
            else:
                given[p.name] = entry[1] if entry[0] in ("static", "constant") else ...
        return given

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
        # PyTorch computes with half types and a number in float32, and rounds the result.
        half = common if common in _HALF and any(e[0] in _NUMBERS for e in plan) else None
        if half is not None:
            common = dtypes.float32

        def number(x: Any, p: Param) -> Any:
            if common is not None and p.name in promoted:
                return jnp.asarray(x).astype(common.np)
            if floating and not (isinstance(x, complex) and not compute.is_complex):
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
            if half is not None and not isinstance(result, (tuple, list)):
                return (result.astype(half.np) if result.dtype == np.float32 else result,)
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
                    saves="number",  # it can be walked once, as PyTorch's, which keeps a function
                ),
            )  # fmt: skip

        return ViewStep(read, write)


class LaterView:
    """As ViewStep, for a view whose value is known already: its kernels are made if ever used."""

    __slots__ = ("op", "kind", "statics", "step")

    def __init__(self, op: Op, kind: Kind, statics: tuple) -> None:
        self.op, self.kind, self.statics, self.step = op, kind, statics, None

    def _settled(self) -> ViewStep:
        if self.step is None:
            base = concrete(None, self.kind)
            plan = [("tensor", 0, _category(base)), *(("static", x) for x in self.statics)]
            key = ((self.kind.shape, self.kind.dtype), *map(typed, self.statics))
            kernel, _ = self.op._kernel(key, [base], plan, [])
            self.step = self.op._view_step(kernel, plan, 0)
        return self.step

    @property
    def read(self) -> Kernel:
        """The kernel from base to view."""
        return self._settled().read

    def write(self) -> Kernel:
        """The kernel from (base, new view) to new base."""
        return self._settled().write()


# What each kernel's body returned: a tuple or a list, None for one array.
_results: weakref.WeakKeyDictionary[Kernel, Any] = weakref.WeakKeyDictionary()

_HALF = (dtypes.float16, dtypes.bfloat16)
_NUMBERS = ("number", "constant")


def result_type(name: str, fields: Sequence[str]) -> type:
    """The named tuple that an operation returns; prints as PyTorch's."""
    short = name.removesuffix("_dim")
    base: Any = namedtuple(short, fields)  # noqa: PYI024

    def text(self: tuple) -> str:
        parts = ",\n".join(f"{f}={v!r}" for f, v in zip(fields, self, strict=True))
        return f"dynjax.return_types.{short}(\n{parts})"

    return type(short, (base,), {"__slots__": (), "__repr__": text})


def _category(value: Value) -> int:
    return dtypes.DIMENSIONED if value.kind.shape else dtypes.ZERO_DIM


def _method(function: Callable, name: str) -> Callable:
    setattr(TensorHandle, name, function)
    return function


def register(module: str | Sequence[str], name: str, function: Callable) -> None:
    """Put a function into the namespaces of that name."""
    for place in (module,) if isinstance(module, str) else module:
        if place != "torch" or name in FUNCTIONS or not name.endswith("_"):
            NAMES.setdefault(place, {})[name] = function


_OPTIONS: dict[str, Any] = {
    "types": SAME, "promote": None, "inplace": False, "out": False, "method": True,
    "function": True, "module": "torch", "aliases": (), "view": None, "grad_name": None,
    "returns": None, "saves": None, "rows": None, "differentiable": True,
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
        out: accept `out=`; "same type": only of the result's type.
        method, function: whether it is a method, a function.
        module: namespace or namespaces of the function; methods come with "torch".
        aliases: further names.
        view: `write(base, new, **statics)`: makes it a view operation.
        grad_name: its node's name, or a function from the static arguments to it.
        returns: field names of a named tuple of results.
        saves: what PyTorch keeps for backward where that is not the inputs that the gradient reads:
            "result", or "nothing" (which lets backward run twice).
        rows: from the arguments, what it does with the rows of its first: "each" or "split" (see
            `Rows`), or None. Batching asks.
        differentiable: whether results of inputs that require a gradient do so too.
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
            n = declared.name + "_"
            if declared.view is not None:
                form = inplace_view(declared.front, n)
            else:
                form = inplace_form(declared.front, n, declared.saves != "result")
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


def composite(body: Callable | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Declare a function over tensors that calls operations; options as for `op`."""
    unknown = options.keys() - {"module", "method", "function", "aliases"}
    if unknown:
        raise TypeError(f"composite() got unknown options {sorted(unknown)}")
    settings = {**_OPTIONS, **options}

    def declare(fn: Callable) -> Callable:
        place(fn, name or fn.__name__.rstrip("_"), settings)
        return fn

    return declare if body is None else declare(body)


__all__ = [
    "FLOAT", "NAMES", "OPS", "PROMOTE", "SAME", "ArgKind", "Bool", "Dtype", "Float", "Int", "Ints",
    "Key", "Number", "Op", "Operand", "Size", "Static", "Str", "Tensor", "Tensors", "composite",
    "op", "register", "result_type",
]  # fmt: skip
