"""Running traces: what is compiled, kept, donated; what survives failures and interrupts."""

import gc
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynjax
from dynjax import nn
from dynjax.core.config import config
from dynjax.engine import executor
from dynjax.engine.trace import state
from dynjax.interop.jax import from_function


def failing(x):
    """A JAX function that fails when it runs."""

    def call(a):
        raise ValueError("bang")

    return jax.pure_callback(call, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def train(model, optimizer, steps, x, y, rates=(0.1,)):
    losses = []
    for i in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rates[i % len(rates)]
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % 10 == 0:
            losses.append(loss.item())
    return losses


def small(optimizer=dynjax.optim.SGD, **options):
    dynjax.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 1))
    return model, optimizer(model.parameters(), lr=0.1, **options)


def data():
    rng = np.random.default_rng(0)
    return (dynjax.from_numpy(rng.standard_normal((8, n)).astype(np.float32)) for n in (3, 1))


def test_a_changing_learning_rate_dropout_and_evaluation_need_two_programs():
    model, optimizer = small(dynjax.optim.Adam)
    x, y = data()
    state.restart()
    with dynjax.explain() as compiles:
        train(model, optimizer, 30, x, y, rates=(0.1, 0.03, 0.01))
        model.eval()
        with dynjax.no_grad():
            model(x).sum().item()
    assert len(compiles) <= 3, compiles
    assert all(c.source is None or c.source.file == __file__ for c in compiles), compiles


def test_equal_models_share_their_programs():
    x, y = data()
    train(*small(), 2, x, y)
    with dynjax.explain() as compiles:
        train(*small(), 2, x, y)
    assert compiles == []


def test_explanations_name_the_difference():
    x = dynjax.ones(3)
    (x * 2).sum().item()
    with dynjax.explain() as compiles:
        (dynjax.ones(5) * 2).cos().sum().item()
    assert len(compiles) == 1 and "dynjax compiled program" in str(compiles)
    assert compiles[0].milliseconds > 0 and compiles[0].programs > 0


def test_updates_donate_what_nobody_holds():
    model, optimizer = small()
    x, y = data()
    train(model, optimizer, 2, x, y)
    old = model[0].weight._array()
    view = model[2].weight.detach().numpy()
    kept = view.copy()
    train(model, optimizer, 2, x, y)
    np.testing.assert_array_equal(view, kept)
    assert not old.is_deleted()  # we hold it
    held = model[0].weight._v
    del old
    array_ref = held.array
    assert not array_ref.is_deleted()


def test_host_data_travels_with_a_first_call_and_is_sent_for_a_second():
    data = np.arange(3000.0)
    x = dynjax.from_numpy(data)
    np.testing.assert_array_equal((x + 1).numpy(), data + 1)
    assert type(x._v.array) is np.ndarray
    np.testing.assert_array_equal((x * 2).numpy(), data * 2)
    sent = x._v.array
    assert isinstance(sent, jax.Array)
    np.testing.assert_array_equal((x + 1).numpy(), data + 1)
    assert x._v.array is sent


def test_little_host_data_travels_with_several_calls_before_it_is_sent():
    x = dynjax.from_numpy(np.arange(3.0))
    for k in range(20):
        np.testing.assert_array_equal((x + k).numpy(), [k, k + 1, k + 2])
        assert isinstance(x._v.array, np.ndarray if k < 15 else jax.Array)


def test_a_failure_names_the_operation_and_spares_the_rest():
    x = dynjax.ones(3)
    y = x * 2
    z = from_function(failing)(y) + 1
    with pytest.raises(RuntimeError, match=r"(?s)failing failed when run, recorded at .*bang"):
        z.tolist()
    assert y.tolist() == [2, 2, 2] and x.tolist() == [1, 1, 1]
    with pytest.raises(RuntimeError, match="an operation that failed"):
        z.tolist()
    assert (x + 1).tolist() == [2, 2, 2]


def test_a_failed_step_leaves_the_parameters():
    model, optimizer = small()
    x, y = data()
    train(model, optimizer, 1, x, y)
    before = [p.tolist() for p in model.parameters()]
    loss = nn.functional.mse_loss(from_function(failing)(model(x)), y)
    optimizer.zero_grad()
    with pytest.raises((RuntimeError, ValueError)):
        loss.backward()
        optimizer.step()
    assert [p.tolist() for p in model.parameters()] == before
    train(model, optimizer, 1, x, y)


