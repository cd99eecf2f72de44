"""What runs once, one after another, is one part; what varies runs by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynjax
from dynjax import nn
from dynjax.engine import joining
from dynjax.engine.joining import joined
from dynjax.engine.kernel import Kernel
from dynjax.engine.parts import Part
from dynjax.engine.units import Unit

VECTOR = jax.ShapeDtypeStruct((3,), np.float32)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    for name, empty in (("_forms", {}), ("_joined", set()), ("_apart", set())):
        monkeypatch.setattr(joining, name, empty)


def part_of(name, fn, n_inputs=1, n_floats=0):
    kernel = Kernel(name, (name,), lambda *a: (fn(*a),), [VECTOR] * n_inputs, [float] * n_floats)
    numbers = tuple([(True, j) for j in range(n_floats)])
    return Part(((kernel, tuple(range(n_inputs)), numbers),), n_inputs, n_floats, 0)


SIN = part_of("sin", jnp.sin)
SCALED = part_of("scaled", lambda x, k: x * k.astype(x.dtype), 1, 1)
ADD = part_of("add", jnp.add, 2)


def use(part, inputs, result, floats=(), at=0):
    return part, Unit(tuple(inputs), [result], tuple(floats), (), at)


def chain():
    """sin(place 5) -> 9, its product with number 7 -> 10, the sum of both and of place 4 -> 12."""
    return [
        use(SIN, [5], 9, at=3), use(SCALED, [9], 10, [7], at=4),
        use(ADD, [9, 10], 11, at=6), use(ADD, [4, 11], 12, at=8),
    ]  # fmt: skip


def test_one_part_computes_what_they_all_do():
    part, unit = joined(chain())
    assert (unit.inputs, unit.results, unit.floats, unit.at) == ((5, 4), [9, 10, 11, 12], (7,), 3)
    x, y = np.float32([0.1, 0.2, 0.3]), np.float32([1, 2, 3])
    found = part.function((0, 3))(x, y, np.array([0.5]))
    np.testing.assert_allclose(found[0], np.sin(x), rtol=1e-6)
    np.testing.assert_allclose(found[1], np.sin(x) * 1.5 + y, rtol=1e-6)


def test_the_same_elsewhere_is_the_same_part():
    (first, _), (again, unit) = joined(chain()), joined([
        use(SIN, [0], 20), use(SCALED, [20], 21, [1]), use(ADD, [20, 21], 22), use(ADD, [2, 22], 23)
    ])  # fmt: skip
    assert again is first
    assert (unit.inputs, unit.results, unit.floats) == ((0, 2), [20, 21, 22, 23], (1,))


def test_what_is_connected_otherwise_runs_by_itself_from_then_on():
    assert joined(chain()) is not None
    assert joined(chain()[:3]) is None
    assert joined(chain()) is not None  # there is a program for that
    assert joined([use(SIN, [0], 1), use(part_of("new", jnp.cos), [1], 2)]) is None


def test_what_ran_by_itself_goes_on_to():
    assert joined(chain()[:1]) is None
    assert joined(chain()) is None


def test_long_rows_are_not_joined():
    assert joined([use(part_of(f"sin{k}", jnp.sin), [k], k + 1) for k in range(65)]) is None


class Pairs(nn.Module):
    """Many small cells, then something that runs once."""

    def __init__(self):
        super().__init__()
        dynjax.manual_seed(0)
        self.cell, self.head = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, xs, tail):
        hs = [dynjax.tanh(self.cell(x)) for x in xs]
        hs = [dynjax.tanh(self.cell(h * 0.5)) for h in hs]
        y = self.head(dynjax.stack(hs))
        for _ in range(tail):
            y = y.sin()
        return y.square().mean()


def test_a_head_is_compiled_as_one():
    model, xs = Pairs(), [dynjax.full((3,), 0.1 * k) for k in range(16)]
    with dynjax.batching(True), dynjax.explain() as compiles:
        loss = model(xs, 2)
        loss.backward()
        found = [loss.item(), *[p.grad.numpy().copy() for p in model.parameters()]]
    assert any("stack to stack_backward" in str(one) for one in compiles)
    weights = [p.detach().numpy() for p in model.parameters()]

    def by_jax(weights):
        w, b, head, bias = weights
        h = jnp.tanh(jnp.stack([jnp.full(3, 0.1 * k) for k in range(16)]) @ w.T + b)
        h = jnp.tanh(h * 0.5 @ w.T + b)
        return jnp.square(jnp.sin(jnp.sin(h @ head.T + bias))).mean()

    value, grads = jax.value_and_grad(by_jax)(weights)
    for one, other in zip(found, [value, *grads], strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


def test_heads_of_any_length_come_to_few_programs():
    model, xs = Pairs(), [dynjax.full((3,), 0.1 * k) for k in range(16)]
    counts = []
    with dynjax.batching(True):
        for tail in range(1, 7):
            with dynjax.explain() as compiles:
                model.zero_grad()
                model(xs, tail).backward()
                model.cell.weight.grad.numpy()
            counts.append(len(compiles))
    assert counts[0] > 0 and counts[2:] == [0] * 4
