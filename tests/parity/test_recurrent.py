"""Recurrent cells called badly, on PyTorch and on dynjax: the same shapes or the same errors."""

import pytest

import dynjax

torch = pytest.importorskip("torch")

CELLS = ("RNNCell", "LSTMCell", "GRUCell")
# Shapes of the input and of the hidden state (for an LSTM, of the cell too).
CALLS = [
    ((2, 3), None),
    ((2, 3), (2, 4)),
    ((3,), None),
    ((3,), (4,)),
    ((0, 3), (0, 4)),
    ((2, 5), None),
    ((5,), None),
    ((2, 3), (3, 4)),
    ((2, 3), (1, 4)),
    ((2, 3), (2, 5)),
    ((3,), (2, 4)),
    ((3,), (1, 4)),
    ((3,), (5,)),
    ((2, 3), (4,)),
    ((4, 3), (4,)),
    ((1, 2, 3), None),
    ((2, 3), (1, 2, 4)),
    ((), None),
    ((2, 3), ()),
]


def seen(function, *args):
    """The shapes of the results, or the error's type and text."""
    try:
        result = function(*args)
    except Exception as error:
        return type(error).__name__, str(error)
    return [tuple(r.shape) for r in (result if isinstance(result, tuple) else (result,))]


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(("shape", "hidden"), CALLS, ids=str)
def test_calls_with_shapes(name, shape, hidden):
    def run(lib):
        cell = getattr(lib.nn, name)(3, 4)
        state = None if hidden is None else lib.zeros(hidden)
        if state is not None and name == "LSTMCell":
            state = (state, state)
        return seen(cell, lib.zeros(shape), state)

    assert run(dynjax) == run(torch)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_calls_with_types(name, dtype):
    def run(lib):
        cell = getattr(lib.nn, name)(3, 4)
        return seen(cell, lib.zeros(2, 3, dtype=getattr(lib, dtype)))

    assert run(dynjax) == run(torch)


@pytest.mark.parametrize("shapes", [[], [(2, 4)], [(2, 4)] * 3, [(2, 4), (3, 4)], [(2, 4), (2, 5)]])
def test_states_of_an_lstm(shapes):
    def run(lib):
        return seen(lib.nn.LSTMCell(3, 4), lib.zeros(2, 3), [lib.zeros(s) for s in shapes])

    assert run(dynjax) == run(torch)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("gru_cell", [(2, 3), (2, 4), (12, 3), (12, 4)]),
        ("gru_cell", [(2, 3), (2, 4), (12, 3), (12, 4), (12,)]),
        ("gru_cell", [(2, 3), (2, 4), (12, 3), (15, 4)]),
        ("gru_cell", [(2, 3), (2, 4), (13, 3), (13, 4)]),
        ("gru_cell", [(2, 3), (2, 4), (12,), (12, 4)]),
        ("gru_cell", [(3,), (4,), (12, 3), (12, 4)]),
        ("rnn_tanh_cell", [(2, 3), (2, 4), (4, 3), (4, 4), (4,), (4,)]),
        ("rnn_relu_cell", [(2, 3), (2, 4), (4, 3), (5, 4)]),
        ("rnn_relu_cell", [(2, 3), (2, 4), (4, 3), (4, 5)]),
        ("rnn_relu_cell", [(2, 3), (2, 4), (4, 3), (4, 4), (4,), (5,)]),
    ],
)
def test_functions(name, shapes):
    def run(lib):
        return seen(getattr(lib, name), *[lib.zeros(shape) for shape in shapes])

    assert run(dynjax) == run(torch)
