"""Schedulers against PyTorch's: every value, bit by bit, checkpoints, warnings, errors."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dynjax import optim  # noqa: E402
from tests.parity.optimizers import (  # noqa: E402
    group_values,
    outcome,
    scheduled,
)


def utils(schedulers):
    """The module of averages that belongs to a module of schedulers."""
    return torch.optim.swa_utils if "torch" in schedulers.__name__ else optim.swa_utils


SCHEDULERS = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, [lambda t: t // 3, lambda t: 0.95**t]),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda t: 0.9 + t / 100),
    "StepLR": lambda s, o: s.StepLR(o, 3, 0.3),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [7, 2, 7], 0.3),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.3, 4),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.3, 0.7, 6),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 8, 1.5),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 7, 0.001),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2, 0.001),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, [0.5, 1.0], total_steps=25),
    "OneCycleLR linear": lambda s, o: s.OneCycleLR(
        o, 0.5, epochs=5, steps_per_epoch=5, anneal_strategy="linear", three_phase=True
    ),
    "CyclicLR": lambda s, o: s.CyclicLR(o, [0.01, 0.02], 0.3, 4, 7, base_momentum=0.7),
    "CyclicLR halved": lambda s, o: s.CyclicLR(o, 0.01, 0.3, 5, mode="triangular2"),
    "CyclicLR falling": lambda s, o: s.CyclicLR(o, 0.01, 0.3, 5, mode="exp_range", gamma=0.97),
    "CyclicLR custom": lambda s, o: s.CyclicLR(
        o, 0.01, 0.3, 5, scale_fn=lambda x: 1 / x, scale_mode="cycle", cycle_momentum=False
    ),
    "SWALR": lambda s, o: utils(s).SWALR(o, [0.01, 0.02], 7),
    "SWALR linear": lambda s, o: utils(s).SWALR(o, 0.01, 7, "linear"),
    "SWALR at once": lambda s, o: utils(s).SWALR(o, 0.01, 0),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o,
        [s.LinearLR(o, 0.1, 1.0, 4), s.ExponentialLR(o, 0.9), s.CosineAnnealingLR(o, 5)],
        [4, 9],
    ),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler(
        [s.ConstantLR(o, 0.3, 4), s.ExponentialLR(o, 0.9)], o
    ),
}


RESUMABLE = {
    "LambdaLR": lambda s, o, e: s.LambdaLR(o, lambda t: 0.95**t, e),
    "MultiplicativeLR": lambda s, o, e: s.MultiplicativeLR(o, lambda t: 0.9, e),
    "StepLR": lambda s, o, e: s.StepLR(o, 3, 0.3, e),
    "MultiStepLR": lambda s, o, e: s.MultiStepLR(o, [2, 7], 0.3, e),
    "ConstantLR": lambda s, o, e: s.ConstantLR(o, 0.3, 4, e),
    "LinearLR": lambda s, o, e: s.LinearLR(o, 0.3, 0.7, 6, e),
    "ExponentialLR": lambda s, o, e: s.ExponentialLR(o, 0.9, e),
    "PolynomialLR": lambda s, o, e: s.PolynomialLR(o, 8, 1.5, e),
    "CosineAnnealingLR": lambda s, o, e: s.CosineAnnealingLR(o, 7, 0.001, e),
    "CosineAnnealingWarmRestarts": lambda s, o, e: s.CosineAnnealingWarmRestarts(o, 3, 2, 0.001, e),
}


def loadable(scheduler):
    """A checkpoint without functions that are the scheduler's own."""
    state = scheduler.state_dict()
    parts = state.get("_schedulers")
    if parts is not None:
        state["_schedulers"] = [own_functions_left_out(part) for part in parts]
    return own_functions_left_out(state)


def own_functions_left_out(state):
    return {key: value for key, value in state.items() if key not in OWN}


# PyTorch's keep these beside the names of what they are; a weak reference in one case.
OWN = ("anneal_func", "_anneal_func")


