"""A kernel: an operation with its types, shapes and structure settled, as a pure JAX function."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..core.config import config

if TYPE_CHECKING:
    from jax.extend import core as jex


class Rows(NamedTuple):
    """What a kernel does with the rows of its first input, along dimension 0.

    Attributes:
        role: "each": a row of the result is a function of that row; "product": the vector-Jacobian
            product of such a kernel; "split": its results are the rows; "join": the product of
            such a kernel.
        family: equal for kernels that differ in nothing but the number of rows.
        given: for "join", which rows it is given; the others are zero.
    """

    role: str
    family: Hashable = None
    given: tuple[int, ...] = ()


class Kernel:
    """A pure function of arrays and run-time numbers; one object for each distinct key.

    Attributes:
        op: the operation's name, as `grad_fn` and pictures show it.
        grad_name: the name its tape node carries.
        key: every static value that distinguishes it from other kernels.
        fn: takes arrays of `in_avals`, then the numbers as 0-d arrays; returns a tuple of arrays.
        body: the same as it was written; with `rows`, it takes other numbers of them too.
        by_python: whether `fn` is that too: what consists of kernels, which are traced once by
            themselves; or a user's, whose rules for gradients may hold on to values of a trace.
        in_avals: shapes and types of the array inputs.
        numbers: the type (float or int) of each run-time number.
        out_avals: shapes and types of the results.
        saves: what PyTorch keeps for backward: "result", "number", "nothing", or None (then the
            inputs that its vjp reads).
        is_alias: results are the inputs unchanged.
        updates: results are new contents of the first inputs, which stay where it fails.
        fleeting: results are mostly dropped without a look, as gradients are.
        kept: (result, input) pairs: results that are the input where it fails, as with `updates`.
        parts: the `Lowered` path that it is made of, if it is a recorded part.
        unasked: whether that part stands for its operations wherever somebody looks.
        product_of: of a vector-Jacobian product, the kernel that was differentiated.
        cotangents: of such a product, the first array input in which it is linear.
        adds: whether it adds up gradients.
        sweep: of a whole backward, what its inputs are (see `sweep`).
        rows: what it does with the rows of its first input, if that is known.
    """

    __slots__ = (
        "op", "grad_name", "key", "fn", "body", "by_python", "in_avals", "numbers", "out_avals",
        "saves", "is_alias", "updates", "fleeting", "parts", "unasked", "kept", "product_of",
        "cotangents", "adds", "rows", "sweep",
        "_vjps", "_needs", "_flows", "__weakref__",
    )  # fmt: skip

    def __init__(
        self,
        op: str,
        key: Hashable,
        fn: Callable[..., tuple],
        in_avals: Sequence[jax.ShapeDtypeStruct],
        numbers: Sequence[type] = (),
        *,
        grad_name: str | None = None,
        saves: Any = None,
        is_alias: bool = False,
        updates: bool = False,
        fleeting: bool = False,
        out_avals: tuple[jax.ShapeDtypeStruct, ...] | None = None,
        by_python: bool = False,
    ) -> None:
        self.op = op
        self.grad_name = grad_name or camel(op) + "Backward0"
        self.key = key
        self.in_avals = tuple(in_avals)
        self.numbers = tuple(numbers)
        self.saves = saves
        self.is_alias = is_alias
        self.updates = updates
        self.fleeting = fleeting
        self.parts: Any = None
        self.unasked = False
        self.kept: tuple[tuple[int, int], ...] = ()
        self.product_of: Kernel | None = None
        self.cotangents: int | None = None
        self.adds = False
        self.rows: Rows | None = None
        self.sweep: Any = None
        self._vjps: dict = {}
        self._needs: dict = {}
        self._flows: dict = {}
        self.body, self.by_python = fn, by_python
        self.fn: Callable[..., tuple] = fn if by_python else _traced_once(fn)
        if out_avals is None:
            out_avals = infer(self.fn, self.in_avals, self.numbers)
        self.out_avals = out_avals

    def vjp(self, wrt: tuple[int, ...], given: tuple[int, ...]) -> Kernel:
        """The kernel of this one's vector-Jacobian product.

        Args:
            wrt: which array inputs to differentiate.
            given: which results have a cotangent (the others count as zero).

        Returns:
            A kernel from (the inputs that `needs(wrt)` names, cotangents, numbers) to the
            gradients of `wrt`.
        """
        found = self._vjps.get((wrt, given))
        if found is None:
            needs = self.needs(wrt)
            found = self._vjps[wrt, given] = Kernel(
                self.op + "_backward",
                ("vjp", self.key, wrt, given),
                self._vjp_fn(self.fn, wrt, given, needs),
                [self.in_avals[i] for i in needs] + [self.out_avals[k] for k in given],
                self.numbers,
                grad_name=self.grad_name + "Backward0",
                fleeting=True,
                out_avals=tuple(self.in_avals[i] for i in wrt),
                by_python=self.by_python,
            )
            found.product_of, found.cotangents = self, len(needs)
            if self.rows is not None:
                found.rows = self._product_rows(needs, wrt, given)
                found.body = self._vjp_fn(self.body, wrt, given, needs)
        return found

    def _product_rows(
        self, needs: tuple[int, ...], wrt: tuple[int, ...], given: tuple[int, ...]
    ) -> Rows | None:
        role, family, _ = self.rows
        if role == "split":
            return Rows("join", given=given)
        if role == "each" and needs[:1] == (0,) and 0 not in wrt:
            return Rows("product", (family, wrt, needs))
        return None

    def _vjp_fn(
        self,
        fn: Callable[..., tuple],
        wrt: tuple[int, ...],
        given: tuple[int, ...],
        needs: Sequence[int],
    ) -> Callable[..., tuple]:
        in_avals = self.in_avals

        def vjp_fn(*args: Any) -> tuple:
            kept = dict(zip(needs, args, strict=False))
            cotangents = args[len(needs) : len(needs) + len(given)]
            numbers = args[len(needs) + len(given) :]
            # What the product does not read may be anything of the right type.
            full = [
                kept[i] if i in kept else jnp.zeros(a.shape, a.dtype)
                for i, a in enumerate(in_avals)
            ]

            def partial(*active: Any) -> tuple:
                inputs = list(full)
                for i, a in zip(wrt, active, strict=True):
                    inputs[i] = a
                results = fn(*inputs, *numbers)
                return tuple(results[k] for k in given)

            _, pull = jax.vjp(partial, *(full[i] for i in wrt))
            return tuple(map(_conjugate, pull(tuple(map(_conjugate, cotangents)))))

        return vjp_fn

    def flowing(self, wrt: tuple[int, ...], given: tuple[int, ...]) -> tuple[int, ...]:
        """Of the array inputs to differentiate, those that the results with a cotangent come from:
        a part that stands for its operations gives the others no gradient, not zeros."""
        if not self.unasked:
            return wrt
        found = self._flows.get((wrt, given))
        if found is None:
            sources = self.parts.leads_from(given)
            found = self._flows[wrt, given] = tuple([i for i in wrt if i in sources])
        return found

    def needs(self, wrt: tuple[int, ...]) -> tuple[int, ...]:
        """Which array inputs the vjp reads, by dead-code elimination of its jaxpr."""
        needs = self._needs.get(wrt)
        if needs is None:
            family = None if self.rows is None else (self.rows, wrt)
            needs = _needs_of_families.get(family)
            if needs is None:
                needs = self._found_needs(wrt)
                if family is not None:
                    if len(_needs_of_families) >= _MOST_FAMILIES:
                        _needs_of_families.clear()
                    _needs_of_families[family] = needs
            self._needs[wrt] = needs
        return needs

    def _found_needs(self, wrt: tuple[int, ...]) -> tuple[int, ...]:
        if self.unasked:  # which is written out before it matters that a little more is named
            return self.parts.read_by_vjp(wrt)
        try:
            return self._read_by_vjp(wrt)
        except Exception:
            # No gradient rule: all is kept, and backward says so if it ever comes here.
            return tuple(range(len(self.in_avals)))

    def _read_by_vjp(self, wrt: tuple[int, ...]) -> tuple[int, ...]:
        n = len(self.in_avals)
        given = tuple(k for k, o in enumerate(self.out_avals) if is_inexact(o.dtype))
        with jax.enable_x64(True):
            closed = jax.make_jaxpr(self._vjp_fn(self.fn, wrt, given, range(n)))(
                *self.in_avals, *(self.out_avals[k] for k in given), *_scalars(self.numbers)
            )
        used = read_inputs(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
        return tuple(i for i in range(n) if used[i])

    def jaxpr(self) -> Any:
        """The traced function."""
        given = *self.in_avals, *_scalars(self.numbers)
        with jax.enable_x64(True):
            if self.by_python:
                return jax.make_jaxpr(self.fn)(*given)
            return self.fn.trace(*given).jaxpr  # known since its results' shapes were inferred

    def is_cheap(self) -> bool:
        """Whether computing it again takes no longer than reading what it gave: where it adds,
        multiplies and moves elements, and no more."""
        return not self.by_python and _is_cheap(self.jaxpr())

    def __repr__(self) -> str:
        return f"<kernel {self.op}>"


# Of kernels that differ in nothing but the number of rows: what the first of them needs, all do.
_needs_of_families: dict[tuple[Rows, tuple[int, ...]] | None, tuple[int, ...]] = {}
_MOST_FAMILIES = 4096
_NUMBER = {float: np.dtype(np.float64), int: np.dtype(np.int64)}


def _scalars(numbers: Sequence[type]) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct((), _NUMBER[t]) for t in numbers]


def infer(
    fn: Callable[..., tuple], in_avals: Sequence[jax.ShapeDtypeStruct], numbers: Sequence[type]
) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes and types of the results of `fn`; a bad call fails here, with the body's own error."""
    with jax.enable_x64(True):
        return tuple(jax.eval_shape(fn, *in_avals, *_scalars(numbers)))


