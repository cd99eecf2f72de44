"""A read in the middle of a graph is lowered from what came since the last one."""

import numpy as np
import pytest

import dynjax as torch
from dynjax.engine import reads
from dynjax.engine.executor import Plan, flush
from dynjax.engine.resume import lowered_after, lowered_since, steps_since
from dynjax.engine.trace import state
from dynjax.engine.trie import lazy_trie, path_of

W = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    """And nothing depends on the clock, as programs of which there are two kinds do."""
    monkeypatch.setattr(torch.config, "background", False)
    monkeypatch.setattr(torch.config, "run_ahead", False)
    flush()
    lazy_trie.clear()
    state.restart()


def plain(x, w):
    return torch.tanh(x @ w)


def with_a_name(x, w):
    """The iteration reads its input by another name, and so does what comes after it."""
    y = torch.tanh(x @ w).detach().requires_grad_()
    return torch.sin(y) + y.detach()


def with_a_view(x, w):
    y = x @ w
    y[0] += x[1]
    return torch.tanh(y)


def with_numbers(x, w):
    return torch.tanh(x @ w * 0.37) + 1.25 * x


def with_a_leaf(x, w):
    """A tensor that enters late."""
    return torch.tanh(x @ w) * torch.full((4,), 0.5)


def with_what_went_before(x, w):
    return torch.tanh(x @ w) - (w * w).sum(0)


BODIES = [plain, with_a_name, with_a_view, with_numbers, with_a_leaf, with_what_went_before]


def train(body, steps=4, iterations=5):
    w = torch.from_numpy(W.copy()).requires_grad_()
    seen = []
    for step in range(steps):
        x = torch.from_numpy(W[:2] + step)
        for _ in range(iterations):
            x = body(x, w)
            seen.append(bool(x.abs().sum() > 1.0))
        w.grad = None
        x.sum().backward()
        seen += [] if w.grad is None else w.grad.flatten().tolist()
        with torch.no_grad():
            w -= 0.01 * w
    return seen


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_it_is_the_program_that_all_of_the_trace_gives(body, monkeypatch):
    short = []

    def both(trace, steps, wanted):
        found = lowered_since(trace, steps, wanted)
        path = path_of(trace.cur)
        if found is not None:
            whole = lowered_after(trace, path, wanted)
            assert (found.key, found.outputs) == (whole.key, whole.outputs)
            assert (found.floats, found.ints) == (whole.floats, whole.ints)
            short.append(len(steps) < len(path))
        return found

    monkeypatch.setattr(reads, "lowered_since", both)
    train(body)
    assert True in short


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_gradients_are_those_of_the_whole(body, monkeypatch):
    found = train(body)
    monkeypatch.setattr(reads, "lowered_since", lambda *_: None)
    # But for the last bits: what came again is one program, and rounded as that is.
    np.testing.assert_allclose(found, train(body), rtol=1e-5, atol=1e-6)


def test_what_went_before_and_was_not_kept_is_not_known():
    w = torch.from_numpy(W)
    for _ in range(3):  # the first time tells that the graph leads on
        x = torch.from_numpy(W[:2])
        for _ in range(3):
            y = x @ w
            x = torch.tanh(y)
            del y
            assert x.sum() < 100
    trace = state.trace
    there = {v.idx for v in trace.computed.values} | set(trace.leaves.values())
    gone = set(range(trace.cur.n)) - there
    assert gone
    assert lowered_since(trace, steps_since(trace), [min(gone)]) is None
    assert lowered_since(trace, steps_since(trace), [max(there)]) is not None


def loop(times, then=torch.tanh):
    """Iterations that a value is read after, and what comes after them."""
    w, x = torch.from_numpy(W), torch.from_numpy(W[:2])
    for _ in range(times):
        x = torch.tanh(x @ w)
        assert x.sum() < 100
    y = then(x)
    flush()
    return y.tolist()


@pytest.fixture
def planned(monkeypatch):
    """What was planned since it was cleared: reads, and what was run at last."""
    plans = []
    init = Plan.__init__

    def noted(self, *args, **kwargs):
        plans.append(self)
        init(self, *args, **kwargs)

    monkeypatch.setattr(Plan, "__init__", noted)
    return plans


def test_a_loop_that_goes_on_further_than_ever_is_planned_once(planned):
    for _ in range(4):
        loop(3)
    planned.clear()
    loop(6)
    assert planned
    planned.clear()
    loop(6)
    assert not planned


def test_of_ways_on_that_never_come_again_a_few_enter():
    for _ in range(4):
        loop(3)
    known = []
    for k in range(20):
        loop(3, lambda x, k=k: torch.roll(x, k, 0).sin())
        known.append(lazy_trie.steps)
    assert known[0] < known[3] == known[-1]


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda new, x: (new - x).square().sum(), False),  # the difference is as quickly computed
        (lambda new, x: (new @ x.T).square().sum(), True),  # as the product is not
        (lambda new, x: (new @ x.T + 1).square().sum(), True),  # nor what is made of that
    ],
)
@pytest.mark.parametrize("penalty", [0.0, 0.5])
def test_what_is_quickly_computed_again_is_not_kept_for_a_backward(
    change, kept, penalty, monkeypatch
):
    """Of the square that is looked at, backward reads the root."""
    w = torch.from_numpy(W.copy()).requires_grad_()

    def step():
        x, total = torch.from_numpy(W[:2]), torch.tensor(0.0)
        for _ in range(4):
            new = torch.tanh(x @ w)
            seen = change(new, x)
            assert seen < 1e4
            total, x = total + penalty * seen, new
        there = state.trace.computed
        w.grad = None
        (x.sum() + total).backward()
        return there and len(there.values), w.grad.numpy()

    for _ in range(3):  # the first time tells that the graph leads on
        n, found = step()
    monkeypatch.setattr(torch.config, "policy", "interpret")
    np.testing.assert_allclose(found, step()[1], rtol=1e-5, atol=1e-6)
    # State, input of its tanh, what is looked at, and the comparison; the product and the sum from
    # the second iteration on.
    assert n == 4 * (4 + kept) + 3