def plain_state(scheduler):
    state = own_functions_left_out(scheduler.state_dict())
    if "_schedulers" in state:
        state["_schedulers"] = [
            {k: v for k, v in s.items() if not callable(v)} for s in state["_schedulers"]
        ]
    return state


@pytest.mark.parametrize("cls", ["SGD", "Adam"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedule(name, cls):
    """Every value of every group, bit by bit, and the scheduler's state."""
    pair = scheduled(cls)
    one, two = (
        SCHEDULERS[name](module.lr_scheduler, opt)
        for module, opt in zip((torch.optim, optim), pair)
    )
    for i in range(50 if "OneCycle" not in name else 24):
        assert one.get_last_lr() == two.get_last_lr()
        assert group_values(pair[0]) == group_values(pair[1])
        assert plain_state(one) == plain_state(two)
        for scheduler in (one, two):
            scheduler.optimizer.step()
            scheduler.step()
        if i == 11:  # each goes on from the other's checkpoint
            states = [copy.deepcopy(loadable(scheduler)) for scheduler in (one, two)]
            one.load_state_dict(states[1])
            two.load_state_dict(states[0])


@pytest.mark.parametrize("name", RESUMABLE)
@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_schedule_from_an_epoch_on(name, epoch):
    pair = scheduled()
    seen = []
    for module, opt in zip((torch.optim, optim), pair):
        for group in opt.param_groups:
            group["initial_lr"] = group["lr"]
        scheduler = RESUMABLE[name](module.lr_scheduler, opt, epoch)
        seen.append([scheduler.get_last_lr()])
        for _ in range(8):
            opt.step()
            scheduler.step()
            seen[-1].append(scheduler.get_last_lr())
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", RESUMABLE)
@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_schedule_with_epochs_given(name):
    pair = scheduled()
    seen = []
    for module, opt in zip((torch.optim, optim), pair):
        scheduler = RESUMABLE[name](module.lr_scheduler, opt, -1)
        opt.step()
        seen.append([])
        for epoch in (3, 1, 6, None, 11):
            scheduler.step(epoch)
            seen[-1].append(scheduler.get_last_lr())
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "max", "patience": 2, "cooldown": 2},
        {"threshold_mode": "abs", "threshold": 0.1, "patience": 0, "min_lr": [0.05, 0.0]},
        {"mode": "max", "threshold_mode": "abs", "factor": 0.7, "patience": 1, "eps": 0.01},
    ],
)
def test_plateau(options):
    pair = scheduled()
    one, two = (
        module.lr_scheduler.ReduceLROnPlateau(opt, **options)
        for module, opt in zip((torch.optim, optim), pair)
    )
    for metric in np.random.default_rng(0).normal(size=40).cumsum().tolist():
        one.step(metric)
        two.step(metric)
        assert group_values(pair[0]) == group_values(pair[1])
        assert one.state_dict() == two.state_dict()


def test_warnings_of_schedulers():
    def wrong_order(module, opt):
        module.lr_scheduler.StepLR(opt, 3).step()

    def overridden(module, opt):
        scheduler = module.lr_scheduler.StepLR(opt, 3)
        opt.step = lambda: None
        scheduler.step()

    def with_epoch(module, opt):
        scheduler = module.lr_scheduler.StepLR(opt, 3)
        opt.step()
        scheduler.step(3)

    def get_lr(module, opt):
        module.lr_scheduler.StepLR(opt, 3).get_lr()

    for use in (wrong_order, overridden, with_epoch, get_lr):
        one, two = (
            outcome(lambda: use(module, opt))  # noqa: B023
            for module, opt in zip((torch.optim, optim), scheduled())
        )
        assert one == two and one


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "square"},
        {"base_lr": [0.1]},
        {"max_lr": [0.1, 0.2, 0.3]},
        {"base_momentum": [0.1]},
    ],
)
def test_errors_of_cycles(options):
    given = {"base_lr": 0.1, "max_lr": 0.2, **options}
    one, two = scheduled()
    expected = outcome(lambda: torch.optim.lr_scheduler.CyclicLR(one, **given))
    assert expected
    assert outcome(lambda: optim.lr_scheduler.CyclicLR(two, **given)) == expected
