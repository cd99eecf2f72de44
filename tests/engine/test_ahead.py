"""Reads in the middle of a graph: traces that stay open, and what is run ahead."""

import threading
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynjax
from dynjax import nn
from dynjax.core.config import config
from dynjax.engine import ahead, cold, forecast, fusion, looped, reads
from dynjax.engine.programs import in_background
from dynjax.engine.trace import state
from dynjax.interop.jax import from_function
from tests.interrupts import interrupted_at


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Compile where it is asked for, and soon, so that tests know what is ready."""
    monkeypatch.setattr(config, "background", False)
    monkeypatch.setattr(ahead, "_KNOWN", 4)
    monkeypatch.setattr(forecast, "_WORTH", 0.0)


@pytest.fixture
def taken(monkeypatch):
    """How many reads were served by what was run ahead."""
    counts = []
    came = ahead.Ahead.came

    def counted(*args):
        found = came(*args)
        if found:
            counts.append(1)
        return found

    monkeypatch.setattr(ahead.Ahead, "came", counted)
    return counts


class Settling(nn.Module):
    """Iterates until its state changes little."""

    def __init__(self, size=4):
        super().__init__()
        self.inject = nn.Linear(size, size, bias=False)
        self.cell = nn.Linear(size, size, bias=False)
        with dynjax.no_grad():
            self.cell.weight.mul_(0.3)

    def forward(self, x, tolerance=1e-3):
        given = self.inject(x)
        z = dynjax.tanh(given)
        change, depth = z.norm(), 1
        while change > tolerance and depth < 30:
            new = dynjax.tanh(given + self.cell(z))
            change = (new - z).norm()
            z = new
            depth += 1
        self.depth = depth
        return z


def settling_of(size):
    """Models of another size, of whose reads nothing is known yet."""
    return lambda: Settling(size)


def inputs(n, seed=0, size=4):
    rng = np.random.default_rng(seed)
    scales = 10 ** rng.uniform(-3, 0, n)
    return [(scale * rng.standard_normal((2, size))).astype(np.float32) for scale in scales]


def trained(data, model_class=Settling, lr=0.05):
    """Losses, depths, and the parameters at the end."""
    dynjax.manual_seed(3)
    model = model_class()
    optimizer = dynjax.optim.SGD(model.parameters(), lr=lr)
    losses, depths = [], []
    for x in data:
        optimizer.zero_grad()
        loss = model(dynjax.from_numpy(x)).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        depths.append(getattr(model, "depth", None))
    return losses, depths, [p.detach().numpy() for p in model.parameters()]


def same(one, other, rtol=1e-5):
    assert one[1] == other[1]
    np.testing.assert_allclose(one[0], other[0], rtol=rtol, atol=1e-7)
    for a, b in zip(one[2], other[2], strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6)


def interpreted(monkeypatch, *args):
    with monkeypatch.context() as patch:
        patch.setattr(config, "policy", "interpret")
        return trained(*args)


def test_training_of_changing_depth_is_that_of_operations_one_by_one(monkeypatch, taken):
    data = inputs(40)
    one = trained(data)
    assert len(set(one[1])) > 3  # of many depths
    assert len(taken) > 40
    same(one, interpreted(monkeypatch, data))


def test_gradients_are_jaxs():
    dynjax.manual_seed(0)
    model = Settling()
    weights = [p.detach().numpy() for p in model.parameters()]

    def loss(weights, x, depth):
        inject, cell = weights
        given = x @ inject.T
        z = jnp.tanh(given)
        for _ in range(depth - 1):
            z = jnp.tanh(given + z @ cell.T)
        return (z**2).sum()

    for x in inputs(15):
        model.zero_grad()
        model(dynjax.from_numpy(x)).square().sum().backward()
        expected = jax.grad(loss)(weights, x, model.depth)
        for parameter, gradient in zip(model.parameters(), expected, strict=True):
            found = 0 if parameter.grad is None else parameter.grad.numpy()  # of depth 1, none
            np.testing.assert_allclose(found, gradient, rtol=1e-4, atol=1e-6)


def test_nothing_is_run_ahead_where_that_is_switched_off(monkeypatch, taken):
    data = inputs(20)
    one = trained(data)
    assert taken
    monkeypatch.setattr(config, "run_ahead", False)
    taken.clear()
    same(trained(data), one)
    assert not taken


class Branching(Settling):
    """Goes on in a way that depends on the value it reads."""

    def forward(self, x):
        z = self.inject(x)
        self.depth = ""
        for _ in range(6):
            if z.sum() > 0:
                z = dynjax.tanh(self.cell(z)) - 0.1
                self.depth += "+"
            else:
                z = dynjax.sin(z) * 0.5 + 0.05
                self.depth += "-"
        return z


def test_wrong_forecasts_change_nothing(monkeypatch, taken):
    data = inputs(40, 1)
    one = trained(data, Branching)
    assert len(set(one[1])) > 2
    assert taken
    same(one, interpreted(monkeypatch, data, Branching))


class Numbered(Settling):
    """Every iteration takes a number that is another each time."""

    calls = 0

    def forward(self, x):
        z = self.inject(x)
        self.depth = 0
        while self.depth < 5 and bool((z.norm() >= 0).all()):
            z = dynjax.tanh(self.cell(z) * (1 + 0.01 * Numbered.calls))
            self.depth += 1
            Numbered.calls += 1
        return z


def test_numbers_that_change_are_those_given(monkeypatch):
    data = inputs(20, 2)
    Numbered.calls = 0
    one = trained(data, Numbered)
    Numbered.calls = 0
    same(one, interpreted(monkeypatch, data, Numbered))


def loop(step, times=5, rounds=20, after=lambda z: z):
    """What a loop that reads at every iteration computes, round by round."""
    results = []
    for k in range(rounds):
        w = dynjax.full((3,), 0.5 + 0.01 * k).requires_grad_()
        z = w * 1.0
        for i in range(times):
            z = step(z, w, i, k)
            if z.sum() > 1e6:
                break
        after(z).sum().backward()
        results.append((z.detach().numpy().copy(), w.grad.numpy().copy()))
    return results


def check_loop(monkeypatch, *args, **kwargs):
    one = loop(*args, **kwargs)
    with monkeypatch.context() as patch:
        patch.setattr(config, "policy", "interpret")
        other = loop(*args, **kwargs)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a[0], b[0], rtol=1e-5)
        np.testing.assert_allclose(a[1], b[1], rtol=1e-5)


def test_zeros_are_told_apart_by_their_signs(monkeypatch, taken):
    def step(z, w, i, k):
        zero = -0.0 if k >= 15 else 0.0
        return dynjax.copysign(z, z.detach() * 0 * zero + zero).abs() + z * 0.1

    check_loop(monkeypatch, step)


def test_changes_in_place_between_reads(monkeypatch, taken):
    def step(z, w, i, k):
        z = z * w
        z.add_(0.1)
        if i == 2 and k % 3:
            z[1] = 2.0
        return z.sin()

    check_loop(monkeypatch, step)
    assert taken


def test_a_parameter_changed_between_reads_is_read_as_it_is(monkeypatch, taken):
    weight = nn.Parameter(dynjax.ones(3))

    def step(z, w, i, k):
        if i == 2:
            with dynjax.no_grad():
                weight.mul_(1.01)
        return dynjax.tanh(z * weight.detach().clone() + w)

    one = loop(step)
    with dynjax.no_grad():
        weight.copy_(dynjax.ones(3))
    monkeypatch.setattr(config, "policy", "interpret")
    other = loop(step)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a[1], b[1], rtol=1e-5)


def test_another_tensor_in_the_place_of_a_constant(monkeypatch, taken):
    constants = [dynjax.full((3,), 0.1), dynjax.full((3,), 0.7)]

    def step(z, w, i, k):
        return dynjax.tanh(z + constants[k % 5 == 4]) * w

    check_loop(monkeypatch, step)
    assert taken


def test_a_tensor_modified_since_is_refused_as_ever():
    for _ in range(12):
        w = dynjax.ones(3, requires_grad=True)
        z = w * 2
        y = z.exp()
        for _ in range(3):
            assert bool(y.sum() > 0)
            y = y.exp() * 1e-9
        y.add_(1)
        y.sum().backward()
    w = dynjax.ones(3, requires_grad=True)
    z = w * 2
    y = z.sin()
    assert bool(y.sum() < 10)
    z.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_a_graph_is_walked_once(taken):
    for _ in range(10):
        w = dynjax.ones(3, requires_grad=True)
        z = w * 2
        for _ in range(4):
            z = z.sin() * w
            assert bool(z.sum() < 10)
        loss = z.sum()
        loss.backward(retain_graph=True)
        once = w.grad.clone()
        loss.backward()
        np.testing.assert_allclose(w.grad.numpy(), 2 * once.numpy(), rtol=1e-6)
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()


def test_hooks_between_reads_are_called():
    seen = []
    for k in range(12):
        w = dynjax.ones(3, requires_grad=True)
        z = w * 2
        for i in range(4):
            z = z.sin() * w
            if i == 1 and k > 7:
                z.register_hook(lambda g: seen.append(g.numpy()) or g * 2)
            assert bool(z.sum() < 10)
        z.sum().backward()
        expected = jax.grad(_chain)(jnp.ones(3), 2.0 if k > 7 else 1.0)
        np.testing.assert_allclose(w.grad.numpy(), expected, rtol=1e-5)
    assert len(seen) == 4


def _chain(w, factor):
    z = w * 2
    for i in range(4):
        z = jnp.sin(z) * w
        if i == 1:
            z = z * factor - jax.lax.stop_gradient(z * (factor - 1))
    return z.sum()


def test_random_numbers_are_those_without_running_ahead(monkeypatch):
    def run():
        dynjax.manual_seed(5)
        return loop(lambda z, w, i, k: nn.functional.dropout(z * w, 0.5, True) + w)

    one = run()
    monkeypatch.setattr(config, "run_ahead", False)
    other = run()
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a[0], b[0], rtol=1e-6)
        np.testing.assert_allclose(a[1], b[1], rtol=1e-6)


def _fails_below(x):
    def check(x):
        if x.min() < 0.2:
            raise ValueError("too small")
        return x

    return jax.pure_callback(check, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def test_what_would_have_failed_ahead_is_never_heard_of(taken):
    checked = from_function(_fails_below)

    def run(start, times):
        x = dynjax.full((3,), start, requires_grad=True)
        z = x * 1.0
        for _ in range(times):
            assert bool(z.sum() > 0)
            z = z * 0.5
            checked(z.detach()).sum().item()
        return z.sum().item()

    for _ in range(12):
        assert run(16.0, 6) == pytest.approx(3 * 16 * 0.5**6)
    for _ in range(6):
        assert run(2.0, 3) == pytest.approx(3 * 2 * 0.5**3)
    with pytest.raises(RuntimeError, match=r"(?s)recorded at .*too small"):
        run(2.0, 6)
    assert run(16.0, 6) == pytest.approx(3 * 16 * 0.5**6)


def test_what_could_be_noticed_is_not_run_ahead(capfd):
    def shown(x):
        jax.debug.print("shown")
        return x * 0.5

    op = from_function(shown)
    for k in range(16):
        z = dynjax.ones(3, requires_grad=True) * 1.0
        for _ in range(5 if k < 12 else 2):
            z = op(z)
            assert bool(z.sum() > 0)
    jax.effects_barrier()
    assert capfd.readouterr().out.count("shown") == 12 * 5 + 4 * 2


def test_loops_without_gradient(taken, monkeypatch):
    def run(start):
        with dynjax.no_grad():
            x, n = dynjax.full((3,), start), 0
            while (x * x - 2).abs().max() > 1e-5:
                x = 0.5 * (x + 2 / x)
                n += 1
            return x.numpy().copy(), n

    starts = (40.0, 2.0, 40.0, 4.0) * 6
    results = [run(start) for start in starts]
    assert len({n for _, n in results}) > 1 and taken
    monkeypatch.setattr(config, "policy", "interpret")
    for (x, n), start in zip(results, starts, strict=True):
        y, m = run(start)
        assert n == m
        np.testing.assert_allclose(x, y, rtol=1e-6)


def test_values_of_an_open_trace_in_another_thread():
    for k in range(12):
        w = dynjax.ones(3, requires_grad=True)
        z = w * (2.0 + k)
        kept = []
        for _ in range(4):
            z = z.sin() * w
            assert bool(z.sum() < 10)
            kept.append(z)
        seen = {}

        def look(kept=kept, seen=seen):
            seen["values"] = [v.detach().numpy().copy() for v in kept]
            seen["sum"] = sum(v.detach() for v in kept).numpy()

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        z.sum().backward()
        expected, values = np.float32(2.0 + k), []
        for _ in range(4):
            expected = np.sin(expected)
            values.append(expected)
        np.testing.assert_allclose([v[0] for v in seen["values"]], values, rtol=1e-5)
        np.testing.assert_allclose(seen["sum"][0], sum(values), rtol=1e-5)


@pytest.mark.parametrize("dtype", [dynjax.float64, dynjax.int64, dynjax.float32, dynjax.bfloat16])
def test_types_stay(dtype, taken):
    big = 2**40 + 1 if dtype is dynjax.int64 else 1.0
    for _ in range(12):
        w = dynjax.ones(2, requires_grad=True)
        z, s = dynjax.full((2,), big, dtype=dtype), w * 1.0
        rows = []
        for _ in range(5):
            z, s = z + 1, s * w
            assert bool(s.sum() > 0)
            rows.append(z)
        for i, row in enumerate(rows):
            assert row.dtype is dtype
            assert row.tolist() == [big + 1 + i] * 2
            assert (row + 1).dtype is dtype
        s.sum().backward()
        np.testing.assert_allclose(w.grad.numpy(), [6.0, 6.0])


def test_a_forecast_that_keeps_being_wrong_is_given_up():
    starts = []

    def round_(k):
        w = dynjax.ones(3, requires_grad=True)
        z = w * 1.0
        for i in range(6):
            z = (z.sin() if k < 12 or i < 1 else z.cos() if (k + i) % 2 else z.exp()) * w
            assert bool(z.sum() < 100)
        z.sum().backward()

    run = ahead.run

    def counted(*args):
        done = run(*args)
        starts.append(done)
        return done

    ahead.run = counted
    try:
        for k in range(12):
            round_(k)
        for k in range(12, 60):
            round_(k)
        starts.clear()
        for k in range(60, 80):
            round_(k)
    finally:
        ahead.run = run
    assert sum(starts) <= 20  # one a round at most; the account allows no more


def test_an_open_trace_is_bounded():
    w = dynjax.ones(3, requires_grad=True)
    for _ in range(4):
        z = w * 1.0
        for _ in range(150):
            z = z * 1.001
            assert bool(z.sum() < 100)
            assert state.trace.computed is None or state.trace.computed.reads <= reads._MOST
        w.grad = None
        z.sum().backward()
        np.testing.assert_allclose(w.grad.numpy(), 1.001**150, rtol=1e-4)


def test_losses_that_are_read_and_dropped_hold_nothing():
    w = dynjax.ones(3, requires_grad=True)
    for k in range(30):
        loss = (w * k).sin().sum()
        assert loss.item() == pytest.approx(3 * np.sin(k), abs=1e-5)
        computed = state.trace.computed
        assert computed is None or computed.reads <= 2


def test_parts_and_loops_are_one_program_for_any_length(monkeypatch):
    monkeypatch.setattr(config, "background", True)
    monkeypatch.setattr(cold, "_FUSED", 2)
    monkeypatch.setattr(cold, "_FUSED_ONE", 2)
    data, model = inputs(30, 4, 6), lambda: Settling(6)
    with dynjax.explain() as compiles:
        first = trained(data, model)
        in_background(int).result()  # all that was asked for has been compiled
        again = trained(data, model)
    assert any("for any length" in compiled.cause for compiled in compiles)
    same(first, again)
    same(first, interpreted(monkeypatch, data, model))


class Deep(Settling):
    """Takes many iterations."""

    def forward(self, x, tolerance=1e-6):
        return super().forward(x, tolerance)


class Woven(Settling):
    """Reads its states again after the loop: with those from the other end, and every second."""

    def forward(self, x, tolerance=1e-6):
        given = self.inject(x)
        states = [dynjax.tanh(given)]
        change = states[0].norm()
        while change > tolerance and len(states) < 30:
            states.append(dynjax.tanh(given + self.cell(states[-1])))
            change = (states[-1] - states[-2]).norm()
        self.depth = len(states)
        total = states[-1]
        for one, other in zip(states, reversed(states), strict=True):
            total = dynjax.tanh(total + one * other)
        for one in states[::2]:
            total = dynjax.sin(total + one)
        return total


class Twice(nn.Module):
    """Two loops one after the other, each with reads."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Deep(), Deep()

    def forward(self, x):
        z = self.second(self.first(x))
        self.depth = self.first.depth, self.second.depth
        return z


