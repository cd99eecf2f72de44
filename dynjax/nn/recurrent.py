"""Recurrent layers over whole sequences: RNN, LSTM, GRU."""

from __future__ import annotations

import math
import numbers
import warnings
from typing import Any

from ..autograd.mixed import settings
from ..ops import recurrent_stacks as stacks
from ..tensor.tensor import Tensor
from . import init
from .module import Module
from .parameter import empty_parameter
from .utils.rnn import PackedSequence

__all__ = ["GRU", "LSTM", "RNN", "RNNBase"]

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
_FUNCTIONS = {
    "LSTM": stacks.lstm,
    "GRU": stacks.gru,
    "RNN_TANH": stacks.rnn_tanh,
    "RNN_RELU": stacks.rnn_relu,
}


def _is_int(value: Any) -> bool:
    return isinstance(value, int)


class RNNBase(Module):
    """What the recurrent layers share.

    Args:
        mode: "LSTM", "GRU", "RNN_TANH" or "RNN_RELU".
        input_size: I, the features of an input.
        hidden_size: H, the features of the hidden state.
        num_layers: L, how many layers stand one above the other.
        bias: whether to add learned biases.
        batch_first: whether input and output are (N, T, ...) instead of (T, N, ...).
        dropout: the probability to drop outputs of all layers but the last, in training.
        bidirectional: whether a second set of weights (D = 2) reads the sequence backwards.
        proj_size: P, if above 0 the size to which an LSTM projects its hidden state.
        device: where the parameters live.
        dtype: their type, by default the default dtype.

    Attributes:
        weight_ih_l0: (G * H, I) for G gates; of layers above (G * H, D * H or D * P).
        weight_hh_l0: (G * H, H or P).
        bias_ih_l0, bias_hh_l0: (G * H,), with `bias`.
        weight_hr_l0: (P, H), with `proj_size`.

    Each layer has its own, `..._l1` and so on, and `..._l0_reverse` backwards; all are drawn from
    U(-k, k), k = H ** -0.5.

    Raises:
        ValueError, TypeError: sizes or settings of wrong values or types.
    """

    __constants__ = [
        "mode",
        "input_size",
        "hidden_size",
        "num_layers",
        "bias",
        "batch_first",
        "dropout",
        "bidirectional",
        "proj_size",
    ]
    mode: str
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self._check_settings(
            mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size
        )
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        rows = _GATES[mode] * hidden_size
        state = proj_size or hidden_size
        self._all_weights: list[list[str]] = []
        for layer in range(num_layers):
            width = input_size if layer == 0 else state * (2 if bidirectional else 1)
            shapes = {"weight_ih": (rows, width), "weight_hh": (rows, state)}
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            if proj_size:
                shapes |= {"weight_hr": (proj_size, hidden_size)}
            for suffix in ("", "_reverse") if bidirectional else ("",):
                names = [f"{name}_l{layer}{suffix}" for name in shapes]
                for name, shape in zip(names, shapes.values(), strict=True):
                    setattr(self, name, empty_parameter(shape, device, dtype))
                self._all_weights.append(names)
        self._flat_weights_names = [name for names in self._all_weights for name in names]
        self.reset_parameters()

    @staticmethod
    def _check_settings(
        mode: str,
        input_size: Any,
        hidden_size: Any,
        num_layers: Any,
        bias: Any,
        batch_first: Any,
        dropout: Any,
        proj_size: Any,
    ) -> None:
        number = isinstance(dropout, numbers.Number) and not isinstance(dropout, bool)
        if not number or not 0 <= dropout <= 1:
            raise ValueError(
                f"dropout should be a number in range [0, 1], the probability of an element being "
                f"zeroed, got {dropout}"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero "
                f"dropout expects num_layers greater than 1, but got dropout={dropout} and "
                f"num_layers={num_layers}",
                stacklevel=4,
            )
        for name, value in (("bias", bias), ("batch_first", batch_first)):
            if not isinstance(value, bool):
                raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")
        for name, value in (("input_size", input_size), ("hidden_size", hidden_size)):
            if not _is_int(value):
                raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
            if value <= 0:
                raise ValueError(f"{name} must be greater than zero")
        if num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if proj_size < 0:
            raise ValueError(
                "proj_size should be a positive integer or zero to disable projections"
            )
        if proj_size >= hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        if mode not in _GATES:
            raise ValueError(f"Unrecognized RNN mode: {mode}")

    @property
    def _flat_weights(self) -> list[Tensor]:
        """The parameters as the functions take them."""
        return [getattr(self, name) for name in self._flat_weights_names]

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self) -> None:
        """For one kernel of one vendor in PyTorch; nothing to do here."""

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {
            "proj_size": 0,
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0,
            "bidirectional": False,
        }
        for name, default in defaults.items():
            value = getattr(self, name)
            if value != default:
                text += f", {name}={value}"
        return text

    # Checks of a call; sizes of states come first in the names that PyTorch has for them.

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """Raise ValueError for another type than the weights', RuntimeError for another size."""
        dtype = getattr(self, self._flat_weights_names[0]).dtype
        if input.dtype != dtype and not settings.enabled:  # autocast converts
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({dtype}). "
                f"Convert input: input.to({dtype}), or convert model: model.to({input.dtype})"
            )
        expected = 3 if batch_sizes is None else 2
        if input.dim() != expected:
            raise RuntimeError(f"input must have {expected} dimensions, got {input.dim()}")
        if self.input_size != input.shape[-1]:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got "
                f"{input.shape[-1]}"
            )

    def get_expected_hidden_size(
        self, input: Tensor, batch_sizes: Tensor | None
    ) -> tuple[int, int, int]:
        """(L * D, N, H or P), the shape of the hidden states for this input."""
        return self._state_size(input, batch_sizes, self.proj_size or self.hidden_size)

    def _state_size(
        self, input: Tensor, batch_sizes: Tensor | None, size: int
    ) -> tuple[int, int, int]:
        if batch_sizes is not None:
            count = int(batch_sizes[0])
        else:
            count = input.shape[0 if self.batch_first else 1]
        return self.num_layers * (2 if self.bidirectional else 1), count, size

    def check_hidden_size(
        self,
        hx: Tensor,
        expected_hidden_size: tuple[int, int, int],
        msg: str = "Expected hidden size {}, got {}",
    ) -> None:
        """Raise RuntimeError for states of another shape."""
        if tuple(hx.shape) != expected_hidden_size:
            raise RuntimeError(msg.format(expected_hidden_size, list(hx.shape)))

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        """Raise ValueError or RuntimeError for arguments of a call that do not fit."""
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden, self.get_expected_hidden_size(input, batch_sizes))

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        """The states with their sequences in another order."""
        return hx if permutation is None else hx.index_select(1, permutation)

    def _first_hidden(self, input: Tensor, batch_sizes: Tensor | None) -> Any:
        return input.new_zeros(self.get_expected_hidden_size(input, batch_sizes))

    def _batched(self, hx: Any, dims: int) -> Any:
        """States of a call without packing, as of a batch."""
        if hx.dim() != dims:
            kind = "batched 3-D" if dims == 3 else "unbatched 2-D"
            raise RuntimeError(
                f"For {kind} input, hx should also be {dims}-D but got {hx.dim()}-D tensor"
            )
        return hx if dims == 3 else hx.unsqueeze(1)

    def _unbatched(self, hx: Any) -> Any:
        return hx.squeeze(1)

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        """Run over sequences.

        Args:
            input: (T, N, I), (N, T, I) with `batch_first`, (T, I), or a PackedSequence.
            hx: the states to start from, (L * D, N, H) or (L * D, H), by default zeros; for an
                LSTM the pair of the hidden states and the cells.

        Returns:
            The output (T, N, D * H), or in the form of the input, and the last states.
        """
        packed = isinstance(input, PackedSequence)
        batched, batch_sizes, order, back = True, None, None, None
        x = input
        if packed:
            x, batch_sizes, order, back = input
        elif x.dim() not in (2, 3):
            name = "GRU" if self.mode == "GRU" else self.mode[:4].removesuffix("_")
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {x.dim()}D instead")
        else:
            batched = x.dim() == 3
            if not batched:
                x = x.unsqueeze(0 if self.batch_first else 1)
        if hx is None:
            if packed or x.dim() == 3:
                self.check_input(x, batch_sizes)
            hx = self._first_hidden(x, batch_sizes)
        else:
            if not packed:
                hx = self._batched(hx, 3 if batched else 2)
            self.check_forward_args(x, hx, batch_sizes)
            hx = self.permute_hidden(hx, order)
        settings = (self._flat_weights, self.bias, self.num_layers, self.dropout, self.training)
        function = _FUNCTIONS[self.mode]
        if packed:
            output, *last = function(x, batch_sizes, hx, *settings, self.bidirectional)
        else:
            output, *last = function(x, hx, *settings, self.bidirectional, self.batch_first)
        states = self.permute_hidden(tuple(last) if self.mode == "LSTM" else last[0], back)
        if packed:
            return PackedSequence(output, batch_sizes, order, back), states
        if batched:
            return output, states
        return output.squeeze(0 if self.batch_first else 1), self._unbatched(states)


