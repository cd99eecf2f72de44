"""Repetition in a program: one loop, and the same results."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynjax
from dynjax import nn
from dynjax.core.config import config
from dynjax.engine import cold, loops
from dynjax.engine.lower import lower
from dynjax.engine.parts import Dictionary, Parted
from dynjax.engine.trace import state
from dynjax.interop.jax import from_function


def lowered_of(wanted):
    """The open trace reduced to what these tensors need, and its arguments."""
    trace = state.trace
    lowered = lower(trace.path(), [trace.ref(t._v) for t in wanted]).written_out()
    leaves = list(trace.leaves)
    arrays = [leaves[k].array for k in lowered.leaves]
    floats = np.array([trace.numbers[i] for i in lowered.floats])
    ints = np.array([trace.numbers[i] for i in lowered.ints], np.int64)
    return lowered, arrays, floats, ints


def uncompiled(part, outputs, step):
    return cold.Program(jax.jit(part.function(outputs)))


def both_ways(wanted, fewest=3):
    """Results of the open trace with its loops, run whole and as calls; and how many loops."""
    lowered, arrays, floats, ints = lowered_of(wanted)
    program, n = lowered.program, len(lowered.leaves)
    found = loops.find(program, n, lowered.results, fewest)
    with jax.enable_x64(True):
        whole = loops.evaluate_looped(
            program, found, lowered.results,
            list(map(jnp.asarray, arrays)), jnp.asarray(floats), jnp.asarray(ints),
        )  # fmt: skip
        ranges, i = [], 0
        for loop in found:
            ranges += [(i, loop.start)] if i < loop.start else []
            period = len(loop.form.ops)
            ranges += [(k, k + period) for k in range(loop.start, loop.stop, period)]
            i = loop.stop
        ranges += [(i, len(program))] if i < len(program) else []
        parted = Parted(lowered, ranges, Dictionary(), uncompiled)
        packed = [numbers for numbers in (floats, ints) if len(numbers)]
        called = parted.run(*arrays, *packed)
    pick = [[results[place] for place in lowered.outputs] for results in (whole, called)]
    return *pick, found


def agree(wanted, fewest=3):
    """Check both ways against the interpreted run; returns the loops that were found."""
    whole, called, found = both_ways(wanted, fewest)
    with interpreted():
        for tensor, a, b in zip(wanted, whole, called, strict=True):
            np.testing.assert_allclose(a, tensor.numpy(), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(b, tensor.numpy(), rtol=1e-5, atol=1e-6)
    return found


class interpreted:
    def __enter__(self):
        self.before, config.policy = config.policy, "interpret"

    def __exit__(self, *exc):
        config.policy = self.before


def values(*shape, seed=0):
    return dynjax.from_numpy(np.random.default_rng(seed).standard_normal(shape, np.float32))


def test_a_recurrence_is_one_loop_that_carries_its_state():
    w, h = values(4, 4), values(2, 4, seed=1)
    for k in range(6):
        h = dynjax.tanh(h @ w + values(1, 4, seed=k))
    (loop,) = agree([h])
    assert loop.times == 6 and len(loop.form.carried) == 1 and loop.form.n_stacks == 1


def test_every_state_may_be_kept():
    w, h, kept = values(4, 4), values(2, 4, seed=1), []
    for _ in range(6):
        h = dynjax.tanh(h @ w).sin()
        kept.append(h)
    agree([kept[0], kept[2], kept[5]])


def test_numbers_may_differ_from_repetition_to_repetition():
    x, total = values(2, 3), values(2, 3, seed=1)
    for k in range(7):
        total = (total * (0.1 * k + 0.3)).sin() + x * 1.7
    (loop,) = agree([total])
    assert loop.form.n_floats == 2 and len(set(loop.floats)) == 7


def test_integers_are_numbers_too():
    x = dynjax.from_numpy(np.arange(6))
    for k in range(2, 9):
        x = (x * k + 3) % 1001
    agree([x])


def test_two_states_that_start_as_one_value_stay_apart():
    w = values(4, 4)
    h = c = values(2, 4, seed=1)
    for _ in range(5):
        g = h @ w
        c = c.sin() + g
        h = dynjax.tanh(c) * g
    (loop,) = agree([h, c])
    assert len(loop.form.carried) == 2


def test_one_value_may_be_carried_into_two_places():
    w = values(4, 4)
    a, b = values(2, 4, seed=1), values(2, 4, seed=2)
    for _ in range(5):
        new = dynjax.tanh(a @ w) + b.sin()
        a, b = new, new
    agree([a, b])


def test_what_reaches_further_back_than_one_repetition_is_no_loop():
    w = values(4, 4)
    a = b = values(2, 4, seed=1)
    for _ in range(6):
        a, b = dynjax.tanh(b @ w) + a, a
    assert not agree([a])


@pytest.mark.parametrize("seed", range(10))
def test_any_body_repeated_gives_the_same_results(seed):
    draw = random.Random(seed)
    consts = [values(3, 3, seed=seed + k) for k in range(2)]
    carried = [values(3, 3, seed=seed + 10 + k) for k in range(draw.randint(1, 3))]
    body = [(draw.randrange(4), draw.random(), draw.random()) for _ in range(draw.randint(3, 6))]
    ends = [draw.random() for _ in carried]
    number, times, kept = draw.random(), draw.randint(4, 7), []
    for t in range(times):
        pool = [*consts, *carried, values(3, 3, seed=100 + t)]
        own = []
        for kind, i, j in body:
            here = own[-1:] + pool
            a, b = here[int(i * len(here))], here[int(j * len(here))]
            new = [a + b, (a * (number + t)).sin(), dynjax.tanh(a @ b), a * b.cos()][kind]
            own.append(new)
        carried = [own[int(e * len(own))] for e in ends]
        kept.append(draw.choice(own))
    agree([*draw.sample(kept, 3), *carried])


def test_the_backward_of_a_loop_reads_the_stacks_that_the_forward_left():
    w = values(4, 4).requires_grad_()
    xs = [values(2, 4, seed=k) for k in range(7)]
    h = values(2, 4, seed=9)
    for x in xs:
        h = dynjax.tanh(x + h @ w)
    h.square().sum().backward()
    forward, backward = agree([w.grad])
    read = {loops.source_of(places, [forward, backward]) for places in backward.stacks}
    assert None not in read and {source.stride for source in read} == {-1}

    def loss(w):
        h = values(2, 4, seed=9).numpy()
        for x in xs:
            h = jnp.tanh(x.numpy() + h @ w)
        return jnp.square(h).sum()

    expected = jax.grad(loss)(w.detach().numpy())
    np.testing.assert_allclose(w.grad.numpy(), expected, rtol=1e-4, atol=1e-5)


# Of an LSTM the first step has no gradient for its cell; of a GRU the last adds none to its state.
@pytest.mark.parametrize("cell, times", [(nn.RNNCell, 6), (nn.LSTMCell, 5), (nn.GRUCell, 4)])
def test_a_backward_is_one_loop(cell, times):
    """Also its first step, whose gradients are the first of a sum, and its last, which reads the
    state that the loop began with, to which no gradient flows."""
    cell, state = cell(3, 4), None
    for k in range(6):
        state = cell(values(2, 3, seed=k), state)
    (state[0] if isinstance(state, tuple) else state).square().sum().backward()
    grads = [p.grad for p in cell.parameters()]
    forward, backward = agree(grads)
    assert (forward.times, backward.times) == (6, times)


def test_a_loop_may_read_what_another_was_given_first():
    w, h, z = values(4, 4), values(2, 4, seed=1), values(2, 4, seed=2)
    seen = []
    for _ in range(6):
        seen.append(h)
        h = dynjax.tanh(h @ w)
    for h_before in seen:
        z = (z * h_before).sin() + 1.5
    first, second = agree([h, z])
    (source,) = [loops.source_of(places, [first, second]) for places in second.stacks]
    assert (source.start, source.stride, second.times) == (0, 1, 6)


def test_what_two_states_begin_with_is_told_apart():
    w, seen, sums = values(4, 4), [], []
    a, b = values(2, 4, seed=1), values(2, 4, seed=2)
    for _ in range(6):
        seen.append(a)
        new = dynjax.tanh(a @ w) + b.sin()
        a, b = new, new
    for start in seen[:1], [values(2, 4, seed=2)], [values(2, 4, seed=1)]:
        z = values(2, 4, seed=3)
        for before in (*start, *seen[1:]):
            z = (z * before).sin() + 1.5
        sums.append(z)
    agree([a, *sums])


def test_what_would_have_to_be_stacked_first_is_left_as_it_is():
    h = values(2, 16)
    for k in range(8):
        h = dynjax.tanh(h @ values(16, 16, seed=k))
    assert not agree([h])


class Recurrent(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell, self.read = cell(3, 8), nn.Linear(8, 1)

    def forward(self, xs):
        state, seen = None, []
        for x in xs:
            state = self.cell(x, state)
            seen.append(state[0] if isinstance(state, tuple) else state)
        return self.read(seen[-1]).square().mean() + sum(h.mean() for h in seen[::3])


def trained(cell, lengths, policy):
    """Losses and weights of a recurrent net trained on sequences of these lengths."""
    before, config.policy = config.policy, policy
    try:
        dynjax.manual_seed(0)
        model = Recurrent(cell)
        optimizer = dynjax.optim.SGD(model.parameters(), lr=0.1)
        losses = []
        for n in lengths:
            loss = model(values(n, 2, 3, seed=n))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses, [p.detach().numpy() for p in model.parameters()]
    finally:
        config.policy = before


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.LSTMCell])
@pytest.mark.parametrize("policy", ["auto", "compile"])
def test_training_is_the_same_with_loops(cell, policy):
    lengths = [12, 9] if policy == "compile" else [12, 9, 5, 17, 2, 1, 12]
    losses, weights = trained(cell, lengths, policy)
    expected, exact = trained(cell, lengths, "interpret")
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    for a, b in zip(weights, exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_one_program_serves_all_lengths():
    w = values(5, 5)

    def iterate(times):
        h = dynjax.zeros(2, 5)
        for _ in range(times):
            h = dynjax.tanh((h @ w).cos() + 0.25).sin()
        return h.numpy()

    iterate(20)
    with dynjax.explain() as compiles:
        results = [iterate(times) for times in (19, 7, 31, 26)]
    assert not compiles
    with interpreted():
        for times, result in zip((19, 7, 31, 26), results, strict=True):
            np.testing.assert_allclose(result, iterate(times), rtol=1e-5)


def test_a_failure_in_a_loop_is_named():
    def fail(x):
        return jax.pure_callback(raises, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    def raises(x):
        raise ValueError("no such thing")

    bad = from_function(fail)
    h = values(2, 2)
    with dynjax.no_grad(), pytest.raises(RuntimeError, match="failed when run.*test_loops.py"):
        for _ in range(30):
            h = bad(h.sin())
        h.numpy()