@pytest.fixture
def lent(monkeypatch):
    """Of every stack that a loop took of values that were there, whether it was there too."""
    found = []

    stack_of = looped.stack_of

    def noted(places, capacity, values, lent):
        stack = stack_of(places, capacity, values, lent)
        found.append(lent is not None and any(stack[0] is array for array in lent.arrays))
        return stack

    monkeypatch.setattr(looped, "stack_of", noted)
    monkeypatch.setattr(fusion, "stack_of", noted)
    return found


@pytest.mark.parametrize("as_one", [False, True])
@pytest.mark.parametrize("model", [Deep, Woven, Twice])
def test_a_backward_reads_the_stacks_that_were_left_ahead(model, as_one, lent, monkeypatch):
    monkeypatch.setattr(config, "policy", "parts")
    data = inputs(40, 3)
    if as_one:
        monkeypatch.setattr(config, "background", True)
        monkeypatch.setattr(cold, "_FUSED", 2)
        monkeypatch.setattr(cold, "_FUSED_ONE", 2)
        trained(data, model)
        in_background(int).result()
        lent.clear()
    same(trained(data, model), interpreted(monkeypatch, data, model))
    assert sum(lent) > (len(data) / 4 if model is Deep else 0)


def test_a_program_that_can_not_be_compiled_ahead_is_not_heard_of(monkeypatch):
    def fail(*args):
        raise RuntimeError("no more memory")

    monkeypatch.setattr(config, "background", True)
    monkeypatch.setattr(forecast.Stage, "compile", fail)
    data = inputs(20, 5)
    same(trained(data), interpreted(monkeypatch, data))


