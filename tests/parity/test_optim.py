"""Optimizers and schedulers against PyTorch's: trajectories, checkpoints, printed forms, errors."""

import copy
import warnings

import ml_dtypes
import numpy as np
import pytest

torch = pytest.importorskip("torch")
common_optimizers = pytest.importorskip("torch.testing._internal.common_optimizers")

from dynjax import optim  # noqa: E402
from dynjax.tensor.tensor import Tensor, from_host  # noqa: E402

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


class Pair:
    """The same parameters in an optimizer of each kind."""

    def __init__(self, name, dtypes=None, shapes=None, seed=0, **options):
        torch.manual_seed(seed)
        shapes = shapes or (MATRICES if name == "Muon" else SHAPES)
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
            self.theirs.step()
            self.ours.step()

    def check(self):
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


def inputs():
    for name, info in INFOS.items():
        for entry in info.optim_inputs_func("cpu"):
            for flags in [{}, *({flag: True} for flag in info.supported_impls)]:
                tensor_lr = isinstance(entry.kwargs.get("lr"), torch.Tensor)
                if tensor_lr and flags.get("foreach") and name != "SGD":
                    continue
                label = f"{name}-{entry.desc}-{'-'.join(flags) or 'default'}".replace(" ", "_")
                yield pytest.param(name, {**entry.kwargs, **flags}, id=label)


MORE = [
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": torch.tensor([0.1]), "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("Adam", {"lr": 0.1, "betas": (0.3, 0.6), "amsgrad": True, "maximize": True}),
    ("Adam", {"lr": torch.tensor(0.1), "betas": (torch.tensor(0.9), torch.tensor([[0.99]]))}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.0, "eps": 0.1}),
]


@pytest.mark.parametrize(("name", "options"), [*inputs(), *MORE])
def test_trajectory(name, options):
    pair = Pair(name, **options)
    pair.step(20)
    pair.check()


@pytest.mark.parametrize(("name", "options"), MORE)
def test_trajectory_with_gradients_missing(name, options):
    pair = Pair(name, **options)
    pair.step(12, has_grad=lambda step, i: step >= i and (step * 7 + i * 3) % 4 != 1)
    pair.check()


# With Tensors as rates PyTorch computes its float64 updates from numbers rounded to float32.
@pytest.mark.parametrize(("name", "options"), [m for m in MORE if isinstance(m[1]["lr"], float)])
def test_trajectory_of_other_dtypes(name, options):
    if name != "SGD":
        options = {**options, "eps": 0.1}
    dtypes = [torch.float64, torch.complex64, torch.bfloat16, torch.float16]
    pair = Pair(name, dtypes, **options)
    pair.step(3)
    pair.check()


@pytest.mark.parametrize(("name", "options"), MORE)
def test_checkpoints_go_both_ways(name, options):
    pair = Pair(name, **options)
    pair.step(3)
    assert structure(pair.ours.state_dict()) == structure(pair.theirs.state_dict())

    # Each side goes on from the other's parameters and state.
    other = Pair(name, seed=1, **options)
    for mine, torchs, new_mine, new_torchs in zip(pair.mine, pair.torchs, other.mine, other.torchs):
        new_mine._set_host(to_numpy(torchs))
        new_torchs.data = torch.from_numpy(to_numpy(mine))
    other.ours.load_state_dict(ours(pair.theirs.state_dict()))
    other.theirs.load_state_dict(theirs(copy.deepcopy(pair.ours.state_dict())))
    other.step(3)
    other.check()
    assert structure(other.ours.state_dict()) == structure(other.theirs.state_dict())


def test_pytorchs_state_loads_as_it_is():
    pair = Pair("Adam", amsgrad=True)
    pair.step(2)
    other = Pair("Adam", amsgrad=True)
    other.step(2)
    other.ours.load_state_dict(pair.theirs.state_dict())
    other.step(2)
    other.check()


def structure(value):
    """Keys, types and shapes of a checkpoint, and its numbers."""
    if isinstance(value, (Tensor, torch.Tensor)):
        return str(value.dtype).rpartition(".")[2], tuple(value.shape)
    return nested(structure, value)


@pytest.mark.parametrize(("name", "options"), MORE)
def test_repr(name, options):
    pair = Pair(name, **options)
    assert repr(pair.ours) == repr(pair.theirs)
    pair.step()
    assert repr(pair.ours) == repr(pair.theirs)


def outcome(function):
    """What a call raises or warns of: the type and the words."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            function()
        except Exception as error:
            return type(error), str(error).replace("dynjax.", "torch.")
    return [(entry.category, str(entry.message)) for entry in caught]


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


BAD_STATES = [
    lambda s: {**s, "param_groups": []},
    lambda s: {**s, "param_groups": [{**s["param_groups"][0], "params": [0]}]},
    lambda s: {"state": {}},
]


@pytest.mark.parametrize("spoil", BAD_STATES)
def test_errors_of_load_state_dict(spoil):
    pair = Pair("Adam")
    expected = outcome(lambda: pair.theirs.load_state_dict(spoil(pair.theirs.state_dict())))
    assert expected
    assert outcome(lambda: pair.ours.load_state_dict(spoil(pair.ours.state_dict()))) == expected


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


def plain_state(scheduler):
    state = scheduler.state_dict()
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
    for _ in range(24):
        assert one.get_last_lr() == two.get_last_lr()
        assert group_values(pair[0]) == group_values(pair[1])
        assert plain_state(one) == plain_state(two)
        for scheduler in (one, two):
            scheduler.optimizer.step()
            scheduler.step()


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


@pytest.mark.parametrize("name", INFOS)
def test_tensor_rates(name):
    """A rate that is a Tensor is changed in place."""
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
