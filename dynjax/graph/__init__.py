"""The user's view of the tape: a graph of operations, variables and functions, and its pictures.

loss = model(x).square().mean()
g = dynjax.graph(loss, params=model)
print(g)             # a readable listing, one line a node
g.mermaid()          # a flowchart for Markdown and notebooks
g.graphviz()         # dot text
"""

from .model import Graph
from .nodes import Edge, FunctionNode, OperationNode, Source, TensorInfo, VariableNode
from .walk import graph

__all__ = [
    "Edge",
    "FunctionNode",
    "Graph",
    "OperationNode",
    "Source",
    "TensorInfo",
    "VariableNode",
    "graph",
]
