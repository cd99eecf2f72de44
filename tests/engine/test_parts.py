"""Programs as calls of parts that recur: the same results, and few compiles."""

import random
from collections import deque

import jax
import numpy as np
import pytest

import dynjax
from dynjax import nn
from dynjax.core.config import config
from dynjax.engine import background, cold
from dynjax.engine.lower import lower
from dynjax.engine.parts import Dictionary, Parted, recurring
from dynjax.engine.programs import in_background
from dynjax.engine.trace import state
from dynjax.interop.jax import from_function


def test_the_period_of_a_loop_recurs():
    assert recurring([*"xy", *("abcd" * 5), *"z"]) == [tuple("abcd")]


def test_stretches_that_follow_each_other_as_they_like_stay_apart():
    draw = random.Random(0)
    sequence = [c for _ in range(60) for c in draw.choice(["abc", "pqrs", "uvw"])]
    assert sorted(map("".join, recurring(sequence))) == ["abc", "pqrs", "uvw"]


def test_one_kernel_recurs_where_it_follows_itself():
    assert recurring("xy" + "c" * 6 + "zy") == [("c",)]
    assert ("c",) not in recurring("ccacacacbcc")
    assert recurring("xccy") == []


def test_nothing_recurs_in_what_is_not_repeated():
    assert recurring("abcdefgh") == [] and recurring("") == []


def test_a_dictionary_finds_the_longest_parts():
    known = Dictionary()
    known.add("abc")
    known.add("ab")
    assert known.cut("xxabcabxa") == ([(2, 5), (5, 7)], [(0, 2), (7, 9)])


@pytest.mark.parametrize("seed", range(6))
def test_however_a_program_is_cut_its_results_are_the_same(seed):
    draw = random.Random(seed)
    values = [dynjax.full((3,), 0.1 * (i + 1)) for i in range(3)]
    for _ in range(20):
        a, b, kind = draw.choice(values), draw.choice(values), draw.randrange(4)
        values.append([a + b, a * 0.5, a.tanh(), (a * b).sin()][kind])
    wanted = draw.sample(values[3:], 5)
    trace = state.trace
    lowered = lower(trace.path(), [trace.ref(t._v) for t in wanted]).written_out()
    leaves = list(trace.leaves)
    arrays = [leaves[k].array for k in lowered.leaves]
    if lowered.floats:
        arrays.append(np.array([trace.numbers[i] for i in lowered.floats]))
    n = len(lowered.program)
    cuts = [0, *sorted(draw.sample(range(1, n), 4)), n]
    parted = Parted(
        lowered,
        list(zip(cuts, cuts[1:])),
        Dictionary(),
        lambda part, outputs, step: cold.Program(part.function(outputs)),
    )
    results = parted.run(*arrays)
    for t, place in zip(wanted, lowered.outputs, strict=True):
        np.testing.assert_allclose(results[place], t.numpy(), rtol=1e-6)


