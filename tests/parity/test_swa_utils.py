"""Averages of models against PyTorch's."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import dynjax  # noqa: E402
from dynjax import optim  # noqa: E402
from tests.parity.optimizers import (  # noqa: E402
    assert_close,
    outcome,
    scheduled,
)


def two_models(dtype):
    models = []
    for module in (torch, dynjax):
        net = module.nn.Sequential(module.nn.Linear(3, 2), module.nn.BatchNorm1d(2))
        with module.no_grad():
            for k, param in enumerate(net.parameters()):
                param.copy_(module.arange(param.numel()).reshape(param.shape) * 0.1 + k)
        models.append(net.to(getattr(module, dtype)))
    return models


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        lambda u: {},
        lambda u: {"multi_avg_fn": u.get_swa_multi_avg_fn()},
        lambda u: {"multi_avg_fn": u.get_ema_multi_avg_fn(0.7)},
        lambda u: {"avg_fn": u.get_swa_avg_fn()},
        lambda u: {"avg_fn": u.get_ema_avg_fn(0.7)},
    ],
    ids=["default", "multi_swa", "multi_ema", "swa", "ema"],
)
def test_averaged_models(options, use_buffers, dtype):
    models = two_models(dtype)
    averages = [
        module.optim.swa_utils.AveragedModel(
            model, use_buffers=use_buffers, **options(module.optim.swa_utils)
        )
        for module, model in zip((torch, dynjax), models)
    ]
    tolerance = None
    if averages[0].multi_avg_fn and "swa" in averages[0].multi_avg_fn.__name__:
        if use_buffers:
            pytest.skip("PyTorch's refuses the integer buffer")
        tolerance = 1e-7  # PyTorch's weight is of float32
    for step in range(4):
        for module, model, average in zip((torch, dynjax), models, averages):
            model(module.arange(12, dtype=getattr(module, dtype)).reshape(4, 3) * (step + 1))
            with module.no_grad():
                for param in model.parameters():
                    param += 0.1 * (step + 1)
            average.update_parameters(model)
    theirs, mine = (average.state_dict() for average in averages)
    assert list(theirs) == list(mine)
    for key, value in theirs.items():
        if value.dtype.is_floating_point:
            assert_close(mine[key], value, tolerance)
        else:
            assert mine[key].tolist() == value.tolist()


def test_batch_statistics_computed_anew():
    data = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
    results = []
    for module, model in zip((torch, dynjax), two_models("float32")):
        batches = [(module.tensor(data[k : k + 4]), 0) for k in (0, 4, 8)]
        model.eval()
        module.optim.swa_utils.update_bn(batches, model)
        assert not model.training and model[1].momentum == 0.1
        results.append(model[1])
    assert_close(results[1].running_mean, results[0].running_mean)
    assert_close(results[1].running_var, results[0].running_var)
    assert int(results[1].num_batches_tracked) == int(results[0].num_batches_tracked)


@pytest.mark.parametrize(
    "use",
    [
        lambda o, u: u.get_ema_multi_avg_fn(1.5),
        lambda o, u: u.get_ema_avg_fn(-0.5),
        lambda o, u: u.SWALR(o, 0.1, anneal_strategy="cubic"),
        lambda o, u: u.SWALR(o, 0.1, anneal_epochs=-1),
        lambda o, u: u.SWALR(o, [0.1]),
        lambda o, u: u.SWALR(None, 0.1),
        lambda o, u: u.AveragedModel(None, avg_fn=max, multi_avg_fn=max),
    ],
)
def test_errors_of_averages(use):
    one, two = scheduled()
    expected = outcome(lambda: use(one, torch.optim.swa_utils))
    assert expected
    assert outcome(lambda: use(two, optim.swa_utils)) == expected
