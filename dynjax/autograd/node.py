"""The tape: nodes that lead from a result back to its leaves.

While a trace is open its tape is implied by it; nodes are built when somebody looks, when backward
walks, or when a flush would otherwise lose what a later backward needs.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..core.hooks import RemovableHandle
from ..engine import ahead, executor
from ..engine.frames import Place, Source, source_of
from ..engine.kernel import Kernel
from ..engine.trace import Trace, state
from ..engine.trie import Step, path_of
from ..engine.unfold import open_parts
from ..engine.value import Value
from ..tensor.tensor import Tensor, meta_of, wrap

_sequence = itertools.count()

FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after "
    "they have already been freed). Saved intermediate values of the graph are freed when you call "
    ".backward() or autograd.grad(). Specify retain_graph=True if you need to backward through the "
    "graph a second time or if you need to access saved tensors after calling backward."
)


OUTSIDE = "walks a graph that was recorded outside of it"


class FreedTape:
    """The tape position of a result whose graph backward has consumed: enough to name its nodes."""

    __slots__ = ("trace", "idx", "moved")

    def __init__(self, trace: Trace, idx: int) -> None:
        self.trace, self.idx, self.moved = trace, idx, trace.moved

    def position(self) -> tuple[Node, int]:
        """Its node, built anew, marked freed, and its output number."""
        trace, idx = self.trace, self.idx
        open_parts(trace)
        if trace.moved is not self.moved:
            idx = trace.moved[idx]
        return build(trace, [idx], None)[idx]


class Placed(float):
    """A run-time number and its place in the trace that it came from."""

    __slots__ = ("pos",)


class PlacedInt(int):
    """As Placed, for whole numbers."""

    pos: int


def _placed(number: Any, pos: int) -> Any:
    placed = (PlacedInt if isinstance(number, int) else Placed)(number)
    placed.pos = pos
    return placed


def next_id() -> int:
    """A number above that of every node made so far, and below that of every later one."""
    return next(_sequence)


class HookDict(dict):
    """A dictionary of hooks that weak references may point to."""

    __slots__ = ("__weakref__",)


class Node:
    """One operation on the tape, as `grad_fn` shows it.

    Attributes:
        edges: for every array input the (node, output number) it came from, or None.
        freed: whether backward has consumed what it saved.
        op: the operation's name.
        place: where the user's program recorded it, or None; `source` tells the line.
        module_path: dotted path of the Module that was running.
        input_info, output_info: (shape, dtype) of the operation's inputs and results.
        node_id: a number that grows with the order of recording.
    """

    __slots__ = (
        "edges", "freed", "node_id", "metadata", "place", "module_path", "op", "input_info",
        "output_info", "args", "pre_hooks", "post_hooks", "tensor_hooks", "retained", "_name",
        "__weakref__",
    )  # fmt: skip

    def __init__(self, name: str, edges: Sequence[tuple[Node, int] | None]) -> None:
        self._name = name
        self.edges = list(edges)
        self.freed = False
        self.node_id = next(_sequence)
        self.metadata: dict = {}
        self.place: Place | None
        self.place, self.module_path, self.op = None, "", name
        self.input_info: tuple = ()
        self.output_info: tuple = ()
        self.args: Any = None
        self.pre_hooks: HookDict | None = None
        self.post_hooks: HookDict | None = None
        self.tensor_hooks: dict[int, HookDict] | None = None
        self.retained: dict[int, Any] | None = None

    @property
    def source(self) -> Source | None:
        """The user's line that recorded it, if known."""
        return source_of(self.place)

    def name(self) -> str:
        """PyTorch's name of the node, `AddBackward0`."""
        return self._name

    @property
    def next_functions(self) -> tuple:
        """The (node, output number) that each differentiable input came from."""
        return tuple((None, 0) if e is None else e for e in self.edges)

    def register_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(grad_inputs, grad_outputs)` after this node ran in backward."""
        if self.post_hooks is None:
            self.post_hooks = HookDict()
        state.trace.python = True
        handle = RemovableHandle(self.post_hooks)
        self.post_hooks[handle.id] = hook
        return handle

    def register_prehook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(grad_outputs)` before this node runs in backward."""
        if self.pre_hooks is None:
            self.pre_hooks = HookDict()
        state.trace.python = True
        handle = RemovableHandle(self.pre_hooks)
        self.pre_hooks[handle.id] = hook
        return handle

    @property
    def saved(self) -> dict[str, Tensor]:
        """What the node keeps for backward, by name."""
        return {}

    def apply(self, grads: list[Value | None], create_graph: bool) -> list[Value | None]:
        """Gradients of the inputs, in the order of `edges`, from those of the results."""
        raise NotImplementedError

    def free(self) -> None:
        """Let go of what was saved."""
        self.freed = True

    def __repr__(self) -> str:
        return f"<{self._name} object at {id(self):#x}>"


class KernelNode(Node):
    """The node of a recorded kernel: its backward is the kernel's vjp."""

    __slots__ = ("kernel", "wrt", "needs", "keeps", "values", "numbers", "result")

    kernel: Kernel

    def __init__(self, kernel: Kernel, edges: Sequence, wrt: tuple[int, ...]) -> None:
        super().__init__(kernel.grad_name, edges)
        self.kernel, self.wrt, self.op = kernel, wrt, kernel.op
        self.needs = kernel.needs(wrt)
        self.keeps = bool(self.needs) or kernel.saves in ("number", "result")
        self.values: list[Value] = []
        self.numbers: list = []
        self.result: list[Value] = []

    @property
    def saved(self) -> dict[str, Tensor]:
        if self.freed:
            raise RuntimeError(FREED)
        self._place_values()
        return {f"input{i}": wrap(v) for i, v in zip(self.needs, self.values, strict=True)}

    def _place_values(self) -> None:
        """Tell saved results of earlier operations where on the tape they are: at our edges."""
        for i, value in zip(self.needs, self.values, strict=True):
            if value.node is None and value.trace is None and value.kind.requires_grad:
                value.node = self.edges[i]

    def apply(self, grads: list[Value | None], create_graph: bool) -> list[Value | None]:
        given = tuple(k for k, g in enumerate(grads) if g is not None)
        if self.freed:
            raise RuntimeError(FREED)
        self._place_values()
        self._check_versions()
        results: list[Value | None] = [None] * len(self.edges)
        if given:
            vjp = self.kernel.vjp(self.wrt, given)
            inputs = [*self.values, *(grads[k] for k in given)]
            out = state.trace.record(vjp, inputs, self.numbers, grad=create_graph)
            for i, value in zip(self.wrt, out, strict=True):
                results[i] = value
        return results

    def _check_versions(self) -> None:
        if self.kernel.saves == "result":
            watched = [(v, (self, k)) for k, v in enumerate(self.result)]
        else:
            watched = [(v, self.edges[i]) for i, v in zip(self.needs, self.values, strict=True)]
        for value, position in watched:
            watch = value.watch
            if watch is not None and watch[0].now != watch[1]:
                kind = value.kind
                place = ""
                if position is not None and not kind.leaf:
                    place = f", which is output {position[1]} of {position[0].name()},"
                recorded = f" The operation was recorded at {self.source}." if self.source else ""
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an "
                    f"inplace operation: [torch.{kind.dtype.type_name}Tensor "
                    f"{list(kind.shape)}]{place} is at version {watch[0].now}; expected "
                    f"version {watch[1]} instead. Hint: the backtrace further above shows the "
                    "operation that failed to compute its gradient. The variable in question was "
                    f"changed in there or anywhere later. Good luck!{recorded}"
                )

    def free(self) -> None:
        # As in PyTorch, a node that saved no tensor can run again.
        if self.keeps:
            self.freed = True
            self.values = []
            self.result = []
            self.numbers = []


