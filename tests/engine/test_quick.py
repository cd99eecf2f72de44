"""Graphs that vary: compiled quickly first, well once they have run often."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynjax
from dynjax import nn
from dynjax.core.config import config
from dynjax.engine import background, cold, quick
from dynjax.engine.programs import in_background, programs


@pytest.fixture
def compiled(monkeypatch):
    """Of every graph that was compiled whole, whether quickly."""
    found = []

    def noting(plan, donate, trace):
        program = cold_quickly(plan, donate, trace)
        found.append(program is not None)
        return program

    cold_quickly = cold.quickly
    monkeypatch.setattr(cold, "quickly", noting)
    monkeypatch.setattr(config, "padding", False)
    lately = deque(maxlen=2)
    for module in (quick, cold):
        monkeypatch.setattr(module, "lately", lately)
    return found


class Net(nn.Module):
    """Its width is like no other test's, so that nothing of it is known."""

    def __init__(self, width=11):
        super().__init__()
        self.first, self.last = nn.Linear(3, width), nn.Linear(width, 1)

    def forward(self, x):
        return self.last(dynjax.tanh(self.first(x)))


def batch(rows, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, 3)).astype(np.float32)


def trained(net, rows, start=0):
    """The losses of a step on each of some batches."""
    optimizer = dynjax.optim.SGD(net.parameters(), lr=0.1)
    losses = []
    for seed, n in enumerate(rows[start:], start):
        optimizer.zero_grad()
        loss = net(dynjax.from_numpy(batch(n, seed))).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def by_jax(net, rows):
    """The same in JAX, operation by operation."""

    def loss_of(params, x):
        hidden = jnp.tanh(x @ params["first.weight"].T + params["first.bias"])
        return jnp.square(hidden @ params["last.weight"].T + params["last.bias"]).mean()

    params = {name: jnp.array(p.numpy()) for name, p in net.state_dict().items()}
    losses = []
    for step, n in enumerate(rows):
        loss, gradients = jax.value_and_grad(loss_of)(params, batch(n, step))
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients)
        losses.append(float(loss))
    return losses


def test_other_shapes_of_the_data_are_compiled_quickly(compiled):
    net = Net()
    trained(net, [5] * 4)
    assert compiled and not any(compiled)
    compiled.clear()
    trained(net, [6, 6, 7])
    assert compiled and all(compiled)
    compiled.clear()
    trained(net, [5, 6, 7])
    assert not compiled


def test_other_parameters_are_another_model(compiled):
    trained(Net(12), [5] * 3)
    trained(Net(13), [5] * 3)
    assert compiled and not any(compiled)


def test_quick_programs_give_what_jax_gives(compiled):
    net, rows = Net(14), [5, 9, 5, 8, 9, 4, 4, 8]
    expected = by_jax(net, rows)
    np.testing.assert_allclose(trained(net, rows), expected, rtol=1e-5)
    assert True in compiled and False in compiled


def test_after_graphs_that_never_came_again_the_next_is_compiled_quickly(compiled):
    functions = [
        dynjax.sin, dynjax.cos, dynjax.tanh, dynjax.sigmoid, dynjax.exp, dynjax.neg, dynjax.abs,
        dynjax.square, dynjax.asinh, dynjax.atan, dynjax.expm1, dynjax.erf, nn.functional.softplus,
        nn.functional.silu, nn.functional.gelu, nn.functional.elu, nn.functional.celu,
        nn.functional.selu, nn.functional.relu6, nn.functional.hardtanh, nn.functional.mish,
        nn.functional.hardsigmoid, nn.functional.hardswish, nn.functional.logsigmoid,
        dynjax.sinh, dynjax.ceil, dynjax.floor,
    ]  # fmt: skip

    def graph(n):
        x = dynjax.from_numpy(np.linspace(0.1, 0.9, 31, dtype=np.float32))
        for function in functions[:n]:
            x = function(x)
        x.numpy()

    graph(25)
    graph(26)
    assert compiled == [False, False]
    graph(27)
    assert compiled[2:] == [True]


def test_graphs_that_come_again_are_no_reason_to(compiled):
    for width in (15, 16, 17):
        trained(Net(width), [5] * 6)
    assert compiled and not any(compiled)


def test_what_has_run_often_is_compiled_well_in_the_background(compiled, monkeypatch):
    monkeypatch.setattr(background, "_MANY", 4)
    improved = []

    def noting(program, plan):
        background.compile_plan(program, plan)
        improved.append(program)

    monkeypatch.setattr(quick, "compile_plan", noting)
    net, rows = Net(18), [5, 5, *([6] * 12)]
    expected = by_jax(net, rows)
    losses = trained(net, rows[:8])
    in_background(int).result()  # what was asked before it is done by now
    runs = [program.run for program in programs.programs.values()]
    assert improved and all(program.run in runs for program in improved)
    np.testing.assert_allclose(losses + trained(net, rows, 8), expected, rtol=1e-5)


def test_where_that_fails_it_is_told_once_and_runs_on(compiled, monkeypatch):
    def fail(*args):
        raise RuntimeError("no more memory")

    monkeypatch.setattr(background, "_MANY", 4)
    monkeypatch.setattr(quick, "compile_plan", fail)
    net, rows = Net(21), [5, 5, *([6] * 12)]
    expected = by_jax(net, rows)
    with pytest.warns(RuntimeWarning, match="no more memory") as warned:
        losses = trained(net, rows[:8])
        in_background(int).result()  # what was asked before it has failed by now
        losses += trained(net, rows, 8)
    assert len([w for w in warned if "no more memory" in str(w.message)]) == 1
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_one_that_cannot_be_compiled_well_goes_on_as_it_is(compiled, monkeypatch):
    def fail(*given):
        raise RuntimeError("no more memory")

    monkeypatch.setattr(background, "_MANY", 2)
    monkeypatch.setattr(quick, "compile_plan", fail)
    net, rows = Net(19), [5, 5, *([6] * 6)]
    expected = by_jax(net, rows)
    np.testing.assert_allclose(trained(net, rows), expected, rtol=1e-5)


def test_nothing_is_compiled_quickly_where_nothing_may_be_in_the_background(compiled, monkeypatch):
    monkeypatch.setattr(config, "background", False)
    trained(Net(20), [5, 6, 7, 8])
    assert compiled and not any(compiled)


def test_the_more_a_program_computes_the_sooner_it_is_compiled_well():
    assert background.often(1, 4) == 1000
    assert background.often(1, 100_000) == 40
    assert background.often(2, 400_000) == 20
    assert background.often(1, 16_000_000) == 8
