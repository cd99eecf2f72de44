"""Mixed precision against PyTorch's: which operation computes in which type, errors, scaling."""

import pickle
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import dynjax  # noqa: E402
from dynjax.core.config import config  # noqa: E402
from dynjax.ops.precision import POLICIES  # noqa: E402
from tests.parity import opinfo  # noqa: E402
from tests.parity.optimizers import outcome  # noqa: E402

SAMPLES = 2  # of an entry
KNOWN = {
    "corrcoef": "PyTorch's is made of a product; here it stays in float32",
    "cov": "PyTorch's is made of a product; here it stays in float32",
    "linalg.pinv": "PyTorch's last product is rounded; here it stays in float32",
    "linalg.solve_ex": "PyTorch's list has solve without it",
    "nn.functional.max_pool3d": "PyTorch's list has it without indices",
    "nn.functional.pad": "PyTorch's widens for some of its modes, which only copy",
    "tensordot": "PyTorch multiplies where nothing is summed",
    "lu": "PyTorch's list has it, but not linalg's, which it is here",
}


def dtypes_of(result, kind):
    return [str(t.dtype).partition(".")[2] for t in opinfo.leaves_of(result, kind)]


def lowered(kind, old, new):
    return lambda x: x.to(new) if isinstance(x, kind) and x.dtype == old else x


LOWERED = (
    lowered(torch.Tensor, torch.float32, torch.bfloat16),
    lowered(dynjax.Tensor, dynjax.float32, dynjax.bfloat16),
)


def affected(entries):
    """Of the entries those that our lists name, and those of which autocast changes the types.

    PyTorch alone is run to find them.
    """
    named = set(POLICIES["cpu"]) | {"cross_entropy"}
    for op in entries:
        if torch.float32 not in op.dtypes or op.name == "broadcast_shapes":
            continue
        if op.name.rpartition(".")[2] in named:
            yield op
            continue
        for sample in opinfo.samples(op, torch.float32, False, SAMPLES):
            given = opinfo.prepared(sample)
            low = opinfo.tree_map(LOWERED[0], given)
            if any(differs(op, call) for call in (given, low)):
                yield op
                break


def differs(op, given):
    try:
        plain = dtypes_of(opinfo.call(op, given), torch.Tensor)
    except Exception:
        plain = None
    try:
        with torch.autocast("cpu"):
            return dtypes_of(opinfo.call(op, given), torch.Tensor) != plain
    except Exception:
        return False


@pytest.mark.parametrize("block", range(4))
def test_types_of_all_operations(block, monkeypatch):
    monkeypatch.setattr(config, "policy", "compile")
    found, wrong = set(), {}
    for op in affected(opinfo.entries()[block::4]):
        pending = []  # so that all samples of an entry run as one program
        for theirs, ours in cases(op):
            try:
                with torch.autocast("cpu"):
                    wanted = opinfo.call(op, theirs)
            except Exception:
                continue
            found.add(op.name)
            try:
                with dynjax.autocast("cpu"):
                    got = opinfo.call(opinfo.dynjax_function(op), ours)
            except Exception as error:
                wrong[op.name] = str(error)
                continue
            types = dtypes_of(got, dynjax.Tensor), dtypes_of(wanted, torch.Tensor)
            if types[0] != types[1]:
                wrong[op.name] = types
            elif op.name not in opinfo.NO_VALUES | opinfo.NOT_UNIQUE:
                pending.append((got, wanted))
        for got, wanted in pending:
            close(got, wanted)
    assert len(found) > 15
    assert wrong.keys() <= KNOWN.keys(), {k: v for k, v in wrong.items() if k not in KNOWN}


def cases(op):
    """PyTorch's arguments and dynjax's, in float32 and in bfloat16."""
    for _, theirs, ours in opinfo.pairs(op, (torch.float32,), False, SAMPLES):
        yield theirs, ours
        yield opinfo.tree_map(LOWERED[0], theirs), opinfo.tree_map(LOWERED[1], ours)