def test_a_bad_call_fails_at_once_and_changes_nothing():
    x = dynjax.ones(2, 3)
    y = x + 1
    with pytest.raises(RuntimeError, match=r"mat1 and mat2 shapes cannot be multiplied"):
        x @ dynjax.ones(4, 5)
    assert y.tolist() == [[2, 2, 2], [2, 2, 2]]


def test_loops_that_never_read_are_flushed_on_their_own():
    x = dynjax.zeros(2)
    for _ in range(20_000):
        x = x + 1.0
    assert state.trace.cur.depth <= dynjax.config.node_budget + 8
    assert x.tolist() == [20_000, 20_000]


def test_unheld_intermediates_leave_with_their_trace():
    x = dynjax.ones(4)
    for _ in range(3):
        (x * 2).sum().item()
    gc.collect()
    assert len(state.trace.vals) == 0 and len(state.trace.leaves) == 0


def test_threads_have_traces_of_their_own_and_may_share_tensors():
    x = dynjax.ones(3)
    y = x * 2  # pending here
    results = []

    def work():
        results.append((y + 1).tolist())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [[3, 3, 3]] and y.tolist() == [2, 2, 2]


def test_an_interrupted_compile_can_be_repeated(monkeypatch):
    x = dynjax.ones(7)
    y = (x * 3).sinh()

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(executor.POLICIES, config.policy, interrupted)
        with pytest.raises(KeyboardInterrupt):
            y.tolist()
    np.testing.assert_allclose(y.tolist(), np.sinh(3 * np.ones(7)), rtol=1e-6)


def test_eager_runs_every_operation_at_once():
    with dynjax.eager():
        x = dynjax.ones(3) * 2
        assert x._v.array is not None


def test_tracers_pass_through():
    def f(a):
        return dynjax.interop.jax.from_jax(a).sin().mul(2).__jax_array__().sum()

    a = jnp.arange(3.0)
    np.testing.assert_allclose(jax.jit(f)(a), 2 * jnp.sin(a).sum(), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(f)(a), 2 * jnp.cos(a), rtol=1e-6)


class counting:
    """How many plans were made."""

    def __enter__(self):
        self.made, self.before = 0, executor.Plan.__init__

        def count(plan, *args, **kwargs):
            self.made += 1
            self.before(plan, *args, **kwargs)

        executor.Plan.__init__ = count
        return self

    def __exit__(self, *exc):
        executor.Plan.__init__ = self.before


def test_a_short_graph_that_comes_again_is_planned_once():
    def run(n):
        x = dynjax.ones(2, 7)
        for _ in range(n):
            x = dynjax.sin(x) + 1.25
        executor.flush()  # as the end of an optimizer's step does
        return x.tolist()

    lengths = range(11, 21)
    with counting() as plans:
        first = [run(n) for n in lengths]
    assert plans.made >= len(lengths)
    with counting() as plans:
        assert [run(n) for n in lengths] == first
        assert [run(n) for n in lengths] == first
    assert plans.made == 0


def test_graphs_that_compute_the_same_of_other_values_have_plans_of_their_own():
    def run(swapped, other):
        a, b, c = dynjax.full((3, 5), 1.5), dynjax.full((3, 5), 0.25), dynjax.full((3, 5), other)
        a, b = a.tanh(), b.tanh()
        if other:
            c.exp()  # recorded, and read by nobody
        x = (b - a if swapped else a - b) * 1.5
        return x.sum().item(), (x * 2).sum().item()

    expected = {s: (1.5 * np.tanh(1.5) - 1.5 * np.tanh(0.25)) * 15 * (-1) ** s for s in (0, 1)}
    for _ in range(3):
        for swapped in (0, 1):
            for other in (0, 2):
                found = run(swapped, other)
                np.testing.assert_allclose(found, np.multiply((1, 2), expected[swapped]), rtol=1e-5)


def test_plans_of_graphs_that_never_come_again_do_not_pile_up():
    for n in range(executor._MOST_ONCE + 40):
        x = dynjax.ones(2)
        x = dynjax.cat([x + float(n), x]) if n % 2 else x * 2
        for k in range(n % 13):
            x = dynjax.roll(x, n // 13 + k)
        x.sum().item()
    assert len(executor._once) <= executor._MOST_ONCE
