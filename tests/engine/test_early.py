"""Programs started before their recording has ended: taken where they are what was recorded."""

import gc
import threading
import weakref

import jax
import numpy as np
import pytest

import dynjax
from dynjax import nn
from dynjax.core.config import config
from dynjax.engine import early, executor
from dynjax.engine.trace import state
from dynjax.interop.jax import to_jax


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Every trace is one program, and weights are on the device, as it comes sooner or later."""
    monkeypatch.setattr(config, "policy", "compile")
    monkeypatch.setattr(executor, "_SEEN_OFTEN", executor._SEEN)


@pytest.fixture
def seen(monkeypatch):
    """How many programs were started early, and of how many the results were taken."""
    counts = {"started": 0, "taken": 0}
    run, results_of = early.Start._run, early.Start.results_of

    def counted_run(self, arrays):
        counts["started"] += 1
        run(self, arrays)

    def counted_results(self, *args):
        found = results_of(self, *args)
        counts["taken"] += found is not None
        return found

    monkeypatch.setattr(early.Start, "_run", counted_run)
    monkeypatch.setattr(early.Start, "results_of", counted_results)
    return counts


def mlp():
    dynjax.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def batches(n, *shape):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape or (3, 4)).astype(np.float32) for _ in range(n)]


def by_hand(model, x):
    """The MLP's result, in NumPy."""
    w = {k: np.asarray(v.detach()) for k, v in model.state_dict().items()}
    hidden = np.maximum(x @ w["0.weight"].T + w["0.bias"], 0)
    return hidden @ w["2.weight"].T + w["2.bias"]


@dynjax.no_grad()
def call(model, x):
    return model(dynjax.from_numpy(x)).numpy()


def test_a_call_that_recurs_starts_its_program_as_it_begins(seen):
    model = mlp()
    for x in batches(10):
        np.testing.assert_allclose(call(model, x), by_hand(model, x), rtol=1e-5, atol=1e-6)
    assert seen["started"] == seen["taken"] >= 5


def test_operations_before_the_call_belong_to_its_beginning(seen):
    model = mlp()
    for x in batches(10):
        with dynjax.no_grad():
            y = model(dynjax.from_numpy(x) / 2).numpy()
        np.testing.assert_allclose(y, by_hand(model, x / 2), rtol=1e-5, atol=1e-6)
    assert seen["taken"] >= 5


def test_arguments_by_keyword(seen):
    class Shifted(nn.Module):
        def forward(self, x, by=None):
            return x + by

    model = Shifted()
    for x in batches(10):
        with dynjax.no_grad():
            y = model(dynjax.from_numpy(x), by=dynjax.from_numpy(2 * x)).numpy()
        np.testing.assert_allclose(y, 3 * x, rtol=1e-6)
    assert seen["taken"] >= 5


def test_small_constants_made_in_the_call_are_the_same_by_their_content(seen):
    class Shifted(nn.Module):
        def forward(self, x):
            return x + dynjax.arange(4) * self.factor

    model = Shifted()
    for k, x in enumerate(batches(14)):
        model.factor = dynjax.tensor(1.0 if k < 10 else 2.0)
        expected = x + np.arange(4, dtype=np.float32) * (1 if k < 10 else 2)
        np.testing.assert_allclose(call(model, x), expected, rtol=1e-6)
    assert seen["taken"] >= 5
    assert seen["started"] == seen["taken"] + 1


@pytest.mark.parametrize("change", ["replaced", "in place", "loaded", "data"])
def test_parameters_that_changed_since(seen, change):
    model = mlp()
    x = batches(1)[0]
    for _ in range(8):
        call(model, x)
    before = model[0].weight.detach().clone()
    if change == "replaced":
        model[0].weight = nn.Parameter(before * 2)
    elif change == "in place":
        with dynjax.no_grad():
            model[0].weight.mul_(2)
    elif change == "loaded":
        model.load_state_dict({**model.state_dict(), "0.weight": before * 2})
    else:
        model[0].weight.data = before * 2
    np.testing.assert_array_equal(np.asarray(model[0].weight.detach()), 2 * np.asarray(before))
    np.testing.assert_allclose(call(model, x), by_hand(model, x), rtol=1e-5, atol=1e-6)


def test_a_parameter_that_changes_in_the_call(seen):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(dynjax.ones(3))
            self.after = None

        def forward(self, x):
            if self.after == 0:
                self.weight.add_(1)
            elif self.after is not None:
                self.after -= 1
            return x * self.weight

    model, x = Counting(), np.ones(3, np.float32)
    for _ in range(8):
        assert call(model, x).tolist() == [1, 1, 1]
    model.after = 1
    assert [call(model, x)[0] for _ in range(5)] == [1, 2, 3, 4, 5]


