"""Schedulers against closed forms, their warnings, their state."""

import math
import warnings

import pytest

from dynjax.optim import SGD, Adam, Optimizer
from dynjax.optim import lr_scheduler as schedulers
from tests.optim.helpers import parameters


def optimizer(*rates, cls=SGD, **options):
    rates = rates or (0.1,)
    groups = [{"params": parameters((1,)), "lr": lr} for lr in rates]
    for group in groups:
        group["params"][0].grad = None
    return cls(groups, **options)


def rates(scheduler, steps=12):
    """Each group's rate at the beginning and after each step."""
    seen = [list(scheduler.get_last_lr())]
    for _ in range(steps):
        scheduler.optimizer.step()
        scheduler.step()
        assert [g["lr"] for g in scheduler.optimizer.param_groups] == scheduler.get_last_lr()
        seen.append(list(scheduler.get_last_lr()))
    return seen


CLOSED_FORMS = {
    "LambdaLR": (lambda o: schedulers.LambdaLR(o, lambda t: 1 / (1 + t)), lambda t: 1 / (1 + t)),
    "MultiplicativeLR": (
        lambda o: schedulers.MultiplicativeLR(o, lambda t: 0.5),
        lambda t: 0.5**t,
    ),
    "StepLR": (lambda o: schedulers.StepLR(o, 3, 0.5), lambda t: 0.5 ** (t // 3)),
    "MultiStepLR": (
        lambda o: schedulers.MultiStepLR(o, [2, 5, 5], 0.5),
        lambda t: 0.5 ** ((t >= 2) + 2 * (t >= 5)),
    ),
    "ConstantLR": (
        lambda o: schedulers.ConstantLR(o, 0.25, 4),
        lambda t: 0.25 if t < 4 else 1.0,
    ),
    "LinearLR": (
        lambda o: schedulers.LinearLR(o, 0.25, 0.75, 4),
        lambda t: 0.25 + 0.5 * min(t, 4) / 4,
    ),
    "ExponentialLR": (lambda o: schedulers.ExponentialLR(o, 0.9), lambda t: 0.9**t),
    "PolynomialLR": (
        lambda o: schedulers.PolynomialLR(o, 5, 2.0),
        lambda t: (1 - min(t, 5) / 5) ** 2,
    ),
    "CosineAnnealingLR": (
        lambda o: schedulers.CosineAnnealingLR(o, 5),
        lambda t: (1 + math.cos(math.pi * t / 5)) / 2,
    ),
    "CosineAnnealingWarmRestarts": (
        lambda o: schedulers.CosineAnnealingWarmRestarts(o, 4),
        lambda t: (1 + math.cos(math.pi * (t % 4) / 4)) / 2,
    ),
    "SequentialLR": (
        lambda o: schedulers.SequentialLR(
            o, [schedulers.ConstantLR(o, 0.5, 100), schedulers.ExponentialLR(o, 0.9)], [3]
        ),
        lambda t: 0.5 if t < 3 else 0.9 ** (t - 3),
    ),
    "ChainedScheduler": (
        lambda o: schedulers.ChainedScheduler(
            [schedulers.ExponentialLR(o, 0.9), schedulers.StepLR(o, 4, 0.5)]
        ),
        lambda t: 0.9**t * 0.5 ** (t // 4),
    ),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_form(name):
    make, factor = CLOSED_FORMS[name]
    seen = rates(make(optimizer(0.1, 0.02)))
    for t, (first, second) in enumerate(seen):
        assert first == pytest.approx(0.1 * factor(t), rel=1e-9, abs=1e-12)
        assert second == pytest.approx(0.02 * factor(t), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_saved_and_loaded_schedulers_go_on_the_same_way(name):
    make, _ = CLOSED_FORMS[name]
    scheduler = make(optimizer())
    rates(scheduler, 4)
    other = make(optimizer())
    other.optimizer.load_state_dict(scheduler.optimizer.state_dict())
    saved = scheduler.state_dict()
    other.load_state_dict(saved)
    assert "optimizer" not in saved
    assert scheduler.state_dict().keys() == saved.keys()
    assert rates(scheduler, 6)[1:] == rates(other, 6)[1:]


def test_resuming_needs_initial_lr():
    with pytest.raises(KeyError, match=r"'initial_lr' is not specified in param_groups\[0\]"):
        schedulers.StepLR(optimizer(), 3, last_epoch=2)
    scheduler = schedulers.StepLR(optimizer(), 3, 0.5)
    rates(scheduler, 2)
    resumed = schedulers.StepLR(scheduler.optimizer, 3, 0.5, last_epoch=2)
    assert resumed.last_epoch == 3 and resumed.get_last_lr() == [0.05]


def test_one_cycle():
    opt = optimizer(0.1, momentum=0.9)
    seen = rates(schedulers.OneCycleLR(opt, 1.0, total_steps=10, anneal_strategy="linear"), 9)
    assert seen[0] == [pytest.approx(1 / 25)]
    assert seen[2] == [pytest.approx(1.0)]
    assert seen[-1] == [pytest.approx(1 / 25 / 1e4)]
    assert opt.param_groups[0]["momentum"] == pytest.approx(0.95)
    opt.step()
    scheduler = schedulers.OneCycleLR(optimizer(0.1, cls=Adam), [1.0], epochs=2, steps_per_epoch=2)
    rates(scheduler, 4)
    assert scheduler.optimizer.param_groups[0]["betas"][1] == 0.999
    with pytest.raises(ValueError, match="Tried to step 5 times. The specified number of total"):
        scheduler.step()


def test_reduce_on_plateau():
    opt = optimizer(0.1, 0.01)
    scheduler = schedulers.ReduceLROnPlateau(opt, factor=0.5, patience=1, min_lr=[0.03, 0.0])
    seen = []
    for metric in [1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]:
        scheduler.step(metric)
        seen.append(scheduler.get_last_lr()[0])
    assert seen == [0.1, 0.1, 0.1, 0.05, 0.05, 0.03, 0.03, 0.03]
    assert not scheduler.in_cooldown
    opt.add_param_group({"params": parameters((1,))})
    scheduler.step(1.0)
    with pytest.raises(RuntimeError, match=r"\(3\) differs from when `ReduceLROnPlateau` was"):
        scheduler.step(1.0)


def test_order_of_steps():
    opt = optimizer()
    scheduler = schedulers.StepLR(opt, 3)
    with pytest.warns(UserWarning, match="Detected call of `lr_scheduler.step.*` before") as seen:
        scheduler.step()
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()
        fine = schedulers.StepLR(optimizer(), 3)
        fine.optimizer.step()
        fine.step()
    overridden = schedulers.StepLR(opt, 3)
    opt.step = lambda: None
    with pytest.warns(UserWarning, match="has been overridden after learning rate scheduler"):
        overridden.step()


def test_epochs_given_and_rates_asked():
    opt = optimizer()
    scheduler = schedulers.StepLR(opt, 3, 0.5)
    opt.step()
    with pytest.warns(UserWarning, match="The epoch parameter in `scheduler.step"):
        scheduler.step(7)
    assert scheduler.get_last_lr() == [0.1 * 0.5**2]
    with pytest.warns(UserWarning, match=r"please use `get_last_lr\(\)`"):
        scheduler.get_lr()


def test_a_users_scheduler():
    class Halving(schedulers.LRScheduler):
        def get_lr(self):
            return [base / 2**self.last_epoch for base in self.base_lrs]

    assert [r for (r,) in rates(Halving(optimizer(8.0)), 3)] == [8.0, 4.0, 2.0, 1.0]
    with pytest.raises(NotImplementedError):
        schedulers.LRScheduler(optimizer())


def test_callable_objects_are_saved():
    class Factor:
        def __init__(self, base):
            self.base = base

        def __call__(self, epoch):
            return self.base**epoch

    scheduler = schedulers.LambdaLR(optimizer(0.1, 0.1), [Factor(0.5), lambda t: 1.0])
    saved = scheduler.state_dict()
    assert saved["lr_lambdas"] == [{"base": 0.5}, None]
    other = schedulers.LambdaLR(optimizer(0.1, 0.1), [Factor(0.1), lambda t: 1.0])
    other.load_state_dict(saved)
    assert other.lr_lambdas[0].base == 0.5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda o: schedulers.StepLR(3, 3), TypeError, "int is not an Optimizer"),
        (lambda o: schedulers.LambdaLR(o, [abs]), ValueError, "Expected 2 lr_lambdas, but got 1"),
        (lambda o: schedulers.MultiplicativeLR(o, 3), TypeError, "should be a function, but got"),
        (lambda o: schedulers.ConstantLR(o, 2.0), ValueError, "expected to be between 0 and 1"),
        (lambda o: schedulers.LinearLR(o, 0), ValueError, "expected to be greater than 0 and less"),
        (lambda o: schedulers.LinearLR(o, 1, 2), ValueError, "Ending multiplicative factor"),
        (
            lambda o: schedulers.CosineAnnealingWarmRestarts(o, 0),
            ValueError,
            "Expected positive integer T_0, but got 0",
        ),
        (
            lambda o: schedulers.CosineAnnealingWarmRestarts(o, 2, 0),
            ValueError,
            "Expected integer T_mult >= 1, but got 0",
        ),
        (
            lambda o: schedulers.CosineAnnealingWarmRestarts(o, 2).step(-1),
            ValueError,
            "Expected non-negative epoch, but got -1",
        ),
        (lambda o: schedulers.OneCycleLR(o, 1.0), ValueError, "You must define either total_steps"),
        (
            lambda o: schedulers.OneCycleLR(o, 1.0, total_steps=0),
            ValueError,
            "Expected positive integer total_steps, but got 0",
        ),
        (
            lambda o: schedulers.OneCycleLR(o, [1.0], total_steps=3),
            ValueError,
            "max_lr has 1 values, param_groups has 2",
        ),
        (
            lambda o: schedulers.OneCycleLR(o, 1.0, total_steps=3, pct_start=2.0),
            ValueError,
            "Expected float between 0 and 1 pct_start, but got 2.0",
        ),
        (
            lambda o: schedulers.OneCycleLR(Optimizer(parameters((1,)), {"lr": 1.0}), 1.0, 3),
            ValueError,
            "optimizer must support momentum or beta1",
        ),
        (lambda o: schedulers.ReduceLROnPlateau(o, factor=1.0), ValueError, "Factor should be < 1"),
        (lambda o: schedulers.ReduceLROnPlateau(o, "no"), ValueError, "mode no is unknown!"),
        (lambda o: schedulers.SequentialLR(o, [], []), ValueError, "at least one scheduler"),
        (lambda o: schedulers.ChainedScheduler([]), ValueError, "at least one scheduler to be"),
        (
            lambda o: schedulers.SequentialLR(o, [schedulers.StepLR(o, 3)], [2]),
            ValueError,
            "got number of schedulers 1 and the number of milestones to be equal to 1",
        ),
        (
            lambda o: schedulers.SequentialLR(o, [schedulers.StepLR(optimizer(), 3)], []),
            ValueError,
            "expects all schedulers to belong to the same optimizer",
        ),
        (
            lambda o: schedulers.SequentialLR(o, [schedulers.ReduceLROnPlateau(o)], []),
            ValueError,
            "does not support `ReduceLROnPlateau` scheduler",
        ),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make(optimizer(0.1, 0.01))
