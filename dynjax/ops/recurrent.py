"""Recurrent cells: one step of an RNN, an LSTM, a GRU.

A cell is two operations: the products with its input and its state, then what its gates do. More
would cost where cells are called most, in Python loops; one alone would run the products again in
its gradient wherever the two are not one program.

Source: https://pytorch.org/docs/stable/nn.html#recurrent-layers
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..tensor.tensor import Tensor as TensorHandle
from .activations import relu
from .checks import check_factor_dtypes, wrap_dim
from .declare import Int, Tensor, composite, op
from .pointwise import tanh
from .views import expanded_size


def _size(x: Any, dim: int) -> int:
    return x.shape[wrap_dim(dim, x.ndim)]


def _check_hidden(rows: int, hidden: Any, hidden_size: int, which: int) -> None:
    if rows != _size(hidden, 0):
        raise RuntimeError(
            f"Input batch size {rows} doesn't match hidden{which} batch size {hidden.shape[0]}"
        )
    if _size(hidden, 1) != hidden_size:
        raise RuntimeError(
            f"hidden{which} has inconsistent hidden_size: got {hidden.shape[1]}, "
            f"expected {hidden_size}"
        )


def _check(input: Any, hx: Any, w_ih: Any, w_hh: Any, gates: int) -> None:
    if _size(input, 1) != _size(w_ih, 1):
        raise RuntimeError(
            f"input has inconsistent input_size: got {input.shape[1]} expected {w_ih.shape[1]}"
        )
    hidden_size = _size(w_hh, 1)
    for name, weight in (("weight_ih", w_ih), ("weight_hh", w_hh)):
        if weight.shape[0] != gates * hidden_size:
            raise RuntimeError(
                f"{name} first dim must be {gates} * hidden_size = {gates * hidden_size}, but got "
                f"{weight.shape[0]}"
            )
    _check_hidden(input.shape[0], hx, hidden_size, 0)
    for x, weight in ((input, w_ih), (hx, w_hh)):
        check_factor_dtypes(x, weight)


def _project(x: Any, weight: Any, bias: Any) -> Any:
    out = lax.dot_general(x, weight, (((1,), (1,)), ((), ())), precision=lax.Precision.HIGHEST)
    if bias is None:
        return out
    expanded_size(bias, out.shape)
    return out + bias


def _projections(
    input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, gates: int
) -> tuple[Any, Any]:
    single = input.ndim == 1
    if single:  # a hidden state of the wrong rank fails as it does in a batch
        input, hx = input[None], hx[None]
    _check(input, hx, w_ih, w_hh, gates)
    both = _project(input, w_ih, b_ih), _project(hx, w_hh, b_hh)
    return (both[0][0], both[1][0]) if single else both


@op(function=False, method=False, grad_name="AddBackward0")
def _rnn_gates(
    input: Tensor,
    hx: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    gates: Int,
):
    """The gates before their activations, input's and state's part added: `(*, gates * H)`."""
    of_input, of_state = _projections(input, hx, w_ih, w_hh, b_ih, b_hh, gates)
    return of_input + of_state


@op(function=False, method=False)
def _gru_gates(
    input: Tensor,
    hx: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
):
    """The three gates before their activations, input's and state's part apart."""
    return _projections(input, hx, w_ih, w_hh, b_ih, b_hh, 3)


@op(function=False, method=False)
def _lstm_state(gates: Tensor, cx: Tensor):
    """The next hidden state and cell of an LSTM."""
    hidden_size = gates.shape[-1] // 4
    if gates.ndim == 1:
        _check_hidden(1, cx[None], hidden_size, 1)
    else:
        _check_hidden(gates.shape[0], cx, hidden_size, 1)
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    cell = jax.nn.sigmoid(f) * cx + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(cell), cell


@op(function=False, method=False)
def _gru_state(of_input: Tensor, of_state: Tensor, hx: Tensor):
    """The next hidden state of a GRU."""
    r, z, n = jnp.split(of_input, 3, axis=-1)
    r_state, z_state, n_state = jnp.split(of_state, 3, axis=-1)
    z = jax.nn.sigmoid(z + z_state)
    n = jnp.tanh(n + jax.nn.sigmoid(r + r_state) * n_state)
    return n + z * (hx - n)


def rnn_step(activation: Any, input: Any, hx: Any, *weights: Any) -> Any:
    """One step of an Elman RNN, batched or not.

    Args:
        activation: `tanh` or `relu`.
        input: `(N, I)` or `(I,)`.
        hx: `(N, H)` or `(H,)`.
        weights: `w_ih (H, I)`, `w_hh (H, H)`, `b_ih (H,)` or None, `b_hh (H,)` or None.

    Raises:
        RuntimeError: sizes or types do not fit, in PyTorch's words.
    """
    return activation(_rnn_gates(input, hx, *weights, 1))


def lstm_step(input: Any, hx: Any, *weights: Any) -> tuple[Any, Any]:
    """One step of an LSTM, batched or not: the next hidden state and cell.

    Args:
        input: `(N, I)` or `(I,)`.
        hx: hidden state and cell, each `(N, H)` or `(H,)`.
        weights: as for `rnn_step`, of four gates each: input, forget, cell, output.

    Raises:
        TypeError: `hx` is no sequence.
        RuntimeError: sizes or types do not fit, in PyTorch's words.
    """
    if isinstance(hx, TensorHandle):
        raise TypeError(
            "lstm_cell(): argument 'hx' (position 2) must be tuple of Tensors, not Tensor"
        )
    if len(hx) != 2:
        raise RuntimeError("lstm_cell expects two hidden states")
    return _lstm_state(_rnn_gates(input, hx[0], *weights, 4), hx[1])


def gru_step(input: Any, hx: Any, *weights: Any) -> Any:
    """One step of a GRU, batched or not.

    Args:
        input: `(N, I)` or `(I,)`.
        hx: `(N, H)` or `(H,)`.
        weights: as for `rnn_step`, of three gates each: reset, update, new.

    Raises:
        RuntimeError: sizes or types do not fit, in PyTorch's words.
    """
    return _gru_state(*_gru_gates(input, hx, *weights), hx)


def _check_batch(input: Any, hx: Any) -> None:
    """The functions, unlike the modules, take batches only."""
    for x in (input, hx):
        wrap_dim(1, x.ndim)


@composite(method=False)
def rnn_tanh_cell(
    input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None
) -> Any:
    """One step of an Elman RNN: tanh(input @ w_ih.T + b_ih + hx @ w_hh.T + b_hh)."""
    _check_batch(input, hx)
    return rnn_step(tanh, input, hx, w_ih, w_hh, b_ih, b_hh)


@composite(method=False)
def rnn_relu_cell(
    input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None
) -> Any:
    """One step of an Elman RNN: relu(input @ w_ih.T + b_ih + hx @ w_hh.T + b_hh)."""
    _check_batch(input, hx)
    return rnn_step(relu, input, hx, w_ih, w_hh, b_ih, b_hh)


@composite(method=False)
def lstm_cell(
    input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None
) -> tuple[Any, Any]:
    """One step of an LSTM on a batch; `nn.LSTMCell` describes it. `hx` is `(hidden, cell)`."""
    wrap_dim(1, input.ndim)
    return lstm_step(input, hx, w_ih, w_hh, b_ih, b_hh)


@composite(method=False)
def gru_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """One step of a GRU on a batch; `nn.GRUCell` describes it."""
    _check_batch(input, hx)
    return gru_step(input, hx, w_ih, w_hh, b_ih, b_hh)