def test_parameters_of_other_models_are_never_compared_by_value(taken):
    data = inputs(10, 6)
    for seed in range(3):  # the same steps of the trie, other parameters
        dynjax.manual_seed(seed)
        models = [Settling(), Settling()]
        for x in data:
            for model in models:
                model.zero_grad()
                model(dynjax.from_numpy(x)).square().sum().backward()
                dynjax.optim.SGD(model.parameters(), lr=0.01).step()


@pytest.mark.parametrize(("costs", "size"), [(0.0, 3), (1e9, 7)])  # each with reads of its own
def test_a_program_that_would_do_better_is_compiled_once_that_pays(costs, size, monkeypatch):
    """Loops that go on for longer than what is run ahead for."""
    made = []  # by which read they start from
    init, compile = forecast.Stage.__init__, forecast.Stage.compile

    def noted(self, trace, reads):
        made.append(reads[0].number)
        init(self, trace, reads)

    def compiled(self):
        compile(self)
        self.compiling = costs

    def gains(lengths, reads, cost):  # as if every read took a millisecond
        return [1e-3 * sum(min(n, k) for n in lengths) for k in range(len(reads))]

    monkeypatch.setattr(forecast, "_gains", gains)
    monkeypatch.setattr(forecast.Stage, "__init__", noted)
    monkeypatch.setattr(forecast.Stage, "compile", compiled)
    rng = np.random.default_rng(0)
    short, long = (
        [(scale * rng.standard_normal((2, size))).astype(np.float32) for _ in range(12)]
        for scale in (0.003, 2.0)
    )

    _, depths, _ = trained([*short, *long, *long], settling_of(size))
    assert max(depths[:12]) < min(depths[12:])
    assert made
    assert (len(made) > len(set(made))) is (costs == 0.0)


