"""Averages of models against means written out."""

import numpy as np
import pytest

import dynjax
from dynjax.optim import SGD
from dynjax.optim.swa_utils import (
    SWALR,
    AveragedModel,
    get_ema_avg_fn,
    get_ema_multi_avg_fn,
    update_bn,
)
from tests.optim.helpers import numpy, parameter


def history(average, model, values):
    """Set the model's weight to each value, and take it into the average."""
    for value in values:
        with dynjax.no_grad():
            model.weight.fill_(value)
        average.update_parameters(model)
    return numpy(average.module.weight).item()


VALUES = [1.0, 4.0, -2.0, 7.0]


def test_equal_weights():
    model = dynjax.nn.Linear(1, 1)
    average = AveragedModel(model)
    assert history(average, model, VALUES) == pytest.approx(np.mean(VALUES), rel=1e-6)
    assert int(average.n_averaged) == len(VALUES)
    assert numpy(model.weight).item() == VALUES[-1]


@pytest.mark.parametrize(
    "options", [{"multi_avg_fn": get_ema_multi_avg_fn(0.9)}, {"avg_fn": get_ema_avg_fn(0.9)}]
)
def test_exponential_weights(options):
    model = dynjax.nn.Linear(1, 1)
    expected = VALUES[0]
    for value in VALUES[1:]:
        expected = 0.9 * expected + 0.1 * value
    got = history(AveragedModel(model, **options), model, VALUES)
    assert got == pytest.approx(expected, rel=1e-6)


def test_forward_uses_the_averages_and_the_state_goes_round():
    model = dynjax.nn.Linear(1, 1, bias=False)
    average, other = AveragedModel(model), AveragedModel(model)
    history(average, model, VALUES)
    other.load_state_dict(average.state_dict())
    x = dynjax.tensor([[2.0]])
    assert float(other(x)) == float(average(x)) == pytest.approx(2 * np.mean(VALUES), rel=1e-6)
    history(other, model, [5.0])
    assert numpy(other.module.weight).item() == pytest.approx(np.mean([*VALUES, 5.0]), rel=1e-6)


def test_batch_statistics():
    data = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    norm = dynjax.nn.BatchNorm1d(3)
    norm.eval()
    update_bn([dynjax.tensor(data[:4]), dynjax.tensor(data[4:])], norm)
    np.testing.assert_allclose(numpy(norm.running_mean), data.mean(0), rtol=1e-4, atol=1e-6)
    assert norm.momentum == 0.1 and not norm.training


def test_rate_on_its_way_to_a_constant_one():
    optimizer = SGD([parameter([1.0])], lr=1.0)
    scheduler = SWALR(optimizer, 0.2, anneal_epochs=4, anneal_strategy="linear")
    rates = []
    for _ in range(7):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(rates, [1.0, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2])


def test_bad_inputs():
    with pytest.raises(ValueError, match=r"Invalid decay value 2.*\[0,1\]"):
        get_ema_multi_avg_fn(2)
    with pytest.raises(AssertionError, match="Only one of avg_fn and multi_avg_fn"):
        AveragedModel(dynjax.nn.Linear(1, 1), avg_fn=max, multi_avg_fn=max)
