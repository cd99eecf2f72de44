"""Recurrent cells: text, shapes, values and gradients (against jax), bad arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynjax
from dynjax import nn

I, H, N = 3, 4, 2


def rnn(x, h, w_ih, w_hh, b_ih, b_hh):
    return jnp.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)


def lstm(x, state, w_ih, w_hh, b_ih, b_hh):
    h, c = state
    i, f, g, o = jnp.split(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru(x, h, w_ih, w_hh, b_ih, b_hh):
    r, z, n = jnp.split(x @ w_ih.T + b_ih, 3, axis=-1)
    r_h, z_h, n_h = jnp.split(h @ w_hh.T + b_hh, 3, axis=-1)
    z = jax.nn.sigmoid(z + z_h)
    return (1 - z) * jnp.tanh(n + jax.nn.sigmoid(r + r_h) * n_h) + z * h


def first(state):
    return state[0] if isinstance(state, tuple) else state


CELLS = {nn.RNNCell: (1, rnn), nn.LSTMCell: (4, lstm), nn.GRUCell: (3, gru)}


@pytest.mark.parametrize("cell", CELLS)
def test_parameters_are_pytorchs(cell):
    gates, _ = CELLS[cell]
    layer = cell(I, H, dtype=dynjax.float64)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "weight_ih": (gates * H, I),
        "weight_hh": (gates * H, H),
        "bias_ih": (gates * H,),
        "bias_hh": (gates * H,),
    }
    assert {p.dtype for p in layer.parameters()} == {dynjax.float64}
    plain = cell(I, H, bias=False)
    assert list(plain.state_dict()) == ["weight_ih", "weight_hh"] and plain.bias_ih is None


@pytest.mark.parametrize("cell", CELLS)
def test_parameters_start_within_one_over_the_root_of_the_hidden_size(cell):
    values = np.concatenate([p.detach().numpy().ravel() for p in cell(50, 100).parameters()])
    assert 0.099 < np.abs(values).max() <= 0.1
    assert values.std() == pytest.approx(0.1 / np.sqrt(3), rel=0.05)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (lambda: nn.RNNCell(3, 4), "RNNCell(3, 4)"),
        (
            lambda: nn.RNNCell(3, 4, False, "relu"),
            "RNNCell(3, 4, bias=False, nonlinearity=relu)",
        ),
        (lambda: nn.LSTMCell(3, 4, bias=False), "LSTMCell(3, 4, bias=False)"),
        (lambda: nn.GRUCell(3, 4), "GRUCell(3, 4)"),
    ],
)
def test_repr(layer, text):
    assert repr(layer()) == text


@pytest.mark.parametrize("cell", CELLS)
def test_a_loops_values_and_gradients_are_jaxs(cell):
    _, step = CELLS[cell]
    dynjax.manual_seed(0)
    layer, xs = cell(I, H), dynjax.randn(3, N, I, requires_grad=True)

    state = None
    for x in xs:
        state = layer(x, state)
    loss = (first(state) ** 2).sum()
    loss.backward()

    def jax_loss(xs, *weights):
        zero = jnp.zeros((N, H))
        state = (zero, zero) if cell is nn.LSTMCell else zero
        for x in xs:
            state = step(x, state, *weights)
        return jnp.sum(first(state) ** 2)

    tensors = [xs, *layer.parameters()]
    value, gradients = jax.value_and_grad(jax_loss, range(5))(
        *[t.detach().numpy() for t in tensors]
    )
    np.testing.assert_allclose(loss.item(), value, rtol=1e-5)
    for tensor, expected in zip(tensors, gradients, strict=True):
        np.testing.assert_allclose(tensor.grad.numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_one_sample_is_a_batch_of_one(cell):
    layer, x = cell(I, H), dynjax.randn(I)
    single = layer(x, layer(x))
    batch = layer(x[None], layer(x[None]))
    assert first(single).shape == (H,)
    np.testing.assert_allclose(
        first(single).detach().numpy(), first(batch).detach().numpy()[0], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("cell", CELLS)
def test_a_call_records_two_operations(cell):
    layer, x = cell(7, 5), dynjax.ones(N, 7)
    state = dynjax.zeros(N, 5)
    state = (state, state) if cell is nn.LSTMCell else state
    with dynjax.no_grad():
        x.sum().item(), first(state).sum().item()
        with dynjax.explain() as compiles:
            layer(x, state)  # without gradients a module's call is a program
    assert [c.operations for c in compiles] == [2]


def test_relu_in_place_of_tanh():
    layer, x = nn.RNNCell(I, H, nonlinearity="relu"), dynjax.randn(N, I)
    with dynjax.no_grad():
        for name, p in layer.named_parameters():
            p.fill_(1.0 if name == "bias_ih" else 0.0)
        assert layer(x).tolist() == [[1.0] * H] * N
        layer.bias_ih.fill_(-1.0)
        assert layer(x).tolist() == [[0.0] * H] * N


def test_functions_are_the_modules_steps():
    x, h, c = dynjax.randn(N, I), dynjax.randn(N, H), dynjax.randn(N, H)
    lstm_cell, gru_cell = nn.LSTMCell(I, H), nn.GRUCell(I, H, bias=False)
    seen = dynjax.lstm_cell(x, [h, c], *lstm_cell.parameters())
    for ours, expected in zip(seen, lstm_cell(x, (h, c)), strict=True):
        assert ours.tolist() == expected.tolist()
    assert dynjax.gru_cell(x, h, *gru_cell.parameters()).tolist() == gru_cell(x, h).tolist()
    for name in ("tanh", "relu"):
        cell = nn.RNNCell(I, H, nonlinearity=name)
        seen = getattr(dynjax, f"rnn_{name}_cell")(x, h, *cell.parameters())
        assert seen.tolist() == cell(x, h).tolist()


def zeros(*shape, **options):
    return dynjax.zeros(*shape, **options)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (
            lambda: nn.RNNCell(I, H)(zeros(1, N, I)),
            ValueError,
            "RNNCell: Expected input to be 1D or 2D, got 3D instead",
        ),
        (
            lambda: nn.GRUCell(I, H)(zeros(N, I), zeros(1, N, H)),
            ValueError,
            "GRUCell: Expected hidden to be 1D or 2D, got 3D instead",
        ),
        (
            lambda: nn.LSTMCell(I, H)(zeros(N, I), (zeros(N, H), zeros(1, N, H))),
            ValueError,
            r"LSTMCell: Expected hx\[1\] to be 1D or 2D, got 3D instead",
        ),
        (
            lambda: nn.RNNCell(I, H)(zeros(N, 5)),
            RuntimeError,
            "input has inconsistent input_size: got 5 expected 3",
        ),
        (
            lambda: nn.GRUCell(I, H)(zeros(N, I), zeros(3, H)),
            RuntimeError,
            "Input batch size 2 doesn't match hidden0 batch size 3",
        ),
        (
            lambda: nn.LSTMCell(I, H)(zeros(N, I), (zeros(N, H), zeros(N, 5))),
            RuntimeError,
            "hidden1 has inconsistent hidden_size: got 5, expected 4",
        ),
        (
            lambda: nn.LSTMCell(I, H)(zeros(N, I), (zeros(N, H),)),
            RuntimeError,
            "lstm_cell expects two hidden states",
        ),
        (
            lambda: nn.LSTMCell(I, H)(zeros(N, I), zeros(N, H)),
            TypeError,
            "argument 'hx' .position 2. must be tuple of Tensors, not Tensor",
        ),
        (
            lambda: nn.GRUCell(I, H)(zeros(N, I, dtype=dynjax.float64)),
            RuntimeError,
            "mat1 and mat2 must have the same dtype, but got Double and Float",
        ),
        (
            lambda: nn.RNNCell(I, H, nonlinearity="sin")(zeros(N, I)),
            RuntimeError,
            "Unknown nonlinearity: sin",
        ),
        (
            lambda: dynjax.lstm_cell(zeros(N, I), [zeros(N, H)] * 2, zeros(15, I), zeros(16, H)),
            RuntimeError,
            r"weight_ih first dim must be 4 \* hidden_size = 16, but got 15",
        ),
        (
            lambda: dynjax.gru_cell(zeros(I), zeros(H), zeros(12, I), zeros(12, H)),
            IndexError,
            r"expected to be in range of \[-1, 0\], but got 1",
        ),
        (lambda: nn.LSTMCell(I, -1), RuntimeError, r"negative dimension -4: \[-4, 3\]"),
        (lambda: nn.GRUCell(I), TypeError, "hidden_size"),
    ],
)
def test_bad_arguments(bad, error, message):
    with pytest.raises(error, match=message):
        bad()