def _traced_once(fn: Callable[..., tuple]) -> Callable[..., tuple]:
    """A function whose Python runs once, for all traces that it becomes part of.

    The first step of a program traces each of its operations several times: for the shapes of its
    results, for what its gradient reads, and in every program. Putting known equations in place
    costs a fraction of tracing the Python behind them again.
    """
    return jax.jit(fn, inline=True)


# A kernel in a program: itself, the places of its inputs, its numbers as (is float, position).
Op = tuple[Kernel, tuple[int, ...], tuple[tuple[bool, int], ...]]


def evaluate(program: Sequence[Op], arrays: Sequence[Any], floats: Any, ints: Any) -> list[Any]:
    """All values of a program: its inputs, then what its kernels give, in order."""
    env = list(arrays)
    for kernel, refs, numbers in program:
        scalars = [floats[j] if is_float else ints[j] for is_float, j in numbers]
        env.extend(kernel.fn(*[env[r] for r in refs], *scalars))
    return env


def is_inexact(dtype: Any) -> bool:
    """Whether gradients can flow through this type."""
    return jnp.issubdtype(dtype, jnp.inexact)


def size_of(aval: Any) -> int:
    """The bytes of an array of this shape and type."""
    return math.prod(aval.shape) * aval.dtype.itemsize