@pytest.mark.parametrize(
    ("size", "worth", "lines"),
    [(11, 0.0, range(1, 10_000, 13)), (13, 1e9, range(1, 250))],
    ids=["with a program", "without one"],
)
def test_interrupted_at_any_line_values_are_what_they_are(size, worth, lines, monkeypatch, taken):
    """Of a loop that is run ahead, or might be: those held from before, and those of the next."""
    monkeypatch.setattr(forecast, "_WORTH", worth)
    dynjax.manual_seed(0)
    model = settling_of(size)()
    rng = np.random.default_rng(0)
    x = dynjax.from_numpy(2 * rng.standard_normal((2, size)).astype(np.float32))

    def run(held):
        model.zero_grad()
        given = model.inject(x)
        z = dynjax.tanh(given)
        change = z.norm()
        while change > 1e-6:
            new = dynjax.tanh(given + model.cell(z))
            change, z = (new - z).norm(), new
            held.append(z)
        z.sum().backward()
        return held, model.cell.weight.grad.numpy()

    for _ in range(12):
        expected, gradient = run([])
    expected = [z.detach().numpy() for z in expected]
    taken.clear()
    at_once = "enter", "refs", "record", "call", "_commit"  # no signal comes between their lines
    interrupts = 0
    for line in lines:
        held = []
        if not interrupted_at(line, partial(run, held), ["engine"], at_once):
            break
        interrupts += 1
        for z, then in zip(held, expected, strict=False):
            np.testing.assert_allclose(z.detach().numpy(), then, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(run([])[1], gradient, rtol=1e-4, atol=1e-6)
    assert interrupts > 30
    assert (len(taken) > interrupts) is (worth == 0.0)


def test_a_read_is_foreseen_once_all_is_known_of_it(monkeypatch):
    """Not after an interrupt while it was noted from what it came."""
    model = settling_of(15)()
    x = dynjax.from_numpy(2 * np.random.default_rng(0).standard_normal((2, 15)).astype(np.float32))

    note = ahead.note

    def noted_anew(trace, plan):
        trace.computed.plan.forecast.follows = None
        note(trace, plan)

    def interrupted(*args):
        raise KeyboardInterrupt

    model(x).sum().backward()  # tells that the graph leads on
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ahead, "note", noted_anew)
        patch.setattr(ahead, "_numbers_since", interrupted)
        model(x)
    before = state.trace.computed.plan
    assert before.forecast.follows is None
    model(x).sum().backward()
    assert before.forecast.follows.forecast.numbers


