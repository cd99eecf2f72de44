"""Backward: walks the tape and records the vector-Jacobian products on the trace. Runs nothing."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import jax

from ..engine.kernel import Kernel, kernels
from ..engine.sweep import fill_kernel, sum_kernel
from ..engine.trace import state
from ..engine.trie import eager_trie
from ..engine.value import Value
from ..tensor.storage import write
from ..tensor.tensor import Tensor, value_of, wrap
from .mixed import graded
from .node import FREED, OUTSIDE, AccumulateGrad, FreedTape, Node, node_of
from .sweep import jump_from

_new = object.__new__


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add the gradients of `tensors` with respect to the leaves to the leaves' `.grad`.

    Args:
        tensors: what to differentiate.
        grad_tensors: the cotangent of each, of its shape; may be None for one-element tensors.
        retain_graph: whether the graph may be walked again; defaults to `create_graph`.
        create_graph: whether the gradients are themselves differentiable.
        inputs: the leaves to accumulate into; all by default.

    Raises:
        RuntimeError: no cotangent for a tensor that is not a scalar, shapes that differ, nothing
            that requires grad, a graph already freed, a saved tensor modified in place.
    """
    roots = (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)
    grads = _as_sequence(grad_tensors, len(roots))
    if inputs is not None:
        inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        if not inputs:
            raise RuntimeError("`inputs` argument to `backward` cannot be empty.")
    keep = create_graph if retain_graph is None else retain_graph
    for t in roots:
        value_of(t)
    if inputs is None and not create_graph and _replay(roots, grads, keep):
        return
    seeds = _seeds(roots, grads, create_graph)
    wanted = None if inputs is None else [_target(t) for t in inputs]
    found = propagate(seeds, wanted, keep, create_graph)
    if wanted is not None:
        for t, (node, nr) in zip(inputs, wanted, strict=True):
            value = found.get((node, nr))
            if value is not None and not isinstance(node, AccumulateGrad):
                accumulate(t, value, create_graph)
    for (node, _), value in found.items():
        if isinstance(node, AccumulateGrad):
            _finish(node.variable, value, create_graph)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The sum of gradients of `outputs` with respect to `inputs`; leaves' `.grad` stay as they are.

    Args:
        outputs: what to differentiate.
        inputs: with respect to what.
        grad_outputs: the cotangent of each output; may be None for one-element outputs.
        retain_graph: whether the graph may be walked again; defaults to `create_graph`.
        create_graph: whether the gradients are themselves differentiable.
        allow_unused: whether an input that was not used gives None instead of an error.
        is_grads_batched: not supported; use `jax.vmap` through `dynjax.interop.jax`.
        materialize_grads: give zeros instead of None for unused inputs.

    Returns:
        A gradient for each input, of its shape and type.

    Raises:
        RuntimeError: as `backward`, and for unused inputs.
    """
    if is_grads_batched:
        raise NotImplementedError(
            "is_grads_batched=True is not supported; use jax.vmap over "
            "dynjax.interop.jax.to_jax(module) instead"
        )
    roots = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
    targets = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, "
            "but got: allow_unused=False."
        )
    if allow_unused is None:
        allow_unused = materialize_grads
    keep = create_graph if retain_graph is None else retain_graph
    for t in (*roots, *targets):
        value_of(t)
    seeds = _seeds(roots, _as_sequence(grad_outputs, len(roots)), create_graph)
    wanted = [_target(t) for t in targets]
    found = propagate(seeds, wanted, keep, create_graph)
    results: list[Tensor | None] = []
    for t, position in zip(targets, wanted, strict=True):
        value = found.get(position)
        if value is None:
            if not allow_unused:
                raise RuntimeError(
                    "One of the differentiated Tensors appears to not have been used in the graph. "
                    "Set allow_unused=True if this is the desired behavior."
                )
            if materialize_grads:
                results.append(wrap(_fill(t._v.kind.shape, t._v.kind.dtype.np, 0)))
            else:
                results.append(None)
        else:
            results.append(wrap(value))
    return tuple(results)


def _as_sequence(grads: Any, n: int) -> tuple:
    if grads is None:
        return (None,) * n
    grads = (grads,) if isinstance(grads, Tensor) else tuple(grads)
    if len(grads) != n:
        raise RuntimeError(f"got {n} tensors and {len(grads)} gradients")
    return grads


def _target(tensor: Tensor) -> tuple[Node, int]:
    position = node_of(tensor._v)
    if position is None:
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    return position


def _check_root(i: int, tensor: Tensor, cotangent: Tensor | None) -> None:
    kind = tensor._v.kind
    if cotangent is None:
        if not kind.requires_grad:
            raise RuntimeError(
                f"element {i} of tensors does not require grad and does not have a grad_fn"
            )
        if kind.shape.numel() != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        if kind.dtype.is_complex:
            raise RuntimeError(
                f"grad can be implicitly created only for real scalar outputs but got {kind.dtype}"
            )
        return
    if not isinstance(cotangent, Tensor):
        raise TypeError(
            "gradients can be either Tensors or None, but got " + type(cotangent).__name__
        )
    if cotangent.shape != kind.shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{i}] has a shape of {cotangent.shape} and "
            f"output[{i}] has a shape of {kind.shape}."
        )
    if cotangent.dtype.is_complex != kind.dtype.is_complex:
        raise RuntimeError(
            "For complex Tensors, both grad_output and output are required to have the same dtype. "
            f"Mismatch in dtype: grad_output[{i}] has a dtype of {cotangent.dtype} and output[{i}] "
            f"has a dtype of {kind.dtype}."
        )
    if not kind.requires_grad:
        raise RuntimeError(
            f"element {i} of tensors does not require grad and does not have a grad_fn"
        )


def _fill(shape: tuple, dtype: Any, number: float) -> Value:
    return state.trace.record(fill_kernel(shape, dtype, number), (), grad=False)[0]


def _seed(tensor: Tensor, cotangent: Tensor | None) -> Value:
    kind = tensor._v.kind
    if cotangent is None:
        return _fill(kind.shape, kind.dtype.np, 1)
    value = value_of(cotangent)
    return value if value.kind.dtype is kind.dtype else _cast(value, kind.dtype.np)


def _cast(value: Value, dtype: Any) -> Value:
    aval = jax.ShapeDtypeStruct(value.kind.shape, value.kind.dtype.np)
    key = ("to", aval.shape, aval.dtype, dtype)
    kernel = kernels.get(key, lambda: Kernel("to", key, lambda x: (x.astype(dtype),), [aval]))
    return state.trace.record(kernel, [value])[0]


def _seeds(
    roots: Sequence[Tensor], grads: Sequence[Tensor | None], create_graph: bool
) -> list[tuple[Node, int, Value]]:
    for i, (t, g) in enumerate(zip(roots, grads, strict=True)):
        _check_root(i, t, g)
    return [(*node_of(t._v), _seed(t, g)) for t, g in zip(roots, grads, strict=True)]


def add(a: Value, b: Value, grad: bool = False) -> Value:
    """Record the sum of two values of one kind."""
    return state.trace.record(sum_kernel(a.kind.shape, a.kind.dtype.np), [a, b], grad=grad)[0]


def accumulate(tensor: Tensor, value: Value, create_graph: bool = False) -> None:
    """Add a gradient to a tensor's `.grad`: in place if it has one."""
    old = tensor._grad
    if old is None:
        tensor._grad = wrap(value)
    elif create_graph:
        tensor._grad = wrap(add(value_of(old), value, True))
    else:
        write(old, add(value_of(old), value))


