"""Recurrent cells: one step of a recurrent network, to be called in a Python loop."""

from __future__ import annotations

import math
from typing import Any

from ..ops.activations import relu
from ..ops.pointwise import tanh
from ..ops.recurrent import gru_step, lstm_step, rnn_step
from ..tensor.tensor import Tensor
from . import init
from .module import Module, member
from .parameter import empty_parameter

__all__ = ["GRUCell", "LSTMCell", "RNNCell", "RNNCellBase"]


class RNNCellBase(Module):
    """What the cells share.

    Args:
        input_size: I, the features of an input.
        hidden_size: H, the features of the hidden state.
        bias: whether to add learned biases.
        num_chunks: G, how many gates there are.
        device: where the parameters live.
        dtype: their type, by default the default dtype.

    Attributes:
        weight_ih: `(G * H, I)`, as all of them drawn from U(-k, k), k = H ** -0.5.
        weight_hh: `(G * H, H)`.
        bias_ih: `(G * H,)` or None.
        bias_hh: `(G * H,)` or None.
    """

    __constants__ = ["input_size", "hidden_size", "bias"]
    input_size: int
    hidden_size: int
    bias: bool
    weight_ih: Tensor = member()
    weight_hh: Tensor = member()
    bias_ih: Tensor | None = member()
    bias_hh: Tensor | None = member()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = num_chunks * hidden_size
        self.weight_ih = empty_parameter((rows, input_size), device, dtype)
        self.weight_hh = empty_parameter((rows, hidden_size), device, dtype)
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, empty_parameter((rows,), device, dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        nonlinearity = getattr(self, "nonlinearity", "tanh")
        return text if nonlinearity == "tanh" else f"{text}, nonlinearity={nonlinearity}"

    def _check(self, x: Tensor, name: str) -> None:
        if x.dim() not in (1, 2):
            raise ValueError(
                f"{type(self).__name__}: Expected {name} to be 1D or 2D, got {x.dim()}D instead"
            )

    def _zeros(self, input: Tensor) -> Tensor:
        return input.new_zeros((*input.shape[:-1], self.hidden_size))

    def _weights(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh


_ACTIVATIONS = {"tanh": tanh, "relu": relu}


class RNNCell(RNNCellBase):
    """`h' = tanh(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)`.

    Args:
        input_size: I, the features of an input.
        hidden_size: H, the features of the hidden state.
        bias: whether to add learned biases.
        nonlinearity: "tanh" or "relu".
        device: where the parameters live.
        dtype: their type, by default the default dtype.

    Shapes:
        input `(N, I)` or `(I,)`, hidden state and output `(N, H)` or `(H,)`.

    Raises:
        ValueError: an input of another number of dimensions.
        RuntimeError: sizes or types do not fit, or an unknown nonlinearity, when called.
    """

    __constants__ = ["input_size", "hidden_size", "bias", "nonlinearity"]
    nonlinearity: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        self._check(input, "input")
        if hx is None:
            hx = self._zeros(input)
        else:
            self._check(hx, "hidden")
        activation = _ACTIVATIONS.get(self.nonlinearity)
        if activation is None:
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return rnn_step(activation, input, hx, *self._weights())


class LSTMCell(RNNCellBase):
    """One step of a long short-term memory.

    With the gates `i, f, g, o` from `x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh`, in
    this order: `c' = sigmoid(f) * c + sigmoid(i) * tanh(g)`, `h' = sigmoid(o) * tanh(c')`.

    Args:
        input_size: I, the features of an input.
        hidden_size: H, the features of the hidden state and of the cell.
        bias: whether to add learned biases.
        device: where the parameters live.
        dtype: their type, by default the default dtype.

    Shapes:
        input `(N, I)` or `(I,)`; `(h, c)` and the outputs `(h', c')` each `(N, H)` or `(H,)`.

    Raises:
        ValueError: an input of another number of dimensions.
        RuntimeError: sizes or types do not fit, when called.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        self._check(input, "input")
        if hx is None:
            zero = self._zeros(input)
            hx = (zero, zero)
        else:
            for i, state in enumerate(hx):
                self._check(state, f"hx[{i}]")
        return lstm_step(input, hx, *self._weights())


class GRUCell(RNNCellBase):
    """One step of a gated recurrent unit.

    With `r, z, n` from `x @ weight_ih.T + bias_ih`, in this order, and `r', z', n'` likewise from
    the hidden state: `new = tanh(n + sigmoid(r + r') * n')` and
    `h' = (1 - sigmoid(z + z')) * new + sigmoid(z + z') * h`.

    Args:
        input_size: I, the features of an input.
        hidden_size: H, the features of the hidden state.
        bias: whether to add learned biases.
        device: where the parameters live.
        dtype: their type, by default the default dtype.

    Shapes:
        input `(N, I)` or `(I,)`, hidden state and output `(N, H)` or `(H,)`.

    Raises:
        ValueError: an input of another number of dimensions.
        RuntimeError: sizes or types do not fit, when called.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        self._check(input, "input")
        if hx is None:
            hx = self._zeros(input)
        else:
            self._check(hx, "hidden")
        return gru_step(input, hx, *self._weights())
