"""Recurrent layers are their cells, step by step; packed sequences end where they end."""

import jax
import numpy as np
import pytest

import dynjax
from dynjax import nn
from dynjax.interop.jax import to_jax

RNG = np.random.default_rng(0)
CELLS = {"LSTM": nn.LSTMCell, "GRU": nn.GRUCell, "RNN": nn.RNNCell}


def draw(*shape):
    return dynjax.from_numpy(RNG.standard_normal(shape).astype(np.float32))


def unrolled(layer, x, suffix="l0", reverse=False):
    """The layer's outputs, by its cell in a Python loop."""
    name = type(layer).__name__
    cell = CELLS[name](getattr(layer, f"weight_ih_{suffix}").shape[1], layer.hidden_size)
    for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        setattr(cell, part, getattr(layer, f"{part}_{suffix}"))
    state, outputs = None, []
    for step in reversed(list(x)) if reverse else x:
        state = cell(step, state)
        outputs.append(state[0] if name == "LSTM" else state)
    return dynjax.stack(outputs[::-1] if reverse else outputs), state


@pytest.mark.parametrize("name", CELLS)
def test_a_layer_is_its_cell_step_by_step(name):
    layer, x = getattr(nn, name)(3, 4), draw(5, 2, 3).requires_grad_()
    output, _ = layer(x)
    wanted, _ = unrolled(layer, x)
    np.testing.assert_allclose(output.detach().numpy(), wanted.detach().numpy(), atol=1e-6)
    weights = draw(*output.shape)
    given = [x, *layer.parameters()]
    got = dynjax.autograd.grad((output * weights).sum(), given)
    for g, w in zip(got, dynjax.autograd.grad((wanted * weights).sum(), given), strict=True):
        np.testing.assert_allclose(g.detach().numpy(), w.detach().numpy(), atol=1e-5)


def test_backwards_runs_from_the_end():
    layer, x = nn.GRU(3, 4, bidirectional=True), draw(5, 2, 3)
    output, last = layer(x)
    wanted, state = unrolled(layer, x, "l0_reverse", reverse=True)
    np.testing.assert_allclose(output[..., 4:].detach().numpy(), wanted.detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(last[1].detach().numpy(), state.detach().numpy(), atol=1e-6)


def test_the_gradient_of_the_gradient_is_that_of_the_loop():
    layer, x = nn.LSTM(2, 3, proj_size=2), draw(4, 2, 2).requires_grad_()

    def penalty(output):
        (first,) = dynjax.autograd.grad(output.square().sum(), x, create_graph=True)
        return first.square().sum()

    got = dynjax.autograd.grad(penalty(layer(x)[0]), [layer.weight_hh_l0, x])
    pure, params = to_jax(layer)

    def jax_penalty(params, x):
        first = jax.grad(lambda x: (pure(params, x)[0] ** 2).sum())(x)
        return (first**2).sum()

    by_params, by_x = jax.grad(jax_penalty, (0, 1))(params, x.detach().numpy())
    for g, w in zip(got, (by_params["weight_hh_l0"], by_x), strict=True):
        np.testing.assert_allclose(g.detach().numpy(), np.asarray(w), atol=1e-4, rtol=1e-4)


def test_a_packed_batch_is_its_sequences_one_by_one():
    layer = nn.LSTM(3, 4, bidirectional=True)
    sequences = [draw(size, 3) for size in (2, 4, 1)]
    packed, (hidden, _) = layer(nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False))
    for k, output in enumerate(nn.utils.rnn.unpack_sequence(packed)):
        alone, (last, _) = layer(sequences[k])
        np.testing.assert_allclose(output.detach().numpy(), alone.detach().numpy(), atol=1e-6)
        np.testing.assert_allclose(hidden[:, k].detach().numpy(), last.detach().numpy(), atol=1e-6)


def test_dropout_is_between_layers_and_in_training_only():
    layer, x = nn.RNN(3, 4, num_layers=2, dropout=1.0), draw(5, 2, 3)
    first, second = layer(x)[1]
    np.testing.assert_allclose(
        first.detach().numpy(), unrolled(layer, x)[1].detach().numpy(), atol=1e-6
    )
    nothing = unrolled(layer, dynjax.zeros(5, 2, 4), "l1")
    np.testing.assert_allclose(second.detach().numpy(), nothing[1].detach().numpy(), atol=1e-6)
    assert not np.allclose(second.detach().numpy(), layer.eval()(x)[1][1].detach().numpy())


def test_batch_first_turns_input_and_output():
    layer, x = nn.GRU(3, 4), draw(5, 2, 3)
    wanted, last = layer(x)
    layer.batch_first = True
    output, same = layer(x.transpose(0, 1))
    np.testing.assert_allclose(
        output.transpose(0, 1).detach().numpy(), wanted.detach().numpy(), atol=1e-6
    )
    np.testing.assert_allclose(same.detach().numpy(), last.detach().numpy(), atol=1e-6)


def test_a_layer_is_one_node_of_the_tape():
    output, _ = nn.LSTM(3, 4)(draw(5, 2, 3))
    assert output.grad_fn.name() == "RecurrentResultBackward0"
    with dynjax.no_grad():
        assert nn.LSTM(3, 4)(draw(5, 2, 3))[0].grad_fn is None


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.LSTM(0, 4), ValueError, "input_size must be greater than zero"),
        (lambda: nn.LSTM(3, 4, proj_size=4), ValueError, "smaller than hidden_size"),
        (lambda: nn.GRU(3, 4, proj_size=2), ValueError, "only supported for LSTM"),
        (lambda: nn.RNN(3, 4, nonlinearity="x"), ValueError, "Unknown nonlinearity 'x'"),
        (lambda: nn.LSTM(3.0, 4), TypeError, "input_size should be of type int, got: float"),
        (lambda: nn.GRU(3, 4, dropout=2), ValueError, "dropout should be a number"),
        (lambda: nn.GRU(3, 4)(draw(5, 2, 2)), RuntimeError, "Expected 3, got 2"),
        (lambda: nn.GRU(3, 4)(draw(5)), ValueError, "Expected input to be 2D or 3D, got 1D"),
        (
            lambda: nn.GRU(3, 4)(draw(5, 2, 3), draw(1, 3, 4)),
            RuntimeError,
            r"Expected hidden size \(1, 2, 4\), got \[1, 3, 4\]",
        ),
        (
            lambda: nn.LSTM(3, 4)(draw(5, 2, 3), (draw(1, 2, 4), draw(1, 2, 5))),
            RuntimeError,
            r"Expected hidden\[1\] size",
        ),
        (lambda: dynjax.lstm(draw(5, 2, 3)), TypeError, "invalid combination of arguments"),
        (
            lambda: dynjax.gru(
                draw(5, 2, 3), draw(1, 2, 4), [draw(12, 3)], False, 1, 0.0, False, False, False
            ),
            RuntimeError,
            "expected 2 parameters",
        ),
    ],
)
def test_bad_calls(call, error, text):
    with pytest.raises(error, match=text):
        call()
