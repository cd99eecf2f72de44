"""Small gradients leave a program joined, and nobody notices."""

import threading

import jax
import numpy as np

import dynjax
from dynjax import nn
from dynjax.engine.pack import Pack, Vectors
from dynjax.optim import SGD


def trained():
    """A model after a step, its gradients kept and not looked at."""
    dynjax.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.Linear(2, 1))
    optimizer = SGD(model.parameters(), lr=0.0)
    loss = model(dynjax.ones(5, 3)).square().sum()
    loss.backward()
    optimizer.step()
    return model, loss


def expected():
    dynjax.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.Linear(2, 1))
    with dynjax.eager():
        model(dynjax.ones(5, 3)).square().sum().backward()
    return [p.grad.numpy() for p in model.parameters()]


def test_gradients_are_taken_apart_when_looked_at():
    model, _ = trained()
    grads = [p.grad for p in model.parameters()]
    assert all(type(g._v.trace) is Pack for g in grads)
    for g, e in zip(grads, expected(), strict=True):
        np.testing.assert_allclose(g.numpy(), e, rtol=1e-6)
        assert g._v.trace is None


def test_joined_gradients_are_added_to():
    model, _ = trained()
    model(dynjax.ones(5, 3)).square().sum().backward()
    for p, e in zip(model.parameters(), expected(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), 2 * e, rtol=1e-6)


def test_joined_gradients_outlive_the_model():
    model, _ = trained()
    grad = model[0].weight.grad
    del model
    np.testing.assert_allclose(grad.numpy(), expected()[0], rtol=1e-6)


def test_threads_may_look_at_one_gradient():
    model, _ = trained()
    grad, seen = model[0].weight.grad, []
    start = threading.Barrier(4)

    def look():
        start.wait()
        seen.append(grad.numpy())

    threads = [threading.Thread(target=look) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(seen) == 4
    for s in seen:
        np.testing.assert_allclose(s, expected()[0], rtol=1e-6)


def test_numbers_that_stay_the_same_are_sent_once():
    vectors = Vectors()
    first, second = vectors.of([0.5], [1, 2]), vectors.of([0.5], [1, 2])
    assert [type(v) for v in first] == [np.ndarray] * 2
    assert all(isinstance(v, jax.Array) for v in second)
    assert [str(v.dtype) for v in second] == ["float64", "int64"]
    assert all(a is b for a, b in zip(vectors.of([0.5], [1, 2]), second, strict=True))
    floats, ints = vectors.of([0.5], [1, 3])
    np.testing.assert_array_equal(floats, [0.5])
    np.testing.assert_array_equal(ints, [1, 3])
