"""`dynjax.compile` against PyTorch: training trajectories, and what an OptimizedModule is."""

import numpy as np
import pytest
import torch

import dynjax


def modules(compiled=True):
    """The same model of both, with PyTorch's weights; compiled without a compiler of PyTorch's."""
    torch.manual_seed(0)

    def make(lib):
        nn = lib.nn
        return nn.Sequential(
            nn.Linear(3, 5, bias=False), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2)
        )

    theirs, ours = make(torch), make(dynjax)
    ours.load_state_dict({k: dynjax.from_numpy(v.numpy()) for k, v in theirs.state_dict().items()})
    if compiled:
        return torch.compile(theirs, backend="eager"), dynjax.compile(ours)
    return theirs, ours


OPTIMIZERS = {
    "sgd": lambda lib, p: lib.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda lib, p: lib.optim.Adam(p, lr=0.02, amsgrad=True),
    "adamw": lambda lib, p: lib.optim.AdamW(p, lr=0.02),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_a_compiled_training_step_follows_pytorchs_trajectory(make):
    theirs, ours = modules(compiled=False)

    def step_of(lib, model):
        optimizer = make(lib, model.parameters())
        schedule = lib.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)

        def step(x, y):
            optimizer.zero_grad()
            loss = lib.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return (dynjax.compile(step, fullgraph=True) if lib is dynjax else step), schedule

    (their_step, their_lr), (our_step, our_lr) = step_of(torch, theirs), step_of(dynjax, ours)
    rng = np.random.default_rng(0)
    for k in range(8):
        x, y = rng.standard_normal((6, 3), np.float32), rng.integers(0, 2, 6)
        expected = their_step(torch.from_numpy(x), torch.from_numpy(y)).item()
        got = our_step(dynjax.from_numpy(x), dynjax.from_numpy(y)).item()
        assert got == pytest.approx(expected, rel=2e-5)
        if k % 3 == 2:
            their_lr.step()
            our_lr.step()
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name].numpy(), value.numpy(), 2e-4, 1e-6)
    for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
        np.testing.assert_allclose(q.grad.numpy(), p.grad.numpy(), rtol=2e-3, atol=1e-6)


def test_an_optimized_module_has_pytorchs_names():
    theirs, ours = modules()
    assert type(ours).__name__ == type(theirs).__name__
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for listing in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        names = [n for n, _ in getattr(ours, listing)()]
        assert names == [n for n, _ in getattr(theirs, listing)()]
    assert len(ours) == len(theirs)
    assert repr(ours) == repr(theirs)


def test_an_optimized_module_shares_modes_and_attributes():
    for model in modules():
        orig = model._orig_mod
        model.eval()
        assert not orig.training and not model.training
        model.train()
        assert orig.training and orig[1].training
        model.note = 5
        assert orig.note == 5 and "note" not in model.__dict__
        del model.note
        assert not hasattr(orig, "note")
        with pytest.raises(AttributeError, match="'Sequential' object has no attribute 'nothing'"):
            model.nothing
        with pytest.raises(TypeError, match="not subscriptable"):
            model[0]


def test_an_optimized_module_computes_the_same():
    theirs, ours = modules()
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    for mode in (True, False, True):
        theirs.train(mode)
        ours.train(mode)
        a, b = torch.from_numpy(x).requires_grad_(), dynjax.from_numpy(x).requires_grad_()
        theirs(a).square().sum().backward()
        ours(b).square().sum().backward()
        np.testing.assert_allclose(b.grad.numpy(), a.grad.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "arguments",
    [{"mode": "fast"}, {"mode": "default", "options": {}}, {"model": 3}],
    ids=["mode", "mode and options", "no function"],
)
def test_bad_arguments_raise_what_pytorch_raises(arguments):
    def call(lib):
        with pytest.raises(Exception) as error:
            lib.compile(**{"model": lib.sin, **arguments})
        return error.value

    theirs, ours = call(torch), call(dynjax)
    assert type(ours) is type(theirs)
    assert str(ours).split(",")[0] == str(theirs).split(",")[0]
