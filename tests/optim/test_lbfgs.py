"""LBFGS on problems whose solution is known."""

import numpy as np
import pytest

import dynjax
from dynjax.optim import LBFGS
from tests.optim.helpers import numpy, parameter


def minimized(loss, params, steps=1, **options):
    optimizer = LBFGS(params, **options)

    def closure():
        optimizer.zero_grad()
        value = loss(*params)
        value.backward()
        return value

    for _ in range(steps):
        optimizer.step(closure)
    return optimizer


def test_a_quadratic_is_solved():
    a = np.diag([1.0, 10.0, 100.0]) + 0.5
    b = np.array([1.0, 2.0, 3.0])
    matrix, vector = dynjax.tensor(a), dynjax.tensor(b)
    x = parameter(np.zeros(3), np.float64)
    options = {"line_search_fn": "strong_wolfe", "tolerance_change": 0}
    minimized(lambda x: x @ matrix @ x / 2 - vector @ x, [x], steps=2, **options)
    np.testing.assert_allclose(numpy(x), np.linalg.solve(a, b), rtol=1e-6)


@pytest.mark.parametrize("history_size", [2, 100])
def test_rosenbrocks_valley(history_size):
    """Its minimum is at (1, 1); the two coordinates are parameters of their own."""
    x, y = parameter([-1.2], np.float64), parameter(1.0, np.float64)
    minimized(
        lambda x, y: (100 * (y - x * x) ** 2 + (1 - x) ** 2).sum(),
        [x, y],
        steps=6,
        tolerance_change=0,
        history_size=history_size,
        line_search_fn="strong_wolfe",
    )
    np.testing.assert_allclose([numpy(x)[0], numpy(y)], [1, 1], rtol=1e-5)


def test_a_complex_parameter():
    z = parameter([1.0 + 1.0j], np.complex128)
    goal = dynjax.tensor([3.0 - 2.0j], dtype=dynjax.complex128)
    minimized(lambda z: ((z - goal) * (z - goal).conj()).real.sum(), [z], steps=2)
    np.testing.assert_allclose(numpy(z), [3 - 2j], rtol=1e-6)


def test_few_programs_for_a_growing_history():
    x = parameter(np.linspace(-1, 2, 6), np.float64)

    def loss(x):
        return ((x - 1) ** 4).sum() + ((x[1:] - x[:-1]) ** 2).sum()

    optimizer = minimized(loss, [x], lr=0.2, max_iter=7)  # up to the second size
    with dynjax.explain() as log:
        optimizer.step(lambda: _again(optimizer, loss, x))
    assert len(optimizer.state[x]["old_dirs"]) > 10
    assert len(log) < 5


def _again(optimizer, loss, x):
    optimizer.zero_grad()
    value = loss(x)
    value.backward()
    return value


def test_the_closure_is_called_no_more_than_allowed():
    x = parameter(np.array([5.0]), np.float64)
    optimizer = minimized(lambda x: (x**4).sum(), [x], lr=0.01, max_iter=50, max_eval=3)
    assert optimizer.state[x]["func_evals"] == 3


def test_bad_inputs():
    x, y = parameter([1.0]), parameter([2.0])
    with pytest.raises(ValueError, match="doesn't support per-parameter options"):
        LBFGS([{"params": [x]}, {"params": [y]}])
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        LBFGS([x], lr=-1)
    with pytest.raises(RuntimeError, match="only 'strong_wolfe' is supported"):
        minimized(lambda x: (x * x).sum(), [x], line_search_fn="armijo")
