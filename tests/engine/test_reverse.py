"""Groups are differentiated as groups: the same gradients as those of the whole program."""

import numpy as np
import pytest

import dynjax
from dynjax.core.config import config
from dynjax.engine import batch, executor


def chain(x, w, k):
    """A part with two results, a number, and a value that is used twice inside."""
    inner = (x @ w).tanh() * (0.5 + k)
    return inner + inner.sigmoid(), inner.cos()


def every_way(f, monkeypatch):
    """What `f` returns where all is compiled whole, and where equal parts run together."""
    results = []
    ran = []
    run = batch.Batched.run
    monkeypatch.setattr(batch.Batched, "run", lambda self, *a: ran.append(1) or run(self, *a))
    for policy in ("compile", "batch"):
        before, config.policy = config.policy, policy
        try:
            dynjax.manual_seed(0)
            w = (dynjax.arange(9.0).reshape(3, 3) / 9).requires_grad_()
            xs = [(dynjax.arange(3.0) * 0.1 - 0.03 * i).requires_grad_() for i in range(12)]
            results.append([t.detach().numpy() for t in f(w, xs)])
        finally:
            executor.flush()
            config.policy = before
    assert ran, "nothing ran in groups"
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


def both_results(w, xs):
    outs = [chain(x, w, 1.0) for x in xs]
    sum((a * b).sum() for a, b in outs).backward()
    return [w.grad, *[x.grad for x in xs]]


def one_result_of_some(w, xs):
    outs = [chain(x, w, 1.0) for x in xs]
    sum((a if i % 2 else a * b).sum() for i, (a, b) in enumerate(outs)).backward()
    return [w.grad, *[x.grad for x in xs]]


def different_numbers(w, xs):
    sum(chain(x, w, float(i))[0].sum() for i, x in enumerate(xs)).backward()
    return [w.grad, *[x.grad for x in xs]]


def deep(w, xs):
    total = 0
    for x in xs[:9]:
        for _ in range(3):
            x, y = chain(x, w, 0.1)
        total = total + (x * y).sum()
    total.backward()
    return [w.grad, *[x.grad for x in xs[:9]]]


def one_value_read_by_many(w, xs):
    shared = (xs[0] * 2).sin()
    sum((chain(x, w, 1.0)[0] * shared).sum() for x in xs[1:]).backward()
    return [w.grad, *[x.grad for x in xs]]


def leaves_inside(w, xs):
    made = []
    total = 0
    for x in xs:
        a, b = chain(x, w, 1.0)
        inside = a.detach().requires_grad_()
        made.append(inside)
        total = total + (inside.exp() * b * a.detach()).sum()
    total.backward()
    return [w.grad, *[x.grad for x in xs], *[m.grad for m in made]]


def partly_without_gradients(w, xs):
    total = 0
    for x in xs:
        with dynjax.no_grad():
            scale = chain(x, w, 1.0)[1]
        total = total + (chain(x, w, 1.0)[0] * scale).sum()
    total.backward()
    return [w.grad, *[x.grad for x in xs]]


@dynjax.compile
def cell(x, h, c, w):
    c = (x @ w).sigmoid() * c + h.sin()
    return c.tanh() * x, c


def two_states(w, xs):
    """Of one of two results of a recorded part nothing is read at the end."""
    total = 0
    for i in range(0, 12, 3):
        h = c = xs[i]
        for x in xs[i : i + 3]:
            h, c = cell(x, h, c, w)
        total = total + h.sum()
    total.backward()
    return [w.grad, *[x.grad for x in xs]]


@dynjax.compile
def with_a_steep_result(x, w):
    return (x @ w).tanh(), (x * 0).sqrt()


def steep_where_nothing_flows(w, xs):
    """Where a cotangent of zeros would be multiplied by an infinite derivative."""
    outs = [with_a_steep_result(x, w) for x in xs]
    sum(a.sum() for a, _ in outs).backward()
    assert all(x.grad.isfinite().all() for x in xs)
    return [w.grad, *[x.grad for x in xs]]


def two_backwards(w, xs):
    outs = [chain(x, w, 1.0) for x in xs]
    sum(a.sum() for a, _ in outs).backward(retain_graph=True)
    sum((b * b).sum() for _, b in outs).backward()
    return [w.grad, *[x.grad for x in xs]]


def cotangents_given(w, xs):
    outs = [chain(x, w, 1.0)[0] for x in xs]
    dynjax.autograd.backward(outs, [dynjax.arange(3.0) + i for i in range(len(outs))])
    return [w.grad, *[x.grad for x in xs]]


def looked_up(count):
    def f(w, xs):
        table = (dynjax.arange(21.0).reshape(7, 3) / 21).requires_grad_()
        total = 0
        for i in range(count):
            ids = dynjax.tensor([j % 7 for j in range(i + 1)])
            rows = dynjax.nn.functional.embedding(ids, table).unbind()
            total = total + sum(chain(row, w, 1.0)[0].sum() for row in rows)
        total.backward()
        return [w.grad, table.grad]

    f.__name__ = f"looked_up_{count}_times"
    return f


def an_update_in_the_same_program(w, xs):
    optimizer = dynjax.optim.SGD([w, *xs], lr=0.1, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        sum(chain(x, w, 1.0)[0].sum() for x in xs).backward()
        optimizer.step()
    return [w, *xs]


@pytest.mark.parametrize(
    "f",
    [
        both_results, one_result_of_some, different_numbers, deep, one_value_read_by_many,
        leaves_inside, partly_without_gradients, two_backwards, cotangents_given, looked_up(3),
        two_states, steep_where_nothing_flows, looked_up(12), an_update_in_the_same_program,
    ],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_gradients_are_those_of_the_whole_program(f, monkeypatch):
    every_way(f, monkeypatch)
