"""The graph: a snapshot of the structure behind one or several tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import render
from .nodes import Edge, FunctionNode, OperationNode, VariableNode

# Mermaid refuses larger pictures by its default settings (maxEdges, maxTextSize).
_MERMAID_EDGES = 500
_MERMAID_CHARACTERS = 50_000


class Graph:
    """The tape behind one or several tensors; made by `dynjax.graph`.

    It keeps the tensors it was asked for, and the tape behind them, alive.

    Attributes:
        nodes: operations and variables, every node after the nodes it depends on.
        edges: values flowing between them, grouped by target.
        functions: module calls, enclosing ones first.
        roots: identifiers of the result nodes, in the order of the tensors given.
    """

    def __init__(
        self,
        nodes: tuple[OperationNode | VariableNode, ...],
        edges: tuple[Edge, ...],
        functions: tuple[FunctionNode, ...],
        roots: tuple[str, ...],
    ) -> None:
        self.nodes = nodes
        self.edges = edges
        self.functions = functions
        self.roots = roots
        self._by_id = {node.id: node for node in (*nodes, *functions)}

    @property
    def operations(self) -> tuple[OperationNode, ...]:
        return tuple(node for node in self.nodes if node.kind == "operation")

    @property
    def variables(self) -> tuple[VariableNode, ...]:
        return tuple(node for node in self.nodes if node.kind == "variable")

    def __getitem__(self, id: str) -> OperationNode | VariableNode | FunctionNode:
        try:
            return self._by_id[id]
        except KeyError:
            raise KeyError(f"no node {id!r} in {self!r}") from None

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[OperationNode | VariableNode]:
        return iter(self.nodes)

    def mermaid(self) -> str:
        """A Mermaid flowchart: one box an operation, a subgraph a module."""
        return render.mermaid(self.nodes, self.edges, self.functions)

    def graphviz(self) -> str:
        """A Graphviz digraph in dot: one box an operation, a cluster a module."""
        return render.graphviz(self.nodes, self.edges, self.functions)

    def __str__(self) -> str:
        return render.listing(self.nodes, self.edges, self.functions)

    def __repr__(self) -> str:
        operations = len(self.operations)
        return (
            f"Graph(operations={operations}, variables={len(self.nodes) - operations}, "
            f"functions={len(self.functions)}, edges={len(self.edges)})"
        )

    def _repr_markdown_(self) -> str | None:
        picture = self._picture()
        return None if picture is None else f"```mermaid\n{picture}```\n"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        bundle = {"text/plain": str(self)}
        picture = self._picture()
        if picture is not None:
            bundle["text/vnd.mermaid"] = picture
            bundle["text/markdown"] = f"```mermaid\n{picture}```\n"
        return bundle

    def _picture(self) -> str | None:
        """The Mermaid text, unless Mermaid would refuse to draw so large a graph."""
        if len(self.edges) > _MERMAID_EDGES:
            return None
        picture = self.mermaid()
        return picture if len(picture) <= _MERMAID_CHARACTERS else None
