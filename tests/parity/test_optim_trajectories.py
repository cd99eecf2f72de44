"""Optimizers against PyTorch's: parameters and state after some steps."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dynjax import optim  # noqa: E402
from tests.parity.optimizers import (  # noqa: E402
    INFOS,
    MORE,
    OTHERS,
    Pair,
    ours,
    to_numpy,
)


def inputs():
    for name, info in INFOS.items():
        for entry in info.optim_inputs_func("cpu"):
            for flags in [{}, *({flag: True} for flag in info.supported_impls)]:
                tensor_lr = isinstance(entry.kwargs.get("lr"), torch.Tensor)
                if tensor_lr and flags.get("foreach") and name != "SGD":
                    continue
                label = f"{name}-{entry.desc}-{'-'.join(flags) or 'default'}".replace(" ", "_")
                yield pytest.param(name, {**entry.kwargs, **flags}, id=label)


@pytest.mark.parametrize(("name", "options"), [*inputs(), *MORE])
def test_trajectory(name, options):
    pair = Pair(name, **options)
    pair.step(3 if name == "LBFGS" else 10)
    pair.check()


def test_every_optimizer_is_here():
    missing = set(torch.optim.__all__) - set(optim.__all__)
    # Sparse gradients; a swap of state for PyTorch's distributed checkpoints.
    assert missing == {"SparseAdam", "swap_in_optimizer_params_and_state"}


@pytest.mark.parametrize(("name", "options"), [*MORE, *OTHERS])
def test_trajectory_with_gradients_missing(name, options):
    pair = Pair(name, **options)
    pair.step(12, has_grad=lambda step, i: step >= i and (step * 7 + i * 3) % 4 != 1)
    pair.check()


# With Tensors as rates PyTorch computes its float64 updates from numbers rounded to float32.
@pytest.mark.parametrize(
    ("name", "options"), [m for m in [*MORE, *OTHERS] if isinstance(m[1]["lr"], float)]
)
def test_trajectory_of_other_dtypes(name, options):
    if name == "Muon":
        pytest.skip("its directions are bfloat16 whatever the parameters are")
    if name in ("Adam", "AdamW", "NAdam", "RAdam", "Adamax"):
        options = {**options, "eps": 0.1}
    dtypes = [torch.float64, torch.complex64, torch.bfloat16, torch.float16]
    if name == "Adafactor":
        dtypes[1] = torch.float32
    pair = Pair(name, dtypes, **options)
    pair.step(3)
    pair.check()


@pytest.mark.parametrize(("name", "options"), [m for m in MORE if isinstance(m[1]["lr"], float)])
def test_schedule_and_updates_together(name, options):
    pair = Pair(name, **options)
    one = torch.optim.lr_scheduler.CosineAnnealingLR(pair.theirs, 5)
    two = optim.lr_scheduler.CosineAnnealingLR(pair.ours, 5)
    for _ in range(8):
        pair.step()
        one.step()
        two.step()
    pair.check()


@pytest.mark.parametrize("name", sorted(INFOS.keys() - {"LBFGS"}))
def test_tensor_rates(name):
    """A rate that is a Tensor is changed in place.

    Not LBFGS: PyTorch's keeps the Tensor as the length of its last step, which so changes too.
    """
    pair = Pair(name, lr=torch.tensor(0.1))
    rate = pair.ours.param_groups[0]["lr"]
    one = torch.optim.lr_scheduler.ExponentialLR(pair.theirs, 0.5)
    two = optim.lr_scheduler.ExponentialLR(pair.ours, 0.5)
    for _ in range(3):
        pair.step()
        one.step()
        two.step()
    assert pair.ours.param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(float(pair.theirs.param_groups[0]["lr"]), rel=1e-7)
    pair.check()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}),
        ("Adam", {"lr": 0.1, "weight_decay": 0.1}),
        ("Adam", {"lr": 0.1, "maximize": True}),
        ("AdamW", {"lr": 0.1, "weight_decay": 0.1}),
    ],
)
def test_differentiable_steps(name, options):
    """Backward through three updates, into the parameter, the gradient and the rate.

    Not with AMSGrad: PyTorch's overwrites what its backward needs.
    """
    results = []
    for module, convert in ((torch.optim, lambda x: x), (optim, ours)):
        torch.manual_seed(0)
        start = convert(torch.randn(3, dtype=torch.float64, requires_grad=True))
        scale = convert(torch.randn(3, dtype=torch.float64, requires_grad=True))
        lr = convert(torch.tensor(options["lr"], dtype=torch.float64, requires_grad=True))
        param = start.clone()
        given = {**options, "lr": lr, "differentiable": True}
        if name == "SGD" and module is torch.optim:
            # PyTorch's SGD saves the momentum buffer that it then overwrites.
            given["lr"] = options["lr"]
        optimizer = getattr(module, name)([param], **given)
        for k in range(3):
            param.grad = scale * (k + 1.0)
            optimizer.step()
        (param * param).sum().backward()
        results.append([param, start.grad, scale.grad] + [lr.grad] * (name != "SGD"))
    for one, two in zip(*results):
        # PyTorch's bias corrections are float32 here, as its count is.
        np.testing.assert_allclose(to_numpy(one), to_numpy(two), rtol=1e-5, atol=1e-5)