def close(got, wanted):
    """Numbers agree as far as bfloat16 tells them apart."""
    pairs = zip(opinfo.leaves_of(got, dynjax.Tensor), opinfo.leaves_of(wanted, torch.Tensor))
    for mine, torchs in pairs:
        if torchs.dtype.is_floating_point and torchs.numel():
            one = mine.to(dynjax.float64).numpy()
            two = torchs.double().numpy()
            scale = np.abs(two[np.isfinite(two)]).max(initial=1)
            np.testing.assert_allclose(one, two, rtol=0.03, atol=0.03 * scale)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_training_step(dtype):
    results = []
    for module in (torch, dynjax):
        nn = module.nn
        net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
        with module.no_grad():
            for k, param in enumerate(net.parameters()):
                values = module.arange(param.numel(), dtype=module.float32)
                param.copy_((values.reshape(param.shape) * (k + 1)).sin() / 2)
        x = module.arange(32, dtype=module.float32).reshape(2, 1, 4, 4).cos()
        with module.autocast("cpu", dtype=getattr(module, dtype)):
            out = net(x)
            loss = module.nn.functional.cross_entropy(out, module.tensor([0, 1]))
        loss.backward()
        results.append((out, loss, [param.grad for param in net.parameters()]))
    (out, loss, grads), (our_out, our_loss, our_grads) = results
    assert str(our_out.dtype).partition(".")[2] == dtype == str(out.dtype).partition(".")[2]
    assert str(our_loss.dtype) == "dynjax.float32" and loss.dtype == torch.float32
    for mine, torchs in zip([our_loss, *our_grads], [loss, *grads]):
        assert str(mine.dtype) == "dynjax.float32"
        np.testing.assert_allclose(
            mine.detach().numpy(), torchs.detach().numpy(), rtol=0.03, atol=0.02
        )


CALLS = {
    "unknown device": lambda t, a: t.autocast("foo"),
    "device no string": lambda t, a: t.autocast(3),
    "unsupported type": lambda t, a: t.autocast("cpu", dtype=t.float32)._enabled,
    "no function": lambda t, a: t.autocast("cpu")(3),
    "enabled no bool": lambda t, a: t.set_autocast_enabled("cpu", "a"),
    "cache no bool": lambda t, a: t.set_autocast_cache_enabled(1),
    "dtype none": lambda t, a: t.set_autocast_dtype("cpu", 3),
    "custom_fwd": lambda t, a: a.custom_fwd(device_type=3),
    "custom_bwd": lambda t, a: a.custom_bwd(device_type=None),
    "growth": lambda t, a: a.GradScaler("cpu", growth_factor=1.0),
    "backoff": lambda t, a: a.GradScaler("cpu", backoff_factor=1.0),
    "update first": lambda t, a: a.GradScaler("cpu").update(),
    "unscale first": lambda t, a: a.GradScaler("cpu").unscale_(None),
    "no state": lambda t, a: a.GradScaler("cpu").load_state_dict({}),
    "no tensor": lambda t, a: a.GradScaler("cpu").scale(3),
    "closure": lambda t, a: a.GradScaler("cpu").step(None, closure=max),
    "twice unscaled": lambda t, a: scaled(t, "unscale_", "unscale_"),
    "twice stepped": lambda t, a: scaled(t, "step", "step"),
    "unscaled after step": lambda t, a: scaled(t, "step", "unscale_"),
    "nothing checked": lambda t, a: scaled(t).update(),
    "update with a grad": lambda t, a: scaled(t).update(t.ones(1, requires_grad=True)),
    "update with two": lambda t, a: scaled(t).update(t.ones(2)),
    "half gradients": lambda t, a: scaled(t, "unscale_", dtype=t.float16),
}  # fmt: skip


def scaled(module, *calls, dtype=None):
    param = module.nn.Parameter(module.ones(2, dtype=dtype))
    optimizer = module.optim.SGD([param], lr=0.1)
    scaler = module.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale((param * param).sum()).backward()
    for call in calls:
        getattr(scaler, call)(optimizer)
    return scaler


@pytest.mark.parametrize("name", CALLS)
def test_errors_and_warnings(name):
    expected = outcome(lambda: CALLS[name](torch, torch.amp))
    assert expected
    got = outcome(lambda: CALLS[name](dynjax, dynjax.amp))
    if name == "unknown device":  # the list of known ones is another
        expected, got = expected[0], got[0]
    if isinstance(expected, tuple):
        expected = (expected[0], expected[1].split("\nException raised")[0])
    assert repr(got).replace("dynjax.", "torch.") == repr(expected)


