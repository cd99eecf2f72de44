"""The gradients that a compiled step leaves: new at every call, in memory that nobody else sees."""

import importlib

import jax.numpy as jnp
import numpy as np
import pytest

import dynjax as torch
from dynjax import nn

pack = importlib.import_module("dynjax.engine.pack")

# One weight is too large to leave joined with the others.
LARGE = (pack._MOST // 16 + 1, 16)


class Training:
    """A model, its compiled step, and the same step run operation by operation beside it."""

    def __init__(self, seed=0):
        self.models = []
        for _ in range(2):
            torch.manual_seed(seed)
            self.models.append(
                nn.Sequential(nn.Linear(LARGE[1], LARGE[0]), nn.Tanh(), nn.Linear(LARGE[0], 2))
            )
        self.step = torch.compile(self._step(self.models[0]))
        self.plain = self._step(self.models[1])
        self.count = 0
        for _ in range(3):
            self()

    def _step(self, model):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.5)

        def step(x):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        return step

    def __call__(self):
        self.count += 1
        x = np.linspace(-1, self.count / 4, 3 * LARGE[1], dtype=np.float32)
        x = torch.from_numpy(x.reshape(3, LARGE[1]))
        assert self.step(x).item() == pytest.approx(self.plain(x).item(), rel=1e-5)

    def params(self):
        return list(self.models[0].parameters())

    def expected(self):
        return [p.grad.numpy().copy() for p in self.models[1].parameters()]

    def check(self):
        for p, grad in zip(self.params(), self.expected(), strict=True):
            np.testing.assert_allclose(p.grad.numpy(), grad, rtol=1e-4, atol=1e-7)


def test_they_are_those_of_the_last_call():
    training = Training()
    for k in range(8):
        training()
        if k % 3:
            training.check()


def test_they_stay_the_same_tensors_in_the_same_memory():
    training = Training()
    grad = training.params()[0].grad
    known, pointer = id(grad), grad._v.array.unsafe_buffer_pointer()
    del grad
    for _ in range(3):
        training()
        now = training.params()[0].grad
        assert (id(now), now._v.array.unsafe_buffer_pointer()) == (known, pointer)
        del now
    training.check()


HELD = {
    "the tensor": lambda grad: (grad, grad.numpy),
    "its detached self": lambda grad: ((d := grad.detach()), d.numpy),
    "a view": lambda grad: ((v := grad.reshape(-1)), v.numpy),
    "a result": lambda grad: ((d := grad * 2), lambda: d.numpy() / 2),
    "an array": lambda grad: ((a := grad.numpy()), lambda: a),
    "NumPy's view of it": lambda grad: ((a := grad.numpy()[:1]), lambda: a),
    "JAX's array": lambda grad: ((a := jnp.asarray(grad)), lambda: np.asarray(a)),
    "a row": lambda grad: ((r := grad[0]), r.numpy),
}


@pytest.mark.parametrize("hold", HELD)
@pytest.mark.parametrize("which", [0, 1], ids=["alone", "joined"])
def test_what_somebody_holds_stays(hold, which):
    training = Training()
    for _ in range(2):  # once held, and once more
        held, read = HELD[hold](training.params()[which].grad)
        before = read().copy()
        for _ in range(3):
            training()
            np.testing.assert_array_equal(read(), before)
            training.check()
        del held
        training()
        training.check()


def test_one_that_a_graph_needs_stays():
    training = Training()
    w = torch.ones(LARGE, requires_grad=True)
    product = (w * training.params()[0].grad).sum()
    before = training.params()[0].grad.numpy().copy()
    training()
    training.check()
    product.backward()
    np.testing.assert_array_equal(w.grad.numpy(), before)


def test_written_to_or_replaced_between_calls():
    training = Training()
    first, second, *_ = training.params()
    first.grad.zero_()
    training()
    training.check()
    second.grad = torch.ones_like(second)
    training()
    training.check()
    first.grad.add_(1)
    second.grad = None
    training()
    training.check()


def test_gradients_that_accumulate_are_read_and_left():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    micro = torch.compile(lambda x: model(x).sum().backward())
    x = torch.ones(4, 3)
    for k in range(6):
        micro(x)
        np.testing.assert_allclose(model.weight.grad.numpy(), np.full((2, 3), 4.0 * (k + 1)))
    kept = model.bias.grad
    micro(x)
    np.testing.assert_allclose(model.bias.grad.numpy(), np.full(2, 28.0))
    assert kept is model.bias.grad or kept.numpy()[0] == 24.0


def test_gradients_that_are_read_are_gone():
    torch.manual_seed(0)
    models = [nn.Linear(3, 2), nn.Linear(3, 2)]
    models[1].load_state_dict(models[0].state_dict())

    def step_of(model):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step(x):
            loss = model(x).square().sum()
            loss.backward()
            optimizer.step()
            return loss

        return step

    steps = torch.compile(step_of(models[0])), step_of(models[1])
    x = torch.from_numpy(np.ones((4, 3), np.float32))
    for k in range(9):
        a, b = (step(x).item() for step in steps)
        assert a == pytest.approx(b, rel=1e-5)
        if k % 3 == 2:
            for model in models:
                model.zero_grad()
        if k == 4:
            for model in models:
                model.bias.grad = None