def _conjugate(x: Any) -> Any:
    """Between JAX's convention for complex gradients and PyTorch's, which is its conjugate."""
    return jnp.conj(x) if jnp.issubdtype(x.dtype, jnp.complexfloating) else x


def camel(name: str) -> str:
    """PyTorch's spelling of an operation in node names: log_softmax -> LogSoftmax."""
    return "".join(part[:1].upper() + part[1:] for part in name.strip("_").split("_"))


def read_inputs(jaxpr: jex.Jaxpr, live_outs: Sequence[bool]) -> list[bool]:
    """Which inputs of a jaxpr its live outputs depend on."""
    live = {v for v, on in zip(jaxpr.outvars, live_outs, strict=True) if on and is_var(v)}
    for eqn in reversed(jaxpr.eqns):
        outs = [v in live for v in eqn.outvars]
        if not any(outs):
            continue
        inner = _called(eqn)
        reads = read_inputs(inner, outs) if inner is not None else [True] * len(eqn.invars)
        live.update(v for v, on in zip(eqn.invars, reads, strict=True) if on and is_var(v))
    return [v in live for v in jaxpr.invars]


def is_var(v: Any) -> bool:
    # Not by JAX's class of literals: its module imports Pallas, which takes longer than dynjax.
    return not hasattr(v, "val")


def _called(eqn: Any) -> jex.Jaxpr | None:
    """The body of a call-like equation whose inputs and outputs match it one to one."""
    if eqn.primitive.name not in ("jit", "pjit", "closed_call", "custom_jvp_call", "remat2"):
        return None
    body = eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr")
    body = getattr(body, "jaxpr", body)
    matches = body is not None and len(body.invars) == len(eqn.invars)
    return body if matches else None


_CHEAP = frozenset(
    ("add", "sub", "mul", "neg", "convert_element_type", "broadcast_in_dim", "reshape", "squeeze",
     "transpose", "slice")
)  # fmt: skip


def _is_cheap(jaxpr: Any) -> bool:
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    return all(
        eqn.primitive.name in _CHEAP or ((body := _called(eqn)) is not None and _is_cheap(body))
        for eqn in jaxpr.eqns
    )


class KernelCache:
    """Kernels by key, bounded: the least recently made go."""

    def __init__(self) -> None:
        self._kernels: OrderedDict[Hashable, Kernel] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Kernel]) -> Kernel:
        """The kernel of this key, made by `make` where it is new."""
        kernel = self._kernels.get(key)
        if kernel is None:
            kernel = make()
            with self._lock:
                kernel = self._kernels.setdefault(key, kernel)
                while len(self._kernels) > config.max_kernels:
                    self._kernels.popitem(last=False)
        return kernel


kernels = KernelCache()
