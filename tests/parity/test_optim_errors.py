"""Optimizers against PyTorch's: what is refused, of what is warned, in which words."""

import pytest

torch = pytest.importorskip("torch")

from torch.testing._internal import common_optimizers  # noqa: E402

from dynjax import optim  # noqa: E402
from tests.parity.optimizers import (  # noqa: E402
    INFOS,
    nested,
    ours,
    outcome,
)


def error_inputs():
    for name, info in INFOS.items():
        for entry in info.optim_error_inputs_func("cpu", torch.float32):
            given = entry.optimizer_error_input
            steps = entry.error_on is common_optimizers.OptimizerErrorEnum.STEP_ERROR
            yield pytest.param(name, given, steps, id=f"{name}-{given.desc}".replace(" ", "_"))


@pytest.mark.parametrize(("name", "given", "steps"), list(error_inputs()))
def test_errors(name, given, steps):
    params = given.params
    if params is None:
        params = [torch.nn.Parameter(torch.randn(2, 3))]
    made: dict = {}

    def convert(value):
        # One tensor twice stays one tensor.
        if isinstance(value, torch.Tensor):
            return made.setdefault(id(value), ours(value))
        return nested(convert, value)

    mine = convert(params)

    def use(module, params, options):
        optimizer = getattr(module, name)(params, **options)
        if steps:
            for param in params:
                param.grad = param.detach()
            optimizer.step()

    expected = outcome(lambda: use(torch.optim, params, given.kwargs))
    assert expected
    assert outcome(lambda: use(optim, mine, ours(given.kwargs))) == expected