def test_old_names():
    for module in (torch, dynjax):
        for name in ("is_autocast_cpu_enabled", "get_autocast_cpu_dtype", "get_autocast_gpu_dtype"):
            with pytest.warns(DeprecationWarning, match=name):
                getattr(module, name)()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("get_autocast_cpu_dtype", "get_autocast_gpu_dtype"):
            mine, torchs = getattr(dynjax, name)(), getattr(torch, name)()
            assert str(mine).partition(".")[2] == str(torchs).partition(".")[2]


@pytest.mark.parametrize("place", ["cpu", "cuda"])
def test_former_names(place):
    """`torch.cuda.amp` and `torch.cpu.amp`: warnings, defaults, what they do."""

    def use(module):
        amp = getattr(module, place).amp
        with amp.autocast() as region:
            made = module.ones(2, 2) @ module.ones(2, 2)
        scaler = amp.GradScaler(4.0, 3.0)
        scaled = scaler.scale(module.ones(1))
        return (
            str(made.dtype).partition(".")[2],
            str(region.fast_dtype).partition(".")[2],
            scaler.is_enabled(),
            scaled.item(),
            isinstance(region, module.autocast),
            isinstance(scaler, module.amp.GradScaler),
            (type(scaler).__name__, type(region).__name__),
        )

    got, expected = outcome(lambda: use(dynjax)), outcome(lambda: use(torch))
    expected = repr(expected).replace(" or torch_xla is imported", "")
    assert repr(got).replace("dynjax.", "torch.") == expected
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert use(dynjax) == use(torch)
        scaler = getattr(dynjax, place).amp.GradScaler(8.0)
        assert pickle.loads(pickle.dumps(scaler)).state_dict() == scaler.state_dict()


def test_scales_and_checkpoints():
    """Growth, overflow, left out updates; then each goes on from the other's state."""
    histories, states = [], []
    for module in (torch, dynjax):
        scaler, history = run(module, module.amp.GradScaler("cpu", 1024.0, growth_interval=2))
        histories.append(history)
        states.append(scaler.state_dict())
    np.testing.assert_allclose(histories[0], histories[1], rtol=1e-5)
    assert states[0] == states[1]
    for module, state in zip((torch, dynjax), reversed(states)):
        scaler = module.amp.GradScaler("cpu")
        scaler.load_state_dict(state)
        histories.append(run(module, scaler)[1])
    np.testing.assert_allclose(histories[2], histories[3], rtol=1e-5)


def run(module, scaler):
    params = [module.nn.Parameter(module.arange(3.0)), module.nn.Parameter(module.ones(2))]
    optimizer = module.optim.Adam(params, lr=0.1)
    history = []
    for i in range(7):
        optimizer.zero_grad()
        loss = sum(((param - i) ** 2).sum() for param in params)
        if i in (2, 5):
            loss = loss * float("inf")
        scaler.scale(loss).backward()
        if i % 2:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        values = np.concatenate([param.detach().numpy() for param in params])
        history.append([scaler.get_scale(), scaler._get_growth_tracker(), *values])
    return scaler, history


FUSED = {
    "Adam": {"amsgrad": True, "weight_decay": 0.1},
    "AdamW": {},
    "SGD": {"momentum": 0.9, "nesterov": True},
    "Adagrad": {"lr_decay": 0.1},
}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", FUSED)
def test_fused_optimizers(name, dtype):
    """They divide gradients and leave updates out themselves; hooks run all the same."""
    torchs, ours = (run_fused(module, name, dtype) for module in (torch, dynjax))
    tolerance = {"float16": 2e-3, "bfloat16": 2e-2}.get(dtype, 1e-6)
    assert len(torchs) == len(ours)
    for expected, got in zip(torchs, ours, strict=True):
        assert expected.keys() == got.keys()
        for key in expected:
            np.testing.assert_allclose(
                np.float64(got[key]), np.float64(expected[key]), rtol=tolerance, err_msg=key
            )


