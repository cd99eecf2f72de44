"""A graph as text: a Mermaid flowchart, a Graphviz digraph, a listing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from .nodes import Edge, FunctionNode, OperationNode, VariableNode, dtype_text, shape_text

Nodes = Sequence[OperationNode | VariableNode]

_COLOURS = {  # class: fill, border
    "parameter": ("#dbeafe", "#2563eb"),
    "input": ("#dcfce7", "#16a34a"),
    "constant": ("#f3f4f6", "#6b7280"),
    "result": ("#fef3c7", "#d97706"),
    "operation": ("#ffffff", "#374151"),
}


def mermaid(nodes: Nodes, edges: Sequence[Edge], functions: Sequence[FunctionNode]) -> str:
    """The graph as a Mermaid flowchart: boxes are operations, rounded ones are variables,
    subgraphs are module calls; a number on an arrow is the output it carries."""
    several = _several_outputs(nodes)

    def node_line(node: OperationNode | VariableNode) -> str:
        text = "<br/>".join(_mermaid_text(line) for line in _label_lines(node))
        opening, closing = ("[", "]") if node.kind == "operation" else ("([", "])")
        return f'{node.id}{opening}"{text}"{closing}:::{_style(node)}'

    def box_lines(function: FunctionNode, inside: list[str]) -> list[str]:
        return [f'subgraph {function.id}["{_mermaid_text(function.label)}"]', *inside, "end"]

    lines = ["flowchart TD"]
    lines += _indented(_boxed(nodes, functions, node_line, box_lines))
    for edge in edges:
        arrow = f"-->|{edge.output}|" if edge.source in several else "-->"
        lines.append(f"    {edge.source} {arrow} {edge.target}")
    for style in _used_styles(nodes):
        fill, border = _COLOURS[style]
        lines.append(f"    classDef {style} fill:{fill},stroke:{border},color:#111827")
    return "\n".join(lines) + "\n"


def graphviz(nodes: Nodes, edges: Sequence[Edge], functions: Sequence[FunctionNode]) -> str:
    """The graph as a Graphviz digraph: boxes are operations, ellipses are variables, clusters are
    module calls; hovering shows an operation's source line."""
    several = _several_outputs(nodes)

    def node_line(node: OperationNode | VariableNode) -> str:
        fill, border = _COLOURS[_style(node)]
        attributes = {
            "label": "\n".join(_label_lines(node)),
            "shape": "box" if node.kind == "operation" else "ellipse",
            "fillcolor": fill,
            "color": border,
        }
        if node.source is not None:
            attributes["tooltip"] = f"{node.source.file}:{node.source.line}"
        return f"{node.id} [{_dot_attributes(attributes)}];"

    def box_lines(function: FunctionNode, inside: list[str]) -> list[str]:
        label = f"label={_dot_text(function.label)};"
        return [f"subgraph cluster_{function.id} {{", *_indented([label]), *inside, "}"]

    lines = ["digraph dynjax {", '    node [style=filled, fontname="monospace"];']
    lines += _indented(_boxed(nodes, functions, node_line, box_lines))
    for edge in edges:
        label = f' [label="{edge.output}"]' if edge.source in several else ""
        lines.append(f"    {edge.source} -> {edge.target}{label};")
    lines.append("}")
    return "\n".join(lines) + "\n"


def listing(nodes: Nodes, edges: Sequence[Edge], functions: Sequence[FunctionNode]) -> str:
    """The graph as a table, one line a node, every node below the nodes it depends on.

    The columns of modules and source lines appear if any node has them. An input `n3:1` is the
    second output of `n3`; a node of several outputs lists its shapes and dtypes one after another.
    """
    several = _several_outputs(nodes)
    inputs: dict[str, list[str]] = {node.id: [] for node in nodes}
    for edge in edges:
        port = f"{edge.source}:{edge.output}" if edge.source in several else edge.source
        inputs[edge.target].append(port)
    rows = [("id", "operation", "inputs", "shape", "dtype", "module", "source")]
    for node in nodes:
        rows.append(
            (
                node.id,
                node.label,
                ", ".join(inputs[node.id]),
                ", ".join(shape_text(info.shape) for info in node.outputs),
                ", ".join(dict.fromkeys(dtype_text(info.dtype) for info in node.outputs)),
                node.module_path,
                "" if node.source is None else str(node.source),
            )
        )
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    )


def _label_lines(node: OperationNode | VariableNode) -> list[str]:
    return [f"{node.id} {node.label}", *map(str, node.outputs)]


def _style(node: OperationNode | VariableNode) -> str:
    return node.role if node.kind == "variable" else "operation"


def _used_styles(nodes: Nodes) -> list[str]:
    used = {_style(node) for node in nodes}
    return [style for style in _COLOURS if style in used]


def _several_outputs(nodes: Nodes) -> set[str]:
    return {node.id for node in nodes if len(node.outputs) > 1}


def _boxed(
    nodes: Nodes,
    functions: Sequence[FunctionNode],
    node_line: Callable[[OperationNode | VariableNode], str],
    box_lines: Callable[[FunctionNode, list[str]], list[str]],
) -> list[str]:
    """A line for each node, those of a function inside its box, the boxes nested."""
    by_id = {node.id: node for node in nodes}
    boxes: dict[str, list[str]] = {}
    inside: set[str] = set()
    for function in reversed(functions):  # the enclosed ones first
        inside.update(function.nodes)
        lines = [node_line(by_id[id]) for id in function.nodes]
        for child in function.functions:
            lines += boxes.pop(child)
        boxes[function.id] = box_lines(function, _indented(lines))
    outside = [node_line(node) for node in nodes if node.id not in inside]
    return outside + [line for box in reversed(boxes.values()) for line in box]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _mermaid_text(text: str) -> str:
    """Mermaid reads HTML, Markdown and its own entities inside a quoted label."""
    escapes = {
        "#": "#35;",
        "&": "#amp;",
        '"': "#quot;",
        "<": "#lt;",
        ">": "#gt;",
        "`": "#96;",
        "\n": " ",
    }
    return "".join(escapes.get(character, character) for character in text)


def _dot_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _dot_attributes(attributes: dict[str, str]) -> str:
    return ", ".join(f"{name}={_dot_text(value)}" for name, value in attributes.items())
