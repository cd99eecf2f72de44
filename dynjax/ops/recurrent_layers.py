"""Recurrent layers: all steps of an RNN, an LSTM or a GRU in one loop on the device.

A layer in one direction is two operations. `_recurrent_scan` runs the loop and also returns what
its gradient needs; `_recurrent_result` passes its results on and has the gradient, which reads what
was kept instead of running the loop again. The products that do not depend on the step before (of
the inputs, and for the gradients of the weights) are one matrix product outside of the loop.

Source: https://pytorch.org/docs/stable/nn.html#recurrent-layers
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .checks import check_factor_dtypes
from .declare import Bool, Str, Tensor, op

_dot = partial(lax.dot_general, precision=lax.Precision.HIGHEST)


class Cell(NamedTuple):
    """One step of a recurrent network, but for its products.

    Attributes:
        gates: how many times the hidden size its products are wide.
        states: how many states it has: the hidden state, and for an LSTM the cell.
        join: from the input's and the hidden state's product to `pre`.
        split: from the gradient by `pre` to those by the two products.
        point: from `pre` and the states to the next states.
        run: the same for the loop forwards. Activations of whole rows are 4 times as fast as of
            slices there; their gradient is slower.
    """

    gates: int
    states: int
    join: Callable
    split: Callable
    point: Callable
    run: Callable


def _twice(d: jax.Array) -> tuple[jax.Array, jax.Array]:
    return d, d


def _lstm_point(pre: jax.Array, hidden: jax.Array, cell: jax.Array) -> tuple:
    i, f, g, o = jnp.split(pre, 4, axis=-1)
    cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(cell), cell


def _lstm_run(pre: jax.Array, hidden: jax.Array, cell: jax.Array) -> tuple:
    i, f, _, o = jnp.split(jax.nn.sigmoid(pre), 4, axis=-1)
    cell = f * cell + i * jnp.tanh(jnp.split(pre, 4, axis=-1)[2])
    return o * jnp.tanh(cell), cell


def _gru_join(of_input: jax.Array, of_state: jax.Array) -> jax.Array:
    cut = 2 * (of_input.shape[-1] // 3)
    both = of_input[..., :cut] + of_state[..., :cut]
    return jnp.concatenate([both, of_input[..., cut:], of_state[..., cut:]], -1)


def _gru_split(d: jax.Array) -> tuple[jax.Array, jax.Array]:
    size = d.shape[-1] // 4
    return d[..., : 3 * size], jnp.concatenate([d[..., : 2 * size], d[..., 3 * size :]], -1)


def _gru_point(pre: jax.Array, hidden: jax.Array) -> tuple:
    r, z, n, n_state = jnp.split(pre, 4, axis=-1)
    n = jnp.tanh(n + jax.nn.sigmoid(r) * n_state)
    return (n + jax.nn.sigmoid(z) * (hidden - n),)


def _tanh_point(pre: jax.Array, hidden: jax.Array) -> tuple:
    return (jnp.tanh(pre),)


def _relu_point(pre: jax.Array, hidden: jax.Array) -> tuple:
    return (jax.nn.relu(pre),)


CELLS = {
    "LSTM": Cell(4, 2, jnp.add, _twice, _lstm_point, _lstm_run),
    "GRU": Cell(3, 1, _gru_join, _gru_split, _gru_point, _gru_point),
    "RNN_TANH": Cell(1, 1, jnp.add, _twice, _tanh_point, _tanh_point),
    "RNN_RELU": Cell(1, 1, jnp.add, _twice, _relu_point, _relu_point),
}


class Inputs(NamedTuple):
    """What a layer in one direction reads: `input` (T, N, I), states (N, H), weights; `lengths`
    (N,) are the steps of each sequence, None if all have T."""

    input: Any
    states: tuple
    w_ih: Any
    w_hh: Any
    b_ih: Any
    b_hh: Any
    w_hr: Any
    lengths: Any


def _valid(lengths: Any, steps: int) -> Any:
    """(T, N, 1): whether a sequence has that step."""
    return None if lengths is None else (jnp.arange(steps)[:, None] < lengths)[..., None]


def _forward(cell: Cell, reverse: bool, x: Inputs) -> tuple:
    """`(states of every step, last states, pre of every step)`."""
    of_input = _dot(x.input, x.w_ih, (((2,), (1,)), ((), ())))
    apart = cell.join is not jnp.add  # whether the biases of input and state are
    if x.b_ih is not None:
        of_input = of_input + (x.b_ih if apart else x.b_ih + x.b_hh)
    # A product with the transposed weights in the loop would transpose them again at every step.
    turned = lax.optimization_barrier(x.w_hh.T)
    down = None if x.w_hr is None else lax.optimization_barrier(x.w_hr.T)

    def step(states: tuple, now: tuple) -> tuple:
        given, valid = now
        of_state = _dot(states[0], turned, (((1,), (0,)), ((), ())))
        if apart and x.b_hh is not None:
            of_state = of_state + x.b_hh
        pre = cell.join(given, of_state)
        new = cell.run(pre, *states)
        if down is not None:
            new = (_dot(new[0], down, (((1,), (0,)), ((), ()))), *new[1:])
        if valid is not None:
            new = tuple(jnp.where(valid, a, b) for a, b in zip(new, states, strict=True))
        return new, (new, pre)

    valid = _valid(x.lengths, x.input.shape[0])
    last, (every, pre) = lax.scan(step, x.states, (of_input, valid), reverse=reverse)
    return every, last, pre


def _backward(cell: Cell, reverse: bool, x: Inputs, kept: tuple, cotangents: tuple) -> Inputs:
    """The gradient by all inputs, from what `_forward` returned."""
    every, _, pre = kept
    d_output, d_last = cotangents
    before = tuple(
        jnp.concatenate([s[1:], s0[None]] if reverse else [s0[None], s[:-1]])
        for s, s0 in zip(every, x.states, strict=True)
    )

    def step(d_states: tuple, now: tuple) -> tuple:
        pre, states, d_output, valid = now
        d_states = (d_states[0] + d_output, *d_states[1:])
        held = (0,) * cell.states
        if valid is not None:
            held = tuple(jnp.where(valid, 0, d) for d in d_states)
            d_states = tuple(jnp.where(valid, d, 0) for d in d_states)
        d_hidden = d_states[0]
        if x.w_hr is not None:
            d_states = (_dot(d_hidden, x.w_hr, (((1,), (0,)), ((), ()))), *d_states[1:])
        d_pre, *d_before = jax.vjp(cell.point, pre, *states)[1](d_states)
        of_state = _dot(cell.split(d_pre)[1], x.w_hh, (((1,), (0,)), ((), ())))
        d_before[0] = d_before[0] + of_state
        d_before = tuple(d + h for d, h in zip(d_before, held, strict=True))
        return d_before, (d_pre, d_hidden if x.w_hr is not None else None)

    valid = _valid(x.lengths, x.input.shape[0])
    now = (pre, before, d_output, valid)
    d_states, (d_pre, d_hidden) = lax.scan(step, d_last, now, reverse=not reverse)
    by_input, by_state = cell.split(d_pre)
    both = by_input is by_state
    if both:  # one product for both weights
        d_both = _weights(by_input, jnp.concatenate([x.input, before[0]], -1))
        d_ih, d_hh = jnp.split(d_both, [x.input.shape[-1]], -1)
    else:
        d_ih, d_hh = _weights(by_input, x.input), _weights(by_state, before[0])
    d_hr = None
    if x.w_hr is not None:
        d_hr = _weights(d_hidden, cell.point(pre, *before)[0])
    return Inputs(
        _dot(by_input, x.w_ih, (((2,), (0,)), ((), ()))),
        d_states,
        d_ih,
        d_hh,
        None if x.b_ih is None else _biases(by_input),
        None if x.b_hh is None else _biases(by_state),
        d_hr,
        None,
    )


def _weights(d: jax.Array, x: jax.Array) -> jax.Array:
    """The gradient by weights, (T, N, G) and (T, N, I) to (G, I)."""
    return _dot(d, x, (((0, 1), (0, 1)), ((), ())))


def _biases(d: jax.Array) -> jax.Array:
    """The gradient by biases."""
    return d.sum((0, 1))


@lru_cache(maxsize=16)
def _with_gradient(mode: str, reverse: bool) -> Callable:
    """`(inputs, what _forward returned) -> (output, last states)`, with the gradient by inputs."""
    cell = CELLS[mode]

    def plain(x: Inputs) -> tuple:
        every, last, _ = _forward(cell, reverse, x)
        return every[0], last

    @jax.custom_vjp
    def result(x: Inputs, kept: tuple) -> tuple:
        return kept[0][0], kept[1]

    @jax.custom_vjp
    def gradient(x: Inputs, kept: tuple, cotangents: tuple) -> Inputs:
        return _backward(cell, reverse, x, kept, cotangents)

    def again(residuals: tuple, cotangents: Inputs) -> tuple:
        # The second gradient is the one of the loop itself, whatever was kept.
        x, d = residuals

        def first(x: Inputs, d: tuple) -> tuple:
            known = x._replace(lengths=None)
            pull = jax.vjp(lambda y: plain(y._replace(lengths=x.lengths)), known)[1]
            return pull(d)[0]

        lengths = x.lengths
        known = x._replace(lengths=None)
        pull = jax.vjp(lambda y, d: first(y._replace(lengths=lengths), d), known, d)[1]
        d_x, d_d = pull(cotangents)
        return d_x, None, d_d

    result.defvjp(lambda x, kept: (result(x, kept), (x, kept)),
                  lambda r, d: (gradient(*r, d), None))  # fmt: skip
    gradient.defvjp(lambda x, kept, d: (gradient(x, kept, d), (x, d)), again)
    return result


def _check(mode: str, x: Inputs) -> None:
    cell, hidden = CELLS[mode], x.states[-1].shape[-1]
    for name, weight, width in (("weight_ih", x.w_ih, x.input.shape[-1]),
                                ("weight_hh", x.w_hh, x.states[0].shape[-1])):  # fmt: skip
        if tuple(weight.shape) != (cell.gates * hidden, width):
            raise RuntimeError(
                f"{name} of a layer with hidden size {hidden} on {width} features must have "
                f"shape {[cell.gates * hidden, width]}, got {list(weight.shape)}"
            )
        check_factor_dtypes(x.input, weight)
    for state in x.states:
        if state.shape[0] != x.input.shape[1]:
            raise RuntimeError(
                f"Input batch size {x.input.shape[1]} doesn't match hidden batch size "
                f"{state.shape[0]}"
            )


def _inputs(input, hidden, cell, w_ih, w_hh, b_ih, b_hh, w_hr, lengths) -> Inputs:
    states = (hidden,) if cell is None else (hidden, cell)
    return Inputs(input, states, w_ih, w_hh, b_ih, b_hh, w_hr, lengths)


@op(function=False, method=False, differentiable=False)
def _recurrent_scan(
    input: Tensor,
    hidden: Tensor,
    cell: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    lengths: Tensor | None,
    mode: Str,
    reverse: Bool,
):
    """The states of every step, the last states, and what the gates were before activation."""
    x = _inputs(input, hidden, cell, w_ih, w_hh, b_ih, b_hh, w_hr, lengths)
    _check(mode, x)
    every, last, pre = _forward(CELLS[mode], reverse, x)
    return (*every, *last, pre)


@op(function=False, method=False)
def _recurrent_result(
    input: Tensor,
    hidden: Tensor,
    cell: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    lengths: Tensor | None,
    every: Tensor,
    every_cell: Tensor | None,
    last: Tensor,
    last_cell: Tensor | None,
    pre: Tensor,
    mode: Str,
    reverse: Bool,
):
    """The output and the last states of `_recurrent_scan`, with their gradient."""
    x = _inputs(input, hidden, cell, w_ih, w_hh, b_ih, b_hh, w_hr, lengths)
    pairs = ((every, last),) if cell is None else ((every, last), (every_cell, last_cell))
    kept = (tuple(a for a, _ in pairs), tuple(b for _, b in pairs), pre)
    output, states = _with_gradient(mode, reverse)(x, kept)
    return (output, *states)