def _finish(tensor: Tensor | None, value: Value, create_graph: bool) -> None:
    if tensor is None:
        return
    accumulate(tensor, value, create_graph)
    meta = tensor._meta
    if meta is not None and meta.post_hooks:
        for hook in list(meta.post_hooks.values()):
            hook(tensor)


def propagate(
    seeds: Sequence[tuple[Node, int, Value]],
    wanted: Sequence[tuple[Node, int]] | None,
    keep: bool,
    create_graph: bool,
) -> dict[tuple[Node, int], Value]:
    """Walk the tape from the seeds; record every node's vector-Jacobian product once.

    Args:
        seeds: (node, output number, cotangent) to begin with.
        wanted: the positions whose gradients are asked for; all leaves if None.
        keep: leave what nodes saved.
        create_graph: record the products on the tape too.

    Returns:
        The gradient at every wanted position that was reached.
    """
    targets = None if wanted is None else set(wanted)
    order = _dependencies([n for n, _, _ in seeds])
    capture = state.trace.capture
    if capture is not None and any(n.edges and n.node_id < capture.first_node for n in order):
        capture.give_up(OUTSIDE)
    needed = order.keys() if targets is None else _leading_to({n for n, _ in targets}, order)
    pending: dict[Node, list[Value | None]] = {}
    waiting = dict(order)
    found: dict[tuple[Node, int], Value] = {}
    ran: list[Node] = []

    def give(node: Node, nr: int, value: Value) -> None:
        buffer = pending.setdefault(node, [])
        while len(buffer) <= nr:
            buffer.append(None)
        buffer[nr] = value if buffer[nr] is None else add(buffer[nr], value, create_graph)

    for node, nr, value in seeds:
        give(node, nr, value)
    ready = [(-n.node_id, n) for n in dict.fromkeys(n for n, _, _ in seeds) if not waiting[n]]
    heapq.heapify(ready)
    while ready:
        _, node = heapq.heappop(ready)
        grads = pending.pop(node, [])
        n_out = max(len(node.output_info), 1)
        grads += [None] * (n_out - len(grads))
        if any(g is not None for g in grads):
            _run_hooks_before(node, grads, create_graph)
        if targets is not None:
            for nr, g in enumerate(grads):
                if (node, nr) in targets and g is not None:
                    found[node, nr] = g
        elif isinstance(node, AccumulateGrad) and grads[0] is not None:
            found[node, 0] = grads[0]
        if not node.edges:
            if node.freed:
                raise RuntimeError(FREED)
            continue
        runs = node in needed and any(e is not None and e[0] in needed for e in node.edges)
        if runs and any(g is not None for g in grads):
            results = node.apply(grads, create_graph)
            if node.post_hooks:
                results = _run_hooks_after(node, results, grads)
            ran.append(node)
        else:
            results = [None] * len(node.edges)
        for edge, result in zip(node.edges, results, strict=True):
            if edge is None:
                continue
            if result is not None:
                give(edge[0], edge[1], result)
        for edge in node.edges:
            if edge is not None:
                waiting[edge[0]] -= 1
                if waiting[edge[0]] == 0:
                    heapq.heappush(ready, (-edge[0].node_id, edge[0]))
    if not keep:
        freed = set()
        for node in ran:
            node.free()
            freed.add(node)
        _mark_freed(freed)
    return found


