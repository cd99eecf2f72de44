"""Stacks of recurrent layers: several layers, both directions, dropout between layers, packed
sequences.

Source: https://pytorch.org/docs/stable/nn.html#recurrent-layers
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd.modes import is_grad_enabled
from ..core.dtypes import float32
from ..engine.trace import state as trace_state
from ..tensor.tensor import Tensor as TensorHandle
from ..tensor.tensor import from_host
from .declare import NAMES, composite
from .precision import CASTABLE
from .recurrent_layers import CELLS, _recurrent_result, _recurrent_scan
from .scatter import index_select
from .shape import cat, stack
from .splits import unbind

_SETTINGS = ("has_biases", "num_layers", "dropout", "train", "bidirectional")


def _converted(mode: str, given: tuple) -> tuple:
    """The arguments of a layer, in the type that it computes in under autocast.

    That of PyTorch's results: on the CPU it multiplies in the lower type, but some of its loops
    add states of the type that they came in.
    """
    dtypes = getattr(trace_state.trace.grad, "dtypes", {})
    input, hidden, *_, w_hr, lengths = given
    device = input.device.type
    if device not in dtypes:
        return given
    adds = mode == "GRU" or (mode == "LSTM" and lengths is not None and w_hr is None)
    wide = device == "cpu" and adds and hidden.dtype is float32
    target = float32 if wide else dtypes[device]
    return tuple(t if t is None or t.dtype not in CASTABLE else t.to(target) for t in given)


def _layer(mode: str, reverse: bool, given: tuple) -> tuple:
    """One layer in one direction: its output, then its last states."""
    cell, w_hr = given[2], given[7]
    given = _converted(mode, given)
    results = _computed(mode, reverse, given)
    if w_hr is not None and cell.dtype is float32:  # which autocast leaves alone there
        return (*results[:-1], results[-1].to(float32))
    return results


def _computed(mode: str, reverse: bool, given: tuple) -> tuple:
    found = _recurrent_scan(*given, mode, reverse)
    states = CELLS[mode].states
    results = (found[0], *found[states:-1])
    if not is_grad_enabled() or not any(t is not None and t.requires_grad for t in given):
        return results
    every, last = found[:states], found[states:-1]
    kept = (every[0], every[1] if states == 2 else None, last[0], last[1] if states == 2 else None)
    return _recurrent_result(*given, *kept, found[-1], mode, reverse)


def _stack(
    mode: str,
    input: Any,
    hx: Sequence[Any],
    params: Sequence[Any],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    lengths: Any,
) -> tuple:
    """The output of all layers on (T, N, I), and the last states of each."""
    directions = 2 if bidirectional else 1
    projected = mode == "LSTM" and hx[0].shape[2] != hx[1].shape[2]
    each = (4 if has_biases else 2) + projected
    if len(params) != each * num_layers * directions:
        raise RuntimeError(
            f"expected {each * num_layers * directions} parameters ({each} for each of "
            f"{num_layers} layers in {directions} directions), got {len(params)}"
        )
    starts = [unbind(states) for states in hx]
    ends: list[list[Any]] = [[] for _ in hx]
    for layer in range(num_layers):
        outputs = []
        for direction in range(directions):
            k = layer * directions + direction
            weights = list(params[k * each : (k + 1) * each])
            w_hr = weights.pop() if projected else None
            biases = weights[2:] if has_biases else (None, None)
            states = (starts[0][k], starts[1][k] if mode == "LSTM" else None)
            given = (input, *states, *weights[:2], *biases, w_hr, lengths)
            output, *last = _layer(mode, direction == 1, given)
            outputs.append(output)
            for group, state in zip(ends, last, strict=True):
                group.append(state)
        input = outputs[0] if directions == 1 else cat(outputs, 2)
        if dropout and train and layer < num_layers - 1:
            input = NAMES["nn.functional"]["dropout"](input, dropout, True)
    return (input, *(stack(group) for group in ends))


def _padded(data: Any, batch_sizes: Any) -> tuple[Any, Any, Any]:
    """Packed rows as (T, N, ...), the lengths, and where the rows are in (T * N, ...)."""
    sizes = np.asarray(batch_sizes.tolist())
    place = np.arange(sizes[0]) < sizes[:, None]
    index = (np.cumsum(sizes) - sizes)[:, None] + np.arange(sizes[0])
    index = from_host(np.where(place, index, 0).reshape(-1))
    padded = index_select(data, 0, index).reshape(len(sizes), int(sizes[0]), *data.shape[1:])
    return padded, from_host(place.sum(0)), from_host(np.flatnonzero(place))


def _run(mode: str, args: tuple, kwargs: dict[str, Any]) -> tuple:
    """PyTorch's two forms: of a padded batch, and of packed rows and the batch sizes."""
    name = mode.lower()
    packed = len(args) > 1 and isinstance(args[1], TensorHandle)
    if mode != "LSTM" and packed:  # there the hidden state is a tensor too
        packed = len(args) > 2 and isinstance(args[2], TensorHandle)
    packed = packed or "batch_sizes" in kwargs
    names = ("data", "batch_sizes") if packed else ("input",)
    names += ("hx", "params", *_SETTINGS)
    names += () if packed else ("batch_first",)
    given = dict(zip(names, args, strict=False)) | kwargs
    if len(args) > len(names) or set(given) != set(names):
        raise TypeError(
            f"{name}() received an invalid combination of arguments: expected "
            f"({', '.join(names)}), got {len(args)} and {sorted(kwargs)}"
        )
    hx = given["hx"] if mode == "LSTM" else (given["hx"],)
    if len(hx) != CELLS[mode].states:
        raise RuntimeError("lstm expects two hidden states")
    settings = [given[name] for name in _SETTINGS]
    batch_first = not packed and given["batch_first"]
    lengths = None
    if packed:
        input, lengths, rows = _padded(given["data"], given["batch_sizes"])
    else:
        input = given["input"].transpose(0, 1) if batch_first else given["input"]
    output, *states = _stack(mode, input, hx, given["params"], *settings, lengths)
    if packed:
        flat = output.reshape(-1, output.shape[2])
        output = index_select(flat, 0, rows)
    return (output.transpose(0, 1) if batch_first else output, *states)


@composite(method=False)
def lstm(*args: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
    """Layers of a long short-term memory; `nn.LSTM` describes them.

    Args:
        input: (T, N, I), or (N, T, I) with `batch_first`; in its place `data` and `batch_sizes`
            of a packed sequence.
        hx: the hidden states and the cells that they start from, each (L, N, H).
        params: of each layer and direction `w_ih, w_hh`, with biases `b_ih, b_hh`, with projections
            `w_hr`.
        has_biases, num_layers, dropout, train, bidirectional, batch_first: as of the layer.

    Returns: the output, the last hidden states, the last cells.

    Raises:
        TypeError: missing or unknown arguments. RuntimeError: sizes or types do not fit.
    """
    return _run("LSTM", args, kwargs)


@composite(method=False)
def gru(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Layers of gated recurrent units; arguments as of `lstm`, with one state."""
    return _run("GRU", args, kwargs)


@composite(method=False)
def rnn_tanh(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Layers of an Elman RNN with tanh; arguments as of `lstm`, with one state."""
    return _run("RNN_TANH", args, kwargs)


@composite(method=False)
def rnn_relu(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Layers of an Elman RNN with relu; arguments as of `lstm`, with one state."""
    return _run("RNN_RELU", args, kwargs)
