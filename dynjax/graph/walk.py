"""From a tensor to its graph: walk the tape, name what is found, put it into boxes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate, takewhile
from typing import Any, NamedTuple

from ..tensor import Parameter
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
    """An input of an operation: a result of the tape, a leaf or constant, or only its shape."""

    index: int
    output: int = 0
    grad_fn: Any = None
    tensor: Any = None
    name: str = ""
    info: TensorInfo | None = None


class _Walk:
    """Numbers the nodes depth first, each after its inputs, without recursion."""

    def __init__(self, names: dict[int, str]) -> None:
        self.nodes: list[OperationNode | VariableNode] = []
        self.edges: list[Edge] = []
        self._names = names
        # Keys are object identities; what they belong to is kept alive by `_kept`.
        self._ids: dict[int, str] = {}
        self._kept: list[Any] = []
        self._held: dict[int, dict[int, Any]] = {}  # tape node -> {output: Tensor alive}
        self._operands: dict[int, list[_Operand]] = {}

    def root(self, tensor: Any) -> str:
        """Add a tensor that the graph was asked for, and everything behind it."""
        if tensor.grad_fn is None:
            return self._leaf(tensor)
        if id(tensor) in self._ids:
            return self._ids[id(tensor)]
        self._hold(tensor)
        self._operation(tensor.grad_fn)
        node = self._variable(tensor, "result")
        source = self._ids[id(tensor.grad_fn)]
        self.edges.append(Edge(source, node, output=tensor.output_nr))
        return node

    def _operation(self, root: Any) -> None:
        stack = [root]
        while stack:
            grad_fn = stack[-1]
            if id(grad_fn) in self._ids:
                stack.pop()
                continue
            if id(grad_fn) not in self._operands:  # the first visit: inputs go before
                operands = self._operands[id(grad_fn)] = list(self._inputs(grad_fn))
                stack += [
                    operand.grad_fn
                    for operand in reversed(operands)
                    if operand.grad_fn is not None and id(operand.grad_fn) not in self._ids
                ]
                continue
            stack.pop()
            self._add(grad_fn, self._operands.pop(id(grad_fn)))

    def _inputs(self, grad_fn: Any) -> Iterator[_Operand]:
        """What the operation was given: results and leaves through the tape, then constants."""
        infos = [TensorInfo(tuple(shape), dtype) for shape, dtype in grad_fn.input_info]
        constants: dict[TensorInfo, list[tuple[str, Any]]] = {}
        for name, tensor in _saved(grad_fn).items():
            if tensor.grad_fn is not None:
                self._hold(tensor)
            elif not tensor.requires_grad:
                constants.setdefault(_info(tensor), []).append((name, tensor))
        for index, (function, output) in enumerate(grad_fn.next_functions):
            if function is None:
                info = infos[index]
                if constants.get(info):
                    name, tensor = constants[info].pop(0)
                    yield _Operand(index, tensor=tensor, name=name)
                else:
                    yield _Operand(index, info=info)
            elif hasattr(function, "variable"):
                yield _Operand(index, tensor=function.variable)
            else:
                yield _Operand(index, grad_fn=function, output=output)

    def _add(self, grad_fn: Any, operands: list[_Operand]) -> None:
        sources = []
        for operand in operands:
            if operand.grad_fn is not None:
                sources.append(self._ids[id(operand.grad_fn)])
            elif operand.tensor is not None:
                sources.append(self._leaf(operand.tensor, operand.name))
            else:
                sources.append(self._new(VariableNode, "constant", "", operand.info, "", None))
        source = grad_fn.source
        node = self._new(
            OperationNode,
            grad_fn.op,
            grad_fn.name(),
            tuple(TensorInfo(tuple(shape), dtype) for shape, dtype in grad_fn.input_info),
            tuple(TensorInfo(tuple(shape), dtype) for shape, dtype in grad_fn.output_info),
            grad_fn.module_path,
            None if source is None else Source(*source),
            grad_fn,
            self._held.setdefault(id(grad_fn), {}),
        )
        self._remember(grad_fn, node)
        for source_id, operand in zip(sources, operands, strict=True):
            self.edges.append(Edge(source_id, node, operand.output, operand.index))

    def _leaf(self, tensor: Any, name: str = "") -> str:
        if id(tensor) in self._ids:
            return self._ids[id(tensor)]
        if not tensor.requires_grad:
            return self._variable(tensor, "constant", name)
        return self._variable(tensor, "parameter" if _is_parameter(tensor) else "input", name)

    def _variable(self, tensor: Any, role: str, name: str = "") -> str:
        name = self._names.get(id(tensor), name)
        node = self._new(VariableNode, role, name, _info(tensor), "", tensor)
        return self._remember(tensor, node)

    def _new(self, kind: type, *attributes: Any) -> str:
        node = kind(f"n{len(self.nodes)}", *attributes)
        self.nodes.append(node)
        return node.id

    def _remember(self, thing: Any, node: str) -> str:
        self._ids[id(thing)] = node
        self._kept.append(thing)
        return node

    def _hold(self, tensor: Any) -> None:
        self._kept.append(tensor.grad_fn)
        held = self._held.setdefault(id(tensor.grad_fn), {})
        held.setdefault(tensor.output_nr, tensor)


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
    """What the operation saved, or nothing once that is freed or was changed in place."""
    try:
        return {name: tensor for name, tensor in grad_fn.saved.items() if tensor is not None}
    except RuntimeError:
        return {}


def _info(tensor: Any) -> TensorInfo:
    return TensorInfo(tuple(tensor.shape), tensor.dtype)


def _is_parameter(tensor: Any) -> bool:
    return isinstance(tensor, Parameter)


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
    return names