def _mark_freed(freed: set[Node]) -> None:
    trace = state.trace
    if trace.nodes is not None:
        indices = set(trace.freed)
        for base, node in trace.nodes.items():
            if node in freed:
                indices.update(range(base, base + max(len(node.output_info), 1)))
        trace.freed = indices


def _dependencies(roots: Sequence[Node]) -> dict[Node, int]:
    """Every node below the roots, with how many edges lead to it."""
    counts: dict[Node, int] = dict.fromkeys(roots, 0)
    stack = list(counts)
    while stack:
        for edge in stack.pop().edges:
            if edge is not None:
                if edge[0] not in counts:
                    counts[edge[0]] = 0
                    stack.append(edge[0])
                counts[edge[0]] += 1
    return counts


def _leading_to(targets: set[Node], nodes: dict[Node, int]) -> set[Node]:
    """The nodes from which a target can be reached."""
    users: dict[Node, list[Node]] = {}
    for node in nodes:
        for edge in node.edges:
            if edge is not None:
                users.setdefault(edge[0], []).append(node)
    seen = {t for t in targets if t in nodes}
    stack = list(seen)
    while stack:
        for user in users.get(stack.pop(), ()):
            if user not in seen:
                seen.add(user)
                stack.append(user)
    return seen


def _run_hooks_before(node: Node, grads: list[Value | None], create_graph: bool) -> None:
    if node.tensor_hooks:
        for nr, hooks in node.tensor_hooks.items():
            if nr < len(grads) and grads[nr] is not None:
                grads[nr] = call_tensor_hooks(hooks, grads[nr], create_graph)
    if isinstance(node, AccumulateGrad) and node.variable is not None:
        meta = node.variable._meta
        if meta is not None and meta.hooks and grads[0] is not None:
            grads[0] = call_tensor_hooks(meta.hooks, grads[0], create_graph)
    if node.retained:
        for nr, ref in node.retained.items():
            tensor = ref()
            if tensor is not None and nr < len(grads) and grads[nr] is not None:
                accumulate(tensor, grads[nr], create_graph)
    if node.pre_hooks:
        for hook in list(node.pre_hooks.values()):
            given = tuple(None if g is None else wrap(g) for g in grads)
            with _mode(create_graph):
                new = hook(given)
            if new is not None:
                new = (new,) if isinstance(new, Tensor) else tuple(new)
                grads[:] = [None if g is None else value_of(g) for g in new]


