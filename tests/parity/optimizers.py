"""Optimizers of PyTorch and of dynjax side by side, for the tests of both."""

import warnings

import ml_dtypes
import numpy as np
import torch
from torch.testing._internal import common_optimizers

from dynjax import optim
from dynjax.tensor.tensor import Tensor, from_host

INFOS = {
    info.optim_cls.__name__: info
    for info in common_optimizers.optim_db
    if hasattr(optim, info.optim_cls.__name__)
}
SHAPES = [(3, 4), (4,), (), (3, 4)]
MATRICES = [(3, 4), (4, 3), (3, 4)]


def ours(value):
    """PyTorch's tensors in a nested value as dynjax's."""
    if isinstance(value, torch.Tensor):
        host = to_numpy(value)
        if value.dtype == torch.bfloat16:
            host = host.astype(ml_dtypes.bfloat16)
        tensor = from_host(host)
        return tensor.requires_grad_() if value.requires_grad else tensor
    return nested(ours, value)


def theirs(value):
    """Dynjax's tensors in a nested value as PyTorch's."""
    if isinstance(value, Tensor):
        return torch.from_numpy(np.array(value.detach().numpy()))
    return nested(theirs, value)


def nested(function, value):
    if isinstance(value, dict):
        return {key: function(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(function, value))
    return value


def to_numpy(tensor):
    tensor = tensor.detach()
    if isinstance(tensor, torch.Tensor):
        wide = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        return wide.numpy().copy()
    host = np.array(tensor.numpy())
    return host.astype(np.float32) if host.dtype == ml_dtypes.bfloat16 else host


TOLERANCES = {
    torch.float64: 1e-12,
    torch.complex128: 1e-12,
    torch.float32: 2e-6,
    torch.complex64: 2e-6,
    # PyTorch's own kernels differ by one unit in the last place between vector and scalar code.
    torch.float16: 4e-3,
    torch.bfloat16: 4e-2,
}


def assert_close(mine, torchs, tolerance=None):
    assert mine.dtype.name == str(torchs.dtype).removeprefix("torch.")
    assert tuple(mine.shape) == tuple(torchs.shape)
    tolerance = tolerance or TOLERANCES[torchs.dtype]
    np.testing.assert_allclose(to_numpy(mine), to_numpy(torchs), rtol=tolerance, atol=tolerance)


def bowl(params):
    """A loss whose curvature differs from element to element, with its gradient."""
    loss = 0
    for k, param in enumerate(params):
        param.grad = None
        flat = param.reshape(-1)
        loss = loss + ((flat - k) ** 2).sum() + (flat * flat).sum() ** 2 / 9
    loss.backward()
    return loss


class Pair:
    """The same parameters in an optimizer of each kind."""

    def __init__(self, name, dtypes=None, shapes=None, seed=0, **options):
        torch.manual_seed(seed)
        shapes = shapes or (MATRICES if name == "Muon" else SHAPES)
        if name == "LBFGS":  # whose number of iterations hangs on the last digits
            dtypes = [torch.float64] * len(shapes)
        dtypes = dtypes or [torch.float32] * len(shapes)
        self.torchs = [
            torch.nn.Parameter(torch.randn(shape, dtype=dtype))
            for shape, dtype in zip(shapes, dtypes)
        ]
        self.mine = ours(self.torchs)
        if options.get("differentiable"):  # leaves are refused
            self.torchs = [param.clone() for param in self.torchs]
            self.mine = [param.clone() for param in self.mine]
        self.theirs = getattr(torch.optim, name)(self.torchs, **options)
        self.ours = getattr(optim, name)(self.mine, **ours(options))

    def step(self, times=1, has_grad=lambda step, index: True):
        for step in range(times):
            for i, (mine, torchs) in enumerate(zip(self.mine, self.torchs)):
                torchs.grad = mine.grad = None
                if has_grad(step, i):
                    torchs.grad = torch.randn_like(torchs.detach())
                    mine.grad = ours(torchs.grad)
            if isinstance(self.theirs, torch.optim.LBFGS):
                self.theirs.step(lambda: bowl(self.torchs))
                self.ours.step(lambda: bowl(self.mine))
            else:
                self.theirs.step()
                self.ours.step()

    def check(self):
        if isinstance(self.theirs, torch.optim.LBFGS):
            # Its state lies with the first parameter, and has no order.
            (state,), (expected,) = self.ours.state.values(), self.theirs.state.values()
            assert state.keys() - {"al"} == expected.keys() - {"al"}
            assert state["n_iter"] == expected["n_iter"]
            assert state["func_evals"] == expected["func_evals"]
            for mine, torchs in zip(self.mine, self.torchs):
                assert_close(mine, torchs, 1e-9)
            return
        # Muon computes its directions in bfloat16, by iterations that multiply an error by 3.
        lr = float(self.theirs.param_groups[0]["lr"])
        tolerance = 20 * lr * 2**-6 if type(self.theirs) is torch.optim.Muon else None
        for mine, torchs in zip(self.mine, self.torchs):
            assert_close(mine, torchs, tolerance)
            state = self.ours.state.get(mine, {})
            expected = self.theirs.state.get(torchs, {})
            assert list(state) == list(expected)
            for key in state:
                assert_close(state[key], expected[key])


MORE = [
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": torch.tensor([0.1]), "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("Adam", {"lr": 0.1, "betas": (0.3, 0.6), "amsgrad": True, "maximize": True}),
    ("Adam", {"lr": torch.tensor(0.1), "betas": (torch.tensor(0.9), torch.tensor([[0.99]]))}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.0, "eps": 0.1}),
]


OTHERS = [
    ("Adadelta", {"lr": 0.5, "weight_decay": 0.1}),
    ("Adafactor", {"lr": 0.1, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.1}),
    ("Adamax", {"lr": 0.1, "betas": (0.8, 0.9)}),
    ("ASGD", {"lr": 0.1, "t0": 2, "lambd": 0.1}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.5, "eps": 0.1}),
    ("Rprop", {"lr": 0.1, "etas": (0.4, 1.3), "step_sizes": (1e-3, 0.5)}),
    ("Muon", {"lr": 0.01, "adjust_lr_fn": "match_rms_adamw", "nesterov": False}),
]


def outcome(function):
    """What a call raises or warns of: the type and the words."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            function()
        except Exception as error:
            return type(error), str(error).replace("dynjax.", "torch.")
    return [(entry.category, str(entry.message)) for entry in caught]


def scheduled(cls="SGD"):
    """An optimizer of each kind with two groups."""
    options = {"momentum": 0.9} if cls == "SGD" else {}
    made = []
    for module, new in ((torch.optim, torch.zeros), (optim, lambda n: from_host(np.zeros(n)))):
        groups = [{"params": [new(1)], "lr": 0.3}, {"params": [new(1)]}]
        made.append(getattr(module, cls)(groups, lr=0.07, **options))
    return made


def group_values(optimizer):
    return [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]
