"""A compiled step as one program: interrupted anywhere, it has happened or it has not."""

import jax.numpy as jnp
import numpy as np
import pytest

import dynjax as torch
from dynjax import nn
from tests.interrupts import interrupted_at

OPTIMIZERS = {
    "adam": lambda params: torch.optim.Adam(params, lr=0.05),
    "momentum": lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.5),
}


def training(make):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = make(model.parameters())

    @torch.compile
    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    return model, optimizer, step


def seen(model, optimizer, grads=True):
    """Everything that a step changes."""
    found = []
    for p in model.parameters():
        found += [p.detach().numpy().copy(), *([p.grad.numpy().copy()] if grads else ())]
        found += [t.numpy().copy() for t in optimizer.state[p].values()]
    return found


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("look", [True, False], ids=["gradients read", "gradients unread"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_interrupted_at_any_line_a_step_has_happened_or_not(name, look):
    x = torch.from_numpy(np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3))
    model, optimizer, step = training(OPTIMIZERS[name])
    for _ in range(3):
        step(x)
    trajectory = [seen(model, optimizer, look)]

    def after(k):
        while len(trajectory) <= k:
            step(x)
            trajectory.append(seen(model, optimizer, look))
        return trajectory[k]

    other, its_optimizer, its_step = training(OPTIMIZERS[name])
    for _ in range(3):
        its_step(x)
    at, line, interrupted, outcomes = 0, 0, True, set()
    while interrupted:
        line += 1
        # In the loops of `_put` a signal comes between two rounds, not between two lines.
        interrupted = interrupted_at(line, lambda: its_step(x), ("compile", "optim"), ("_put",))
        now = seen(other, its_optimizer, look)
        done = not same(now, after(at))
        outcomes.add(done)
        at += done
        assert same(now, after(at)), f"neither before nor after the step, at line {line}"
    assert line > 50 and outcomes == {False, True}
    assert jnp.arange(1).dtype == jnp.int32  # JAX's settings are what they were


def test_versions_count_the_steps():
    model, _, step = training(OPTIMIZERS["adam"])
    x = torch.from_numpy(np.ones((2, 3), np.float32))
    for _ in range(3):
        step(x)
    before = [p._version for p in model.parameters()]
    for k in range(3):
        step(x)
        assert [p._version for p in model.parameters()] == [v + k + 1 for v in before]


def test_views_of_parameters_show_what_a_step_wrote():
    model, _, step = training(OPTIMIZERS["momentum"])
    x = torch.from_numpy(np.ones((2, 3), np.float32))
    weight = model[0].weight
    row, detached = weight.detach()[1], weight.detach()
    for _ in range(5):
        step(x)
        np.testing.assert_array_equal(row.numpy(), weight.detach().numpy()[1])
        np.testing.assert_array_equal(detached.numpy(), weight.detach().numpy())


HELD = {
    "an array": lambda count: ((a := count.numpy()), lambda: a, 3.0),
    "a detached tensor": lambda count: ((d := count.detach()), d.item, 5.0),
    "a clone": lambda count: ((c := count.clone()), c.item, 3.0),
    "the tensor": lambda count: (count, count.item, 5.0),
}


@pytest.mark.parametrize("hold", HELD)
def test_step_counts_that_somebody_holds(hold):
    model, optimizer, step = training(OPTIMIZERS["adam"])
    x = torch.from_numpy(np.ones((2, 3), np.float32))
    for _ in range(3):
        step(x)
    _held, read, expected = HELD[hold](optimizer.state[model[0].weight]["step"])
    step(x)
    step(x)
    assert read() == expected
    assert optimizer.state[model[0].weight]["step"].item() == 5.0
    assert optimizer.state[model[2].bias]["step"].item() == 5.0
