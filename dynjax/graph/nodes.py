"""What a graph is made of: nodes for operations, variables and functions, and the edges between.

Values and gradients are looked up when asked for, so that drawing a graph runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os.path import basename
from typing import Any, Literal, NamedTuple


class TensorInfo(NamedTuple):
    """Shape and dtype of one value."""

    shape: tuple[int, ...]
    dtype: Any

    def __str__(self) -> str:
        return f"{shape_text(self.shape)} {dtype_text(self.dtype)}"


class Source(NamedTuple):
    """The line of user code that recorded an operation."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{basename(self.file)}:{self.line}"


class Edge(NamedTuple):
    """A value flowing from one node to another.

    Attributes:
        source: identifier of the node that makes the value.
        target: identifier of the node that uses it.
        output: which of the source's outputs it is.
        input: which of the target's inputs it is.
    """

    source: str
    target: str
    output: int = 0
    input: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class OperationNode:
    """One recorded operation.

    Attributes:
        id: "n0", "n1", ... in topological order, the same for the same program.
        op: the operation's name, as in `dynjax.<op>`.
        name: the name of its `grad_fn`, as `AddBackward0`.
        inputs, outputs: shapes and dtypes.
        module_path: the modules being called at the time, as "layers.0.linear".
        source: the user's line that recorded it, where known.
        grad_fn: the node of the tape itself, with its hooks and metadata.
    """

    id: str
    op: str
    name: str
    inputs: tuple[TensorInfo | None, ...]
    outputs: tuple[TensorInfo, ...]
    module_path: str
    source: Source | None
    grad_fn: Any = field(repr=False)
    _values: Mapping[int, Callable[[], Any | None]] = field(repr=False)

    kind = "operation"

    @property
    def label(self) -> str:
        return self.op

    @property
    def values(self) -> tuple[Any | None, ...]:
        """The outputs that the tape or the graph keeps, one Tensor or None each.

        Nothing is computed before the Tensor itself is read.
        """
        return tuple(self._values.get(index, _nothing)() for index in range(len(self.outputs)))

    @property
    def value(self) -> Any | None:
        """The first of `values`."""
        return self._values.get(0, _nothing)()

    @property
    def grad(self) -> Any | None:
        """The gradient of the first output, where `retain_grad()` asked for it to be kept."""
        return _gradient(self.value)


@dataclass(frozen=True, slots=True, eq=False)
class VariableNode:
    """A tensor at the edge of the graph, or a value that the tape keeps.

    Attributes:
        id: "n0", "n1", ... in topological order, the same for the same program.
        role: "parameter" or "input" (a leaf that collects a gradient), "constant" (an operand
            without gradient), "result" (a tensor that the graph was asked for).
        name: the name given by `params`, else "".
        info: shape and dtype.
        module_path: for a parameter, the innermost module that contains all its uses.
    """

    id: str
    role: Literal["parameter", "input", "constant", "result"]
    name: str
    info: TensorInfo
    module_path: str
    _value: Callable[[], Any | None] = field(repr=False)

    kind = "variable"
    source = None

    @property
    def value(self) -> Any | None:
        """The Tensor, or None if neither the tape nor the graph keeps it."""
        return self._value()

    @property
    def outputs(self) -> tuple[TensorInfo]:
        return (self.info,)

    @property
    def label(self) -> str:
        return f"{self.role} {self.name}".rstrip()

    @property
    def grad(self) -> Any | None:
        """The gradient accumulated so far, or None."""
        return _gradient(self.value)


@dataclass(frozen=True, slots=True, eq=False)
class FunctionNode:
    """The calls of one module: a box around the operations recorded inside.

    Attributes:
        id: "f0", "f1", ... in order of first use.
        path: the module path, as "layers.0.linear".
        label: the part of the path below the enclosing function.
        parent: identifier of the enclosing function, or None.
        nodes: identifiers of the nodes directly inside.
        functions: identifiers of the functions directly inside.
    """

    id: str
    path: str
    label: str
    parent: str | None
    nodes: tuple[str, ...]
    functions: tuple[str, ...]

    kind = "function"


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as Python writes a tuple: `(2, 3)`, `(4,)`, `()`."""
    return str(tuple(shape))


def dtype_text(dtype: Any) -> str:
    """A dtype without its module: `float32`."""
    return str(dtype).rpartition(".")[2]


def _nothing() -> None:
    return None


def _gradient(tensor: Any | None) -> Any | None:
    # Asking a non-leaf that keeps no gradient would warn.
    if tensor is None or not (tensor.is_leaf or tensor.retains_grad):
        return None
    return tensor.grad