class AccumulateGrad(Node):
    """The end of the tape: adds a gradient to its leaf."""

    __slots__ = ("variable",)

    def __init__(self, variable: Tensor | None) -> None:
        super().__init__("torch::autograd::AccumulateGrad", ())
        self.op = "AccumulateGrad"
        self.variable = variable
        if variable is not None:
            info = (variable.shape, variable.dtype)
            self.input_info = self.output_info = (info,)

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {id(self):#x}>"


def leaf_node(owner: Any) -> AccumulateGrad:
    """The node of the leaf that a weak reference names."""
    tensor = owner() if owner is not None else None
    if tensor is None:
        return AccumulateGrad(None)
    meta = meta_of(tensor)
    node = meta.node() if meta.node is not None else None
    if node is None:
        node = AccumulateGrad(tensor)
        meta.node = weakref.ref(node)
    return node


def node_of(value: Value) -> tuple[Node, int] | None:
    """The tape position of a value: its node and output number; None without gradient."""
    kind = value.kind
    if not kind.requires_grad:
        return None
    if kind.leaf:
        return leaf_node(value.node), 0
    capture = state.trace.capture
    if capture is not None and value.trace is not capture.trace and type(value.node) is not tuple:
        capture.give_up(OUTSIDE)
    position = value.node
    if type(position) is tuple:
        return position
    if isinstance(position, FreedTape):
        position = position.position()
    else:
        open_parts(value.trace)
        position = build(value.trace, [value.idx], value.trace.values_by_index())[value.idx]
    value.node = position
    return position


def build(
    trace: Trace, goals: Iterable[int], values: Mapping[int, Value] | None
) -> dict[int, tuple[Node, int]]:
    """Nodes for values of a trace and all they were computed from.

    Args:
        trace: where they were recorded.
        goals: their indices.
        values: the trace's values by index, or None if it is over and its graph freed.

    Returns:
        For every goal its (node, output number).
    """
    path = path_of(trace.cur)
    kinds: dict[int, Any] = {}
    producer: dict[int, Step] = {}
    for step in path:
        for k, kind in enumerate(step.kinds):
            kinds[step.base + k] = kind
            producer[step.base + k] = step
    if trace.nodes is None:
        trace.nodes = {}
    nodes = trace.nodes
    goals = list(goals)
    wanted = set(goals)
    steps: list[Step] = []
    for step in reversed(path):
        if step.kernel is None or step.base in nodes and nodes[step.base].edges:
            continue
        if not any(i in wanted and kinds[i].requires_grad for i in range(step.base, step.n)):
            continue
        if step.kind.leaf:
            continue
        if step.kernel.is_alias:
            wanted.add(step.refs[0])
            continue
        steps.append(step)
        wanted.update(i for i in step.refs if kinds[i].requires_grad)

    def position(idx: int) -> tuple[Node, int] | None:
        kind = kinds[idx]
        if not kind.requires_grad:
            return None
        step = producer[idx]
        while step.kernel is not None and step.kernel.is_alias and not kind.leaf:
            idx = step.refs[0]  # another name of the same value
            kind, step = kinds[idx], producer[idx]
        if step.kernel is None or kind.leaf:
            owner = trace.owners.get(idx)
            if kind.leaf:
                return leaf_node(owner), 0
            if type(owner) is tuple:
                return owner
            if isinstance(owner, FreedTape):
                return owner.position()
            value = values[idx] if values else None
            return node_of(value) if value is not None else None
        return nodes[step.base], idx - step.base

    for step in reversed(steps):
        edges = [position(i) for i in step.refs]
        node = nodes.get(step.base)
        if node is None:
            wrt = tuple(k for k, i in enumerate(step.refs) if kinds[i].requires_grad)
            node = KernelNode(step.kernel, edges, wrt)
            if node.keeps and (values is None or step.base in trace.freed):
                node.freed = True
            else:
                node.values = [values[step.refs[k]] for k in node.needs]
                if step.kernel.saves == "result" and values is not None:
                    node.result = [values[i] for i in range(step.base, step.n)]
                node.numbers = [_placed(trace.numbers[p], p) for p in step.numbers]
            nodes[step.base] = node
        else:  # a Python function's node, made when it ran
            node.edges = edges[: node.inputs]
        node.place, node.module_path, node.args = step.place, step.module_path, step.args
        node.input_info = tuple((kinds[i].shape, kinds[i].dtype) for i in step.refs)
        node.output_info = tuple((k.shape, k.dtype) for k in step.kinds)
    return {g: position(g) for g in goals}


def keep_tape(trace: Trace, live: list[Value]) -> bool:
    """Before a flush: give results that are still held, and not yet consumed, their nodes."""
    goals = []
    for value in live:
        kind = value.kind
        if kind.requires_grad and not kind.leaf and value.node is None:
            if value.idx in trace.freed:
                value.node = FreedTape(trace, value.idx)
            else:
                goals.append(value)
    if not goals:
        return False
    open_parts(trace)
    values = trace.values_by_index()
    positions = build(trace, [v.idx for v in goals], values)
    for value in goals:
        value.node = positions[value.idx]
    return True


def _owned(owner: Any) -> Value | None:
    """The value that the tensor of a leaf has, unless it is to be derived anew."""
    tensor = owner()
    if tensor is None:
        return None
    alias = tensor._alias
    return tensor._v if alias is None or alias.seen == alias.storage.stamp else None


executor.keep_tape = keep_tape
ahead.owned = _owned
