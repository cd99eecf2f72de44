"""What a model consists of, and what one forward pass costs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..autograd.modes import no_grad
from ..core import dtypes
from ..core.devices import device as Device
from ..engine.random import default_generator
from ..nn.module import Module
from ..ops.declare import NAMES
from ..tensor.tensor import Tensor

_COLUMNS = {
    "input_size": "Input Shape",
    "output_size": "Output Shape",
    "num_params": "Param #",
    "kernel_size": "Kernel Shape",
    "mult_adds": "Mult-Adds",
    "trainable": "Trainable",
}
_WIDTH = 18


@dataclass
class LayerInfo:
    """One call of a module.

    Attributes:
        class_name: of the module.
        var_name: its name in its parent.
        depth: how many modules' calls it lies within.
        depth_index: its number among the calls of that depth, from 1.
        input_size, output_size: shapes of the first tensor that goes in and comes out.
        kernel_size: of a convolution or pooling.
        num_params, trainable_params: how many numbers its parameters have, its parts' included.
        own_params: how many it has itself.
        param_bytes, output_bytes: in bytes; the former its own.
        macs: multiplications with an addition, of its own parameters, as torchinfo counts them
            (but for each position, where a Linear is applied to many).
        is_leaf_layer: it has no parts.
        is_recursive: the module was called before: its parameters are counted there.
        trainable: "True", "False", "Partial", or "--" without parameters.
    """

    class_name: str
    var_name: str
    depth: int
    depth_index: int
    input_size: list[int]
    kernel_size: list[int] | None
    is_leaf_layer: bool
    is_recursive: bool
    num_params: int
    trainable_params: int
    own_params: int
    param_bytes: int
    trainable: str
    output_size: list[int] = field(default_factory=list)
    output_bytes: int = 0
    macs: int = 0

    def cell(self, column: str, parts: Sequence[LayerInfo] = ()) -> str:
        """The text in a column of the table, for the calls within this one too that are given."""
        if column == "num_params":
            count = self.num_params if parts else self.own_params
            if self.is_recursive and count:
                return "(recursive)"
            return f"{count:,}" if count else "--"
        if column == "mult_adds":
            macs = self.macs + sum(part.macs for part in parts)
            return f"{macs:,}" if macs else "--"
        value = getattr(self, column)
        return str(value) if value else "--"


@dataclass
class ModelStatistics:
    """What `summary` found; its text is a table.

    Attributes:
        summary_list: a row for each call of a module, in the order of the calls.
        input_size: shapes of the inputs.
        total_params, trainable_params: how many numbers the parameters have; shared ones once.
        total_mult_adds: of one forward pass.
        total_input, total_param_bytes: bytes.
        total_output_bytes: bytes of results that layers with parameters keep, and their gradients.
        col_names: the columns of the table.
        depth: how deep the table goes; its last rows stand for what is below them too.
    """

    summary_list: list[LayerInfo]
    input_size: list[tuple[int, ...]]
    total_params: int
    trainable_params: int
    total_mult_adds: int
    total_input: int
    total_param_bytes: int
    total_output_bytes: int
    col_names: Sequence[str]
    depth: int

    def __str__(self) -> str:
        shown = [row for row in self.summary_list if row.depth <= self.depth]
        labels = [_label(row) for row in shown]
        first = "Layer (type:depth-idx)"
        width = max(map(len, [first, *labels])) + 2
        cells = [[_COLUMNS[name] for name in self.col_names]]
        hidden: dict[int, list[LayerInfo]] = {}  # below the last rows that are shown
        last = None
        for row in self.summary_list:
            if row.depth <= self.depth:
                last = row
            else:
                hidden.setdefault(id(last), []).append(row)
        cells += [
            [row.cell(name, hidden.get(id(row), ())) for name in self.col_names] for row in shown
        ]
        widths = [max(_WIDTH, *(len(text) + 2 for text in column)) for column in zip(*cells)]
        lines = [
            (label.ljust(width) + "".join(map(str.ljust, row, widths))).rstrip()
            for label, row in zip([first, *labels], cells)
        ]
        rule = "=" * (width + sum(widths))
        parts = [self.total_input, self.total_output_bytes, self.total_param_bytes]
        sizes = [f"{nbytes / 1e6:.2f}" for nbytes in (*parts, sum(parts))]
        return "\n".join(
            [
                rule, lines[0], rule, *lines[1:], rule,
                f"Total params: {self.total_params:,}",
                f"Trainable params: {self.trainable_params:,}",
                f"Non-trainable params: {self.total_params - self.trainable_params:,}",
                f"Total mult-adds (M): {self.total_mult_adds / 1e6:.2f}",
                rule,
                f"Input size (MB): {sizes[0]}",
                f"Forward/backward pass size (MB): {sizes[1]}",
                f"Params size (MB): {sizes[2]}",
                f"Estimated Total Size (MB): {sizes[3]}",
                rule,
            ]
        )  # fmt: skip

    __repr__ = __str__


def _label(row: LayerInfo) -> str:
    if not row.depth:
        return f"{row.class_name} ({row.var_name})" if row.var_name else row.class_name
    branch = "│    " * (row.depth - 1) + "├─"
    return f"{branch}{row.class_name} ({row.var_name}): {row.depth}-{row.depth_index}"


def summary(
    model: Module,
    input: Any = None,
    *,
    input_size: Any = None,
    input_data: Any = None,
    dtypes: Sequence[dtypes.dtype] | None = None,
    device: Device | str | None = None,
    col_names: Sequence[str] = ("output_size", "num_params", "mult_adds"),
    depth: int = 3,
    mode: str = "eval",
    verbose: int = 0,
    **kwargs: Any,
) -> ModelStatistics:
    """Run a model once and say what it consists of: shapes, parameters, operations, memory.

    The model is as before afterwards, also if it fails: hooks, training mode of each part,
    buffers, and the default random generator.

    Args:
        model: the model.
        input: a tensor, a tuple or list or dict of the model's arguments, or the shape of its
            input, with the batch dimension.
        input_size: a shape, or a list of shapes; inputs are then zeros.
        input_data: as `input`, never a shape.
        dtypes: of the inputs that shapes stand for.
        device: where those are made; None for where the model's parameters are.
        col_names: columns: any of input_size, output_size, num_params, kernel_size, mult_adds,
            trainable.
        depth: how many levels below the model the table shows; its last rows stand for all below.
        mode: "eval", "train" or "same": the mode that the model is run in.
        verbose: 1 prints the table.
        kwargs: further arguments of the model.

    Raises:
        ValueError: no input, or an unknown column or mode. And what the model raises.
    """
    unknown = [name for name in col_names if name not in _COLUMNS]
    if unknown:
        raise ValueError(f"column {unknown[0]!r} is unknown: there are {', '.join(_COLUMNS)}")
    if mode not in ("eval", "train", "same"):
        raise ValueError(f"mode must be 'eval', 'train' or 'same', not {mode!r}")
    if input is not None and _is_size(input):
        input, input_size = None, input
    data = input if input_data is None else input_data
    if data is None and input_size is None:
        raise ValueError("summary needs an input, or its shape (input_size)")
    if data is None:
        data = _zeros(model, input_size, dtypes, device)
    args, named = ((), data) if isinstance(data, dict) else (data, {})
    args = tuple(args) if isinstance(args, (tuple, list)) else (args,)
    named = {**named, **kwargs}
    rows: list[LayerInfo] = []
    with _unchanged(model), _watched(model, rows), no_grad():
        if mode != "same":
            model.train(mode == "train")
        model(*args, **named)
    inputs = list(_tensors((args, named)))
    params = list(model.parameters())
    result = ModelStatistics(
        summary_list=rows,
        input_size=[tuple(x.shape) for x in inputs],
        total_params=sum(p.numel() for p in params),
        trainable_params=sum(p.numel() for p in params if p.requires_grad),
        total_mult_adds=sum(row.macs for row in rows),
        total_input=sum(x.nbytes for x in inputs),
        total_param_bytes=sum(p.nbytes for p in params),
        total_output_bytes=2 * sum(row.output_bytes for row in rows if row.own_params),
        col_names=tuple(col_names),
        depth=depth,
    )
    if verbose:
        print(result)
    return result


def _is_size(x: Any) -> bool:
    """Whether it is a shape, or some."""
    return (
        isinstance(x, (tuple, list))
        and bool(x)
        and (all(type(n) is int for n in x) or all(map(_is_size, x)))
    )


def _zeros(model: Module, sizes: Any, types: Any, device: Any) -> tuple[Tensor, ...]:
    if not _is_size(sizes):
        raise ValueError(f"input_size must be a shape or a list of shapes, not {sizes!r}")
    sizes = [sizes] if type(sizes[0]) is int else list(sizes)
    if device is None:
        device = next((p.device for p in model.parameters()), None)
    types = types or [None] * len(sizes)
    zeros = NAMES["torch"]["zeros"]
    return tuple(zeros(*size, dtype=t, device=device) for size, t in zip(sizes, types))


def _tensors(x: Any) -> Iterator[Tensor]:
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, (tuple, list, dict)):
        for part in x.values() if isinstance(x, dict) else x:
            yield from _tensors(part)


def _shape(x: Any) -> list[int]:
    return next(([*tensor.shape] for tensor in _tensors(x)), [])


@contextlib.contextmanager
def _unchanged(model: Module) -> Iterator[None]:
    """Put back what a forward pass changes."""
    training = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer._version, buffer.clone()) for buffer in model.buffers()]
    random = default_generator.get_state()
    try:
        yield
    finally:
        default_generator.set_state(random)
        for module, mode in training.items():
            module.training = mode
        with no_grad():
            for buffer, version, before in buffers:
                if buffer._version != version:
                    buffer.copy_(before)


@contextlib.contextmanager
def _watched(model: Module, rows: list[LayerInfo]) -> Iterator[None]:
    """Note each call of a module of the model."""
    names = {module: name.rpartition(".")[2] for name, module in model.named_modules()}
    running: list[LayerInfo] = []
    seen: set[Module] = set()
    counts: dict[int, int] = {}

    def before(module: Module, args: tuple, kwargs: dict) -> None:
        depth = len(running)
        counts[depth] = counts.get(depth, 0) + 1
        row = _row(module, names[module], depth, counts[depth], module in seen)
        row.input_size = _shape((args, kwargs))
        seen.add(module)
        rows.append(row)
        running.append(row)

    def after(module: Module, args: tuple, kwargs: dict, output: Any) -> None:
        row = running.pop()
        tensors = list(_tensors(output))
        row.output_size = _shape(output)
        row.output_bytes = tensors[0].nbytes if tensors else 0
        row.macs = _multiplications(module, row)

    handles = []
    try:
        for module in names:
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            handles.append(module.register_forward_hook(after, with_kwargs=True))
        yield
    except Exception as error:
        if running:
            path = " in ".join(f"{row.class_name} {row.var_name!r}" for row in reversed(running))
            error.add_note(f"(while summary ran {path}, input of shape {running[-1].input_size})")
        raise
    finally:
        for handle in handles:
            handle.remove()


def _row(module: Module, name: str, depth: int, index: int, again: bool) -> LayerInfo:
    params, own = list(module.parameters()), list(module.parameters(recurse=False))
    flags = {p.requires_grad for p in params}
    kernel = getattr(module, "kernel_size", None)
    return LayerInfo(
        class_name=type(module).__name__,
        var_name=name,
        depth=depth,
        depth_index=index,
        input_size=[],
        kernel_size=None if kernel is None else [*np.atleast_1d(kernel).tolist()],
        is_leaf_layer=not any(True for _ in module.children()),
        is_recursive=again,
        num_params=sum(p.numel() for p in params),
        trainable_params=sum(p.numel() for p in params if p.requires_grad),
        own_params=sum(p.numel() for p in own),
        param_bytes=sum(p.nbytes for p in own),
        trainable="--" if not flags else "Partial" if len(flags) > 1 else str(flags.pop()),
    )


def _multiplications(module: Module, row: LayerInfo) -> int:
    """Multiplications with an addition of the parameters of one module."""
    name, shape = row.class_name, row.output_size
    if not shape or not row.own_params or "Embedding" in name:
        return 0
    if "Conv" in name:
        positions = shape[:1] + shape[2:]
    elif name in ("RNN", "LSTM", "GRU"):
        positions = shape[:2]
    elif "Linear" in name:
        positions = shape[:-1]
    else:
        positions = shape[:1]
    weights = sum(
        p.numel()
        for key, p in module.named_parameters(recurse=False)
        if "weight" in key or "bias" in key
    )
    return weights * math.prod(positions)