def test_python_that_goes_another_way(seen):
    class Branching(nn.Module):
        way = 0

        def forward(self, x):
            return (x + 1, x * 2, x.sum())[self.way]

    model, x = Branching(), np.full(3, 5.0, np.float32)
    for _ in range(8):
        assert call(model, x).tolist() == [6, 6, 6]
    model.way = 1
    assert call(model, x).tolist() == [10, 10, 10]
    model.way = 2
    assert call(model, x).tolist() == 15
    assert seen["started"] == seen["taken"] + 1


def test_what_never_settles_is_not_tried_again_and_again(seen):
    class Restless(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return x + dynjax.from_numpy(np.full(3, self.calls, np.float32))

    model, x = Restless(), np.zeros(3, np.float32)
    for k in range(60):
        assert call(model, x).tolist() == [k + 1] * 3
    assert seen["started"] == 0


def test_random_numbers_are_drawn_as_ever(seen, monkeypatch):
    def draws():
        dynjax.manual_seed(3)
        model = nn.Dropout(0.5)
        return [call(model, np.ones(8, np.float32)) for _ in range(8)]

    found = draws()
    monkeypatch.setattr(config, "run_ahead", False)
    np.testing.assert_array_equal(found, draws())


def test_lengths_that_alternate_are_told_apart(seen):
    model = mlp()
    for _ in range(8):
        for rows in (1, 2, 3):
            x = batches(1, rows, 4)[0]
            np.testing.assert_allclose(call(model, x), by_hand(model, x), rtol=1e-5, atol=1e-6)
    assert seen["taken"] == seen["started"] >= 9


def test_an_error_in_the_call_leaves_nothing_behind(seen):
    class Failing(nn.Module):
        fails = False

        def forward(self, x):
            if self.fails:
                raise KeyError("broken")
            return x * 3

    model, x = Failing(), np.ones(2, np.float32)
    for _ in range(8):
        call(model, x)
    model.fails = True
    with pytest.raises(KeyError, match="broken"):
        call(model, x)
    assert state.early is None
    model.fails = False
    assert call(model, x).tolist() == [3, 3]


def test_a_call_that_records_nothing_any_more_is_left_alone(seen):
    class Cached(nn.Module):
        kept = None

        def forward(self, x):
            return x * 3 if self.kept is None else self.kept

    model, x = Cached(), np.ones(2, np.float32)
    for _ in range(8):
        call(model, x)
    model.kept = dynjax.tensor(7.0)
    for _ in range(4):
        assert call(model, x) == 7
    assert seen["started"] - seen["taken"] == 1


def test_reads_within_the_call(seen):
    class Deciding(nn.Module):
        def forward(self, x):
            y = x * 2
            return y + 1 if y.sum() > 0 else y - 1

    model = Deciding()
    for k in range(16):
        x = np.full(2, (-1) ** (k // 8), np.float32)
        assert call(model, x).tolist() == [3 * x[0]] * 2


def test_under_grad_nothing_is_started(seen):
    model = mlp()
    for x in batches(8):
        model(dynjax.from_numpy(x)).sum().backward()
    assert seen["started"] == 0


def test_switched_off(seen, monkeypatch):
    monkeypatch.setattr(config, "run_ahead", False)
    model = mlp()
    for x in batches(8):
        call(model, x)
    assert seen["started"] == 0


def test_inside_a_transformation_of_jax(seen):
    model = mlp()
    for x in batches(8):
        call(model, x)
    started = seen["started"]
    apply, params = to_jax(model)
    x = batches(1)[0]
    np.testing.assert_allclose(jax.jit(apply)(params, x), by_hand(model, x), rtol=1e-5, atol=1e-6)
    assert seen["started"] == started


def test_threads_share_a_model(seen):
    model, failures = mlp(), []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(30):
            x = rng.normal(size=(1 + seed % 2, 4)).astype(np.float32)
            if not np.allclose(call(model, x), by_hand(model, x), rtol=1e-4, atol=1e-5):
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert seen["taken"] > 30


def test_nothing_keeps_a_model_or_its_weights_alive():
    model = mlp()
    for x in batches(8):
        call(model, x)
    old = weakref.ref(model[0].weight._array())
    model[0].weight = nn.Parameter(dynjax.zeros(8, 4))
    gc.collect()
    assert old() is None
    gone, ident = weakref.ref(model), id(model)
    del model
    gc.collect()
    assert gone() is None
    assert ident not in early._known


def test_what_a_program_consumes_is_not_given_to_it_early(seen):
    class Accumulating(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("total", dynjax.zeros(3))

        def forward(self, x):
            return self.total.add_(x).sum()

    model = Accumulating()
    totals = [float(call(model, np.ones(3, np.float32))) for _ in range(10)]
    assert totals == [3 * k for k in range(1, 11)]
    assert seen["started"] == 0
