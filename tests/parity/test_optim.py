"""Optimizers and schedulers against PyTorch's: trajectories, checkpoints, printed forms, errors."""

import copy
import warnings

import ml_dtypes
import numpy as np
import pytest

torch = pytest.importorskip("torch")
common_optimizers = pytest.importorskip("torch.testing._internal.common_optimizers")

import dynjax  # noqa: E402
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
    pair.step(3 if name == "LBFGS" else 10)
    pair.check()


def test_every_optimizer_is_here():
    missing = set(torch.optim.__all__) - set(optim.__all__)
    # Sparse gradients; a swap of state for PyTorch's distributed checkpoints.
    assert missing == {"SparseAdam", "swap_in_optimizer_params_and_state"}


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


@pytest.mark.parametrize(
    ("name", "options"), [*MORE, *OTHERS, ("LBFGS", {"lr": 0.1, "max_iter": 4})]
)
def test_checkpoints_go_both_ways(name, options):
    pair = Pair(name, **options)
    pair.step(3)
    assert structure(pair.ours.state_dict()) == structure(pair.theirs.state_dict())

    # Each side goes on from the other's parameters and state.
    other = Pair(name, seed=1, **options)
    for mine, torchs, new_mine, new_torchs in zip(pair.mine, pair.torchs, other.mine, other.torchs):
        new_mine.data = from_host(to_numpy(torchs))
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
    if isinstance(value, dict) and "prev_loss" in value:  # of LBFGS
        value = {**value, "prev_loss": type(value["prev_loss"])}
        value.pop("al", None)  # PyTorch's scratch list
    if isinstance(value, (Tensor, torch.Tensor)):
        return str(value.dtype).rpartition(".")[2], tuple(value.shape)
    return nested(structure, value)


@pytest.mark.parametrize(
    ("name", "options"), [*MORE, *OTHERS, ("LBFGS", {"lr": 0.1, "max_iter": 4})]
)
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