@pytest.mark.parametrize(("slow", "size"), [("one", 5), ("all at first", 9)])
def test_reads_that_were_slow_by_chance_when_timed_are_run_ahead_nevertheless(
    slow, size, monkeypatch, taken
):
    """Others' work may lie on every run of a read that is timed; from a millisecond on a read is
    taken for one that computes, of which nothing is to be gained."""
    call, clock = reads.call, [0.0]

    def timed(program, plan, arrays, trace, *rest):
        call(program, plan, arrays, trace, *rest)
        second = trace.computed is not None and trace.computed.reads == 1
        late = second if slow == "one" else plan.runs < 12
        clock[0] += 2e-3 if late else 1e-4

    monkeypatch.setattr(reads, "call", timed)
    monkeypatch.setattr(reads, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    trained(inputs(90, size=size), settling_of(size))
    assert sum(taken) > 50


def test_which_program_pays_best_is_not_asked_at_every_run(monkeypatch):
    asked, ran = [], []
    stage, take = ahead.stage_for, ahead.Ahead.__init__

    def counted(*args):
        asked.append(stage(*args))
        return asked[-1]

    def noted(self, *args):
        ran.append(1)
        take(self, *args)

    monkeypatch.setattr(ahead, "stage_for", counted)
    monkeypatch.setattr(ahead.Ahead, "__init__", noted)

    class Wide(Settling):
        def __init__(self):
            super().__init__(6)

    trained([2 * np.ones((2, 6), np.float32)] * 40, Wide)
    chosen = [one for one in asked if one is not None and one.run is not None]
    assert len(ran) > 20
    assert 0 < len(chosen) < len(ran) / 3
