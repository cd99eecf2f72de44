"""Equal operations run together: the same results as one by one, and few programs."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynjax
from dynjax import nn
from dynjax.core.config import config
from dynjax.engine import batch, cold, rows
from dynjax.engine.lower import lower
from dynjax.engine.programs import in_background
from dynjax.engine.trace import state
from dynjax.interop.jax import from_function

F = nn.functional


class Tree(nn.Module):
    """A recursive network over nested pairs of word indices."""

    def __init__(self, width=4):
        super().__init__()
        dynjax.manual_seed(0)
        self.words = nn.Embedding(7, width)
        self.left, self.right = nn.Linear(width, width), nn.Linear(width, width, bias=False)

    def state(self, tree, words):
        if isinstance(tree, int):
            return words[tree]
        left, right = (self.state(child, words) for child in tree)
        return dynjax.tanh(self.left(left) + self.right(right)) * 0.9

    def forward(self, trees):
        states = []
        for tree, ids in trees:
            words = self.words(dynjax.tensor(ids)).unbind()
            states.append(self.state(tree, words))
        return dynjax.stack(states)


def forest(seed, count=14, most=7):
    draw = random.Random(seed)

    def grow(first, n):
        if n == 1:
            return first
        left = draw.randint(1, n - 1)
        return grow(first, left), grow(first + left, n - left)

    sizes = [draw.randint(2, most) for _ in range(count)]
    return [(grow(0, n), [draw.randrange(7) for _ in range(n)]) for n in sizes]


def gradients(model, trees):
    model.zero_grad()
    loss = model(trees).square().sum()
    loss.backward()
    return [loss.item(), *[p.grad.numpy().copy() for p in model.parameters()]]


def by_jax(model, trees):
    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}

    def loss(w):
        def state(tree, ids):
            if isinstance(tree, int):
                return w["words.weight"][ids[tree]]
            a, b = (state(child, ids) for child in tree)
            inner = a @ w["left.weight"].T + w["left.bias"] + b @ w["right.weight"].T
            return jnp.tanh(inner) * 0.9

        return jnp.square(jnp.stack([state(*one) for one in trees])).sum()

    value, found = jax.value_and_grad(loss)(weights)
    return [value, *[found[name] for name in weights]]


def equal(got, expected):
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


@pytest.fixture
def batched(monkeypatch):
    """The traces that ran in groups."""
    seen = []
    run = batch.Batched.run

    def watched(self, *args):
        seen.append(self)
        return run(self, *args)

    monkeypatch.setattr(batch.Batched, "run", watched)
    return seen


def test_trees_give_what_jax_grad_gives(batched):
    model = Tree()
    for seed in range(3):
        trees = forest(seed)
        equal(gradients(model, trees), by_jax(model, trees))
    assert len(batched) == 3


def test_trees_in_another_order_compile_nothing():
    model, trees = Tree(), forest(3)
    gradients(model, trees)
    for seed in range(4):
        random.Random(seed).shuffle(trees)
        with dynjax.explain() as compiles:
            gradients(model, trees)
        assert len(compiles) == 0


def test_fewer_calls_than_operations(batched):
    gradients(Tree(), forest(0))
    (plan,) = batched
    assert len(plan.uses) < 80


def test_forced_and_forbidden(batched):
    expected = [np.float32(np.sin(np.float32(2 * (0.1 * (i + 1) + 1)))) for i in range(3)]

    def rows():
        values = [dynjax.full((3,), 0.1 * (i + 1)) for i in range(3)]
        results = [(v + 1).mul(2).sin() for v in values]
        return [r[0].item() for r in results]

    with dynjax.batching(True):
        np.testing.assert_allclose(rows(), expected, rtol=1e-6)
    assert batched
    batched.clear()
    with dynjax.batching(False):
        equal(gradients(Tree(), forest(0)), by_jax(Tree(), forest(0)))
    assert not batched and config.policy == "auto"


def test_numbers_that_differ_from_operation_to_operation(batched):
    with dynjax.batching(True):
        x = dynjax.tensor([1.0, 2.0], requires_grad=True)
        parts = [(x * (0.5 + i)).exp() / (2.0 + i) for i in range(9)]
        sum(parts).sum().backward()

    def loss(x):
        return sum((jnp.exp(x * (0.5 + i)) / (2.0 + i)).sum() for i in range(9))

    np.testing.assert_allclose(x.grad.numpy(), jax.grad(loss)(jnp.array([1.0, 2.0])), rtol=1e-5)
    assert batched


def test_draws_are_those_of_the_operations_one_by_one():
    def draws():
        dynjax.manual_seed(3)
        xs = [dynjax.ones(16) * (i + 1) for i in range(5)]
        return dynjax.stack([F.dropout(x, 0.5) for x in xs]).numpy()

    with dynjax.batching(True):
        together = draws()
    with dynjax.batching(False):
        np.testing.assert_array_equal(together, draws())


def test_rows_of_a_table_that_get_no_gradient(batched):
    """Lists of different lengths, some of whose rows nobody reads, and a row for padding."""
    table = nn.Embedding(6, 3, padding_idx=0)
    ids = [[1, 0, 5], [2, 2, 4, 0], [3, 1], [5, 5, 5, 0, 1], [1, 2]] * 2

    def loss(rows_of):
        kept = [rows[k] * (k + 1.0) for one in ids for rows in [rows_of(one)] for k in (0, 1)]
        return sum(r.tanh().sum() if hasattr(r, "tanh") else jnp.tanh(r).sum() for r in kept)

    with dynjax.batching(True):
        loss(lambda one: table(dynjax.tensor(one)).unbind()).backward()
        got = table.weight.grad.numpy()
    weights = jnp.array(table.weight.detach().numpy())
    expected = jax.grad(lambda w: loss(lambda one: [w[i] for i in one]))(weights)
    np.testing.assert_allclose(got, expected.at[0].set(0.0), rtol=1e-5)
    assert batched


def test_a_sum_in_the_middle_of_what_recurs(batched):
    """What adds to a sum of many gradients, and what reads it, never are one part."""

    def f(x, tanh):
        for k in range(4):
            x = tanh(x * 0.9 + 0.1 * k)
            x = sum(tanh(x * (0.1 * (i + 1))) for i in range(10)) * 0.2
        return x.sum()

    x = np.linspace(-1, 1, 3, dtype=np.float32)
    with dynjax.batching(True):
        for _ in range(2):
            t = dynjax.from_numpy(x.copy()).requires_grad_()
            f(t, dynjax.tanh).backward()
            expected = jax.grad(lambda x: f(x, jnp.tanh))(jnp.array(x))
            np.testing.assert_allclose(t.grad.numpy(), expected, rtol=1e-5)
    assert batched


def test_second_order(batched):
    def f(xs, w, tanh):
        return sum(tanh(w @ x * (i + 1.0)).sum() for i, x in enumerate(xs))

    xs = [np.linspace(-1, 1, 3, dtype=np.float32) + 0.1 * i for i in range(9)]
    w = np.eye(3, dtype=np.float32) * 0.5 + 0.1
    with dynjax.batching(True):
        t = dynjax.from_numpy(w).requires_grad_()
        (first,) = dynjax.autograd.grad(
            f(list(map(dynjax.from_numpy, xs)), t, dynjax.tanh), t, create_graph=True
        )
        first.square().sum().backward()
    grad = jax.grad(lambda w: f(xs, w, jnp.tanh))
    expected = jax.grad(lambda w: jnp.square(grad(w)).sum())(jnp.array(w))
    np.testing.assert_allclose(t.grad.numpy(), expected, rtol=2e-4)
    assert batched


def test_in_place_changes_and_views():
    def run():
        xs = [dynjax.arange(4.0) + i for i in range(6)]
        for i, x in enumerate(xs):
            x[1:3].mul_(i + 2.0)
            x.view(2, 2)[0].add_(1)
        return dynjax.stack([x.sin() for x in xs]).numpy()

    with dynjax.batching(True):
        together = run()
    with dynjax.eager():
        np.testing.assert_allclose(together, run(), rtol=1e-6)


def test_what_cannot_run_in_a_group_runs_alone():
    calls = []

    def on_host(x):
        calls.append(x.shape)
        return np.asarray(x) * 2

    def double(x):
        return jax.pure_callback(on_host, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    doubled = from_function(double)
    with dynjax.batching(True):
        xs = [dynjax.full((2,), float(i)) for i in range(4)]
        got = dynjax.stack([doubled(x + 1) for x in xs]).numpy()
    np.testing.assert_array_equal(got, [[2.0 * (i + 1)] * 2 for i in range(4)])
    assert set(calls) == {(2,)}


def test_a_failure_names_the_operation_and_its_line():
    def fail(x):
        raise ValueError("no such luck")

    def broken(x):
        return jax.pure_callback(fail, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    failing = from_function(broken)
    with dynjax.batching(True):
        others = [dynjax.ones(2) * (i + 1.5) for i in range(3)]
        bad = [failing(x) for x in others]
        with pytest.raises(RuntimeError, match=r"broken failed.*test_batch\.py"):
            dynjax.stack(bad).numpy()
        assert others[1].tolist() == [2.5, 2.5]


def test_nothing_to_be_done_together_is_refused():
    x = dynjax.ones(3)
    y = x.sin().cos().tanh()
    trace = state.trace
    lowered = lower(trace.path(), [trace.ref(y._v)]).written_out()
    with pytest.raises(batch.NotWorthIt):
        batch.Batched(lowered, cold._batch_program_of, 1.0)


@pytest.mark.parametrize(("n", "width"), [(1, 1024), (1024, 1024), (1025, 16384)])
def test_programs_are_made_for_few_widths(n, width):
    assert rows.width_of(n) == width
    assert width % rows.chunk_of(width) == 0


@pytest.mark.parametrize("n", [1, 7, 8, 9, 64, 65, 130])
def test_groups_of_any_size_give_what_their_members_give(n):
    w = (dynjax.arange(6.0) / 50).reshape(2, 3).requires_grad_()
    xs = [dynjax.arange(3.0) - k / 40 for k in range(n)]
    with dynjax.batching():
        terms = [(w @ x).tanh().sum() for x in xs]
        dynjax.stack(terms).sum().backward()
        got = w.grad.numpy()

    def total(w):
        return sum(jnp.tanh(w @ (jnp.arange(3.0) - k / 40)).sum() for k in range(n))

    expected = jax.grad(total)((jnp.arange(6.0) / 50).reshape(2, 3))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_a_group_that_runs_often_is_compiled_again_in_the_background(monkeypatch):
    monkeypatch.setattr(cold, "_HOT", 3)
    improved = []
    improve = cold.improve
    monkeypatch.setattr(cold, "improve", lambda *given: improved.append(improve(*given)))
    model, trees = Tree(6), forest(11, 5, 4)
    expected = by_jax(model, trees)
    with dynjax.batching():
        for _ in range(4):
            equal(gradients(model, trees), expected)
        in_background(int).result()
        equal(gradients(model, trees), expected)
    assert improved


def test_where_that_fails_it_is_told_and_the_group_runs_on(monkeypatch):
    def fail(*args):
        raise RuntimeError("no more memory")

    monkeypatch.setattr(cold, "_HOT", 3)
    monkeypatch.setattr(cold, "improve", fail)
    model, trees = Tree(7), forest(11, 5, 4)
    expected = by_jax(model, trees)
    with dynjax.batching(), pytest.warns(RuntimeWarning, match="no more memory"):
        for _ in range(4):
            equal(gradients(model, trees), expected)
        in_background(int).result()
        equal(gradients(model, trees), expected)