class Recurrent(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner, self.read = nn.Linear(3 + width, width), nn.Linear(width, 1)

    def forward(self, xs):
        h = dynjax.zeros(2, self.read.in_features)
        for x in xs:
            h = dynjax.tanh(self.inner(dynjax.cat([x, h], 1)))
        return self.read(h).square().mean()


def trained(lengths, policy, width=4):
    """Losses and weights of a recurrent net trained on sequences of these lengths."""
    dynjax.manual_seed(0)
    model = Recurrent(width)
    optimizer = dynjax.optim.Adam(model.parameters(), lr=0.01)
    draw = np.random.default_rng(0)
    before, config.policy = config.policy, policy
    losses = []
    try:
        for n in lengths:
            xs = [dynjax.from_numpy(draw.standard_normal((2, 3)).astype("f")) for _ in range(n)]
            loss = model(xs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    finally:
        config.policy = before
    return losses, [p.detach().numpy() for p in model.parameters()]


def test_loops_of_which_nothing_was_compiled_are_one_program_of_any_length():
    with dynjax.explain() as compiles:
        losses, weights = trained([20, 11, 30], "auto", width=7)
    assert [c.cause for c in compiles] == [
        "parts and loops that recur, as one program for any length"
    ]
    expected, known = trained([20, 11, 30], "compile", width=7)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for a, b in zip(weights, known, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_what_such_a_program_serves_is_no_effort(monkeypatch):
    asked = []
    monkeypatch.setattr(cold, "padded", lambda plan, *given: asked.append(given[2:]))
    trained([20, 11, 30], "auto", width=9)
    efforts = [seconds for seconds, *_ in filter(None, asked)]
    assert len(efforts) == 1 and efforts[0] > 0


def test_where_that_cannot_be_compiled_they_run_part_by_part(monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("no more memory")

    monkeypatch.setattr(cold, "_compile_fused", fail)
    with dynjax.explain() as compiles:
        losses, _ = trained([20, 11, 30], "auto", width=8)
    assert compiles and all("any length" not in c.cause for c in compiles)
    np.testing.assert_allclose(losses, trained([20, 11, 30], "compile", width=8)[0], rtol=1e-5)


def test_lengths_share_the_parts_of_a_loop():
    trained([9, 12], "auto")
    with dynjax.explain() as compiles:
        losses, weights = trained([10, 14, 11], "auto")
    assert not compiles
    expected, known = trained([10, 14, 11], "compile")
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for a, b in zip(weights, known, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


NUMPY = {
    "sin": np.sin, "cos": np.cos, "tanh": np.tanh, "neg": np.negative,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}  # fmt: skip


def test_a_compiled_cell_is_a_loop_of_one_operation():
    dynjax.manual_seed(0)
    cell = nn.RNNCell(3, 4)
    compiled = dynjax.compile(cell)

    def grads(call, n):
        h = None
        for k in range(n):
            h = call(dynjax.full((2, 3), 0.1 * k), h)
        cell.zero_grad()
        h.square().sum().backward()
        return [p.grad.tolist() for p in cell.parameters()]

    grads(compiled, 30)
    with dynjax.explain() as compiles:
        found = [grads(compiled, n) for n in (26, 21, 33)]
    assert not compiles
    for a, n in zip(found, (26, 21, 33), strict=True):
        for x, y in zip(a, grads(cell, n), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


def test_graphs_that_never_come_again_run_operation_by_operation(monkeypatch):
    monkeypatch.setattr(cold, "_dictionary", Dictionary())
    monkeypatch.setattr(cold, "_wholes", deque(maxlen=4))
    draw = random.Random(3)
    operations = list(NUMPY)
    start = np.linspace(-1, 1, 11, dtype="f")

    def run(names):
        x = dynjax.from_numpy(start.copy())
        expected = start
        for name in names:
            x = getattr(x, name)()
            expected = NUMPY[name](expected)
        np.testing.assert_allclose(x.numpy(), expected, rtol=1e-5, atol=1e-6)

    for _ in range(10):
        run(draw.choices(operations, k=9))
    with dynjax.explain() as compiles:
        for _ in range(10):
            run(draw.choices(operations, k=9))
    assert all(compile.operations == 1 for compile in compiles)
    assert len(compiles) <= len(operations)


def test_a_trace_that_comes_again_is_compiled_whole_in_the_background():
    with dynjax.explain() as compiles:
        losses, _ = trained([15] * 6, "auto")
        while cold._jobs and not all(job.future.done() for job in cold._jobs.values()):
            for job in list(cold._jobs.values()):
                job.future.result()
        compiled_here = []
        jax.monitoring.register_event_duration_secs_listener(
            listen := lambda event, seconds, **_: compiled_here.append(event)
        )
        again, _ = trained([15] * 6, "auto")
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not [event for event in compiled_here if "backend_compile" in event]
    whole = max(compiles, key=lambda c: c.operations)
    assert whole.operations > 100 and "part" not in whole.cause
    np.testing.assert_allclose(again, losses, rtol=1e-5)


def test_a_compile_that_fails_in_the_background_is_told_once(monkeypatch):
    def fail(*args):
        raise RuntimeError("no more memory")

    monkeypatch.setattr(cold, "compile_plan", fail)
    with pytest.warns(RuntimeWarning, match="no more memory") as warned:
        trained([17] * 4, "auto")
        in_background(int).result()  # what was asked before it has failed by now
        losses, _ = trained([17] * 8, "auto")
    assert len([w for w in warned if "no more memory" in str(w.message)]) == 1
    assert len(losses) == 8


@pytest.mark.parametrize("users", [False, True])
def test_what_is_compiled_in_the_background_runs_there_on_zeros_but_for_users_functions(
    monkeypatch, users
):
    ran, linked = [], []

    def noting(x):
        jax.debug.callback(lambda value: ran.append(float(value)), x[0])
        return x * 2

    monkeypatch.setattr(background, "linked", lambda run, given: linked.append(given))
    function = from_function(noting) if users else lambda x: x * 2
    start = dynjax.full((3,), 1.0 if users else 1.5)
    for _ in range(5):
        x = start
        for k in range(40):
            x = dynjax.tanh(function(x) + k % 3)
        x.numpy()
        in_background(int).result()  # what was asked before it is done by now
    jax.effects_barrier()
    assert bool(linked) is not users
    assert len(ran) == (200 if users else 0)
    assert 0 not in ran


def test_linking_takes_zeros_of_the_arguments_kinds_and_forgives():
    taken = []
    given = [jax.ShapeDtypeStruct((2, 3), np.float32), jax.ShapeDtypeStruct((), np.int64)]
    background.linked(lambda *args: taken.extend(args) or jax.numpy.ones(2), given)
    assert [(a.shape, a.dtype, a.sum()) for a in taken] == [
        ((2, 3), np.float32, 0),
        ((), np.int64, 0),
    ]
    background.linked(lambda *args: 1 / 0, given)
