"""From a tensor to its graph: walk the tape, name what is found, put it into boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import accumulate, takewhile
from typing import Any, NamedTuple

from ..tensor.parameter import Parameter
from ..tensor.tensor import value_of
from .model import Graph
from .nodes import Edge, FunctionNode, OperationNode, Source, TensorInfo, VariableNode


def graph(tensors: Any, params: Any = None) -> Graph:
    """The tape behind a tensor: the operations that made it, back to the leaves.

    Looking runs nothing: values not yet computed stay so until they are read.

    Arguments:
        tensors: a Tensor, or any nesting of sequences and mappings of Tensors.
        params: names for tensors, as a Module or a mapping such as
            `dict(model.named_parameters())`.

    Returns:
        a Graph. Its identifiers are the same whenever the same program is recorded. A tensor
        without `grad_fn` gives a single variable node.

    Raises:
        TypeError: `tensors` or `params` holds something else.
        ValueError: there is no tensor.

    Example:
        >>> x = dynjax.tensor([1.0, 2.0], requires_grad=True)
        >>> print(dynjax.graph(x.exp().sum(), params={"x": x}))
    """
    roots = list(_flattened(tensors))
    if not roots:
        raise ValueError("graph(): expected at least one Tensor, got none")
    walk = _Walk(_names(params))
    ids = [walk.root(tensor) for tensor in roots]
    nodes = _with_parameters_in_modules(walk.nodes, walk.edges)
    return Graph(tuple(nodes), tuple(walk.edges), _functions(nodes), tuple(ids))


class _Operand(NamedTuple):
    """An input of an operation: a result of the tape, a leaf, or a constant.

    Only what is there is set: `grad_fn` and `output` of a result, `leaf`, or `saved` (where the
    tape keeps a constant) and `info`.
    """

    index: int
    output: int = 0
    grad_fn: Any = None
    leaf: Any = None
    saved: partial | None = None
    info: TensorInfo | None = None


class _Walk:
    """Numbers the nodes depth first, each after its inputs, without recursion."""

    def __init__(self, names: dict[int, str]) -> None:
        self.nodes: list[OperationNode | VariableNode] = []
        self.edges: list[Edge] = []
        self._names = names
        # Both by object identity; `_kept` keeps the objects, and so the identities, alive.
        self._ids: dict[int, str] = {}
        self._values: dict[int, dict[int, Callable[[], Any]]] = {}
        self._kept: list[Any] = []

    def root(self, tensor: Any) -> str:
        """Add a tensor that the graph was asked for, and everything behind it."""
        grad_fn = tensor.grad_fn
        if grad_fn is None:
            return self._leaf(tensor) if tensor.requires_grad else self._constant(tensor)
        if id(tensor) in self._ids:
            return self._ids[id(tensor)]
        self._note_value(tensor, lambda: tensor)
        self._operations(grad_fn)
        node = self._variable("result", tensor, tensor)
        self.edges.append(Edge(self._ids[id(grad_fn)], node, tensor.output_nr))
        return node

    def _operations(self, root: Any) -> None:
        waiting: dict[int, list[_Operand]] = {}
        stack = [root]
        while stack:
            grad_fn = stack[-1]
            if id(grad_fn) in self._ids:
                stack.pop()
            elif id(grad_fn) in waiting:
                stack.pop()
                self._operation(grad_fn, waiting.pop(id(grad_fn)))
            else:
                operands = waiting[id(grad_fn)] = self._operands(grad_fn)
                # The first input ends on top, so that it is numbered first.
                stack += [o.grad_fn for o in reversed(operands) if o.grad_fn is not None]

    def _operands(self, grad_fn: Any) -> list[_Operand]:
        saved = {}
        for name, tensor in _saved(grad_fn).items():
            read = partial(_saved_tensor, grad_fn, name)
            if tensor.grad_fn is not None:
                self._note_value(tensor, read)
            saved[name] = read
        operands = []
        for index, (function, output) in enumerate(grad_fn.next_functions):
            info = _info(*grad_fn.input_info[index]) if index < len(grad_fn.input_info) else None
            if function is not None and not hasattr(function, "variable"):
                operands.append(_Operand(index, output, grad_fn=function))
            elif function is not None and function.variable is not None:
                operands.append(_Operand(index, leaf=function.variable))
            elif info is not None:
                operands.append(_Operand(index, saved=saved.get(f"input{index}"), info=info))
        return operands

    def _operation(self, grad_fn: Any, operands: list[_Operand]) -> None:
        sources = []
        for operand in operands:
            if operand.grad_fn is not None:
                sources.append(self._ids[id(operand.grad_fn)])
            elif operand.leaf is not None:
                sources.append(self._leaf(operand.leaf))
            elif operand.saved is not None:
                sources.append(self._constant(operand.saved(), operand.saved))
            else:
                sources.append(self._new(VariableNode, "constant", "", operand.info, "", _nothing))
        node = self._new(
            OperationNode,
            grad_fn.op,
            grad_fn.name(),
            tuple(_info(*info) for info in grad_fn.input_info),
            tuple(_info(*info) for info in grad_fn.output_info),
            grad_fn.module_path,
            None if grad_fn.source is None else Source(*grad_fn.source),
            grad_fn,
            self._values.setdefault(id(grad_fn), {}),
        )
        self._remember(grad_fn, node)
        for source, operand in zip(sources, operands, strict=True):
            self.edges.append(Edge(source, node, operand.output, operand.index))

    def _leaf(self, tensor: Any) -> str:
        if id(tensor) in self._ids:
            return self._ids[id(tensor)]
        role = "parameter" if isinstance(tensor, Parameter) else "input"
        return self._variable(role, tensor, tensor)

    def _constant(self, tensor: Any, read: Callable[[], Any] | None = None) -> str:
        # The tape keeps values, not the Tensors that held them.
        value = value_of(tensor)
        if id(value) in self._ids:
            return self._ids[id(value)]
        return self._variable("constant", tensor, value, read)

    def _variable(
        self, role: str, tensor: Any, identity: Any, read: Callable[[], Any] | None = None
    ) -> str:
        name = self._names.get(id(tensor)) or self._names.get(id(value_of(tensor)), "")
        info = _info(tensor.shape, tensor.dtype)
        node = self._new(VariableNode, role, name, info, "", read or (lambda: tensor))
        return self._remember(identity, node)

    def _new(self, kind: type, *attributes: Any) -> str:
        node = kind(f"n{len(self.nodes)}", *attributes)
        self.nodes.append(node)
        return node.id

    def _remember(self, thing: Any, node: str) -> str:
        self._ids[id(thing)] = node
        self._kept.append(thing)
        return node

    def _note_value(self, tensor: Any, read: Callable[[], Any]) -> None:
        self._kept.append(tensor.grad_fn)
        self._values.setdefault(id(tensor.grad_fn), {}).setdefault(tensor.output_nr, read)


def _with_parameters_in_modules(
    nodes: list[OperationNode | VariableNode], edges: list[Edge]
) -> list[OperationNode | VariableNode]:
    """Every parameter moved into the innermost module that contains all its uses."""
    by_id = {node.id: node for node in nodes}
    paths: dict[str, list[str]] = {}
    for edge in edges:
        node = by_id[edge.source]
        if node.kind == "variable" and node.role == "parameter":
            uses = by_id[edge.target].module_path.split(".")
            paths[node.id] = _common_start(paths.get(node.id, uses), uses)
    return [
        replace(node, module_path=".".join(paths[node.id])) if node.id in paths else node
        for node in nodes
    ]


def _functions(nodes: list[OperationNode | VariableNode]) -> tuple[FunctionNode, ...]:
    """A function for each module path that has nodes of its own, or joins at least two others."""
    own: dict[str, list[str]] = {}
    inside: dict[str, dict[str, None]] = {}  # path -> the paths one step deeper that lead to nodes
    for node in nodes:
        path = node.module_path
        if not path:
            continue
        own.setdefault(path, []).append(node.id)
        while "." in path:
            outer = path.rpartition(".")[0]
            inside.setdefault(outer, {})[path] = None
            path = outer
    joining = {path for path, deeper in inside.items() if len(deeper) > 1}
    shown = list(dict.fromkeys(prefix for path in own for prefix in _prefixes(path)))
    shown = [path for path in shown if path in own or path in joining]
    ids = {path: f"f{number}" for number, path in enumerate(shown)}
    parents = {
        path: next((outer for outer in reversed(_prefixes(path)[:-1]) if outer in ids), None)
        for path in shown
    }
    children: dict[str | None, list[str]] = {}
    for path, parent in parents.items():
        children.setdefault(parent, []).append(ids[path])
    return tuple(
        FunctionNode(
            id=ids[path],
            path=path,
            label=path if parent is None else path[len(parent) + 1 :],
            parent=None if parent is None else ids[parent],
            nodes=tuple(own.get(path, ())),
            functions=tuple(children.get(path, ())),
        )
        for path, parent in parents.items()
    )


def _prefixes(path: str) -> list[str]:
    """`"a.b.c"` -> `["a", "a.b", "a.b.c"]`."""
    return list(accumulate(path.split("."), "{}.{}".format))


def _common_start(a: list[str], b: list[str]) -> list[str]:
    return [left for left, _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))]


def _saved(grad_fn: Any) -> dict[str, Any]:
    """What the operation saved, or nothing once that is freed."""
    try:
        return {name: tensor for name, tensor in grad_fn.saved.items() if tensor is not None}
    except RuntimeError:
        return {}


def _saved_tensor(grad_fn: Any, name: str) -> Any | None:
    return _saved(grad_fn).get(name)


def _nothing() -> None:
    return None


def _info(shape: tuple[int, ...], dtype: Any) -> TensorInfo:
    return TensorInfo(tuple(shape), dtype)


def _flattened(tensors: Any) -> Iterator[Any]:
    if hasattr(tensors, "grad_fn"):
        yield tensors
    elif isinstance(tensors, Mapping):
        for tensor in tensors.values():
            yield from _flattened(tensor)
    elif isinstance(tensors, Iterable) and not isinstance(tensors, str | bytes):
        for tensor in tensors:
            yield from _flattened(tensor)
    else:
        raise TypeError(
            f"graph(): argument 'tensors' must hold Tensors, not {type(tensors).__name__}"
        )


def _names(params: Any) -> dict[int, str]:
    if params is None:
        return {}
    if hasattr(params, "named_parameters"):
        pairs = [*params.named_parameters(), *params.named_buffers()]
    elif isinstance(params, Mapping):
        pairs = list(params.items())
    else:
        raise TypeError(
            "graph(): argument 'params' must be a Module or a mapping of names to Tensors, "
            f"not {type(params).__name__}"
        )
    names: dict[int, str] = {}
    for name, tensor in pairs:
        names.setdefault(id(tensor), name)
        names.setdefault(id(value_of(tensor)), name)
    return names