def call_tensor_hooks(hooks: dict, value: Value, create_graph: bool) -> Value:
    """Run `hook(grad)` one after the other; each may replace the gradient."""
    for hook in list(hooks.values()):
        with _mode(create_graph):
            new = hook(wrap(value))
        if new is not None:
            if not isinstance(new, Tensor):
                raise TypeError(f"expected Variable, but hook returned '{type(new).__name__}'")
            if new.shape != value.kind.shape:
                raise RuntimeError(
                    f"hook '{getattr(hook, '__name__', hook)}' has changed the size of value"
                )
            value = value_of(new)
    return value


def _run_hooks_after(
    node: Node, results: list[Value | None], grads: list[Value | None]
) -> list[Value | None]:
    outer = tuple(None if g is None else wrap(g) for g in grads)
    for hook in list(node.post_hooks.values()):
        inner = tuple(None if g is None else wrap(g) for g in results)
        new = hook(inner, outer)
        if new is not None:
            new = (new,) if isinstance(new, Tensor) else tuple(new)
            results = [None if g is None else value_of(g) for g in new]
    return results


class _mode:
    """The grad mode in which hooks and Python backward functions run."""

    __slots__ = ("mode", "prev")

    def __init__(self, mode: bool) -> None:
        self.mode = mode

    def __enter__(self) -> None:
        self.prev = state.trace.grad
        state.trace.grad = graded(self.prev, self.mode)

    def __exit__(self, *exc: Any) -> None:
        state.trace.grad = self.prev


def _replay(roots: Sequence[Tensor], grads: Sequence[Tensor | None], keep: bool) -> bool:
    """Backward of a graph that lies in the open trace.

    The walk is done once for a trie position; from then on this is one look-up and a few
    operations a parameter. False where the general walk is needed: hooks, Python functions,
    graphs that reach into earlier traces.
    """
    trace = state.trace
    if trace.python or trace.trie is eager_trie or trace.parent is not None:
        return False
    for t in roots:
        if t._v.trace is not trace:
            if state.read is not None:  # its graph was walked: better not to close it there
                state.read[0].led += 1
                state.read = None
            return False
    nodes = trace.nodes
    if nodes:
        for node in nodes.values():
            if node.post_hooks or node.pre_hooks or node.tensor_hooks or node.retained:
                return False
    for i, t in enumerate(roots):
        _check_root(i, t, grads[i])
    seeds = tuple([None if g is None else trace.ref(_seed(t, g)) for t, g in zip(roots, grads)])
    jump = jump_from(trace, keep, tuple([t._v.idx for t in roots]), seeds)
    if jump is None:
        return False
    owners = trace.owners
    targets = []
    for idx, gradient, kind in jump.leaves:
        owner = owners[idx]
        if owner is not None and (tensor := owner()) is not None:
            if (meta := tensor._meta) is not None and (meta.hooks or meta.post_hooks):
                return False
            targets.append((tensor, gradient, kind))
    trace.cur = jump.end
    if jump.frees:
        trace.freed = trace.freed | jump.frees if trace.freed else jump.frees
        if nodes:
            for base, node in nodes.items():
                if base in jump.frees:
                    node.free()
    vals = trace.vals
    for tensor, idx, kind in targets:
        value = _new(Value)
        value.trace, value.idx, value.kind = trace, idx, kind
        value.array = value.node = value.watch = None
        vals.append(value)
        if tensor._grad is None:
            gradient = _new(Tensor)
            gradient._v = value
            gradient._alias = gradient._grad = gradient._meta = None
            tensor._grad = gradient
        else:
            accumulate(tensor, value)
    return True


__all__ = ["FreedTape", "accumulate", "backward", "grad", "propagate"]