class RNN(RNNBase):
    """Layers of `h' = tanh(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)`.

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device,
            dtype: `RNNBase` describes them.
        nonlinearity: "tanh" or "relu"; the fourth argument.

    Raises:
        ValueError: an unknown nonlinearity, `proj_size`, or wrong settings.
    """

    nonlinearity: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if len(args) > 3:
            nonlinearity = args[3]
            args = args[:3] + args[4:]
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        super().__init__(f"RNN_{nonlinearity.upper()}", *args, **kwargs)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Layers of long short-term memory; `LSTMCell` has the equations.

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size,
            device, dtype: `RNNBase` describes them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    def get_expected_cell_size(
        self, input: Tensor, batch_sizes: Tensor | None
    ) -> tuple[int, int, int]:
        """(L * D, N, H), the shape of the cells for this input."""
        return self._state_size(input, batch_sizes, self.hidden_size)

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        self.check_input(input, batch_sizes)
        sizes = (
            self.get_expected_hidden_size(input, batch_sizes),
            self.get_expected_cell_size(input, batch_sizes),
        )
        for k, size in enumerate(sizes):
            self.check_hidden_size(hidden[k], size, f"Expected hidden[{k}] size {{}}, got {{}}")

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        if permutation is None:
            return hx
        return tuple(state.index_select(1, permutation) for state in hx)

    def _first_hidden(self, input: Tensor, batch_sizes: Tensor | None) -> Any:
        return (
            super()._first_hidden(input, batch_sizes),
            input.new_zeros(self.get_expected_cell_size(input, batch_sizes)),
        )

    def _batched(self, hx: Any, dims: int) -> Any:
        found = tuple(state.dim() for state in hx[:2])
        if found != (dims, dims):
            kind = "batched 3-D" if dims == 3 else "unbatched 2-D"
            raise RuntimeError(
                f"For {kind} input, hx and cx should also be {dims}-D but got "
                f"({found[0]}-D, {found[1]}-D) tensors"
            )
        return hx if dims == 3 else tuple(state.unsqueeze(1) for state in hx)

    def _unbatched(self, hx: Any) -> Any:
        return tuple(state.squeeze(1) for state in hx)


class GRU(RNNBase):
    """Layers of gated recurrent units; `GRUCell` has the equations.

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device,
            dtype: `RNNBase` describes them.

    Raises:
        ValueError: `proj_size`, or wrong settings.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)