def run_fused(module, name, dtype):
    dtype = getattr(module, dtype)
    params = [
        module.nn.Parameter(module.arange(1.0, 4.0).to(dtype)),
        module.nn.Parameter(module.ones(2).to(dtype)),
        module.nn.Parameter(module.ones(1).to(dtype)),  # which never gets a gradient
    ]
    optimizer = getattr(module.optim, name)(params, lr=0.01, fused=True, **FUSED[name])
    scaler = module.amp.GradScaler("cpu", 16.0, growth_interval=2)
    seen, calls = [], []

    def before(optimizer, args, kwargs):
        given = optimizer.grad_scale, optimizer.found_inf
        calls.append([float("nan") if x is None else float(x) for x in given])
        calls.append(params[0].grad.tolist())

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(lambda *_: calls.append([len(calls)]))
    for i in range(6):
        optimizer.zero_grad()
        loss = sum(((param * (i + 1)).float() ** 2).sum() for param in params[:2])
        if i in (2, 5):
            loss = loss * float("inf")
        scaler.scale(loss).backward()
        if i in (3, 5) and dtype is not module.float16:
            scaler.unscale_(optimizer)
        assert scaler.step(optimizer) is None
        assert not hasattr(optimizer, "grad_scale") and not hasattr(optimizer, "found_inf")
        scaler.update()
        now = {f"param {k}": param.tolist() for k, param in enumerate(params)}
        now |= {f"grad {k}": param.grad.tolist() for k, param in enumerate(params[:2])}
        now |= {
            f"state {k} {key}": value.tolist()
            for k, param in enumerate(params[:2])
            for key, value in optimizer.state[param].items()
            if value is not None
        }
        now |= {f"call {k}": call for k, call in enumerate(calls)}
        now |= {"scale": scaler.get_scale(), "tracker": scaler._get_growth_tracker()}
        seen.append(now)
    return seen


class Divides:
    """An optimizer of one's own that takes part in scaling."""

    _step_supports_amp_scaling = True

    def __init__(self, params):
        self.param_groups = [{"params": params}]

    def step(self):
        return float(self.grad_scale), float(self.found_inf)


class Asks(Divides):
    def step(self, grad_scaler):
        return grad_scaler.get_scale()


@pytest.mark.parametrize("optimizer", [Divides, Asks])
@pytest.mark.parametrize("factor", [1.0, float("inf"), None])
def test_optimizers_of_ones_own_that_divide(optimizer, factor):
    def use(module):
        param = module.nn.Parameter(module.ones(2))
        mine = optimizer([param])
        scaler = module.amp.GradScaler("cpu", 8.0)
        loss = scaler.scale((param * (factor or 0)).sum())
        if factor is not None:
            loss.backward()
        result = scaler.step(mine)
        mine.grad_scale = 2.0
        scaler.update(4.0)
        return result, scaler.step(mine) if optimizer is Divides else None

    assert outcome(lambda: use(dynjax)) == outcome(lambda: use(torch))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert use(dynjax) == use(torch)


def flat(value):
    """Tensors of nested tuples; of a packed sequence its data."""
    if isinstance(value, (torch.Tensor, dynjax.Tensor)):
        return [value]
    if hasattr(value, "batch_sizes"):
        return [value.data]
    return [tensor for part in value for tensor in flat(part)]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("RNN", {}),
        ("GRU", {"bidirectional": True}),
        ("LSTM", {"num_layers": 2}),
        ("LSTM", {"proj_size": 2}),
    ],
)
def test_recurrent_layers(name, options, dtype, packed):
    theirs = getattr(torch.nn, name)(3, 4, **options)
    ours = getattr(dynjax.nn, name)(3, 4, **options)
    ours.load_state_dict({k: opinfo.to_dynjax(v) for k, v in theirs.state_dict().items()})
    results = []
    for lib, layer in ((torch, theirs), (dynjax, ours)):
        x = lib.linspace(-1, 1, 30).reshape(5, 2, 3).to(getattr(lib, dtype))
        if packed:
            x = lib.nn.utils.rnn.pack_padded_sequence(x, lib.tensor([5, 3]))
        try:
            with lib.autocast("cpu", dtype=lib.bfloat16):
                results.append(flat(layer(x)))
        except RuntimeError as error:
            if lib is torch and "could not create a primitive" in str(error):
                pytest.skip("oneDNN has no LSTM of bfloat16 for this processor")
            raise
        results[-1][0].float().sum().backward()
    for got, wanted in zip(results[1], results[0], strict=True):
        assert str(got.dtype)[7:] == str(wanted.dtype)[6:]
        got, wanted = got.detach().float().numpy(), wanted.detach().float().numpy()
        np.testing.assert_allclose(got, wanted, atol=2e-2)
    for got, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert got.grad.dtype is dynjax.float32
        np.testing.assert_allclose(got.grad.numpy(), wanted.grad.numpy(), rtol=0.05, atol=0.05)
